"""Adaptive gradient clipping against the formula, unit by unit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from bnnkit.models import create_model
from bnnkit.train import Plan
from bnnkit.train.clipping import clip_gradients, clipped_parameters
from bnnkit.train.training import Training


def reference(weight: Tensor, gradient: Tensor, factor: float) -> Tensor:
    """Return the clipped gradient of one unit."""
    most = factor * max(float(weight.norm()), 1e-3)
    length = float(gradient.norm())
    return gradient if length < most else gradient * (most / max(length, 1e-6))


@pytest.mark.parametrize("shape", [(), (5,), (4, 7), (4, 3, 3, 3), (1, 6, 1, 1)])
@pytest.mark.parametrize("size", [1e-9, 1e-5, 1e-3, 1.0])
def test_units_are_clipped_one_by_one(shape: tuple[int, ...], size: float) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    if len(shape) > 1:
        weight.data[0] = 0  # too short to count with its own length
    weight.grad = size * torch.randn(shape, generator=generator)
    before = weight.grad.clone()
    clip_gradients([weight], 1e-3)
    units = zip(weight.detach(), before, strict=True) if len(shape) > 1 else [(weight.detach(), before)]
    expected = [reference(w, g, 1e-3) for w, g in units]
    found = weight.grad if len(shape) > 1 else weight.grad[None]
    assert torch.allclose(found, torch.stack(expected), rtol=1e-5, atol=0)
    if size in (1e-9, 1.0):
        assert torch.equal(weight.grad, before) == (size < 1)


def test_parameters_without_a_gradient_are_passed_over() -> None:
    weight = nn.Parameter(torch.ones(3))
    clip_gradients([weight], 0.1)
    assert weight.grad is None


@pytest.mark.parametrize("name", ["mlp", "res20", "vgg7"])
def test_the_classifier_is_left_alone(name: str) -> None:
    model = create_model(name, width=1)
    clipped = {id(p) for p in clipped_parameters(model)}
    left = {n for n, p in model.named_parameters() if id(p) not in clipped}
    assert left and all(n.startswith("classifier.") for n in left)
    assert len(left) == len(list(model.get_submodule("classifier").parameters()))


def test_a_training_clips_what_the_optimizer_sees(tiny: Callable[..., Plan]) -> None:
    plan = tiny(optimizer="sgd", clip_factor=1e-3)
    training = Training(plan.config, plan.dataset)
    layers = [training.model.get_submodule(f"hidden.{number}") for number in range(3)]
    weights = [layer.get_parameter("weight").detach().clone() for layer in layers]
    training.step()
    for layer, weight in zip(layers, weights, strict=True):
        gradient = layer.get_parameter("weight").grad
        assert gradient is not None
        most = 1e-3 * weight.norm(dim=1).clamp_min(1e-3)
        assert (gradient.norm(dim=1) <= 1.0001 * most).all()
        assert (gradient.norm(dim=1) >= 0.9999 * most).any()


def test_without_it_nothing_is_clipped(tiny: Callable[..., Plan]) -> None:
    trained = []
    for factor in (0.0, 1e6, 1e-3):
        plan = tiny(clip_factor=factor)
        training = Training(plan.config, plan.dataset)
        training.step()
        trained.append(training.model.state_dict()["hidden.0.weight"].clone())
    same, other = ([torch.equal(a, b) for a, b in pairwise(trained)][i] for i in (0, 1))
    assert same and not other
