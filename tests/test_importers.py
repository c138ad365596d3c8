"""Reading the origin's checkpoints: names, wrappers, and errors that name the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnkit import importers
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import Model, create_model
from bnnkit.nn import BitSerial


def _origin_mlp() -> dict[str, Tensor]:
    layers = {"fc1": (512, 784), "fc2": (512, 512), "fc3": (512, 512), "fc6": (10, 512)}
    state: dict[str, Tensor] = {}
    for name, (out, inputs) in layers.items():
        state[f"{name}.weight"] = torch.randn(out, inputs)
        state[f"{name}.bias"] = torch.randn(out)
    for name in ("bn1", "bn2", "bn3"):
        for field in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{field}"] = torch.randn(512)
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)
    return state


def _origin_vgg9(model: Model) -> dict[str, Tensor]:
    names = {f"{new}.": f"{old}." for old, new in importers.bnn_iga._VGG9_LAYERS.items()}
    state = {}
    for key, value in model.state_dict().items():
        prefix = max((n for n in names if key.startswith(n)), key=len)
        state[names[prefix] + key.removeprefix(prefix)] = torch.randn(value.shape)
    return state


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_mlp(wrap: str | None, prefix: str) -> None:
    state = _origin_mlp()
    checkpoint: dict[str, Any] = {prefix + key: value for key, value in state.items()}
    model = create_model("mlp")
    assert importers.load("bnn-iga", model, {wrap: checkpoint, "epoch": 3} if wrap else checkpoint) is model
    assert torch.equal(model.state_dict()["hidden.1.weight"], state["fc2.weight"])
    assert torch.equal(model.state_dict()["norms.2.running_var"], state["bn3.running_var"])
    assert torch.equal(model.state_dict()["classifier.bias"], state["fc6.bias"])


def test_vgg9_has_the_origins_layer_numbers() -> None:
    model = create_model("vgg9", width=1)
    state = _origin_vgg9(model)
    assert state["features.0.weight"].shape == (128, 3, 3, 3)
    assert state["classifier.6.weight"].shape == (10, 1024)
    importers.load("bnn-iga", model, state)
    assert torch.equal(model.state_dict()["features.5.conv.weight"], state["features.17.weight"])


def test_every_problem_is_named_and_the_model_is_unchanged() -> None:
    model = create_model("mlp")
    before = model.state_dict()["hidden.0.weight"].clone()
    state = _origin_mlp()
    del state["fc3.bias"]
    state["fc4.weight"] = torch.zeros(2)
    state["fc6.weight"] = torch.zeros(100, 512)
    with pytest.raises(MismatchError) as error:
        importers.load("bnn-iga", model, state)
    assert error.value.message == (
        "bnn-iga checkpoint for mlp: unknown fc4.weight; missing hidden.2.bias; "
        "shapes fc6.weight [100, 512] instead of [10, 512]"
    )
    assert torch.equal(model.state_dict()["hidden.0.weight"], before)


def test_a_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"unknown fc1.weight, fc1.bias, fc2.weight and \d+ more; missing"):
        importers.load("bnn-iga", create_model("res20", width=1), _origin_mlp())


def test_what_is_not_a_tensor_is_refused() -> None:
    state: dict[str, Any] = _origin_mlp()
    state["fc1.bias"] = [1.0]
    with pytest.raises(MismatchError, match=r"fc1.bias is a list and not a tensor"):
        importers.load("bnn-iga", create_model("mlp"), state)


def test_unknown_origin() -> None:
    with pytest.raises(UsageError, match="unknown origin 'bnn-igo'") as error:
        importers.load("bnn-igo", create_model("mlp"), {})
    assert error.value.hint == "did you mean 'bnn-iga'?"


def _rram_vgg7() -> Iterator[tuple[str, str]]:
    """Name every layer as the origin does, which counts its modules, and as bnnkit does."""
    place = 0
    for i in range(6):
        yield f"features.{place}", f"features.{i}.conv"
        yield f"features.{place + 1}", f"features.{i}.norm"
        place += 4 if i % 2 else 3  # convolution, norm, ReLU, and every other time a pooling
    yield from {"classifier.0": "hidden", "classifier.1": "hidden_norm", "classifier.3": "classifier"}.items()


def _rram_resnet20() -> Iterator[tuple[str, str]]:
    yield from {"conv_1_3x3": "stem", "bn_1": "stem_norm", "classifier": "classifier"}.items()
    for stage in range(3):
        for i in range(3):
            for old, new in {"conv_a": "conv1", "bn_a": "norm1", "conv_b": "conv2", "bn_b": "norm2"}.items():
                yield f"stage_{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for part in range(2 if stage else 0):
            yield f"stage_{stage + 1}.0.downsample.{part}", f"stages.{stage}.0.shortcut.{part}"


def _rram_resnet18() -> Iterator[tuple[str, str]]:
    yield from {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier"}.items()
    for stage in range(4):
        for i in range(2):
            for old, new in {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}.items():
                yield f"layer{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for part in range(2 if stage else 0):
            yield f"layer{stage + 1}.0.shortcut.{part}", f"stages.{stage}.0.shortcut.{part}"


RRAM = {"vgg7": (_rram_vgg7, 8), "resnet20": (_rram_resnet20, 20), "resnet18": (_rram_resnet18, 21)}
"""Layers by network, and how many of them own the range of a quantizer in the origin, used or not."""


def _origin_rram(model: Model, alpha_shape: tuple[int, ...] = ()) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    generator = torch.Generator().manual_seed(1)
    origin: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for old, new in RRAM[model.settings.name][0]():
        layer = model.get_submodule(new)
        for field, value in layer.state_dict().items():
            drawn = torch.randint(1, 99, value.shape, generator=generator).to(value.dtype)
            expected[f"{new}.{field}"] = drawn
            if field != "activation.alpha":
                origin[f"{old}.{field}"] = drawn
        if isinstance(layer, BitSerial):
            alpha = expected.get(f"{new}.activation.alpha", torch.tensor(10.0))
            origin[f"{old}.act_quant.act_alpha"] = alpha.reshape(alpha_shape)
    return origin, expected


@pytest.mark.parametrize("alpha_shape", [(), (1,)])
@pytest.mark.parametrize("name", RRAM)
def test_rram_networks(name: str, alpha_shape: tuple[int, ...]) -> None:
    model = create_model(name, width=1)
    origin, expected = _origin_rram(model, alpha_shape)
    assert sum(key.endswith("act_alpha") for key in origin) == RRAM[name][1]
    assert sum(key.endswith("activation.alpha") for key in expected) < RRAM[name][1]
    assert any(key.endswith("num_batches_tracked") for key in origin)
    importers.load("rram", model, {"state_dict": {f"module.{key}": value for key, value in origin.items()}})
    loaded = model.state_dict()
    assert loaded.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(loaded[key], value), key


@pytest.mark.parametrize("name", RRAM)
def test_every_problem_of_an_rram_checkpoint_is_named(name: str) -> None:
    model = create_model(name, width=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    origin, _ = _origin_rram(model)
    quantized = [key for key in origin if key.endswith("act_alpha")][3]
    own = dict(RRAM[name][0]())[quantized.removesuffix(".act_quant.act_alpha")]
    del origin[quantized]
    origin["features.99.act_quant.act_alpha"] = torch.tensor(1.0)
    origin["features.98.weight"] = torch.zeros(2)
    shaped = next(key for key in origin if key.endswith("running_var"))
    wrong, right = origin[shaped].repeat(2), list(origin[shaped].shape)
    origin[shaped] = wrong
    with pytest.raises(MismatchError) as error:
        importers.load("rram", model, origin)
    assert error.value.message == (
        f"rram checkpoint for {name}: unknown features.99.act_quant.act_alpha, features.98.weight; "
        f"missing {own}.activation.alpha; shapes {shaped} {list(wrong.shape)} instead of {right}"
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_range_of_several_elements_is_refused() -> None:
    model = create_model("vgg7", width=1)
    origin, _ = _origin_rram(model)
    origin["features.3.act_quant.act_alpha"] = torch.ones(2)
    with pytest.raises(MismatchError, match=r"shapes features.3.act_quant.act_alpha \[2\] instead of \[\]"):
        importers.load("rram", model, origin)
