"""Layers: every backend agrees, forward and backward, and an ADC can be exchanged on an existing layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bnnkit.cim import Adc, Array
from bnnkit.errors import UsageError
from bnnkit.nn import Backend, CimConv2d, CimLinear, backend, clamp_latent, current_backend, set_adc
from bnnkit.nn.evaluation import MaxPool
from bnnkit.quantizers import make

LOW = [1, 1.5, 2, 3, 4]
widths = st.sampled_from(LOW)


def _run(layer: nn.Module, x: Tensor, name: Backend) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    with backend(name):
        y = layer(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(direction)
    assert x.grad is not None
    return [y.detach(), x.grad, *[p.grad.clone() for p in layer.parameters() if p.grad is not None]]


def _assert_agree(layer: nn.Module, x: Tensor) -> None:
    expected = _run(layer, x, "reference")
    others: list[Backend] = ["torch", "auto"]
    for name in others:
        got = _run(layer, x, name)
        assert torch.equal(got[0], expected[0]), f"{name}: values"
        for g, e in zip(got[1:], expected[1:], strict=True):
            assert torch.allclose(g, e, rtol=1e-3, atol=1e-4 * float(e.abs().max() + 1)), f"{name}: gradients"


@settings(max_examples=30, deadline=None)
@given(
    ao_bit=widths,
    w_bit=widths,
    adc_bit=st.sampled_from([1, 2, 3, 4, "fp"]),
    mapping=st.sampled_from(["channel", "tap"]),
    rows=st.sampled_from([9, 40, 128]),
    channels=st.integers(1, 40),
    groups=st.integers(1, 2),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    value_gradient=st.sampled_from(["ste", "iga"]),
    seed=st.integers(0, 2**31),
)
def test_convolution_backends_agree(
    channels: int, groups: int, kernel: int, mapping: Any, rows: int, seed: int, **options: Any
) -> None:
    torch.manual_seed(seed)
    layer = CimConv2d(channels * groups, 3 * groups, kernel, groups=groups, array=Array(rows, mapping), **options)
    nn.init.uniform_(layer.weight, -1, 1)
    _assert_agree(layer, torch.rand(2, channels * groups, 5, 6) * 2 - 1)


@settings(max_examples=20, deadline=None)
@given(
    ao_bit=widths,
    w_bit=widths,
    adc_bit=st.sampled_from([1, 2, 3, 4, "fp"]),
    features=st.integers(1, 300),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_linear_backends_agree(features: int, bias: bool, seed: int, **options: Any) -> None:
    torch.manual_seed(seed)
    layer = CimLinear(features, 4, bias, **options)
    nn.init.uniform_(layer.weight, -1, 1)
    _assert_agree(layer, torch.rand(3, features) * 2 - 1)


def test_linear_keeps_leading_dimensions() -> None:
    layer = CimLinear(10, 4, ao_bit=1, w_bit=1, adc_bit=1)
    assert layer(torch.zeros(2, 3, 10)).shape == (2, 3, 4)
    assert layer(torch.zeros(10)).shape == (4,)


def test_full_precision_layers_are_torchs_own() -> None:
    conv = CimConv2d(4, 5, 3, ao_bit="fp", w_bit="fp", adc_bit="fp")
    plain = nn.Conv2d(4, 5, 3)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(conv(x), plain(x))


@pytest.mark.parametrize(("ao_bit", "w_bit"), [("fp", 1), (2, "fp"), ("fp", "fp")])
def test_a_float_operand_with_a_converter_uses_the_reference(ao_bit: Any, w_bit: Any) -> None:
    layer = CimLinear(200, 4, ao_bit=ao_bit, w_bit=w_bit, adc_bit=2)
    x = torch.randn(3, 200).clamp(-1, 1)
    assert layer.path() == "reference"
    with backend("reference"):
        expected = layer(x)
    assert torch.equal(layer(x), expected)
    with pytest.raises(UsageError, match="two low-bit operands"), backend("packed"):
        layer(x)


@pytest.mark.parametrize(
    ("bits", "adc_bit", "path"),
    [((1, 1), 1, "adc"), ((4, 1.5), 2, "adc"), ((1, 1), "fp", "xnor"), ((1, 2), 8, "torch")],
)
def test_which_implementation_runs(bits: tuple[Any, Any], adc_bit: Any, path: str) -> None:
    layer = CimConv2d(8, 8, 3, ao_bit=bits[0], w_bit=bits[1], adc_bit=adc_bit)
    assert layer.path() == path
    with backend("torch"):
        assert layer.path() in ("loop", "torch")
    with backend("reference"):
        assert layer.path() == "reference"


def test_converter_can_be_exchanged() -> None:
    layer = CimLinear(128, 4, bias=False, ao_bit=1, w_bit=1, adc_bit=1)
    x = torch.randn(5, 128)
    assert layer(x).abs().unique().tolist() == [128]
    layer.adc_bit = "fp"
    exact = layer(x)
    assert layer.adc is None
    layer.adc_bit = 2
    assert torch.equal(layer(x), Adc(2, 128).convert(exact))
    layer.adc = Adc.from_table([0], [-1, 1], rows=128)
    assert layer.adc_bit is None
    every: list[Backend] = ["auto", "torch", "reference"]
    for name in every:
        with backend(name):
            assert layer(x).abs().unique().tolist() == [1]


def test_set_adc_reaches_all_layers() -> None:
    net = nn.Sequential(
        CimConv2d(3, 4, 3, ao_bit=1, w_bit=1, adc_bit=1),
        nn.Conv2d(4, 4, 1),
        nn.Sequential(CimLinear(4, 2, ao_bit=1, w_bit=1, adc_bit=1)),
    )
    assert set_adc(net, 3, adc_sigma=9.0) == 2
    adcs = [m.adc for m in net.modules() if isinstance(m, CimConv2d | CimLinear)]
    assert [(a.scale, a.sigma) for a in adcs if a] == [(128 / 7, 9.0)] * 2


def test_clamp_latent_touches_only_low_bit_weights() -> None:
    net = nn.Sequential(
        CimLinear(2, 2, ao_bit=1, w_bit=1, adc_bit=1),
        CimLinear(2, 2, ao_bit=1, w_bit="fp", adc_bit="fp"),
        nn.Linear(2, 2),
        CimConv2d(1, 1, 1, ao_bit=1, w_bit=4, adc_bit="fp", bias=False),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3)
    clamp_latent(net)
    assert [p.max().item() for p in net.parameters()] == [1, 1, 3, 3, 3, 3, 1]


def test_backend_is_restored_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="inside"), backend("torch"):
        raise RuntimeError("inside")
    assert current_backend() == "auto"
    with pytest.raises(UsageError, match="'cuda' is unknown"), backend("cuda"):  # type: ignore[arg-type]
        pass


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="need 25 rows"):
        CimConv2d(1, 1, 5, ao_bit=1, w_bit=1, adc_bit=1, array=Array(16))
    with pytest.raises(UsageError, match="padding 'same'"):
        CimConv2d(1, 1, 3, padding="same", ao_bit=1, w_bit=1, adc_bit=1)  # type: ignore[arg-type]
    CimConv2d(1, 1, 5, ao_bit=1, w_bit=1, adc_bit="fp", array=Array(16))


def test_parameters_have_torchs_names_and_repr_shows_the_bits() -> None:
    layer = CimConv2d(2, 3, 3, ao_bit=1.5, w_bit=2, adc_bit=4)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert "ao_bit=1.5, w_bit=2, adc_bit=4" in repr(layer)


def test_a_network_evaluated_first_can_be_trained_afterwards():
    layer = CimConv2d(5, 3, 3, padding=1, ao_bit=2, w_bit=2, adc_bit=3, array=Array(47))
    with torch.inference_mode():
        layer(torch.randn(2, 5, 4, 4))
    layer(torch.randn(2, 5, 4, 4)).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3), (2, 2)])
def test_pooling_in_evaluation_is_pooling(size):
    pool, x = MaxPool(), torch.randn(2, 3, *size)
    assert torch.equal(pool.eval()(x), torch.nn.functional.max_pool2d(x, 2))
    assert torch.equal(pool.train()(x), torch.nn.functional.max_pool2d(x, 2))


def test_the_reference_refuses_quantizers_it_does_not_know() -> None:
    class Mine(type(make(1))):  # type: ignore[misc]
        """Another map with the same bits."""

    layer = CimLinear(9, 4, ao_bit=1, w_bit=1, adc_bit="fp")
    layer.activation = Mine()
    with backend("reference"), pytest.raises(UsageError, match="has no Mine"):
        layer(torch.randn(2, 9))
