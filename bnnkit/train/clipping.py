"""Adaptive gradient clipping: a gradient may be only so long as a share of the weights it changes.

Paper: Brock et al., "High-performance large-scale image recognition without normalization", 2021.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bnnkit.models import Model

LEAST_WEIGHT = 1e-3
"""Weights shorter than this count as this long, so that those that begin at 0 can leave it."""
LEAST_GRADIENT = 1e-6


def clipped_parameters(model: Model) -> list[nn.Parameter]:
    """Return the parameters whose gradients are clipped: all but those of the classifier, as in the paper."""
    left_alone = {id(p) for p in model.get_submodule("classifier").parameters()}
    return [p for p in model.parameters() if id(p) not in left_alone]


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Shorten, in place, every gradient g of weights p with ||g|| >= limit = factor * max(||p||, 1e-3) to the limit.

    Norms are those of one output each, see `unit_norm`.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        limit = factor * unit_norm(parameter).clamp_min(LEAST_WEIGHT)
        length = unit_norm(gradient)
        shortened = gradient * (limit / length.clamp_min(LEAST_GRADIENT))
        gradient.copy_(torch.where(length < limit, gradient, shortened))


def unit_norm(x: Tensor) -> Tensor:
    """Return the 2-norms over all dimensions but the first, kept as 1; of a vector or a number as a whole.

    >>> unit_norm(torch.ones(2, 4)).tolist()
    [[2.0], [2.0]]
    """
    others = None if x.ndim <= 1 else tuple(range(1, x.ndim))
    norm: Tensor = torch.linalg.vector_norm(x, dim=others, keepdim=others is not None)
    return norm
