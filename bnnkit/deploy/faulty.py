"""Faults that a packed network runs with: in the bits a layer reads, in its partial sums, in its converters.

Where a fault is and what it does is a hash of the place (`bnnkit.counter`), continued from a `state` that stands for
everything before the image: the seed, the repetition, the layer. So it depends on the image's number in the data set,
never on batches, threads or kernels. With step(h, k) = hash32(h ^ k), one more key of the chain:

- A bit is hit where its hash h is below rate * 2^32, so the hits of a lower rate are among those of a higher one.
  "flip" turns it over, "stuck0" and "stuck1" make it 0 and 1, "random" makes it the lowest bit of step(h, 1).
- Noise is one of 4096 equally likely quantiles of the normal distribution, chosen by the upper 12 bits of its hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

from torch import Tensor

from bnnkit.draws import below
from bnnkit.errors import UsageError

BitKind: TypeAlias = Literal["flip", "stuck0", "stuck1", "random"]


@dataclass(frozen=True)
class InputFaults:
    """Faulty bits among those that a layer on arrays reads; padding has none.

    The hash of a bit is step(step(step(state, image), plane), element), where element = (channel * H + y) * W + x of
    the layer's input (the feature's index for a linear layer).

    Attributes:
        kind: what happens to a bit that is hit.
        rate: share of the bits that are hit, 0 to 1.
        state: unsigned 32 bits, the hash of the keys before the image.
        bit: the only plane with faults (of a thermometer: the comparison with that threshold); None: all of them.

    Raises:
        UsageError: another kind, an impossible rate, state or plane.

    >>> InputFaults("flip", 0.25, state=1).below == 2**30
    True
    """

    kind: BitKind
    rate: float
    state: int
    bit: int | None = None

    def __post_init__(self) -> None:
        _check_bits("input faults", self.kind, get_args(BitKind), self.rate, self.state, self.bit)

    @property
    def below(self) -> int:
        """Hashes below this number, 0 to 2^32, are hits."""
        return below(self.rate)


@dataclass(frozen=True, eq=False)
class ConverterFaults:
    """What happens between an array's sums and the codes of its converters.

    For each image, output pixel, array and output, with the partial sum ps (a product of values of magnitude 1 is 1):

        code = code of the converter at gain * ps + offset + noise * (a normal number)
        each bit of the code is hit, and flipped or random, as `flip_kind` and `flip_rate` say
        code = stuck, where a column has such a code, and at most the converter's largest one

    Everything is rounded to 2^-16 of a unit of the integer partial sum. With place = pixel * arrays + array, the hash
    of the noise is step(step(step(state, image), place), output), that of a bit of the code
    step(step(step(step(state, 2^32 - 1), image), place), output * bits + bit).

    Attributes:
        gain, offset: float64 [arrays, outputs], None for 1 and 0.
        noise: standard deviation.
        stuck: int32 [arrays, outputs], the code that a column always gives, -1 for none.
        flip_kind: None for no faults in codes.
        flip_rate: share of the bits of the codes that are hit.
        flip_bit: the only bit of a code with faults (0: least significant); None: all of them.
        state: unsigned 32 bits, the hash of the keys before the image.

    Raises:
        UsageError: another kind, an impossible rate, sigma, state or bit.
    """

    gain: Tensor | None = None
    offset: Tensor | None = None
    noise: float = 0.0
    stuck: Tensor | None = None
    flip_kind: Literal["flip", "random"] | None = None
    flip_rate: float = 0.0
    flip_bit: int | None = None
    state: int = 0

    def __post_init__(self) -> None:
        kinds = ("flip", "random", None)
        _check_bits("converter faults", self.flip_kind, kinds, self.flip_rate, self.state, self.flip_bit)
        if not 0 <= self.noise < float("inf"):
            raise UsageError(f"converter faults: sigma {self.noise}; at least 0 was needed", hint="leave noise out")

    @property
    def below(self) -> int:
        """Hashes below this number, 0 to 2^32, are hits among the bits of codes."""
        return below(self.flip_rate)


@dataclass(frozen=True)
class LayerFaults:
    """Faults of one layer.

    >>> LayerFaults(InputFaults("stuck1", 0.01, state=7)).converter is None
    True
    """

    input: InputFaults | None = None
    converter: ConverterFaults | None = None


class Hits(NamedTuple):
    """Bits that could be hit, those that were, and those of them that read otherwise than they would have."""

    bits: int
    faulty: int
    wrong: int


def _check_bits(
    where: str, kind: str | None, kinds: tuple[str | None, ...], rate: float, state: int, bit: int | None
) -> None:
    if kind not in kinds:
        known = ", ".join(str(name) for name in kinds)
        raise UsageError(f"{where}: kind '{kind}' is unknown; one of {known} was needed", hint="use flip")
    if not 0 <= rate <= 1:
        raise UsageError(f"{where}: rate {rate}; 0 to 1 was needed", hint="use 0.01")
    if not 0 <= state < 2**32:
        raise UsageError(f"{where}: state {state}; 0 to 2^32 - 1 was needed", hint="use bnnkit.counter.hash32")
    if bit is not None and bit < 0:
        raise UsageError(f"{where}: bit {bit}; at least 0 was needed", hint="leave it out for all bits")
