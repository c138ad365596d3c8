"""Packed files: what is written comes back, and what is damaged is refused."""

from __future__ import annotations

import pytest
import torch

from bnnkit import checkpoint, deploy
from bnnkit.errors import MismatchError, MissingError

from .networks import images, network, norms, packed


@pytest.fixture
def model():
    return network("res20", width=1, w_bit=2, ao_bit=1.5, adc_bit=2, in_shape=(3, 8, 8))


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "net.packed.safetensors"
    deploy.save(deploy.pack_model(model, *norms(model), {"dataset": "noise"}), path)
    return path


def test_a_file_gives_the_same_logits(model, file):
    stored = images(model, 4)
    weights = deploy.load(file)
    assert weights.provenance == {"dataset": "noise"}
    assert weights.config == model.config
    expected = packed(model)(stored)
    assert torch.equal(deploy.PackedNetwork(weights)(stored), expected)
    assert torch.equal(packed(deploy.unpack_model(weights))(stored), expected)


def test_a_file_is_hardly_larger_than_its_bits(tmp_path):
    model = network("vgg9", width=1, in_shape=(3, 8, 8))
    weights = deploy.pack_model(model, *norms(model))
    deploy.save(weights, tmp_path / "net.safetensors")
    binary = sum(m.weight.numel() for m in model.modules() if hasattr(m, "weight_quantizer"))
    codes = sum(8 * t.numel() for name, t in weights.tensors.items() if name.endswith(".codes"))
    assert binary <= codes < binary + 8 * 10
    assert 8 * (tmp_path / "net.safetensors").stat().st_size < 1.05 * weights.needed_bits


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(MismatchError, match="truncated"):
        deploy.load(file)


def test_a_changed_byte_is_noticed(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(MismatchError, match="corrupt"):
        deploy.load(file)


def _write(file, weights, **metadata):
    preparation = {"mean": list(weights.mean), "std": list(weights.std)}
    entries = {"packed": 1, "preparation": preparation, **metadata}
    checkpoint.write(file, weights.tensors, weights.config, entries)


def test_a_newer_format_is_refused(file):
    _write(file, deploy.load(file), packed=99)
    with pytest.raises(MismatchError, match="packed format 99; this bnnkit reads up to 1"):
        deploy.load(file)


def test_a_file_without_normalization_is_refused(file):
    _write(file, deploy.load(file), preparation={})
    with pytest.raises(MismatchError, match="metadata cannot be read"):
        deploy.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config, tensors: tensors.pop("stem.weight"), "stem.weight is missing"),
        (lambda config, tensors: tensors.update(other=torch.zeros(1)), "other is unknown"),
        (lambda config, tensors: config.update(width=2), r"stem.weight is \[16, 3, 3, 3\]"),
        (lambda config, tensors: tensors.update({"pool_norm.scale": torch.zeros(64).int()}), "torch.int32, needed"),
    ],
)
def test_tensors_of_another_architecture_are_refused(file, change, message):
    weights = deploy.load(file)
    change(weights.config, weights.tensors)
    _write(file, weights)
    with pytest.raises(MismatchError, match=message):
        deploy.load(file)


def test_a_checkpoint_is_not_a_packed_network(model, tmp_path):
    checkpoint.save(tmp_path / "net.safetensors", model)
    with pytest.raises(MismatchError, match="a checkpoint, not a packed network"):
        deploy.load(tmp_path / "net.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"nowhere\.safetensors: does not exist"):
        deploy.load(tmp_path / "nowhere.safetensors")
