"""A low-precision layer on a chip: its weights in cells, its converters with their ranges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.cim import Layout
from bnnkit.cim.chip import Chip
from bnnkit.cim.ranges import Histogram, aligned
from bnnkit.counter import hash32, normal
from bnnkit.errors import MismatchError, UsageError
from bnnkit.nn.backends import current_backend
from bnnkit.nn.operands import Pair
from bnnkit.ops.bit_serial import MOST
from bnnkit.quantizers.pact import Pact
from bnnkit.quantizers.weights import WeightQuantizer

Bounds: TypeAlias = tuple[Tensor, Tensor] | Literal["full", "batch"]
"""(low, high) of a layer's converters, float64 [input bits or 1, slices, columns or 1]; the whole range that an array
can give; or whatever the batch at hand gives, as the origin does."""

_first_image: ContextVar[int] = ContextVar("first_image", default=0)


@contextmanager
def images_from(first: int) -> Iterator[None]:
    """Number the images of a batch inside the block from `first` on: read noise depends on the image, not the batch."""
    token = _first_image.set(first)
    try:
        yield
    finally:
        _first_image.reset(token)


class ProgrammedLayer:
    """One convolution or linear layer as a chip computes it.

    Args:
        chip: arrays, cells and converters.
        bounds: ranges of the converters.
        number: of the layer, counted over the network; with the chip's seed it decides what its devices are like.
        weight: float32 [O, C, kh, kw] or [O, C], latent.
        weight_quantizer, activation: of the layer.
        bias: float32 [O] or None.
        stride, padding: of the convolution.

    Raises:
        UsageError: weights that the encoding cannot hold, or more rows than a partial sum has room for.
    """

    def __init__(
        self,
        chip: Chip,
        bounds: Bounds,
        number: int,
        *,
        weight: Tensor,
        weight_quantizer: WeightQuantizer,
        activation: Pact,
        bias: Tensor | None,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
    ) -> None:
        self.chip, self.number, self.bits = chip, number, activation.bits
        self.stride, self.padding = stride, padding
        self.slicing = chip.slicing(weight_quantizer.bits)
        integers, unit = weight_quantizer.integers(weight.detach().cpu())
        # DoReFa's odd integers are n = 2 * stored + odd; `odd` times the sum of the inputs is added digitally.
        self._odd = (
            0 if weight_quantizer.step == 1 else (-1 if self.slicing.high == 2 ** (self.slicing.w_bit - 1) else 1)
        )
        stored = ((integers - self._odd) / weight_quantizer.step).long()
        self._linear = stored.dim() == 2
        self.kernels = stored[:, :, None, None] if self._linear else stored
        self.layout = self._layout()
        self._bias = None if bias is None else bias.detach().cpu()
        self._levels = activation.levels()
        of_integer = float(1 / (activation.unit.cpu().double() * unit.double()))
        self._scale, self._odd_scale = weight_quantizer.step * of_integer, self._odd * of_integer
        plus, minus = self.slicing.cells(self.kernels)
        self.values = self._values(plus, minus)
        self.cells = (
            ops.ideal_cells(plus, minus, self.slicing, self.layout)
            if chip.cell.ideal
            else ops.grid_cells(self.values, self.layout)
        )
        self.bounds: Bounds = self._full_scale() if bounds == "full" else bounds
        self.converters = None if self.bounds == "batch" else self._converters()

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output for inputs in full precision, float32 [N, O, H', W'] or [N, O]."""
        images = x[:, :, None, None] if self._linear else x
        if self.converters is None or current_backend() in ("torch", "reference"):
            y = self._by_reference(images)
        else:
            y = ops.bit_serial_conv2d(
                self._packed(images),
                self.cells,
                self.converters,
                layout=self.layout,
                channels=self.layout.channels,
                scale=self._scale,
                bias=self._bias,
                noise=self._read_noise(),
                stride=self.stride,
                padding=self.padding,
            )
        y = y if not self._odd else y + self._input_sums(images)
        return y.flatten(1) if self._linear else y

    def observe(self, x: Tensor, by_column: bool) -> Histogram:
        """Return how often each partial sum occurs for inputs `x`."""
        images = x[:, :, None, None] if self._linear else x
        counts = ops.bit_serial_histogram(
            self._packed(images),
            self.cells,
            layout=self.layout,
            channels=self.layout.channels,
            by_column=by_column,
            noise=self._read_noise(),
            stride=self.stride,
            padding=self.padding,
        )
        shaped = counts.view(self.bits, self.slicing.slices, counts.shape[1], -1)
        return Histogram(shaped, self.cells.low, self.cells.fraction, self.layout.arrays)

    def conversions(self, out_pixels: int) -> int:
        """Return the conversions of one image."""
        return out_pixels * self.layout.arrays * self.bits * self.slicing.slices * len(self.kernels)

    def _layout(self) -> Layout:
        _, channels, kernel_h, kernel_w = self.kernels.shape
        array = self.chip.array
        layout = array.linear_layout(channels) if self._linear else array.layout(channels, kernel_h, kernel_w)
        most = self.chip.rows * (2**self.chip.cell_bit - 1)
        if most > MOST:
            raise UsageError(
                f"chip: {self.chip.rows} rows of {self.chip.cell_bit}-bit cells sum up to {most}; at most "
                f"{MOST} was needed",
                hint="use fewer rows",
            )
        return layout

    def _values(self, plus: Tensor, minus: Tensor) -> Tensor:
        """Return what a row adds to its partial sum, float64 [slices, O, C, kh, kw] in cell steps."""
        chip, cell = self.chip, self.chip.cell
        if cell.ideal:
            return plus.double() - minus.double()
        keys = (chip.seed, self.number)
        step = cell.step(chip.cell_bit)
        own = cell.conductance(plus, chip.cell_bit, *keys, 1)
        if chip.encoding == "differential":
            return (own - cell.conductance(minus, chip.cell_bit, *keys, 2)) / step
        # One column per array and slice is taken from all others: the offset's, or empty cells that leak as much.
        shared = cell.conductance(minus[:, :1], chip.cell_bit, *keys, 2)
        return (own - shared) / step

    def _full_scale(self) -> tuple[Tensor, Tensor]:
        """Return ranges from the smallest to the largest partial sum of ideal cells, by slice."""
        low, high = [], []
        for c, width in enumerate(self.slicing.widths):
            top = 2**width - 1
            offset = (self.slicing.offset >> (self.chip.cell_bit * c)) & top
            least = {"offset": -offset, "differential": -top, "twos": 0}[self.chip.encoding]
            most = {"offset": top - offset, "differential": top, "twos": top}[self.chip.encoding]
            low.append(least * self.chip.rows)
            high.append(most * self.chip.rows)
        ends = [torch.tensor(bound, dtype=torch.float64)[None, :, None] for bound in (low, high)]
        return aligned(ends[0], ends[1], 1 if self.chip.adc_bit == "fp" else self.chip.adc_bit)

    def _converters(self) -> ops.Converters:
        places = self._places()
        grid = 2.0**-self.cells.fraction
        if self.chip.curve is not None:
            curve = self.chip.curve
            return ops.Converters(
                factor=(places[:1] * curve.scale).contiguous(),
                base=(places.sum() * curve.offset * self.layout.arrays).view(1),
                codes=self._curve_codes(torch.arange(self.cells.low, self.cells.high + 1))
                .expand(self.slicing.slices, -1)
                .contiguous(),
            )
        if self.chip.adc_bit == "fp":
            return ops.Converters(factor=(places * grid).contiguous(), base=torch.zeros(1, dtype=torch.float64))
        assert isinstance(self.bounds, tuple)
        low, high = self._checked(*self.bounds)
        step = (high - low) / 2**self.chip.adc_bit
        gain, offset = 1 + self._column_error(self.chip.adc_gain, 3), self._column_error(self.chip.adc_offset, 4)
        base = (places * low).sum((0, 1)) * self.layout.arrays
        factors = (places if len(step) > 1 else places[:1]) * step
        gains, shifts = (gain / step * grid).float(), ((offset - low) / step).float()
        columns = gains.shape[2]
        return ops.Converters(
            factor=factors.expand(-1, -1, columns).contiguous(),
            base=base.expand(columns).contiguous(),
            gain=gains.contiguous(),
            shift=shifts.expand(-1, -1, columns).contiguous(),
            top=2**self.chip.adc_bit - 1,
        )

    def _curve_codes(self, v: Tensor) -> Tensor:
        """Return the levels that the chip's curve gives partial sums, uint8."""
        assert self.chip.curve is not None
        levels = torch.tensor(self.chip.curve.levels, dtype=torch.uint8)
        return levels[self.chip.curve.code(v * 2.0**-self.cells.fraction)]

    def _places(self) -> Tensor:
        """Return what a unit of each partial sum counts, float64 [input bits, slices, 1]."""
        weights = torch.tensor(self.slicing.weights, dtype=torch.float64)
        return 2.0 ** torch.arange(self.bits, dtype=torch.float64)[:, None, None] * weights[None, :, None]

    def _checked(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        sizes = ((1, self.bits), (self.slicing.slices,), (1, len(self.kernels)))
        for bound in (low, high):
            if not all(size in allowed for size, allowed in zip(bound.shape, sizes, strict=True)):
                wanted = ", ".join(" or ".join(map(str, allowed)) for allowed in sizes)
                raise MismatchError(
                    f"calibration: ranges {list(bound.shape)} for layer {self.number}; [{wanted}] input bits, slices "
                    "and columns were needed",
                    hint="bnnkit calibrate, with the same cells and encoding",
                )
        return low, high

    def _column_error(self, spread: float, key: int) -> Tensor:
        """Return a number per column, float64 [1, 1, O]; [1, 1, 1] without errors."""
        if not (self.chip.adc_gain or self.chip.adc_offset):
            return torch.zeros(1, 1, 1, dtype=torch.float64)
        return spread * normal(self.chip.seed, self.number, key, torch.arange(len(self.kernels)))[None, None]

    def _read_noise(self) -> ops.ReadNoise | None:
        cell = self.chip.cell
        if not cell.read:
            return None
        steps = cell.read * (cell.lrs - cell.hrs) / cell.step(self.chip.cell_bit)
        active = torch.arange(self.cells.data.shape[2] // self.layout.arrays + 1, dtype=torch.float64)
        amplitude = (steps * 2.0**self.cells.fraction * 16 * active.sqrt()).round().int()
        seed = int(hash32(self.chip.seed, self.number, 5)) << 32 | int(hash32(self.chip.seed, self.number, 6))
        # As torch passes integers: signed.
        return ops.ReadNoise(amplitude, seed - 2**64 if seed >= 2**63 else seed, _first_image.get())

    def _packed(self, images: Tensor) -> Tensor:
        return ops.pack_pixels(images, self._levels, channels_per_array=self.layout.channels_per_array)

    def _input_sums(self, images: Tensor) -> Tensor:
        """Return the digital correction of odd weights: the codes under the kernel, added up."""
        codes = self._levels.code(images).sum(1, keepdim=True).float()
        ones = torch.ones(1, 1, *self.kernels.shape[2:])
        sums = F.conv2d(codes, ones, None, self.stride, self.padding)
        return (sums.double() * self._odd_scale).float()

    def _by_reference(self, images: Tensor) -> Tensor:
        """Return the same by `bnnkit.reference`: a convolution in double per array, input bit and slice."""
        if self._read_noise() is not None:
            raise UsageError("chip: read noise needs the compiled kernels", hint="use the backend auto")
        chip = self.chip
        if self.converters is None:
            # The origin converts in cell steps; what it finds is a value already.
            cells, factors, base = self.values, self._places()[:1], torch.zeros(1, dtype=torch.float64)
        else:
            cells, base = (self.values * 2.0**self.cells.fraction).round(), self.converters.base
            factors = self.converters.factor
        total = reference.bit_serial_conv2d(
            self._levels.code(images),
            cells,
            self.bits,
            factors,
            base,
            stride=self.stride,
            padding=self.padding,
            mapping="channel" if self._linear else chip.mapping,
            rows=chip.rows,
            channels_per_array=None if self._linear else chip.channels_per_array,
            convert=self._convert,
        )
        y = total * self._scale
        return (y if self._bias is None else y + self._bias.double().view(-1, 1, 1)).float()

    def _convert(self, v: Tensor, z: int, c: int) -> Tensor:
        """Return the codes of partial sums as `bnnkit.reference` needs them."""
        if self.chip.curve is not None:
            return self._curve_codes(v).double()
        if self.chip.adc_bit == "fp":
            return v
        if self.converters is None:
            return reference.batch_converter(v, self.chip.adc_bit)
        assert self.converters.gain is not None and self.converters.shift is not None
        shared = len(self.converters.gain) == 1
        gain, shift = (
            p[0 if shared else z, c].view(1, -1, 1, 1) for p in (self.converters.gain, self.converters.shift)
        )
        codes: Tensor = (v.float() * gain + shift).round().clamp(0, self.converters.top)
        return codes.double()

    def __repr__(self) -> str:
        return f"ProgrammedLayer({self.chip}, {self.layout.arrays} arrays)"
