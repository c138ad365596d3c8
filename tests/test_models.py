"""Networks: shapes, parameter counts, configurations that rebuild them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

import bnnkit
from bnnkit.errors import UsageError
from bnnkit.models import MODELS, create_model
from bnnkit.nn import CimConv2d, CimLinear


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_known_models() -> None:
    assert list(MODELS) == [
        "cnv",
        "fracbnn20",
        "fracbnn_imagenet",
        "mlp",
        "reactnet18",
        "reactnet34",
        "reactnetA",
        "res18",
        "res20",
        "resnet18",
        "resnet20",
        "vgg7",
        "vgg9",
    ]
    assert {n: MODELS.get(n).dataset for n in MODELS} == {
        "fracbnn_imagenet": "imagenet",
        "mlp": "mnist",
        **dict.fromkeys([n for n in MODELS if n not in ("fracbnn_imagenet", "mlp")], "cifar10"),
    }
    assert all(MODELS.get(n).description for n in MODELS)


def test_published_sizes() -> None:
    assert _parameters(create_model("vgg7")) == pytest.approx(12.98e6, rel=1e-3)
    assert _parameters(create_model("resnet20")) == pytest.approx(0.27e6, rel=0.03)
    assert _parameters(create_model("resnet18")) == pytest.approx(11.17e6, rel=1e-2)
    assert _parameters(create_model("res20")) == pytest.approx(6.76e6, rel=1e-3)
    assert _parameters(create_model("res20", width=1)) == pytest.approx(0.27e6, rel=0.02)
    mlp = create_model("mlp")
    assert [tuple(p.shape) for n, p in mlp.named_parameters() if n.endswith("weight") and p.dim() == 2] == [
        (512, 784),
        (512, 512),
        (512, 512),
        (10, 512),
    ]


def test_res20_has_one_giga_mac() -> None:
    model = create_model("res20", ao_bit="fp", w_bit="fp", adc_bit="fp").eval()
    macs = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal macs
        weight: Any = module.weight
        macs += math.prod(weight.shape) * math.prod(output.shape[2:])

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert macs == pytest.approx(1.01e9, rel=0.01)


@pytest.mark.parametrize("name", ["mlp", "vgg9", "res18", "res20"])
def test_what_stays_in_full_precision(name: str) -> None:
    model = create_model(name, width=1)
    plain = [n for n, m in model.named_modules() if type(m) in (nn.Conv2d, nn.Linear)]
    cim = [n for n, m in model.named_modules() if isinstance(m, CimConv2d | CimLinear)]
    expected = {
        "mlp": (["classifier"], 3),
        "vgg9": (["features.0.conv", "classifier"], 7),
        "res18": (["stem", "stages.1.0.shortcut.conv", "stages.2.0.shortcut.conv", "classifier"], 16),
        "res20": (["stem", "stages.1.0.shortcut.conv", "stages.2.0.shortcut.conv", "classifier"], 18),
    }[name]
    assert (plain, len(cim)) == expected


@pytest.mark.parametrize("name", ["mlp", "vgg9", "res18", "res20", "vgg7", "resnet18", "resnet20"])
@pytest.mark.parametrize("shape", [None, (1, 8, 8), (3, 28, 20)])
def test_any_image_shape_and_number_of_classes(name: str, shape: tuple[int, int, int] | None) -> None:
    model = create_model(name, width=1, classes=7, in_shape=shape).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, *(shape or MODELS.get(name).in_shape)))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["mlp", "res20"])
def test_config_survives_json_and_rebuilds_the_network(name: str) -> None:
    model = create_model(
        name,
        ao_bit="1.5",
        w_bit=2,
        adc_bit="3",
        rows=64,
        channels_per_array=7,
        adc_sigma=5.5,
        value_gradient="iga",
        width=1,
        classes=5,
        in_shape=(3, 16, 16),
    )
    again = create_model(**json.loads(json.dumps(model.config)))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    assert again.settings == model.settings


def test_training_step_moves_latent_weights_inside_the_box() -> None:
    torch.manual_seed(0)
    model = create_model("res20", width=1, in_shape=(3, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
    before = [p.detach().clone() for p in model.parameters()]
    nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.tensor([0, 1, 2, 3])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    optimizer.step()
    model.clamp_latent()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    for layer in model.modules():
        if isinstance(layer, CimConv2d):
            assert layer.weight.abs().max() <= 1


def test_bad_options_are_refused() -> None:
    with pytest.raises(UsageError) as unknown:
        create_model("res2O")
    assert unknown.value.hint == "did you mean 'res20'?"
    for options in ({"width": 0}, {"classes": 1}, {"in_shape": (3, 32)}, {"in_shape": (0, 32, 32)}, {"ao_bit": 7}):
        with pytest.raises(UsageError):
            create_model("res20", **options)
    with pytest.raises(UsageError, match="need 9 rows"):
        create_model("res20", rows=4)


def test_package_offers_the_constructor() -> None:
    assert bnnkit.create_model is create_model
    with pytest.raises(AttributeError, match="no attribute 'models2'"):
        bnnkit.models2  # noqa: B018
