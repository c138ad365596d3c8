"""Cells: the conductances that stand for levels, and what real devices make of them."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnnkit.counter import normal, uniform
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.registry import Registry

CELLS: Registry[Cell] = Registry("cell")


@dataclass(frozen=True)
class Cell:
    """One kind of memory cell. Conductances in microsiemens, times in seconds.

        G(v)  = hrs + (lrs - hrs) * v / (2^cell_bit - 1)                  what level v is programmed to
        G     = (G(v) + N(0, sigma(G(v)))) * exp(N(0, lognormal))         device to device, fixed per chip
        G(t)  = G * (t / t0)^-nu,  nu ~ N(nu, nu_sigma)                   retention
        G     = lrs or hrs for a share of `stuck_on` or `stuck_off`       wherever they were programmed to

    Attributes:
        hrs, lrs: conductance of the high- and of the low-resistance state.
        program: sigma(G) as coefficients of a polynomial in G, ascending.
        sigma: a constant part of it, as a share of the window lrs - hrs.
        lognormal: standard deviation of the logarithm of the conductance.
        samples: .npz or .npy file with measured conductances, [levels, samples]; a cell takes one at random instead of
            G(v) and its noise.
        stuck_on, stuck_off: shares of cells stuck at lrs, at hrs.
        time, t0: when it is read, and when it was programmed and first read; no drift without a time.
        nu, nu_sigma: drift exponent and its spread.
        read: standard deviation of a cell's current from one read to the next, as a share of the window.
        source: paper or repository of the numbers.

    Raises:
        UsageError: impossible numbers.

    >>> Cell(sigma=0.05).step(2)
    55.0
    """

    hrs: float = 1.0
    lrs: float = 166.0
    program: tuple[float, ...] = ()
    sigma: float = 0.0
    lognormal: float = 0.0
    samples: str | None = None
    stuck_on: float = 0.0
    stuck_off: float = 0.0
    time: float | None = None
    t0: float = 1.0
    nu: float = 0.0
    nu_sigma: float = 0.0
    read: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.hrs < self.lrs < math.inf:
            raise UsageError(f"cell: hrs {self.hrs:g} and lrs {self.lrs:g} uS; 0 <= hrs < lrs was needed", hint="hrs=1")
        for name in ("sigma", "lognormal", "nu_sigma", "read"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"cell: {name} {getattr(self, name)}; 0 or more was needed", hint=f"leave {name} out")
        if not math.isfinite(self.nu):
            raise UsageError(f"cell: nu {self.nu}; a finite number was needed", hint="nu=0.05")
        if not (self.stuck_on >= 0 and self.stuck_off >= 0 and self.stuck_on + self.stuck_off <= 1):
            raise UsageError(
                f"cell: stuck_on {self.stuck_on} and stuck_off {self.stuck_off}; shares of at most 1 were needed",
                hint="stuck_off=0.01",
            )
        if not self.t0 > 0 or (self.time is not None and not self.t0 <= self.time < math.inf):
            raise UsageError(f"cell: time {self.time} s with t0 {self.t0} s; time >= t0 > 0 was needed", hint="t0=1")

    @property
    def ideal(self) -> bool:
        """Whether partial sums are integers: no variation, drift, stuck cells or noise."""
        drifts = self.time is not None and (self.nu != 0 or self.nu_sigma > 0)
        varies = bool(self.program) or self.sigma > 0 or self.lognormal > 0 or self.samples is not None
        return not (drifts or varies or self.stuck_on or self.stuck_off or self.read)

    def step(self, cell_bit: int) -> float:
        """Conductance between neighbouring levels, in microsiemens."""
        return (self.lrs - self.hrs) / ((1 << cell_bit) - 1)

    def nominal(self, level: Tensor, cell_bit: int) -> Tensor:
        """Return what the levels are programmed to, float64."""
        return self.hrs + self.step(cell_bit) * level.double()

    def conductance(self, level: Tensor, cell_bit: int, *keys: int) -> Tensor:
        """Return the conductances of cells, float64 microsiemens, shape of `level`.

        Args:
            level: 0 .. 2^cell_bit - 1.
            keys: chip seed, layer and whatever tells this tensor from others; the element's index is the last key, so
                a cell has the same conductance whatever else is computed.
        """
        index = torch.arange(level.numel()).view(level.shape)
        g = self.nominal(level, cell_bit)
        if self.samples is not None:
            g = self._sampled(level, cell_bit, index, *keys)
        sigma = torch.full_like(g, self.sigma * (self.lrs - self.hrs))
        for power, coefficient in enumerate(self.program):
            sigma = sigma + coefficient * g**power
        if self.sigma or self.program:
            g = g + sigma.clamp(min=0) * normal(*keys, 1, index)
        if self.lognormal:
            g = g * torch.exp(self.lognormal * normal(*keys, 2, index))
        if self.time is not None and (self.nu or self.nu_sigma):
            exponent = self.nu + self.nu_sigma * normal(*keys, 3, index)
            g = g * (self.time / self.t0) ** -exponent
        if self.stuck_on or self.stuck_off:
            drawn = uniform(*keys, 4, index)
            g = torch.where(drawn < self.stuck_on, self.lrs, g)
            g = torch.where((drawn >= self.stuck_on) & (drawn < self.stuck_on + self.stuck_off), self.hrs, g)
        return g.clamp(min=0)

    def _sampled(self, level: Tensor, cell_bit: int, index: Tensor, *keys: int) -> Tensor:
        measured = read_samples(self.samples or "")
        if len(measured) != 2**cell_bit:
            raise MismatchError(
                f"{self.samples}: {len(measured)} levels; {2**cell_bit} were needed for {cell_bit}-bit cells",
                hint="give the matching --cell-bit",
            )
        chosen = (uniform(*keys, 5, index) * measured.shape[1]).long()
        return measured[level.long(), chosen]


def read_samples(path: str) -> Tensor:
    """Return measured conductances, float64 [levels, samples] in microsiemens.

    Raises:
        MissingError: there is no such file.
        MismatchError: it holds no matrix of finite numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{file}: does not exist; measured conductances were needed", hint="samples=FILE.npy")
    try:
        content = np.load(file, allow_pickle=False)
        values = np.asarray(content[content.files[0]] if hasattr(content, "files") else content, dtype=np.float64)
    except (ValueError, OSError, EOFError, IndexError, KeyError, zipfile.BadZipFile, zlib.error) as failure:
        raise MismatchError(
            f"{file}: not a matrix of numbers ({failure})", hint="numpy.save(FILE, matrix)"
        ) from failure
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise MismatchError(
            f"{file}: shape {values.shape}; finite numbers [levels, samples] were needed",
            hint="numpy.save(FILE, matrix)",
        )
    return torch.from_numpy(values)


