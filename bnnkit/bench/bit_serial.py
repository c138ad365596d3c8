"""bit-serial: a convolution of a low-precision network on a chip, against one masked convolution per bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import nn
from bnnkit.bench import chips
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.masked import MaskedConv2d
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal, near, spread

SHAPES = ((16, 128, 32),)
"""The second layer of vgg7: (batch, channels in and out, height and width)."""

CELL_BITS = (1, 2)
KERNEL = 3
CHECKED_IMAGES = 2
LOOP_IMAGES = 1
LOOP_TOLERANCE = 1e-4

LOOP, PLAIN = "masked loop, 1 image", "torch fp32"
OPPONENTS = {"loop": LOOP, "fp32": PLAIN}

NOTES = (
    f"W{chips.W_BIT}/A{chips.AO_BIT}, {chips.ADC_BIT}-bit converters that reach over all sums of ideal cells, 128 "
    "rows, mapping tap, 3x3, padding 1; from float32 tensors to float32 tensors, packing of activations included",
    f"{LOOP}: per tap, input bit, array and slice a float32 conv2d with masked weights and one for the dummy column, "
    "as simulators of resistive memory publish it; weights decomposed beforehand",
    f"the loop is timed on {LOOP_IMAGES} image of the batch; ratios to it are per image",
    "torch fp32: one plain conv2d without cells and converters",
    "of limit: input bits x planes of ideal cells x products per second, beside the register-only loop; other cells "
    "hold numbers instead of bits",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape, kind of cell and width of cell."""
    for batch, channels, size in plan.shapes:
        for cell, title in chips.CELLS.items():
            for cell_bit in CELL_BITS:
                layer, x = build(batch, channels, size, cell, cell_bit)
                shape = f"{batch} x {channels} x {size} x {size}"
                yield Case(f"{shape}, {cell_bit}-bit {title}", _sides(plan, layer, x))


def build(batch: int, channels: int, size: int, cell: str, cell_bit: int) -> tuple[nn.BitSerialConv2d, Tensor]:
    """Return a layer on a chip, and inputs that reach all of its codes."""
    torch.manual_seed(1)
    layer = nn.BitSerialConv2d(
        channels, channels, KERNEL, padding=1, ao_bit=chips.AO_BIT, w_bit=chips.W_BIT
    ).requires_grad_(False)
    layer.weight.normal_()
    layer.eval().program(chips.chip(cell, cell_bit), "full", 0)
    assert layer.activation is not None
    return layer, torch.rand(batch, channels, size, size) * layer.activation.alpha


def _sides(plan: Plan, layer: nn.BitSerialConv2d, x: Tensor) -> list[Side]:
    assert layer.arrays is not None
    products = chips.bit_products(layer.arrays, x[:, 0].numel())
    oracle = Oracle(layer, x)
    some = x[:LOOP_IMAGES]
    loop = partial(MaskedConv2d(layer), some)
    rivals: dict[str, tuple[Callable[[], Tensor], int, Callable[[], Check] | None]] = {
        "loop": (loop, len(some), partial(oracle.check_loop, loop)),
        "fp32": (partial(F.conv2d, x, layer.weight, None, padding=1), len(x), None),
    }
    against = tuple(OPPONENTS[name] for name in plan.against)
    sides: list[Side] = []
    for threads in plan.threads:
        for name in plan.against:
            call, images, check = rivals[name]
            once = check if threads == plan.threads[0] else None
            sides.append(Side(OPPONENTS[name], call, Work(images, "image"), threads, check=once))
        for variant in plan.variants:
            work, its_check = Work(len(x), "image", products), partial(oracle.check, partial(layer, x))
            kernels = ("bit_serial", "pack")
            sides.append(
                Side("bnnkit bit-serial", partial(layer, x), work, threads, variant, kernels, its_check, against)
            )
    return sides


class Oracle:
    """The reference's output for some images of a batch, computed when it is first asked for."""

    def __init__(self, layer: nn.BitSerialConv2d, x: Tensor) -> None:
        self._layer, self._x = layer, x
        self._images = spread(len(x), CHECKED_IMAGES)
        self._expected: Tensor | None = None

    @property
    def expected(self) -> Tensor:
        if self._expected is None:
            with nn.backend("reference"):
                self._expected = self._layer(self._x[self._images])
        return self._expected

    def check(self, call: Callable[[], Tensor]) -> Check:
        """Compare some images of the output for the whole batch: every value must be equal."""
        y = call()
        return equal(y[self._images], self.expected, f"{len(self._images)} of {len(y)} images")

    def check_loop(self, call: Callable[[], Tensor]) -> Check:
        """Compare the loop's image, the first: its sums after the converters are rounded to float32."""
        y = call()
        return near(y, self.expected[: len(y)], LOOP_TOLERANCE, f"{len(y)} image")


BENCHES.register("bit-serial")(
    Bench(
        description="a convolution of vgg7 on a chip, one bit of the input at a time",
        shape_form="BATCH,CHANNELS,SIZE",
        shapes=SHAPES,
        opponents=tuple(OPPONENTS),
        rivals=tuple(OPPONENTS),
        every_variant=False,
        cases=cases,
        notes=NOTES,
        count=len(CELL_BITS) * len(chips.CELLS),
    )
)
