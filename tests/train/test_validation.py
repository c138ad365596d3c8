"""A training validates with its packed network: the logits of its layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import pytest
import torch

from bnnkit import deploy
from bnnkit.errors import GateError
from bnnkit.nn import backend
from bnnkit.train import Plan
from bnnkit.train.evaluation import evaluate
from bnnkit.train.training import Training

BINARY = {"ao_bit": 1, "w_bit": 1}


def quietly(done: int) -> None:
    return


@pytest.mark.parametrize(("options", "packed"), [({}, True), ({"w_bit": "fp"}, False), ({"adc_bit": 2}, True)])
def test_packed_where_possible_and_equal(tiny: Callable[..., Plan], options: dict[str, object], packed: bool) -> None:
    plan = tiny(**{**BINARY, **options})
    training = Training(plan.config, plan.dataset)
    training.step()
    with mock.patch.object(deploy, "compile", wraps=deploy.compile) as compiling:
        found = training.test(quietly)
    assert compiling.called == packed
    expected = evaluate(training.model, training.test_images, training.test_indices, training.preparation)
    assert torch.equal(found.logits, expected.logits)
    assert (found.score, found.loss) == (expected.score, expected.loss)
    assert training.model.training, "as it was"


def test_another_backend_is_obeyed(tiny: Callable[..., Plan]) -> None:
    plan = tiny(**BINARY)
    training = Training(plan.config, plan.dataset)
    with backend("torch"), mock.patch.object(deploy, "compile", wraps=deploy.compile) as compiling:
        training.test(quietly)
    assert not compiling.called


def test_what_is_not_finite_is_named_by_the_layers(tiny: Callable[..., Plan]) -> None:
    plan = tiny(**BINARY)
    training = Training(plan.config, plan.dataset)
    norm = training.model.get_submodule("norms.0")
    with torch.no_grad():
        norm.get_parameter("weight").fill_(math.nan)
    with pytest.raises(GateError, match=r"norms\.0|hidden"):
        training.test(quietly)
