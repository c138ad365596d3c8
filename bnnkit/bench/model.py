"""model: inference of res20 with 1-bit activations, weights and converters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from bnnkit import nn
from bnnkit.bench.baseline import loop_network
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal
from bnnkit.models import Model, create_model

NAME = "res20"
CHECKED_IMAGES = 2
FITTED_IMAGES = 16
OPPONENTS = {"loop": "loop", "fp32": "torch fp32", "bf16": "torch bf16"}
NOTES = (
    f"{NAME}, 1-bit activations, weights and converters, 32x32 images, from float32 images to logits",
    "loop: the same network with a float32 conv2d and a quantization per array; torch fp32, bf16: the same "
    "architecture without quantization",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for batch, width in plan.shapes:
        torch.manual_seed(1)
        model = settled(create_model(NAME, width=width))
        plain = settled(create_model(NAME, width=width, ao_bit="fp", w_bit="fp", adc_bit="fp"))
        yield Case(f"{NAME} width {width}, batch {batch}", _sides(plan, model, plain, torch.randn(batch, 3, 32, 32)))


def settled(model: Model) -> Model:
    """Return `model` ready for inference, its normalisations fitted to random images (as built they saturate)."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # the plain average of what it has seen
    with torch.no_grad():
        model.train()(torch.randn(FITTED_IMAGES, 3, 32, 32))
    return model.eval().requires_grad_(False)


def _sides(plan: Plan, model: Model, plain: Model, x: Tensor) -> list[Side]:
    work = Work(len(x), "image")
    half = create_model(**plain.config).bfloat16().eval().requires_grad_(False)
    half.load_state_dict(plain.state_dict())
    loop = loop_network(model)
    calls: dict[str, Callable[[], Tensor]] = {
        "loop": partial(loop, x),
        "fp32": partial(plain, x),
        "bf16": partial(half, x.bfloat16()),
    }
    against = tuple(OPPONENTS[name] for name in plan.against)
    sides: list[Side] = []
    for threads in plan.threads:
        for name in plan.against:
            once = name == "loop" and threads == plan.threads[0]
            check = partial(check_same, model, loop, x) if once else None
            sides.append(Side(OPPONENTS[name], calls[name], work, threads, check=check))
        for variant in plan.variants:
            call, check = partial(packed, model, x), partial(check_model, model, x)
            sides.append(Side("bnnkit", call, work, threads, variant, ("adc", "pack"), check, against))
    return sides


def packed(model: Model, x: Tensor) -> Tensor:
    """Return the logits of the packed kernels."""
    with nn.backend("auto"):
        logits: Tensor = model(x)
        return logits


def check_model(model: Model, x: Tensor) -> Check:
    """Compare the logits of some images with the reference's: every layer's sums are exact, so they must be equal."""
    some = x[:CHECKED_IMAGES]
    with nn.backend("reference"):
        expected = model(some)
    return equal(packed(model, some), expected, f"logits of {len(some)} images")


def check_same(model: Model, loop: Model, x: Tensor) -> Check:
    """Compare the loop's logits with those of the packed kernels: of 1-bit values both are exact."""
    some = x[:CHECKED_IMAGES]
    return equal(loop(some), packed(model, some), f"logits of {len(some)} images equal the packed ones")


BENCHES.register("model")(
    Bench(
        description=f"inference of {NAME} 1/1/1",
        shape_form="BATCH,WIDTH",
        shapes=((64, 5), (1, 5)),
        opponents=tuple(OPPONENTS),
        rivals=tuple(OPPONENTS),
        every_variant=False,
        cases=cases,
        notes=NOTES,
    )
)
