"""Faults that layers train with: what is drawn, what is read, and which gradients they leave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit import create_model
from bnnkit.cim import parse_fault
from bnnkit.counter import hash32, normal, uniform
from bnnkit.errors import UsageError
from bnnkit.nn import Backend, CimConv2d, CimLinear, Perturbation, backend, perturb, set_step
from bnnkit.nn.perturbation import TRAINED
from bnnkit.quantizers import Quantizer, Sign, make
from bnnkit.quantizers.levels import Nearest

SEED, LAYER = 7, 3


def faulty(*texts: str, step: int = 0) -> Perturbation:
    found = Perturbation([parse_fault(text) for text in texts], SEED, LAYER)
    found.step = step
    return found


def conv(**options: Any) -> CimConv2d:
    torch.manual_seed(0)
    return CimConv2d(6, 4, 3, padding=1, **{"ao_bit": 1, "w_bit": 1, "adc_bit": "fp", **options})


def linear(**options: Any) -> CimLinear:
    torch.manual_seed(0)
    return CimLinear(40, 5, **{"ao_bit": 1, "w_bit": 1, "adc_bit": "fp", **options})


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return output and gradients of a layer."""
    given = x.clone().requires_grad_()
    y = layer(given)
    layer.zero_grad()
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    return [y.detach(), given.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def inputs(layer: CimConv2d | CimLinear) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    shape = (3, 6, 5, 5) if isinstance(layer, CimConv2d) else (3, 40)
    return 1.4 * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("used", ["auto", "torch", "reference"])
@pytest.mark.parametrize("make_layer", [conv, linear])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"value_gradient": "iga"},
        {"adc_bit": 2, "value_gradient": "clip"},
        {"ao_bit": 1.5, "w_bit": 2, "adc_bit": 1},
        {"ao_bit": 4, "w_bit": 3, "adc_bit": 3, "value_gradient": "polynomial"},
        {"ao_bit": "fp"},
    ],
)
def test_faults_that_hit_nothing_change_nothing(make_layer: Any, options: dict[str, Any], used: Backend) -> None:
    layer = make_layer(**options)
    with backend(used):
        expected = results(layer, inputs(layer))
        layer.perturbation = faulty("weight:flip@0", "weight:stuck1@0", "activation:random@0", "latent:gauss@0")
        none = results(layer, inputs(layer))
        layer.perturbation = faulty("weight:flip@1e-9", "weight:stuck1@1e-9", "activation:random@1e-9")
        missed = results(layer, inputs(layer))
    assert all(torch.equal(a, b) for a, b in zip(none, expected, strict=True))
    assert torch.equal(missed[0], expected[0])
    # Other backends than the kernels multiply gradients by units and slopes in another order.
    same = torch.equal if used == "auto" else torch.allclose
    assert all(same(a, b) for a, b in zip(missed, expected, strict=True))


@pytest.mark.parametrize("used", ["auto", "torch", "reference"])
@pytest.mark.parametrize("make_layer", [conv, linear])
def test_every_backend_computes_with_the_same_faults(make_layer: Any, used: Backend) -> None:
    layer = make_layer(adc_bit=2)
    layer.perturbation = faulty("weight:flip@0.1", "activation:flip@0.1", "latent:gauss@0.3")
    with backend("torch"):
        expected = layer(inputs(layer))
    with backend(used):
        assert torch.equal(layer(inputs(layer)), expected)


def test_the_output_is_that_of_a_slow_formula() -> None:
    layer, step = conv(bias=False), 4
    layer.perturbation = faulty("activation:flip@0.3", "weight:flip@0.3", "weight:stuck0@0.2", step=step)
    x = inputs(layer)

    def flips(site: int, number: int, rate: float, shape: torch.Size) -> Tensor:
        keys = (SEED, step, site, LAYER, number, 0)
        rows = [uniform(*keys, row, torch.arange(shape[1:].numel())) < rate for row in range(shape[0])]
        return torch.stack(rows).view(shape)

    x_signs, w_signs = torch.where(x > 0, 1.0, -1.0), torch.where(layer.weight > 0, 1.0, -1.0)
    x_signs = torch.where(flips(0x7FA03, 0, 0.3, x.shape), -x_signs, x_signs)
    w_signs = torch.where(flips(0x7FA01, 0, 0.3, w_signs.shape), -w_signs, w_signs)
    w_signs = torch.where(flips(0x7FA01, 1, 0.2, w_signs.shape), -1.0, w_signs)
    assert torch.equal(layer(x), F.conv2d(x_signs, w_signs, None, padding=1))


