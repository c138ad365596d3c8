"""train: one training step of res20 with 1-bit activations, weights and converters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bnnkit import nn
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.memory import peak_of_training
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.step import NAME, Step
from bnnkit.models import Model

OPPONENTS = {"loop": "loop", "fp32": "torch fp32"}
CHECKED_IMAGES = 4
GRADIENT_TOLERANCE = 1e-3
NOTES = (
    f"{NAME}, 1-bit activations, weights and converters: forward, backward, Adam, clamp; 32x32 images",
    "loop: the same network with a float32 conv2d and a quantization per array; torch fp32: the same architecture "
    "without quantization",
    "memory: peak of a process of its own that does two steps, above that after the imports",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for batch, width in plan.shapes:
        steps = {side: Step(side, batch, width, plan.device) for side in ("bnnkit", *plan.against)}
        yield Case(f"{NAME} width {width}, batch {batch}", _sides(plan, steps, batch, width))


def _sides(plan: Plan, steps: dict[str, Step], batch: int, width: int) -> list[Side]:
    work = Work(batch, "image")
    against = tuple(OPPONENTS[name] for name in plan.against)
    check = partial(check_gradients, steps["bnnkit"].network, steps["bnnkit"].images, steps["bnnkit"].labels)
    kernels = ("adc", "adc_backward", "pack")
    sides: list[Side] = []
    if plan.device == "cuda":
        others = [Side(OPPONENTS[name], steps[name], work, 1, device=plan.device) for name in plan.against]
        own = Side("bnnkit", steps["bnnkit"], work, 1, None, kernels, check, against, device=plan.device)
        return [*others, own]
    for threads in plan.threads:
        for name in plan.against:
            memory = partial(peak_of_training, name, batch, width, threads, None)
            sides.append(Side(OPPONENTS[name], steps[name], work, threads, memory=memory))
        for variant in plan.variants:
            memory = partial(peak_of_training, "bnnkit", batch, width, threads, variant)
            sides.append(Side("bnnkit", steps["bnnkit"], work, threads, variant, kernels, check, against, memory))
    return sides


def check_gradients(model: Model, images: Tensor, labels: Tensor) -> Check:
    """Compare loss and gradients of some images with the reference's.

    The forward pass is exact, so the losses must be equal; gradients are float sums whose order is free.
    """
    some, classes = images[:CHECKED_IMAGES], labels[:CHECKED_IMAGES]
    compared = f"loss and gradients of {len(some)} images"
    loss, gradients = _gradients(model, some, classes, "auto")
    expected_loss, expected = _gradients(model, some, classes, "reference")
    if not torch.equal(loss, expected_loss):
        return Check(False, compared, f"loss {loss.item():g} instead of {expected_loss.item():g}")
    size = torch.cat([g.flatten() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        off = float((gradients[name] - gradient).norm() / size)
        if not off < GRADIENT_TOLERANCE:
            return Check(False, compared, f"gradient of {name} is off by {off:.2g} of the whole gradient's length")
    return Check(True, compared)


def _gradients(model: Model, images: Tensor, labels: Tensor, backend: nn.Backend) -> tuple[Tensor, dict[str, Tensor]]:
    # A copy, because a forward pass in training mode moves the running means.
    copied = copy.deepcopy(model)
    with nn.backend(backend):
        loss = torch.nn.functional.cross_entropy(copied(images), labels)
        loss.backward()
    found = {name: p.grad for name, p in copied.named_parameters() if p.grad is not None}
    return loss.detach(), found


BENCHES.register("train")(
    Bench(
        description=f"one training step of {NAME} 1/1/1",
        shape_form="BATCH,WIDTH",
        shapes=((32, 5),),
        gpu_shapes=((128, 5), (512, 5)),
        opponents=tuple(OPPONENTS),
        rivals=("loop",),
        every_variant=False,
        cases=cases,
        notes=NOTES,
    )
)
