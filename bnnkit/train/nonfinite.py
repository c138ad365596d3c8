"""Which layer broke: the first whose output or gradient is not finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.errors import BnnkitError


def all_finite(loss: Tensor, parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether the loss and every gradient are finite."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    # A sum is not finite if one of its terms is not; a finite gradient whose norm overflows is no use either.
    norms = torch.stack([loss.detach().abs(), *torch._foreach_norm(gradients, 1)])
    return bool(norms.isfinite().all())


def first_non_finite(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Repeat a forward and backward pass and return the first layer whose output or gradient is not finite.

    Batch statistics and gradients of the model change; call it when the training is over.
    """
    forward: list[str] = []
    backward: list[str] = []
    hooks = [
        module.register_forward_hook(_watch(name, forward, backward))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
    except (BnnkitError, RuntimeError, ValueError):
        # A kernel that refuses NaN inputs ends the pass; the layer before it has been noted.
        pass
    finally:
        for hook in hooks:
            hook.remove()
    if forward:
        layer = forward[0]
        reason = _parameters(model.get_submodule(layer))
        return f"first non-finite output: layer '{layer}'{reason}"
    if backward:
        return f"first non-finite gradient: at the output of layer '{backward[0]}'"
    names = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"first non-finite gradient: parameter '{names[-1]}'" if names else "every layer's output is finite"


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
