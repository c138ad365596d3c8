"""conv: convolutions on arrays from float tensors to float tensors, packing included, against loops over the arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import nn
from bnnkit.bench.baseline import LoopConv2d
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal, spread

SHAPES = ((32, 80, 32), (32, 160, 16), (32, 320, 8))
"""The layers of res20: (batch, channels in and out, height and width)."""

BITS = ((1, 1, 1), (2, 2, 2), (4, 4, 4))
"""Of activations, weights and converter."""

KERNEL = 3
CHECKED_IMAGES = 2
OPPONENTS = {"loop": "loop", "array-loop": "array loop", "fp32": "torch fp32", "bf16": "torch bf16"}

NOTES = (
    "from float32 tensors to float32 tensors, packing of activations and weights included; 3x3, padding 1, 128 rows",
    "loop: per array a float32 conv2d and a quantization, as published code does it; array loop: the same with "
    "integer bookkeeping (bnnkit's torch backend); torch fp32, bf16: one plain conv2d without converters",
    "bits: activations/weights/converter; bMAC counts every pair of planes; where operands of several bits are "
    "multiplied as integers instead of counted (AVX-512, AMX), the limit of counting is no limit",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape and bit width."""
    for batch, channels, size in plan.shapes:
        for ao_bit, w_bit, adc_bit in BITS:
            torch.manual_seed(1)
            layer = nn.CimConv2d(
                channels, channels, KERNEL, padding=1, ao_bit=ao_bit, w_bit=w_bit, adc_bit=adc_bit
            ).requires_grad_(False)
            layer.weight.uniform_(-1, 1)
            x = torch.rand(batch, channels, size, size) * 2 - 1
            name = f"{batch} x {channels} x {size} x {size}, {ao_bit}/{w_bit}/{adc_bit}"
            yield Case(name, _sides(plan, layer, x))


def _sides(plan: Plan, layer: nn.CimConv2d, x: Tensor) -> list[Side]:
    macs = x.numel() * layer.weight[0].numel()
    planes = layer.activation.planes * layer.weight_quantizer.planes
    check = partial(check_layer, layer, x)
    rivals = _rivals(layer, x)
    against = tuple(OPPONENTS[name] for name in plan.against)
    sides: list[Side] = []
    for threads in plan.threads:
        for name in plan.against:
            once = "loop" in name and threads == plan.threads[0]
            side_check = partial(check_rival, layer, rivals[name], x) if once else None
            sides.append(Side(OPPONENTS[name], rivals[name], Work(macs, "MAC"), threads, check=side_check))
        for variant in plan.variants:
            call, work = partial(_packed, layer, x), Work(macs * planes, "bMAC")
            sides.append(Side("bnnkit conv", call, work, threads, variant, ("adc", "pack"), check, against))
    return sides


def _packed(layer: nn.CimConv2d, x: Tensor) -> Tensor:
    with nn.backend("packed"):
        y: Tensor = layer(x)
        return y


def _array_loop(layer: nn.CimConv2d, x: Tensor) -> Tensor:
    with nn.backend("torch"):
        y: Tensor = layer(x)
        return y


def _rivals(layer: nn.CimConv2d, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    half, weight = x.bfloat16(), layer.weight.bfloat16()
    return {
        "loop": partial(LoopConv2d(layer), x),
        "array-loop": partial(_array_loop, layer, x),
        "fp32": partial(F.conv2d, x, layer.weight, None, padding=1),
        "bf16": partial(F.conv2d, half, weight, None, padding=1),
    }


def check_layer(layer: nn.CimConv2d, x: Tensor) -> Check:
    """Compare some images of the packed output for the whole batch with the reference: every value must be equal."""
    images = spread(len(x), CHECKED_IMAGES)
    with nn.backend("reference"):
        expected = layer(x[images])
    return equal(_packed(layer, x)[images], expected, f"{len(images)} of {len(x)} images")


def check_rival(layer: nn.CimConv2d, rival: Callable[[], Tensor], x: Tensor) -> Check:
    """Check that a loop computes this layer: equal values for 1-bit operands, whole converter steps apart for others.

    In float32 a multi-bit partial sum that lies on a threshold may round to either side of it.
    """
    expected, adc = _packed(layer, x), layer.adc
    assert adc is not None
    off = (rival() - expected) / (2 * adc.scale)
    same = float((off.abs() < 0.01).float().mean())
    whole = bool(((off - off.round()).abs() < 0.01).all())
    exact = (layer.ao_bit, layer.w_bit) == (1, 1)
    compared = f"{'all' if same == 1 else format(same, '.2%')} of the outputs equal the packed ones"
    if whole and (same == 1 or not exact):
        return Check(True, compared)
    return Check(False, compared, "the others are off by" + ("" if whole else " no") + " whole converter steps")


BENCHES.register("conv")(
    Bench(
        description="convolutions of res20 through converters, packing included",
        shape_form="BATCH,CHANNELS,SIZE",
        shapes=SHAPES,
        opponents=tuple(OPPONENTS),
        rivals=tuple(OPPONENTS),
        every_variant=False,
        cases=cases,
        notes=NOTES,
        count=len(BITS),
    )
)
