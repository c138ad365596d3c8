"""vgg7: inference of a whole low-precision network on a chip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bnnkit import nn
from bnnkit.bench import chips, inference, machine
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal
from bnnkit.data import normalize
from bnnkit.models import Model, create_model
from bnnkit.nn.evaluation import BatchNorm
from bnnkit.train.precision import repeatable

NAME = "vgg7"
CELL_BIT = 1
OPPONENTS = {"software": "software", "fp32": "torch fp32"}
NOTES = (
    f"W{chips.W_BIT}/A{chips.AO_BIT}, {CELL_BIT}-bit cells, {chips.ADC_BIT}-bit converters that reach over all sums of "
    "ideal cells, 128 rows, mapping tap; 32x32 images, from uint8 images to logits, as bnnkit eval computes them",
    "software: the same quantized network in exact arithmetic, without a chip; torch fp32: plain float32 layers with "
    "the same weights, not quantized",
    "of limit: input bits x planes of ideal cells x products of all layers on arrays, per second, beside the "
    "register-only loop; other cells hold numbers instead of bits",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape and kind of cell."""
    for batch, width in plan.shapes:
        images = inference.random_images(batch)
        for cell, title in chips.CELLS.items():
            torch.manual_seed(1)
            model = inference.build(NAME, width)
            rivals = {"software": in_software(model), "fp32": in_float32(model)}
            nn.program(model, chips.chip(cell, CELL_BIT))
            yield Case(f"{NAME} width {width}, batch {batch}, {title}", _sides(plan, model, rivals, images))


def _sides(plan: Plan, model: Model, rivals: dict[str, inference.Run], images: Tensor) -> list[Side]:
    against = tuple(OPPONENTS[name] for name in plan.against)
    run, oracle = partial(logits, model), Oracle(model, images)
    work = Work(len(images), "image", len(images) * products_per_image(model, images[:1]))
    sides: list[Side] = []
    for threads in plan.threads:
        for name in plan.against:
            sides.append(Side(OPPONENTS[name], partial(rivals[name], images), Work(len(images), "image"), threads))
        for variant in plan.variants:
            sides.append(
                Side(
                    "bnnkit chip",
                    partial(run, images),
                    work,
                    threads,
                    variant,
                    ("bit_serial", "pack"),
                    partial(oracle.check, run),
                    against,
                    stages=partial(stages, model, images, threads, variant),
                )
            )
    return sides


@torch.inference_mode()
def logits(model: Model, images: Tensor) -> Tensor:
    """Return the logits of stored images, which depend on neither batch size nor threads."""
    with repeatable(model):
        found: Tensor = model(normalize(images, inference.MEAN, inference.STD))
        return found


def in_software(model: Model) -> inference.Run:
    """Return the network without a chip."""
    width = model.settings.width
    software = create_model(NAME, width=width)
    software.load_state_dict(model.state_dict())
    return partial(logits, software.eval().requires_grad_(False))


def in_float32(model: Model) -> inference.Run:
    """Return the network as plain float32 layers, with the weights of `model`."""
    plain = create_model(NAME, width=model.settings.width, ao_bit="fp", w_bit="fp")
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return partial(_plainly, plain.eval().requires_grad_(False))


@torch.inference_mode()
def _plainly(model: Model, images: Tensor) -> Tensor:
    found: Tensor = model(normalize(images, inference.MEAN, inference.STD))
    return found


class Oracle:
    """The reference's logits of the first image, computed when they are first asked for."""

    def __init__(self, model: Model, images: Tensor) -> None:
        self._model, self._images = model, images
        self._expected: Tensor | None = None

    def check(self, run: inference.Run) -> Check:
        """Compare the first image's logits out of a whole batch: every value must be equal."""
        found = run(self._images)[:1]
        if self._expected is None:
            with nn.backend("reference"):
                self._expected = logits(self._model, self._images[:1])
        return equal(found, self._expected, f"logits of 1 of {len(self._images)} images")


def products_per_image(model: Model, image: Tensor) -> int:
    """Return the 1-bit products of one image in all layers on arrays."""
    total = 0

    def count(layer: Any, inputs: Any, output: Tensor) -> None:
        nonlocal total
        total += chips.bit_products(layer.arrays, output[0, 0].numel())

    hooks = [layer.register_forward_hook(count) for layer in _on_chip(model).values()]
    _hooked(hooks, partial(logits, model, image))
    return total


def stages(model: Model, images: Tensor, threads: int, variant: str | None) -> dict[str, float]:
    """Return the share of one batch's time per layer on the chip, and in all that is around them."""
    machine.enter(threads, variant)
    names: dict[torch.nn.Module, str] = {layer: name for name, layer in _on_chip(model).items()}
    names |= {layer: "normalization" for layer in model.modules() if isinstance(layer, BatchNorm)}
    names |= {layer: "pooling" for layer in model.modules() if isinstance(layer, torch.nn.MaxPool2d)}
    names |= {layer: "first layer" for layer in model.modules() if _first(layer)}
    began: dict[str, float] = {}
    seconds = dict.fromkeys(names.values(), 0.0)

    def begin(layer: torch.nn.Module, inputs: Any) -> None:
        began[names[layer]] = time.perf_counter()

    def end(layer: torch.nn.Module, inputs: Any, output: Any) -> None:
        seconds[names[layer]] += time.perf_counter() - began[names[layer]]

    hooks = [layer.register_forward_pre_hook(begin) for layer in names]
    hooks += [layer.register_forward_hook(end) for layer in names]
    start = time.perf_counter()
    _hooked(hooks, partial(logits, model, images))
    total = time.perf_counter() - start
    seconds["ReLU and other"] = total - sum(seconds.values())
    return {name: spent / total for name, spent in seconds.items()}


def _first(layer: torch.nn.Module) -> bool:
    return isinstance(layer, nn.BitSerial) and layer.activation is None


def _on_chip(model: Model) -> dict[str, Any]:
    return {name.removesuffix(".conv"): layer for name, layer in nn.chip_layers(model).items()}


def _hooked(hooks: list[Any], run: Callable[[], Tensor]) -> None:
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


BENCHES.register(NAME)(
    Bench(
        description=f"inference of {NAME} W{chips.W_BIT}/A{chips.AO_BIT} on a chip",
        shape_form="BATCH,WIDTH",
        shapes=((64, 4),),
        opponents=tuple(OPPONENTS),
        rivals=tuple(OPPONENTS),
        every_variant=False,
        cases=cases,
        notes=NOTES,
        count=len(chips.CELLS),
    )
)
