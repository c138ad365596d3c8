"""Weights that are standardized before their signs are taken: in layers, networks, files and packed networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import checkpoint, create_model, deploy
from bnnkit.cim import parse_fault
from bnnkit.errors import UsageError
from bnnkit.nn import (
    Backend,
    CimConv2d,
    CimLinear,
    Perturbation,
    Standardized,
    backend,
    set_progress,
    standardize_weights,
)
from bnnkit.quantizers import Sign, make
from bnnkit.train.evaluation import repeatable

MEAN, STD = (0.4,), (0.3,)


def plain(weight: Tensor) -> Tensor:
    """Return standardized weights by the formula, output by output."""
    rows = [(row - row.mean()) / (row.std(correction=0) + 1e-5) / row.numel() ** 0.5 for row in weight]
    return torch.stack(rows)


def conv(**options: Any) -> CimConv2d:
    torch.manual_seed(0)
    layer = CimConv2d(6, 4, 3, padding=1, **{"ao_bit": 1, "w_bit": 1, "adc_bit": "fp", **options})
    with torch.no_grad():
        layer.weight.add_(0.05)  # without standardization nearly all signs are positive
    standardize_weights(layer)
    return layer


@pytest.mark.parametrize("used", ["auto", "torch", "reference"])
@pytest.mark.parametrize("adc_bit", ["fp", 2])
def test_a_layer_takes_the_signs_of_standardized_weights(used: Backend, adc_bit: Any) -> None:
    layer, other = conv(adc_bit=adc_bit), conv(adc_bit=adc_bit)
    other.weight_quantizer = make(1)
    with torch.no_grad():
        other.weight.copy_(plain(layer.weight.double()).float())
    assert not torch.equal(other.weight > 0, layer.weight > 0)
    x = torch.randn(2, 6, 5, 5)
    with backend(used):
        y = layer(x)
        assert torch.equal(y, other(x))
    y.square().sum().backward()
    with backend(used):
        other(x).square().sum().backward()
    weight = layer.weight.detach().double().requires_grad_()
    assert other.weight.grad is not None and layer.weight.grad is not None
    (expected,) = torch.autograd.grad(plain(weight), weight, other.weight.grad.double())
    assert torch.allclose(layer.weight.grad.double(), expected, rtol=1e-4, atol=1e-5)
    of_the_means = layer.weight.grad.flatten(1).sum(1).abs()
    assert of_the_means.max() < 1e-5 * layer.weight.grad.abs().max()


def test_full_precision_weights_are_standardized_too() -> None:
    torch.manual_seed(0)
    layer = CimLinear(30, 4, ao_bit="fp", w_bit="fp", adc_bit="fp")
    standardize_weights(layer)
    x = torch.randn(3, 30)
    expected = F.linear(x, plain(layer.weight), layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-6)
    with repeatable(layer):
        assert torch.allclose(layer(x), expected, atol=1e-6)


def test_noise_comes_before_standardization_and_bit_faults_after_it() -> None:
    layer = conv()
    layer.perturbation = Perturbation([parse_fault("latent:gauss@0.5,std=plain"), parse_fault("weight:flip@0.3")], 1, 0)
    noisy = layer.perturbation.noisy(layer.weight)
    signs = layer.perturbation.read("weight", plain(noisy), make(1))
    x = torch.randn(2, 6, 5, 5)
    expected = F.conv2d(make(1)(x), signs, layer.bias, padding=1)
    assert torch.allclose(layer(x), expected)


def test_signs_are_left_as_they_are() -> None:
    signs = torch.tensor([[1.0, 1, 1, -1], [-1, -1, -1, -1], [1, 1, 1, 1], [-1, -1, -1, 1]])
    mixed = torch.tensor([0, 3])
    for quantizer in (make(1), Sign()):
        assert torch.equal(Standardized(quantizer)(signs)[mixed], signs[mixed])
    assert torch.equal(Standardized(make(1))(signs)[1], signs[1])
    assert torch.equal(Standardized(Sign())(signs)[2], signs[2])


def test_it_is_a_quantizer_of_the_latent_weights() -> None:
    quantizer, weight = Standardized(Sign()), torch.randn(4, 50)
    assert torch.equal(quantizer.code(weight), Sign().code(plain(weight.double()).float()))
    assert torch.equal(quantizer.integers(weight).float(), quantizer(weight))
    assert quantizer == Standardized(Sign()) and quantizer != Sign() and quantizer != Standardized(make(1))
    layer = CimLinear(50, 4, ao_bit=1, w_bit=1, adc_bit="fp", value_gradient="ede")
    standardize_weights(layer)
    set_progress(layer, 0.5)
    assert layer.latent_quantizer.progress == 0.5


@pytest.mark.parametrize("name", ["cnv", "mlp"])
@pytest.mark.parametrize("adc_bit", ["fp", 2])
def test_networks_survive_files_and_packing(name: str, adc_bit: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    shape = (1, 8, 8)
    model = create_model(name, width=1, in_shape=shape, adc_bit=adc_bit, weight_standardization=True)
    assert model.config["weight_standardization"] is True
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, CimConv2d | CimLinear):
                layer.weight.add_(0.4 * torch.randn(len(layer.weight), *[1] * (layer.weight.dim() - 1)))
    model.train()(torch.rand(16, *shape))
    model.eval()
    images = torch.randint(256, (20, *shape), dtype=torch.uint8)
    x = (images.float() / 255 - MEAN[0]) / STD[0] if name == "mlp" else images.float() / 255
    mean, std = (MEAN, STD) if name == "mlp" else ((0.0,), (1.0,))

    def logits(network: torch.nn.Module) -> Tensor:
        with torch.no_grad(), repeatable(network):
            return network(x)  # type: ignore[no-any-return]

    expected = logits(model)
    checkpoint.save(tmp_path / "net.safetensors", model)
    read = checkpoint.load(tmp_path / "net.safetensors")
    assert torch.equal(logits(read), expected)
    packed = deploy.compile(read, mean, std)
    assert torch.equal(packed(images), expected)
    deploy.save(packed.weights, tmp_path / "net.bnn.safetensors")
    weights = deploy.load(tmp_path / "net.bnn.safetensors")
    assert torch.equal(logits(deploy.unpack_model(weights)), expected)
    without = checkpoint.build(checkpoint.read(tmp_path / "net.safetensors"), weight_standardization=False)
    assert not torch.equal(logits(without), expected)


def test_networks_without_it_say_nothing_about_it() -> None:
    assert "weight_standardization" not in create_model("cnv", width=1).config


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "reactnet18"}, "model reactnet18: its weights are not standardized on request"),
        ({"name": "fracbnn20"}, "model fracbnn20: its weights are not standardized on request"),
        ({"name": "vgg7"}, "model vgg7: its weights are not standardized on request"),
        ({"name": "mlp", "w_bit": 2}, "model mlp: 2-bit standardized weights; 1 or fp was needed"),
    ],
)
def test_networks_that_cannot(options: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_model(**options, weight_standardization=True)
    assert error in caught.value.message
