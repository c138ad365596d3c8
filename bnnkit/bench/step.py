"""One training step of res20, by the packed kernels, by the loop over the arrays, or in full precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnnkit.bench.baseline import clamp_loop, loop_network
from bnnkit.models import Model, create_model

NAME = "res20"
CLASSES = 10
LEARNING_RATE = 5e-3


class Step:
    """Forward, backward, Adam, clamp on one fixed random batch; calling it does one step.

    Args:
        side: "bnnkit", "loop" or "fp32".
        batch, width: images, and the network's width.
        device: "cpu" or "cuda".
    """

    def __init__(self, side: str, batch: int, width: int, device: str = "cpu") -> None:
        torch.manual_seed(1)
        self.network = build(side, width).to(device)
        clamps: dict[str, Callable[[], None]] = {
            "bnnkit": self.network.clamp_latent,
            "loop": lambda: clamp_loop(self.network),
            "fp32": lambda: None,
        }
        self._clamp = clamps[side]
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.images = torch.randn(batch, 3, 32, 32).to(device)
        self.labels = torch.randint(0, CLASSES, (batch,)).to(device)

    def __call__(self) -> Tensor:
        self._optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.network(self.images), self.labels)
        loss.backward()
        self._optimizer.step()
        self._clamp()
        return loss.detach()


def build(side: str, width: int) -> Model:
    """Return the network of a side, in training mode."""
    if side == "fp32":
        return create_model(NAME, width=width, ao_bit="fp", w_bit="fp", adc_bit="fp").train()
    model = create_model(NAME, width=width).train()
    return loop_network(model) if side == "loop" else model
