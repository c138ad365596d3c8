"""Whether the logits stay the same, bit for bit, whatever the batch size, threads, kernel variant and backend.

A network that can be packed is the baseline as a `PackedNetwork`; its own layers in torch are one of the settings then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.data import Split
from bnnkit.deploy import compile
from bnnkit.models import Model
from bnnkit.nn import Backend, BitSerial, Operands, backend
from bnnkit.train.evaluation import evaluate, evaluate_packed
from bnnkit.train.images import Preparation
from bnnkit.train.precision import repeatable

BATCHES = (1, 7, 256)
THREADS = (1, 2)
PACKED = "(packed network)"
SLOW_IMAGES = 16
"""Images for the backends that loop over arrays in torch or compute in double precision."""


@dataclass(frozen=True)
class Setting:
    """One way to compute the same logits, and on how many images it is tried.

    Attributes:
        backend: of the layers; None: the packed network.
    """

    name: str
    images: int
    batch: int = 256
    threads: int | None = None
    variant: str | None = None
    backend: Backend | None = "auto"

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Compute like this inside the block."""
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with backend(self.backend or "auto"), _forced(self.variant) if self.variant else nullcontext():
                yield
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Finding:
    """What one setting gave, compared with the baseline.

    Attributes:
        images: how many were compared.
        differing: how many have other logits.
        largest: the largest difference of a logit.
        layer: the first layer that differs although its inputs are the same; None without a difference.
        on_integers: whether that layer sums integers, so that a difference is an error and not a rounding.
    """

    setting: str
    images: int
    differing: int
    largest: float
    layer: str | None
    on_integers: bool

    @property
    def identical(self) -> bool:
        return not self.differing


def check_invariance(
    model: nn.Module,
    split: Split,
    indices: Tensor,
    preparation: Preparation,
    *,
    backend: Backend | None = "auto",
    other_backends: Sequence[Backend] = ("torch", "reference"),
    slow_images: int | None = None,
    each: Callable[[str], None] = lambda setting: None,
) -> list[Finding]:
    """Compute logits in every setting and compare them with those of batch 256.

    Args:
        indices: int64 [N], images; the backends "torch" and "reference" use the first 16 of them.
        backend: of the layers, in the baseline and in the settings that do not choose one; None: the packed network.
        other_backends: tried besides.
        slow_images: for these and for the variant "reference"; None: 16, and all.
        each: called with the name of each setting before it runs.

    Raises:
        MissingError: the baseline needs the compiled extension, and it is not installed.
        UsageError: `backend` is None and the network cannot be packed.
    """
    baseline = Setting("batch 256", len(indices), backend=backend)
    expected = _logits(model, split, indices, preparation, baseline)
    findings = []
    for setting in settings(len(indices), backend, other_backends, slow_images):
        each(setting.name)
        used = indices[: setting.images]
        found = _logits(model, split, used, preparation, setting)
        other = (found != expected[: setting.images]).any(1)
        layer, on_integers = None, False
        if other.any() and setting.backend is not None and backend is not None:
            which = int(other.nonzero()[0])
            layer, on_integers = _first_difference(model, split, used, preparation, which, baseline, setting)
        elif other.any():
            layer, on_integers = PACKED, True
        largest = float((found - expected[: setting.images]).abs().max())
        findings.append(Finding(setting.name, setting.images, int(other.sum()), largest, layer, on_integers))
    return findings


def settings(
    images: int,
    chosen: Backend | None = "auto",
    others: Sequence[Backend] = ("torch", "reference"),
    slow_images: int | None = None,
) -> list[Setting]:
    """Return the settings that can be tried here."""
    slow = min(images, slow_images or SLOW_IMAGES)
    least = slow if slow_images else images
    found = [Setting(f"batch {batch}", images, batch=batch, backend=chosen) for batch in BATCHES]
    found += [Setting(f"threads {threads}", images, threads=threads, backend=chosen) for threads in THREADS]
    if chosen in (None, "auto", "packed"):
        found += [
            Setting(f"variant {name}", least if name == "reference" else images, variant=name, backend=chosen)
            for name in _variants()
        ]
    if chosen is None:
        found.append(Setting("layer by layer", images, backend="auto"))
    found += [Setting(f"backend {name}", slow, backend=name) for name in others if name != chosen]
    return found


def sums_integers(layer: nn.Module) -> bool:
    """Return whether a layer's result is exact: integer partial sums, converted or counted."""
    if isinstance(layer, BitSerial):
        return layer.activation is not None
    if not (isinstance(layer, Operands) and layer.activation.planes and layer.weight_quantizer.planes):
        return False
    return layer.adc is not None or (layer.ao_bit, layer.w_bit) == (1, 1)


def _logits(model: nn.Module, split: Split, indices: Tensor, preparation: Preparation, setting: Setting) -> Tensor:
    with setting.in_force():
        if setting.backend is not None:
            return evaluate(model, split, indices, preparation, batch=setting.batch).logits
        assert isinstance(model, Model)
        # Compiled anew, because a packed network keeps the variant it was made for.
        network = compile(model, preparation.mean, preparation.std)
        return evaluate_packed([network], split, indices, preparation, batch=setting.batch)[0].logits


def _first_difference(
    model: nn.Module,
    split: Split,
    indices: Tensor,
    preparation: Preparation,
    which: int,
    baseline: Setting,
    setting: Setting,
) -> tuple[str, bool]:
    """Return the first layer whose output for image `which` differs, and whether it sums integers."""
    traces = []
    for used in (baseline, setting):
        start = which - which % used.batch
        batch = indices[start : start + used.batch].to(split.images.device)
        with used.in_force():
            traces.append(_trace(model, preparation(split.images[batch]), which - start))
    for name, output in traces[0].items():
        if not torch.equal(output, traces[1][name]):
            return name, sums_integers(model.get_submodule(name))
    return "(between layers)", False


@torch.inference_mode()
def _trace(model: nn.Module, inputs: Tensor, row: int) -> dict[str, Tensor]:
    """Return every leaf layer's output for one row of a batch, in the order of computation."""
    outputs: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, arguments: Any, output: Tensor) -> None:
            outputs[name] = output[row].clone()

        return hook

    leaves = [(name, m) for name, m in model.named_modules() if isinstance(m, BitSerial) or not list(m.children())]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in leaves]
    try:
        with repeatable(model):
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _variants() -> list[str]:
    try:
        extension = importlib.import_module("bnnkit._C")
    except ImportError:
        return []
    return list(extension.usable_variants())


@contextmanager
def _forced(variant: str) -> Iterator[None]:
    extension = importlib.import_module("bnnkit._C")
    extension.force_variant(variant)
    try:
        yield
    finally:
        extension.force_variant(None)
