"""Which layer broke: the first whose output or gradient is not finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def all_finite(loss: Tensor, parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether the loss and every gradient are finite."""
    # A sum is not finite if one of its terms is not; finite gradients whose sum overflows are no use either.
    sums = [loss.detach(), *(p.grad.sum() for p in parameters if p.grad is not None)]
    return bool(torch.stack(sums).isfinite().all())


def first_non_finite(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> str | None:
    """Repeat a forward pass, with `labels` also a backward pass, and name the first layer that is not finite.

    Batch statistics and gradients of a model in training mode change; call it when the training is over.

    Returns:
        What is not finite, and where; None if everything is finite.
    """
    forward: list[str] = []
    backward: list[str] = []
    hooks = [
        module.register_forward_hook(_watch(name, forward, backward))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        logits = model(images)
        if labels is not None:
            nn.functional.cross_entropy(logits, labels).backward()
    except RuntimeError:
        # A kernel that refuses NaN ends the pass; the layer before it has been noted.
        pass
    finally:
        for hook in hooks:
            hook.remove()
    if forward:
        return f"first non-finite output: layer '{forward[0]}'{_parameters(model.get_submodule(forward[0]))}"
    if backward:
        return f"first non-finite gradient: at the output of layer '{backward[0]}'"
    broken = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if broken:
        return f"first non-finite gradient: parameter '{broken[-1]}'"
    # A layer that refuses such weights has no output to be noted.
    weights = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    return f"parameter '{weights[0]}' is not finite" if weights else None


def _watch(name: str, forward: list[str], backward: list[str]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not output.isfinite().all():
            forward.append(name)
        if output.requires_grad:
            output.register_hook(note_gradient)

    def note_gradient(gradient: Tensor) -> None:
        if not gradient.isfinite().all():
            backward.append(name)

    return hook


def _parameters(module: nn.Module) -> str:
    broken = [name for name, p in module.named_parameters() if not p.isfinite().all()]
    if broken:
        return f" (its {broken[0]} is not finite)"
    largest = max((float(p.detach().abs().max()) for p in module.parameters()), default=0.0)
    return f" (its largest parameter is {largest:.3g})" if largest else ""
