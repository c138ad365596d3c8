"""The memory an exported network works in: what passes between layers, and room for one layer at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from bnnkit.deploy.description import ArrayStep, DenseStep, Description, SignedSumStep, Step, ThermometerStep, out_shape
from bnnkit.deploy.geometry import Shape
from bnnkit.export.cpp.weights import LANES, ceil_div, chunk_channels, sizes


@dataclass
class Buffer:
    """What several steps in turn leave for later ones.

    Attributes:
        values: whether values are kept, [height, width, channels].
        integers: they are int32 instead of float32.
        planes: of bits, [planes, height, width, words of the channels]; 0: none are kept.
        writers: names of the steps.
    """

    shape: Shape
    values: bool = False
    integers: bool = False
    planes: int = 0
    writers: list[str] = field(default_factory=list)

    @property
    def value_count(self) -> int:
        """Values of an image."""
        channels, height, width = self.shape
        return channels * height * width if self.values else 0

    @property
    def word_count(self) -> int:
        """Words of 64 bits of an image."""
        channels, height, width = self.shape
        return self.planes * height * width * ceil_div(channels, 64)


@dataclass(frozen=True)
class Scratch:
    """Elements that the layer with the largest needs takes; at least one, for arrays of none are no C++."""

    words: int = 1
    integers: int = 1
    floats: int = 1


def buffers_of(description: Description) -> dict[int, Buffer]:
    """Return the buffers by number; the values of the last step are the logits, which have no buffer."""
    found: dict[int, Buffer] = {}
    for step in description.steps[:-1]:
        finish = step.finish
        buffer = found.setdefault(finish.out, Buffer(out_shape(step), integers=finish.integers is not None))
        assert buffer.shape == out_shape(step) and buffer.integers == (finish.integers is not None), step.name
        buffer.values |= finish.floats
        buffer.planes = max(buffer.planes, finish.planes)
        buffer.writers.append(step.name)
    return found


def scratch_of(description: Description) -> Scratch:
    """Return what the runtime's scratch_words, scratch_integers and scratch_floats ask for; it checks them again."""
    needs = [_needs(step) for step in description.steps]
    return Scratch(*(max(1, *column) for column in zip(*needs, strict=True)))


def _needs(step: Step) -> tuple[int, int, int]:
    channels = out_shape(step)[0]
    if isinstance(step, ArrayStep):
        _, arrays, _ = sizes(step.weights)
        return _array_words(step), ceil_div(channels, LANES) * LANES + arrays, 3 * channels
    if isinstance(step, DenseStep):
        return 0, channels, 3 * channels
    if isinstance(step, SignedSumStep):
        return 0, ceil_div(channels, 64) * 64, 0
    return (0, 0, 0) if isinstance(step, ThermometerStep) else (0, channels, channels)


def _array_words(step: ArrayStep) -> int:
    w = step.weights
    chunks, arrays, words = sizes(w)
    channels, height, width = w.in_shape
    pixel_words = chunks * ceil_div(chunk_channels(w), 64)
    copied = w.x_planes * height * width * pixel_words if chunks > 1 or w.flatten else 0
    flat = ceil_div(channels, 64) if w.flatten else 0
    return copied + pixel_words + (w.x_planes + 1) * arrays * words + flat