def test_random_bits_are_those_of_the_counter() -> None:
    found = faulty("weight:random@1").read("weight", torch.ones(2, 40), make(1))
    words = hash32(SEED, 0, 0x7FA01, LAYER, 0, 0x7FA04, 0, torch.arange(2)[:, None], torch.arange(40) // 32)
    # The last key is the word; `arange(40) // 32` repeats it for each of its bits.
    assert torch.equal(found > 0, (words >> (torch.arange(40) % 32) & 1).bool())


@pytest.mark.parametrize(("kind", "wrong"), [("flip", 1.0), ("stuck0", 0.5), ("stuck1", 0.5), ("random", 0.5)])
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_the_share_of_wrong_bits(kind: str, wrong: float, rate: float) -> None:
    stored = torch.randn(400, 1000, generator=torch.Generator().manual_seed(1))
    read = faulty(f"activation:{kind}@{rate}").read("activation", stored, Sign())
    count = int((read != Sign()(stored)).sum())
    share, bits = rate * wrong, stored.numel()
    assert abs(count - share * bits) < 4 * (share * (1 - share) * bits) ** 0.5
    if kind != "flip" and kind != "random":
        assert set(read[read != Sign()(stored)].tolist()) == {1.0 if kind == "stuck1" else -1.0}


@pytest.mark.parametrize("quantizer", [make(1), make(1.5), make(2), make(3), make(4), Sign("clip"), Nearest(2)])
def test_what_is_read_is_a_value_of_the_quantizer(quantizer: Quantizer) -> None:
    stored = 1.5 * torch.randn(64, 100, generator=torch.Generator().manual_seed(1))
    read = faulty("weight:flip@0.2").read("weight", stored, quantizer)
    assert torch.equal(quantizer(read), read)
    if not quantizer.thermometer:
        wrong = quantizer.code(read) ^ quantizer.code(stored)
        for plane in range(quantizer.planes):
            assert (wrong >> plane & 1).float().mean() == pytest.approx(0.2, abs=0.02)


def test_one_bit_of_a_code_alone() -> None:
    quantizer, stored = make(3), torch.rand(100, 100) * 2 - 1
    read = faulty("weight:flip@0.25,bit=1").read("weight", stored, quantizer)
    wrong = quantizer.code(read) ^ quantizer.code(stored)
    assert set(wrong.unique().tolist()) == {0, 2}
    assert (wrong != 0).float().mean() == pytest.approx(0.25, abs=0.02)


def test_both_planes_of_ternary_codes_have_faults_of_their_own() -> None:
    quantizer, stored = make(1.5), torch.ones(200, 200)
    read = faulty("weight:flip@0.5").read("weight", stored, quantizer)
    shares = [float((read == value).float().mean()) for value in (-1, 0, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_gradients_pass_faults_as_constants() -> None:
    layer = linear(ao_bit=1, bias=False, value_gradient="clip")
    with torch.no_grad():
        layer.weight.mul_(10)  # beyond the reach of the gradient in part
    layer.perturbation = faulty("weight:flip@0.4", "activation:flip@0.4")
    x = inputs(layer)
    read_x = layer.perturbation.read("activation", x, layer.activation).detach().requires_grad_()
    read_w = layer.perturbation.read("weight", layer.weight, layer.weight_quantizer).detach().requires_grad_()
    assert (read_w * layer.weight < 0).any()
    y = F.linear(read_x, read_w)
    expected_x, expected_w = torch.autograd.grad(
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum(), [read_x, read_w]
    )
    found_y, found_x, found_w = results(layer, x)
    assert torch.equal(found_y, y)
    assert torch.allclose(found_x, expected_x * (x.abs() <= 1))
    assert torch.allclose(found_w, expected_w * (layer.weight.abs() <= 1))


@pytest.mark.parametrize(("text", "std"), [("latent:gauss@0.4", 0.16), ("latent:gauss@0.4,std=plain", 0.4)])
def test_noise_of_latent_weights_and_its_two_meanings(text: str, std: float) -> None:
    weight = torch.full((300, 400), 0.25, requires_grad=True)
    noisy = faulty(text, step=2).noisy(weight)
    assert noisy.mean().item() == pytest.approx(0.25, abs=4 * std / 120_000**0.5)
    assert (noisy - 0.25).std().item() == pytest.approx(std, rel=0.01)
    row = normal(SEED, 2, 0x7FA02, LAYER, 0, 5, torch.arange(400))
    assert torch.allclose(noisy[5].double(), 0.25 + std * row, atol=1e-6)
    (gradient,) = torch.autograd.grad(noisy.sum(), weight)
    assert torch.equal(gradient, torch.ones_like(weight))


def test_lognormal_noise_keeps_signs() -> None:
    weight = torch.tensor([[0.5], [-0.5]]).expand(2, 5000).clone().requires_grad_()
    noisy = faulty("latent:lognormal@0.3").noisy(weight)
    assert torch.equal(noisy.sign(), weight.sign())
    assert (noisy / weight).log().std().item() == pytest.approx(0.3, rel=0.05)
    (gradient,) = torch.autograd.grad(noisy.sum(), weight)
    assert torch.equal(gradient, torch.ones_like(weight))


def test_every_step_seed_layer_and_image_has_faults_of_its_own() -> None:
    stored = torch.ones(2, 1000)

    def read(seed: int, step: int, layer: int) -> Tensor:
        found = Perturbation([parse_fault("weight:flip@0.5"), parse_fault("weight:flip@0.5")], seed, layer)
        found.step = step
        return found.read("weight", stored, make(1))

    first = read(1, 0, 0)
    assert torch.equal(read(1, 0, 0), first)
    assert not torch.equal(first[0], first[1])
    assert first.mean().abs() < 0.1, "two faults at one site must not undo each other"
    for other in (read(2, 0, 0), read(1, 1, 0), read(1, 0, 1)):
        assert (other == first).float().mean() == pytest.approx(0.5, abs=0.06)


def test_layers_of_a_network_and_evaluation() -> None:
    torch.manual_seed(0)
    model = create_model("cnv", width=1, in_shape=(1, 8, 8))
    x = torch.rand(4, 1, 8, 8)
    with backend("torch"), torch.no_grad():
        evaluated, trained = model.eval()(x), model.train()(x)
        perturb(model, [parse_fault("weight:flip@0.1")], SEED)
        layers = [layer for layer in model.modules() if isinstance(layer, CimConv2d | CimLinear)]
        assert [layer.perturbation.layer for layer in layers if layer.perturbation] == list(range(9))
        once = model(x)
        set_step(model, 1)
        assert not torch.equal(once, trained) and not torch.equal(model(x), once)
        set_step(model, 0)
        perturbed = model.eval()(x)
        perturb(model, [], SEED)
        assert torch.equal(model(x), perturbed)
    assert evaluated.shape == perturbed.shape
    assert "perturb" not in str(list(model.state_dict())) and model.config == create_model(**model.config).config


@pytest.mark.parametrize(
    ("model", "fault", "error", "hint"),
    [
        (
            "cnv",
            "cell:stuck0@0.1",
            "training has no faults of the site cell; one of weight, latent, activation",
            "inject",
        ),
        ("cnv", "weight:burst@0.1", "training has no kind 'burst' of weight; one of flip, stuck0", "weight:flip@0.1"),
        ("cnv", "weight:flip@0.1,bit=1", "no layer of the network trains with such bits", "leave the fault out"),
        ("vgg7", "latent:gauss@0.1", "no layer of the network trains with such bits", "leave the fault out"),
        ("reactnet18", "weight:flip@0.1", "layers of the kind ScaledCimConv2d train without faults", "cnv"),
        ("fracbnn20", "activation:flip@0.1", "layers of the kind GatedConv2d train without faults", "cnv"),
    ],
)
def test_what_cannot_be_trained(model: str, fault: str, error: str, hint: str) -> None:
    with torch.device("meta"):
        network = create_model(model)
    with pytest.raises(UsageError) as caught:
        perturb(network, [parse_fault(fault)], SEED)
    assert error in caught.value.message and hint in str(caught.value.hint)


def test_sites_are_those_of_the_grammar() -> None:
    assert all(parse_fault(f"{site}:{kind}@0.1") for site, kinds in TRAINED.items() for kind in kinds)
