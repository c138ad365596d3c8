"""model, vgg9, reactnet18, fracbnn20: inference of whole binary networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor

from bnnkit import nn
from bnnkit.bench import inference, machine
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.memory import peak_of_inference
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal
from bnnkit.data import normalize
from bnnkit.deploy import DeviceNetwork, PackedNetwork
from bnnkit.models import Model
from bnnkit.nn import Operands, gated_layers
from bnnkit.train.precision import repeatable

CHECKED_IMAGES = 2
LAYERS = "bnnkit layers"
OPPONENTS = {"layers": LAYERS, "loop": "loop", "fp32": "torch fp32", "bf16": "torch bf16"}
THROUGH_ARRAYS = (
    "1-bit activations, weights and converters, 32x32 images, from uint8 images to logits",
    f"bnnkit packed: a packed network; {LAYERS}: its modules in torch on packed kernels, floats in between",
    "loop: the same network with a float32 product and a quantization per array; torch fp32, bf16: the same "
    "architecture without quantization",
    "of limit: binary products of all layers on arrays, per second, beside the register-only loop",
    "memory: peak of a process of its own that runs two batches, above that after the imports",
)
WITHOUT_ARRAYS = (
    "1-bit weights, no converters, 32x32 images, from uint8 images to logits",
    *(note for note in THROUGH_ARRAYS[1:] if not note.startswith("loop")),
    "torch fp32, bf16: the same architecture without quantization, its weights already standardized",
    "skipping: low bits are counted only where one of a few neighbouring precision gates is open",
)


def cases(name: str, plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for batch, width in plan.shapes:
        torch.manual_seed(1)
        model, images = inference.build(name, width), inference.random_images(batch)
        sides = _sides(plan, model, images) if plan.device == "cpu" else device_sides(plan, model, images)
        yield Case(f"{name} width {width}, batch {batch}", sides)


def _sides(plan: Plan, model: Model, images: Tensor) -> list[Side]:
    work = Work(len(images), "image")
    others = {name: inference.side(name, model) for name in plan.against}
    against = tuple(OPPONENTS[name] for name in plan.against)
    shape = (model.settings.name, len(images), model.settings.width)
    sides: list[Side] = []
    for threads in plan.threads:
        for name, run in others.items():
            sides.append(
                Side(
                    OPPONENTS[name],
                    partial(run, images),
                    work,
                    threads,
                    None,
                    ("adc", "pack") if name == "layers" else (),
                    _check_of(name, model, run, images) if threads == plan.threads[0] else None,
                    tuple(other for other in against if other != LAYERS) if name == "layers" else (),
                    partial(peak_of_inference, name, *shape, threads, None),
                )
            )
        for variant, skips in product(plan.variants, (False, True) if gated_layers(model) else (False,)):
            machine.enter(threads, variant)  # a packed network keeps the variant it is made for
            network = inference.packed(model, gate_skips=skips)
            products = len(images) * sum(network.binary_products.values())
            sides.append(
                Side(
                    "bnnkit packed, skipping" if skips else "bnnkit packed",
                    partial(network, images),
                    Work(len(images), "image", products),
                    threads,
                    variant,
                    ("network",),
                    partial(check_logits, model, network, images),
                    against,
                    partial(peak_of_inference, "packed", *shape, threads, variant),
                    partial(_stages, network),
                )
            )
    return sides


def device_sides(plan: Plan, model: Model, images: Tensor) -> list[Side]:
    """Return contenders that run on a device, with their images there."""
    here, work = images.to(plan.device), Work(len(images), "image")
    against = tuple(OPPONENTS[name] for name in plan.against)
    sides = []
    for name in plan.against:
        its_model = inference.on_device(model, plan.device)
        run = inference.side(name, its_model)
        check = partial(check_logits, model, run, here, its_model) if name == "layers" else None
        others = tuple(other for other in against if other != LAYERS) if name == "layers" else ()
        sides.append(Side(OPPONENTS[name], partial(run, here), work, 1, None, (), check, others, device=plan.device))
    packed = inference.packed(model)
    network = DeviceNetwork(packed, torch.device(plan.device))
    products = Work(len(images), "image", len(images) * sum(packed.binary_products.values()))
    kernels = ("adc",) if any(isinstance(layer, Operands) and layer.adc for layer in model.modules()) else ("xnor",)
    check = partial(check_logits, model, network, here)
    call = partial(network, here)
    return [*sides, Side("bnnkit packed", call, products, 1, None, kernels, check, against, device=plan.device)]


def _stages(network: PackedNetwork) -> dict[str, float]:
    """Return the share of the time spent in each stage since the last call."""
    seconds: dict[str, float] = {}
    for layer, spent in network.take_profile():
        stage = ".".join(layer.split(".")[:2])
        seconds[stage] = seconds.get(stage, 0.0) + spent
    total = sum(seconds.values())
    return {stage: spent / total for stage, spent in seconds.items()} if total else {}


def _check_of(name: str, model: Model, run: inference.Run, images: Tensor) -> Callable[[], Check] | None:
    if name == "layers":
        return partial(check_logits, model, run, images)
    return partial(check_same, model, run, images) if name == "loop" else None


@torch.inference_mode()
def check_logits(
    model: Model, runner: Callable[[Tensor], Tensor], images: Tensor, its_model: Model | None = None
) -> Check:
    """Compare the logits of some images with the reference's on the processor, which must be equal.

    Args:
        its_model: what `runner` runs, where that is a copy of `model` on a device.
    """
    some = images[:CHECKED_IMAGES]
    with repeatable(model if its_model is None else its_model):
        found = runner(some).cpu()
    with repeatable(model), nn.backend("reference"):
        expected: Tensor = model(normalize(some.cpu(), *inference.normalization(model)))
    return equal(found, expected, f"logits of {len(some)} images")


def check_same(model: Model, run: Callable[[Tensor], Tensor], images: Tensor) -> Check:
    """Compare the loop's logits with those of the layers: of 1-bit values both are exact."""
    some = images[:CHECKED_IMAGES]
    layers = inference.side("layers", model)
    return equal(run(some), layers(some), f"logits of {len(some)} images equal those of the layers")


def _register(
    kernel: str, name: str, what: str, width: int, opponents: tuple[str, ...], notes: tuple[str, ...]
) -> None:
    BENCHES.register(kernel)(
        Bench(
            description=f"inference of {what}",
            shape_form="BATCH,WIDTH",
            shapes=((64, width), (1, width)),
            gpu_shapes=((1024, width), (64, width)),
            opponents=opponents,
            rivals=opponents,
            every_variant=False,
            cases=partial(cases, name),
            notes=notes,
        )
    )


_WITHOUT_LOOP = tuple(name for name in OPPONENTS if name != "loop")
_register("model", "res20", "res20 1/1/1", 5, tuple(OPPONENTS), THROUGH_ARRAYS)
_register("vgg9", "vgg9", "vgg9 1/1/1", 3, tuple(OPPONENTS), THROUGH_ARRAYS)
_register("reactnet18", "reactnet18", "reactnet18, A&B BNN", 4, _WITHOUT_LOOP, WITHOUT_ARRAYS)
_register("fracbnn20", "fracbnn20", "fracbnn20, FracBNN", 1, _WITHOUT_LOOP, WITHOUT_ARRAYS)
