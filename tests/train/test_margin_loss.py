"""The modified hinge loss: its values, its gradient, and its place among the options of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bnnkit.errors import UsageError
from bnnkit.train import Plan, Silent, start
from bnnkit.train.losses import LOSSES, Objective, margin_loss


def test_an_example_by_hand() -> None:
    logits = torch.tensor([[2.0, -3.0, 0.5], [-1.0, 1.0, -2.0]])
    labels = torch.tensor([0, 2])
    # y: + - -, - - +; distances from a margin of 2: 0, 0, 2.5 and 1, 3, 4.
    assert margin_loss(logits, labels, 2.0).item() == pytest.approx((0 + 0 + 2.5 + 1 + 3 + 4) / 6)
    assert margin_loss(logits, labels, 128.0).item() == pytest.approx(128 - (2 + 3 - 0.5 + 1 - 1 - 2) / 6)


def test_its_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = (2 * torch.randn(5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.arange(5)
    assert torch.autograd.gradcheck(lambda x: margin_loss(x, labels, 1.5), logits)
    (gradient,) = torch.autograd.grad(margin_loss(logits, labels, 1.5), logits)
    wanted = torch.full((5, 7), -1.0, dtype=torch.float64)
    wanted[labels, labels] = 1
    assert torch.equal(gradient, torch.where(wanted * logits < 1.5, -wanted / 35, 0.0))


def test_outputs_beyond_the_margin_leave_nothing_to_learn() -> None:
    logits = torch.tensor([[4.0, -4.0]], requires_grad=True)
    loss = margin_loss(logits, torch.tensor([0]), 3.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0 and not gradient.any()


def test_a_training_uses_it(tiny: Callable[..., Plan], root: Path) -> None:
    plan = tiny(loss="margin", margin=2.0)
    logits, labels = torch.randn(4, 10), torch.arange(4)
    found = Objective(plan.config, nn.Identity(), None)(logits, torch.empty(0), labels)
    assert torch.equal(found, margin_loss(logits, labels, 2.0))
    (outcome,) = start(plan, Silent(), argv=[], root=root)
    text = outcome.run.config.read_text()
    assert 'loss = "margin"' in text and "margin = 2.0" in text
    losses = [record["loss"] for record in outcome.run.read_metrics()]
    assert losses[-1] < losses[0]


def test_options_of_one_loss_are_refused_with_another(tiny: Callable[..., Plan]) -> None:
    assert list(LOSSES) == ["cross-entropy", "margin"]
    with pytest.raises(UsageError, match="unknown loss 'margins'"):
        tiny(loss="margins")
    with pytest.raises(UsageError, match=r"--margin 2\.0: the loss margin was needed, it is cross-entropy") as caught:
        tiny(margin=2.0)
    assert caught.value.hint == "give --loss margin"
    with pytest.raises(UsageError, match=r"--label-smoothing 0\.1: the loss cross-entropy was needed, it is margin"):
        tiny(loss="margin", label_smoothing=0.1)
    with pytest.raises(UsageError, match=r"--margin 0\.0: a positive number was needed"):
        tiny(loss="margin", margin=0.0)
