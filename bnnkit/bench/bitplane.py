"""bitplane: integer weights into slices of cells, against the remainder loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal

BITS = 4
CELL_BIT = 1
LOOP = "remainder loop"

Result: TypeAlias = Callable[[], Tensor]


def remainder_slices(w: Tensor, bits: int, cell_bit: int) -> Tensor:
    """Cut whole numbers in float32 into slices, least significant first, as simulators of resistive memory do.

    Source: decimal2binary of mengjian0502/TorchInference_RRAM.
    """
    cell_range = 2**cell_bit
    slices = torch.empty(0)
    for _ in range(bits // cell_bit):
        remainder = torch.fmod(w, cell_range)
        slices = torch.cat((slices, remainder[None]))
        w = torch.round((w - remainder) / cell_range)
    return slices


def sum_of_slices(slices: Tensor) -> Tensor:
    """Undo `remainder_slices`, one multiplication and addition per slice."""
    total = torch.zeros_like(slices[0], dtype=torch.int32)
    for c in range(len(slices)):
        total = total + slices[c].int() * 2**c
    return total


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape and direction."""
    for shape in plan.shapes:
        generator = torch.Generator().manual_seed(1)
        w = torch.randint(0, 2**BITS, shape, generator=generator, dtype=torch.int32)
        slices = reference.slice_weights(w, BITS, CELL_BIT)
        size = "x".join(map(str, shape))
        yield _case(
            plan,
            f"{size}, {BITS} bits to slices of {CELL_BIT}",
            w.numel(),
            partial(ops.slice_weights, w, BITS, CELL_BIT),
            partial(reference.slice_weights, w, BITS, CELL_BIT),
            partial(remainder_slices, w.float(), BITS, CELL_BIT),
        )
        yield _case(
            plan,
            f"{size}, slices of {CELL_BIT} to {BITS} bits",
            w.numel(),
            partial(ops.merge_slices, slices, CELL_BIT),
            partial(reference.merge_slices, slices, CELL_BIT),
            partial(sum_of_slices, slices),
        )


def _case(plan: Plan, name: str, weights: int, kernel: Result, expected: Result, loop: Result) -> Case:
    def check(result: Result) -> Check:
        return equal(result(), expected(), "the whole output")

    work, its_check = Work(weights, "weight"), partial(check, kernel)
    rivals = (LOOP,) if "loop" in plan.against else ()
    sides: list[Side] = []
    for threads in plan.threads:
        sides += [Side(rival, loop, work, threads, check=partial(check, loop)) for rival in rivals]
        for variant in plan.variants:
            sides.append(Side("bnnkit bitplane", kernel, work, threads, variant, ("bitplane",), its_check, rivals))
    return Case(name, sides)


BENCHES.register("bitplane")(
    Bench(
        description="integer weights into slices of cells, and back",
        shape_form="O,C,H,W",
        shapes=((512, 512, 3, 3),),
        opponents=("loop",),
        rivals=("loop",),
        every_variant=True,
        cases=cases,
        notes=(
            "bnnkit: int32 weights to uint8 slices and back",
            f"{LOOP}: float32 weights, and per slice fmod, subtract, divide, round and concatenate, as simulators of "
            "resistive memory publish it; back: a product and a sum per slice",
        ),
        count=2,
    )
)
