"""The layers of a network with weights, and what they leave behind, without computing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.models.base import create_model


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the convolutions and linear layers of a network with their names, in the order of its modules."""
    for name, module in model.named_modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) in (2, 4):
            yield name, module


def output_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape that every convolution and linear layer gives for one image, by its name.

    Shapes do not depend on the bits, so a full-precision twin is run on torch's meta device: no kernel is needed.

    Args:
        config: arguments of `create_model`, with `in_shape`.

    >>> output_shapes({"name": "mlp", "width": 1, "classes": 10, "in_shape": (1, 8, 8)})["classifier"]
    (10,)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        twin = create_model(**{**config, "ao_bit": "fp", "w_bit": "fp", "adc_bit": "fp"}).eval()
        for name, module in weighted_layers(twin):
            module.register_forward_hook(_remembering(shapes, name))
        twin(torch.empty(1, *config["in_shape"]))
    return shapes


def _remembering(shapes: dict[str, tuple[int, ...]], name: str) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        shapes[name] = tuple(result.shape[1:])

    return hook
