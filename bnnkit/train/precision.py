"""The arithmetic of the full-precision layers: first convolution, shortcuts, classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.nn import Operands

PRECISIONS = ("fp32", "bf16")


def float_layers(model: nn.Module) -> list[nn.Module]:
    """Return the convolutions and linear layers that neither quantize nor convert anything."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and not _on_arrays(m)]


def _on_arrays(layer: nn.Module) -> bool:
    if not isinstance(layer, Operands):
        return False
    return not (layer.ao_bit == layer.w_bit == "fp" and layer.adc is None)


@contextmanager
def reduced_precision(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Compute the full-precision layers in bfloat16 inside the block ("bf16"), or change nothing ("fp32").

    Weights stay float32 and so does everything that enters or leaves a layer.
    """
    if precision == "fp32":
        yield
        return
    layers = float_layers(model)
    for layer in layers:
        layer.forward = _in_bfloat16(layer.forward, device)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def double_precision(model: nn.Module) -> Iterator[None]:
    """Compute the full-precision layers in double precision inside the block, rounding once to float32.

    Sums of floats depend on their order, which torch chooses by batch size and threads; in double precision the
    difference is below what the rounding to float32 keeps.
    """
    layers = float_layers(model)
    hooks = []
    for layer in layers:
        layer.double()
        hooks.append(layer.register_forward_pre_hook(_widen))
        hooks.append(layer.register_forward_hook(_round))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            layer.float()


def _in_bfloat16(forward: Any, device: torch.device) -> Any:
    def computed(x: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            y: Tensor = forward(x)
        return y.float()

    return computed


def _widen(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.double() for x in inputs)


def _round(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()
