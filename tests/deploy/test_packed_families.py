"""A&B BNN and FracBNN packed: variants, threads, files, other converters; logits are always those of torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import deploy, ops
from bnnkit.cim import Adc
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import Model, create_model
from bnnkit.models.integer_network import IntegerNetwork
from bnnkit.models.reactnet import ReactNet
from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import CimConv2d, GatedConv2d, ScaledCimConv2d
from bnnkit.nn.activations import ShiftRPReLU

from .networks import images, network, norms, packed, torch_logits

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("reactnet18", {"width": 1, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 8, 8), "adc_bit": 2}),
    ("reactnetA", {"width": 1, "in_shape": (3, 16, 16)}),
    ("fracbnn20", {"width": 1, "in_shape": (3, 8, 8)}),
    ("fracbnn20", {"width": 1, "in_shape": (3, 8, 8), "adc_bit": 2}),
]
small = pytest.mark.parametrize(("name", "options"), SMALL, ids=str)
one_of_each = pytest.mark.parametrize("name", ["reactnet18", "fracbnn20"])


def noise_and_extremes(model: Model, count: int) -> Tensor:
    """Return images of noise, the last two black and white."""
    stored = images(model, count)
    stored[-2], stored[-1] = 0, 255
    return stored


def again(model: Model, **changes: Any) -> Model:
    """Return a network of the same parameters with other options."""
    other = create_model(**{**model.config, **changes}).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_the_networks_are_interesting() -> None:
    blocks = IntegerNetwork.of(network("reactnet18", width=1, in_shape=(3, 8, 8))).blocks.values()
    assert any(block.activation.left.any() for block in blocks), "slopes above 1"
    assert {int(sign) for block in blocks for sign in block.scale.signs.unique()} == {-1, 0, 1}


@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "neon"])
def test_shortcuts_that_drop_bits_before_adding(variant: str) -> None:
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network("reactnet18", width=2, in_shape=(3, 8, 16))
    for layer in model.modules():
        if isinstance(layer, ShiftRPReLU):
            layer.log2_slope.clamp_(max=0)
    blocks = IntegerNetwork.of(model).blocks.values()
    assert max(block.shortcut.drop for block in blocks if block.shortcut is not None) > 1
    stored = noise_and_extremes(model, 5)
    with ops.variant(variant):
        assert torch.equal(packed(model)(stored), torch_logits(model, stored))


@small
@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "neon"])
def test_every_variant_gives_the_logits_of_torch(name: str, options: dict[str, Any], variant: str) -> None:
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network(name, **options)
    stored = noise_and_extremes(model, 5)
    with ops.variant(variant):
        assert torch.equal(packed(model)(stored), torch_logits(model, stored))
    assert ops.last_variant("network") == variant


@small
def test_batches_and_threads_do_not_matter(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored = noise_and_extremes(model, 23)
    expected, run, before = torch_logits(model, stored), packed(model), torch.get_num_threads()
    for threads, batch in ((1, 1), (1, 23), (2, 7), (2, 23)):
        torch.set_num_threads(threads)
        try:
            found = torch.cat([run(part) for part in stored.split(batch)])
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found, expected), (threads, batch)
    assert run(stored[:0]).shape == (0, 10)


@small
def test_a_file_gives_the_same_logits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = network(name, **options)
    stored = noise_and_extremes(model, 4)
    expected = torch_logits(model, stored)
    deploy.save(deploy.pack_model(model, *norms(model)), tmp_path / "net.safetensors")
    weights = deploy.load(tmp_path / "net.safetensors")
    assert torch.equal(deploy.PackedNetwork(weights)(stored), expected)
    unpacked = deploy.unpack_model(weights)
    assert torch.equal(torch_logits(unpacked, stored), expected)
    assert torch.equal(packed(unpacked)(stored), expected), "what was unpacked is packed again"


@one_of_each
def test_a_file_is_hardly_larger_than_its_bits(name: str, tmp_path: Path) -> None:
    model = network(name, width=4, in_shape=(3, 8, 8))
    weights = deploy.pack_model(model, *norms(model))
    deploy.save(weights, tmp_path / "net.safetensors")
    signs = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, CimConv2d))
    codes = sum(8 * tensor.numel() for key, tensor in weights.tensors.items() if key.endswith(".codes"))
    assert signs <= codes < signs + 8 * 50
    assert 8 * (tmp_path / "net.safetensors").stat().st_size < 1.2 * weights.needed_bits


@one_of_each
def test_another_converter_and_other_arrays(name: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8))
    stored = noise_and_extremes(model, 5)
    exact = packed(model)
    weights = deploy.pack_model(model, *norms(model))
    seen = [torch_logits(model, stored)]
    for changes in (
        {"adc_bit": 1},
        {"adc_bit": 3},
        {"adc_bit": 3, "rows": 40},
        {"adc_bit": 2, "mapping": "tap", "rows": 30},
    ):
        expected = torch_logits(again(model, **changes), stored)
        assert torch.equal(exact.with_options(**changes)(stored), expected)
        assert torch.equal(deploy.PackedNetwork(weights, changes)(stored), expected)
        assert torch.equal(torch_logits(deploy.unpack_model(weights, **changes), stored), expected)
        assert not any(torch.equal(expected, other) for other in seen), "the change has an effect"
        seen.append(expected)
    assert torch.equal(exact(stored), seen[0])


def test_a_converter_that_changes_the_fraction_bits() -> None:
    model = network("reactnet18", width=1, in_shape=(3, 8, 8))
    changes: dict[str, Any] = {"adc_bit": 2, "mapping": "tap"}
    other = again(model, **changes)
    fractions = [IntegerNetwork.of(m).fraction_bits for m in (model, other) if isinstance(m, ReactNet)]
    assert fractions[0] != fractions[1]
    stored = noise_and_extremes(model, 5)
    networks = [packed(model), packed(model).with_options(**changes)]
    for run, logits in zip(networks, deploy.run_together(networks, stored), strict=True):
        assert torch.equal(logits, run(stored))
    assert torch.equal(networks[0](stored), torch_logits(model, stored))
    assert torch.equal(networks[1](stored), torch_logits(other, stored))


@one_of_each
def test_networks_run_together_share_their_beginning(name: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8))
    stored = noise_and_extremes(model, 5)
    first = packed(model)
    networks = [first, first.with_options(adc_bit=2), first.with_options(adc_bit=1, rows=64)]
    found = deploy.run_together(networks, stored)
    assert [dict(run.take_profile())["images"] > 0 for run in networks] == [True, False, False]
    for run, logits in zip(networks, found, strict=True):
        assert torch.equal(logits, run(stored))
    # Alone, blocks wrote their values over their shortcuts', which networks that run together share.
    for logits, again_together in zip(found, deploy.run_together(networks, stored), strict=True):
        assert torch.equal(logits, again_together)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("reactnet18", "stages.0.1.conv.factor"),
        ("reactnet18", "stages.1.0.shortcut_conv.factor"),
        ("reactnet18", "stages.1.0.shortcut_conv.codes"),
        ("reactnet18", "stages.3.3.offset"),
        ("reactnet18", "stages.2.0.activation.log2_slope"),
        ("reactnet18", "stem.weight"),
        ("fracbnn20", "stages.0.1.conv.threshold"),
        ("fracbnn20", "stages.1.0.activation.slope"),
        ("fracbnn20", "stages.2.5.shift_norm.scale"),
        ("fracbnn20", "stem.codes"),
    ],
)
def test_damaged_tensors_are_refused(name: str, tensor: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8))
    weights = deploy.pack_model(model, *norms(model))
    content = weights.tensors.pop(tensor)
    with pytest.raises(MismatchError, match=f"{tensor} is missing"):
        deploy.PackedNetwork(weights)
    weights.tensors[tensor] = content[:-1].clone()
    with pytest.raises(MismatchError, match=rf"{tensor} is \[{len(content) - 1}"):
        deploy.unpack_model(weights)
    weights.tensors[tensor] = content.to(torch.float64)
    with pytest.raises(MismatchError, match=rf"{tensor} is .*torch.float64, needed"):
        deploy.PackedNetwork(weights)


def test_what_a_network_does_not_have_is_refused() -> None:
    model = network("fracbnn20", in_shape=(3, 8, 8))
    weights = deploy.pack_model(model, *norms(model))
    weights.tensors["stages.0.0.conv.factor"] = torch.ones(16)
    with pytest.raises(MismatchError, match=r"stages\.0\.0\.conv\.factor is unknown"):
        deploy.PackedNetwork(weights)


@pytest.mark.parametrize(
    ("name", "option", "reason"),
    [
        ("reactnet18", "w_bit", "layer stages.0.0.conv: 1-bit activations, fp-bit weights; bits were needed"),
        ("reactnet18", "ao_bit", "it has no layer on arrays"),
        ("fracbnn20", "w_bit", "layer stem: 1-bit activations, fp-bit weights; bits were needed"),
    ],
)
def test_the_first_step_of_training_cannot_be_packed(name: str, option: str, reason: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8), **{option: "fp"})
    with pytest.raises(UsageError, match=f"cannot be packed: {reason}"):
        packed(model)


@one_of_each
def test_levels_off_the_grid_cannot_be_packed(name: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8), adc_bit=1)
    assert deploy.why_not(model) is None
    layer = next(m for m in model.modules() if isinstance(m, GatedConv2d | ScaledCimConv2d))
    layer.adc = Adc.from_table([0], [-1, 2], rows=128)
    assert "not multiples of one step" in str(deploy.why_not(model))


def _steep(model: Model) -> None:
    for layer in model.modules():
        if isinstance(layer, ShiftRPReLU):
            layer.log2_slope.fill_(4)


def _far_offsets(model: Model) -> None:
    for layer in model.modules():
        if isinstance(layer, SignBlock):
            layer.offset[::3] = 1e9
            layer.offset[1::3] = -1e9


def _dead_channels(model: Model) -> None:
    for layer in model.modules():
        if isinstance(layer, ScaledCimConv2d):
            layer.gain[::2] = 0


def _small(model: Model) -> None:
    for key, parameter in model.named_parameters():
        if key.endswith(("gain", "bias_in", "bias_out", "offset")):
            parameter.mul_(1e-6)


def _large(model: Model) -> None:
    for key, parameter in model.named_parameters():
        if key.endswith("gain"):
            parameter.mul_(10)


@pytest.mark.parametrize("change", [_steep, _far_offsets, _dead_channels, _small, _large])
@pytest.mark.parametrize("adc_bit", ["fp", 4])
def test_extreme_parameters(change: Callable[[Model], None], adc_bit: Any) -> None:
    model = network("reactnet18", width=1, in_shape=(3, 8, 8), adc_bit=adc_bit)
    change(model)
    stored = noise_and_extremes(model, 5)
    assert torch.equal(packed(model)(stored), torch_logits(model, stored))


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(["reactnet18", "reactnet34", "reactnetA", "fracbnn20"]),
    adc_bit=st.sampled_from(["fp", 1, 2, 3, 4]),
    rows=st.integers(9, 300),
    mapping=st.sampled_from(["channel", "tap"]),
    colours=st.integers(1, 3),
    height=st.integers(1, 2),
    width=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_any_options(
    name: str, adc_bit: Any, rows: int, mapping: Any, colours: int, height: int, width: int, seed: int
) -> None:
    side = {"reactnetA": 16, "fracbnn20": 4}.get(name, 8)
    shape = (colours, side * height, side * width)
    model = network(name, seed, width=1, in_shape=shape, adc_bit=adc_bit, rows=rows, mapping=mapping)
    stored = noise_and_extremes(model, 3)
    run = packed(model)
    assert torch.equal(run(stored), torch_logits(model, stored))
