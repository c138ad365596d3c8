"""What can be wrong with a binary network in hardware, as a person writes it: SITE:KIND@AMOUNT[,key=value]..."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bnnkit.errors import UsageError
from bnnkit.registry import Registry

MOST_FLIPS = 0.5
"""Beyond it a flipped bit tells more about the stored one the higher the rate is."""

RATES = {
    "flip": "flipped",
    "stuck0": "stuck at 0",
    "stuck1": "stuck at 1",
    "random": "replaced by a random bit",
    "burst": "flipped in bursts",
}
"""Kinds whose amount is a share, and what happens to that share of a site's bits. That of the others is a standard
deviation, in the unit of the site."""

BIT_KINDS = ("flip", "stuck0", "stuck1", "random")
"""What can happen to single bits."""


@dataclass(frozen=True)
class Site:
    """One place where faults can be.

    Attributes:
        text: what is there, in a few words.
        kinds: what can happen to it.
        unit: of a standard deviation.
        keys: options, and what they must match.
        in_layers: whether the network's layers have it, each for itself.
    """

    text: str
    kinds: tuple[str, ...]
    unit: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    in_layers: bool = True


_KINDS_WITH = {"bit": BIT_KINDS, "len": ("burst",), "std": ("gauss",)}
"""Kinds that an option means something to, where not all of a site's."""

_BIT, _LENGTH = {"bit": "[0-7]"}, {"len": "[1-9][0-9]{0,5}"}

SITES: Registry[Site] = Registry("fault site")

SITES.register("input")(
    Site("bits of the stored images", (*BIT_KINDS, "burst", "gauss"), "of 255", {**_BIT, **_LENGTH}, in_layers=False)
)
SITES.register("weight")(Site("bits of the stored weights", (*BIT_KINDS, "burst"), "", {**_BIT, **_LENGTH}))
SITES.register("latent")(
    Site(
        "real weights before they are quantized",
        ("gauss", "lognormal"),
        keys={"std": "square|plain", "ws": "layer|output"},
    )
)
SITES.register("activation")(Site("bits of the activations that a layer reads", BIT_KINDS, "", dict(_BIT)))
SITES.register("cell")(
    Site("cells of bit-serial networks", ("stuck0", "stuck1", "gauss", "lognormal"), "of the conductance window")
)
SITES.register("partial-sum")(Site("sums of an array before their conversion", ("gauss", "offset", "gain"), "counts"))
SITES.register("adc")(Site("converters of the arrays", (*BIT_KINDS, "offset"), "counts", dict(_BIT)))
SITES.register("line")(Site("lines of the arrays", BIT_KINDS, "", {"axis": "row|column"}))


@dataclass(frozen=True)
class Fault:
    """One kind of fault at one site.

    Attributes:
        amount: the share that is faulty, or a standard deviation, see `RATES`.
        options: by key, as written.

    Raises:
        UsageError: an unknown site, a kind or key the site does not have, an impossible amount or value.

    >>> str(Fault("weight", "flip", 0.01))
    'weight:flip@0.01'
    """

    site: str
    kind: str
    amount: float
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        site = SITES.get(self.site)
        if self.kind not in site.kinds:
            raise UsageError(
                f"fault '{self}': {self.site} has no kind '{self.kind}'; one of {', '.join(site.kinds)} was needed",
                hint=f"--fault {self.site}:{site.kinds[0]}@0.01",
            )
        if self.is_rate:
            most = MOST_FLIPS if self.kind in ("flip", "burst") else 1.0
            if not (0 <= self.amount <= most or (self._names_a_bit and self.amount == 1)):
                raise UsageError(
                    f"fault '{self}': rate {self.amount:g}; {self.kind} takes 0 to {most:g}",
                    hint=f"--fault {self.site}:{self.kind}@0.01",
                )
        elif not 0 <= self.amount < math.inf:
            raise UsageError(
                f"fault '{self}': sigma {self.amount:g}; a number of at least 0 was needed",
                hint=f"--fault {self.site}:{self.kind}@1",
            )
        known = {key: pattern for key, pattern in site.keys.items() if self.kind in _KINDS_WITH.get(key, site.kinds)}
        for key, value in self.options:
            if not re.fullmatch(known.get(key, "(?!)"), value):
                takes = ", ".join(f"{name}={pattern}" for name, pattern in known.items()) or "no options"
                raise UsageError(
                    f"fault '{self}': {key}={value}; {self.site}:{self.kind} takes {takes}", hint="leave it out"
                )

    def __str__(self) -> str:
        return f"{self.site}:{self.kind}@{self.amount:g}" + "".join(f",{key}={value}" for key, value in self.options)

    @property
    def _names_a_bit(self) -> bool:
        """Whether it is one bit of the pixels: flipping it in all of them is a question that is asked."""
        return self.site == "input" and self.kind == "flip" and self.bit is not None

    @property
    def is_rate(self) -> bool:
        """Whether the amount is a share."""
        return self.kind in RATES

    @property
    def bit(self) -> int | None:
        """The only bit that is faulty (0: least significant); None: all of them."""
        text = self.option("bit")
        return None if text is None else int(text)

    @property
    def length(self) -> int:
        """Bits of a burst."""
        return int(self.option("len") or 8)

    @property
    def std(self) -> float:
        """Standard deviation of the noise: the square of sigma for latent weights, as their origin computes it."""
        plain = self.site != "latent" or self.kind != "gauss" or self.option("std") == "plain"
        return self.amount if plain else self.amount**2

    def option(self, key: str) -> str | None:
        """Return an option as written, or None."""
        return dict(self.options).get(key)

    def at(self, amount: float) -> Fault:
        """Return the same fault with another amount."""
        return replace(self, amount=amount)

    def with_option(self, key: str, value: str) -> Fault:
        """Return the same fault with one option set."""
        return replace(self, options=tuple({**dict(self.options), key: value}.items()))


def unit(fault: Fault) -> str:
    """Say what a fault's amount is.

    >>> unit(Fault("adc", "offset", 2.0)), unit(Fault("weight", "flip", 0.01))
    ('sigma [counts]', 'rate of faults')
    """
    if fault.is_rate:
        return "rate of faults"
    found = "" if fault.kind in ("gain", "lognormal") else SITES.get(fault.site).unit
    return f"sigma [{found}]" if found else "sigma"


def parse_fault(text: str) -> Fault:
    """Return the fault that a person means by SITE:KIND@AMOUNT[,key=value]...

    Raises:
        UsageError: it is not written like that, or makes no fault.

    >>> parse_fault("weight:flip@1e-2,bit=0")
    Fault(site='weight', kind='flip', amount=0.01, options=(('bit', '0'),))
    """
    head, *rest = text.split(",")
    found = re.fullmatch(r"\s*([a-z-]+):([a-z0-9]+)@([0-9.eE+-]+)\s*", head)
    options = [part.strip().partition("=") for part in rest]
    if found is None or not all(key and equals for key, equals, _ in options):
        raise UsageError(
            f"fault '{text}': SITE:KIND@RATE[,key=value] was needed, with one of the sites {', '.join(SITES)}",
            hint="--fault weight:flip@0.01",
        )
    site, kind, amount = found.groups()
    try:
        number = float(amount)
    except ValueError:
        raise UsageError(f"fault '{text}': '{amount}' is not a number", hint="--fault weight:flip@0.01") from None
    return Fault(site, kind, number, tuple((key, value) for key, _, value in options))