def parse_cell(text: str) -> Cell:
    """Return the cell that a person described: NAME[:key=value,...], where NAME is a preset.

    Raises:
        UsageError: an unknown preset or key, or a value that is no number.

    >>> parse_cell("rram:sigma=0.05,hrs=10").hrs
    10.0
    """
    name, _, settings = text.partition(":")
    cell = CELLS.get(name)
    known = [item.name for item in fields(Cell) if item.name not in ("program", "source")] + ["on_off"]
    changes: dict[str, object] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise UsageError(
                f"cell: '{setting}' in '{text}'; key=value was needed, with {', '.join(known)}", hint="rram:sigma=0.05"
            )
        if key == "samples":
            changes[key] = value
            continue
        try:
            changes[key] = float(value)
        except ValueError:
            raise UsageError(f"cell: {key} '{value}'; a number was needed", hint=f"{key}=0.1") from None
    ratio = changes.pop("on_off", None)
    if ratio is not None:
        changes["hrs"] = float(changes.get("lrs", cell.lrs)) / float(ratio) if ratio else math.inf  # type: ignore[arg-type]
    return replace(cell, **changes)  # type: ignore[arg-type]


CELLS.register("ideal")(Cell())
CELLS.register("rram")(Cell(source="levels of mengjian0502/TorchInference_RRAM; give its noise as sigma=..."))
CELLS.register("rram-wan")(
    Cell(
        hrs=1.0,
        lrs=39.26,
        program=(1.053, 2.374e-1, -1.167e-2, 1.536e-4),
        source="Wan et al., Nature 608 (2022): cubic fit to Extended Data Fig. 3, one second after programming",
    )
)
CELLS.register("rram-milo")(
    Cell(
        hrs=50.0,
        lrs=225.0,
        program=(4.782321, -0.009107),
        source="Milo et al., IRPS (2021): linear fit to Fig. 4, algorithm IGVVA-100",
    )
)
CELLS.register("pcm")(
    Cell(
        hrs=0.1,
        lrs=25.0,
        program=(0.26348, 1.9650 / 25, -1.1731 / 25**2),
        nu=0.049,
        nu_sigma=0.008,
        t0=20.0,
        source="Nandakumar et al., ICECS (2019); Joshi et al., Nature Communications 11 (2020); drift of the largest "
        "conductance",
    )
)
