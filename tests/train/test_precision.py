"""Evaluation computes the network that was trained: in another order and precision, never something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bnnkit.models import MODELS, create_model
from bnnkit.nn.evaluation import BatchNorm
from bnnkit.train.precision import repeatable

REAL: dict[str, Any] = {"ao_bit": "fp", "w_bit": "fp"}
NETWORKS = [(name, REAL) for name in MODELS]
# Their first step: binary activations, real weights; without normalizations nothing moves a value across 0.
NETWORKS += [(name, {"w_bit": "fp"}) for name in ("reactnet18", "reactnetA")]
NETWORKS += [("reactnet18", {"ao_bit": "fp"})]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_repeatable_evaluation_is_evaluation(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = create_model(name, width=1, in_shape=(3, 32, 32), adc_bit="fp", **options)
    x = torch.rand(4, 3, 32, 32)
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.momentum = None
    with torch.no_grad():
        model.train()(x)
        model.eval()
        plain = model(x)
        with repeatable(model):
            found = model(x)
    assert torch.allclose(found, plain, rtol=1e-3, atol=1e-3)
    assert plain.std() > 1e-3, "the test would not notice a wrong layer"
