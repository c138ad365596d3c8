"""Accuracy: every image once, the interval, and logits that do not depend on how they are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bnnkit.data import Dataset, load
from bnnkit.errors import GateError
from bnnkit.models import Model, create_model
from bnnkit.nn import backend
from bnnkit.train import Preparation, Score, evaluate, invariance, wilson
from bnnkit.train.nonfinite import first_non_finite
from bnnkit.train.precision import float_layers, reduced_precision, repeatable


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture
def preparation(digits: Dataset) -> Preparation:
    return Preparation.of(digits, (1, 8, 8))


@pytest.fixture(autouse=True)
def without_extension() -> Iterator[None]:
    with backend("torch"):
        yield


def network(**options: object) -> Model:
    torch.manual_seed(5)
    model = create_model("mlp", **{"width": 1, "in_shape": (1, 8, 8), **options})  # type: ignore[arg-type]
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.running_mean, 0, 3)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 50, 150)  # type: ignore[arg-type]
    return model.eval()


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29.
    cases = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (correct, total), bounds in cases.items():
        assert wilson(correct, total) == pytest.approx(bounds, abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(Score(0, 0).accuracy)


@pytest.mark.parametrize("batch", [1, 7, 100, 359, 360, 1000])
def test_every_image_counts_once_whatever_the_batch(digits: Dataset, preparation: Preparation, batch: int) -> None:
    model = network()
    whole = evaluate(model, digits.test, torch.arange(360), preparation, batch=360)
    parts = evaluate(model, digits.test, torch.arange(360), preparation, batch=batch)
    assert parts.score.total == 360
    assert torch.equal(parts.logits, whole.logits)
    by_hand = (whole.logits.argmax(1) == digits.test.labels).sum()
    assert parts.score.correct == whole.score.correct == by_hand
    loss = nn.functional.cross_entropy(whole.logits, digits.test.labels)
    assert parts.loss == pytest.approx(float(loss), rel=1e-5)


def test_the_mode_of_the_network_comes_back(digits: Dataset, preparation: Preparation) -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, digits.test, torch.arange(10), preparation)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all("forward" not in vars(layer) for layer in model.modules())


def test_logits_that_are_not_finite_count_as_wrong(digits: Dataset, preparation: Preparation) -> None:
    model = network()
    model.classifier.bias.data[int(digits.test.labels[0])] = math.inf  # type: ignore[union-attr, operator, index]
    found = evaluate(model, digits.test, torch.arange(20), preparation)
    assert (found.non_finite, found.score.correct) == (20, 0)


def test_a_kernel_that_refuses_nan_is_reported_with_the_layer(digits: Dataset, preparation: Preparation) -> None:
    class Refusing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.isnan().any():
                raise RuntimeError("x: contains NaN")
            return x

    broken = nn.Linear(64, 10)
    nn.init.constant_(broken.bias, math.nan)
    model = nn.Sequential(nn.Flatten(), broken, Refusing())
    with pytest.raises(GateError, match=r"first non-finite output: layer '1' \(its bias is not finite\)"):
        evaluate(model, digits.test, torch.arange(4), preparation)


def test_weights_that_a_kernel_refuses_are_named(digits: Dataset) -> None:
    model = network()
    with torch.no_grad():
        model.get_submodule("hidden.0").get_parameter("weight").fill_(math.nan)
    images = torch.randn(4, *digits.test.images.shape[1:])
    assert first_non_finite(model.train(), images) == "parameter 'hidden.0.weight' is not finite"


def test_only_networks_on_arrays_are_evaluated_in_double_precision() -> None:
    mixed, plain = network(), network(ao_bit="fp", w_bit="fp", adc_bit="fp")
    assert float_layers(mixed) == [mixed.classifier]
    with repeatable(mixed), repeatable(plain):
        assert "forward" in vars(mixed.classifier)
        assert "forward" not in vars(plain.classifier)


def test_bfloat16_is_for_the_full_precision_layers_only() -> None:
    model, x = network(), torch.randn(6, 1, 8, 8)
    exact = model(x)
    with reduced_precision(model, "bf16", torch.device("cpu")):
        rounded = model(x)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert torch.allclose(rounded, exact, atol=0.05, rtol=0.02)
    assert torch.equal(model(x), exact)


def test_invariance_finds_no_difference_in_a_healthy_network(digits: Dataset, preparation: Preparation) -> None:
    model = network(adc_bit=2)
    findings = invariance.check_invariance(model, digits.test, torch.arange(30), preparation, backend="torch")
    assert [f.setting for f in findings] == [
        "batch 1",
        "batch 7",
        "batch 256",
        "threads 1",
        "threads 2",
        "backend reference",
    ]
    assert all(f.identical and f.layer is None for f in findings)
    assert [f.images for f in findings] == [30, 30, 30, 30, 30, invariance.SLOW_IMAGES]


def test_invariance_names_the_first_layer_that_differs(
    digits: Dataset, preparation: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(adc_bit=2)
    layer = model.get_submodule("hidden.1")
    whole = type(layer).forward

    def depends_on_batch(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = whole(self, x)  # type: ignore[arg-type]
        return y + 50 if self is layer and len(x) == 7 else y

    monkeypatch.setattr(type(layer), "forward", depends_on_batch)
    findings = invariance.check_invariance(model, digits.test, torch.arange(30), preparation, backend="torch")
    wrong = [finding for finding in findings if not finding.identical]
    assert [(f.setting, f.layer, f.on_integers) for f in wrong] == [("batch 7", "hidden.1", True)]
    assert wrong[0].differing > 0 and wrong[0].largest > 0


def test_which_layers_sum_integers() -> None:
    def hidden(**bits: object) -> nn.Module:
        return network(**bits).get_submodule("hidden.0")

    assert invariance.sums_integers(hidden(adc_bit=2, ao_bit=4))
    assert invariance.sums_integers(hidden(adc_bit="fp"))
    assert not invariance.sums_integers(hidden(adc_bit="fp", ao_bit=2))
    assert not invariance.sums_integers(hidden(adc_bit=1, ao_bit="fp"))
    assert not invariance.sums_integers(nn.Linear(2, 2))
