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


def _reactnet_names(model: Model) -> Iterator[tuple[str, str]]:
    """Name every parameter of a ReActNet-18 or -34 as the origin does, and as bnnkit does."""
    yield from {"conv1.weight": "stem.weight", "conv1.gain": "stem.gain"}.items()
    parts = {
        "move0.bias": "offset",
        "conv1.weight": "conv.weight",
        "conv1.gain": "conv.gain",
        "move1.bias": "activation.bias_in",
        "prelu.L_alpha": "activation.log2_slope",
        "move2.bias": "activation.bias_out",
    }
    for stage, blocks in enumerate([4, 4, 4, 4] if model.settings.name == "reactnet18" else [6, 8, 12, 6]):
        for i in range(blocks):
            for old, new in parts.items():
                yield f"layer{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for field in ("weight", "gain") if stage else ():
            yield f"layer{stage + 1}.0.downsample.1.{field}", f"stages.{stage}.0.shortcut_conv.{field}"
    yield from {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}.items()


def _reactnet_a_names(model: Model) -> Iterator[tuple[str, str]]:
    """The same for ReActNet-A, where a layer is a pair of blocks; pointwise convolutions are still in one piece."""
    yield from {"feature.0.conv1.weight": "stem.weight", "feature.0.conv1.gain": "stem.gain"}.items()
    for pair in range(13):
        for half, conv in enumerate(("binary_3x3", "binary_pw")):
            old, new = f"feature.{pair + 1}", f"stages.{pair}.{half}"
            yield f"{old}.move{half + 1}1.bias", f"{new}.offset"
            yield f"{old}.{conv}.weight", f"{new}.conv.weight"
            yield f"{old}.{conv}.gain", f"{new}.conv.gain"
            yield f"{old}.move{half + 1}2.bias", f"{new}.activation.bias_in"
            yield f"{old}.prelu{half + 1}.L_alpha", f"{new}.activation.log2_slope"
            yield f"{old}.move{half + 1}3.bias", f"{new}.activation.bias_out"
    yield from {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}.items()


def _fracbnn20_names(model: Model) -> Iterator[tuple[str, str]]:
    """Name every layer and activation of FracBNN's ResNet-20, whose blocks hold two of bnnkit's."""
    yield from {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier"}.items()
    for stage in range(3):
        for i in range(3):
            for half in range(2):
                old, new = f"layer{stage + 1}.{i}", f"stages.{stage}.{2 * i + half}"
                yield f"{old}.conv{half + 1}", f"{new}.conv"
                yield f"{old}.bn{half + 1}", f"{new}.norm"
                yield f"{old}.rprelu{half + 1}", f"{new}.activation"
                yield f"{old}.bn{half + 3}", f"{new}.shift_norm"


def _fracbnn_imagenet_names(model: Model) -> Iterator[tuple[str, str]]:
    """The same for FracBNN's ImageNet network."""
    yield from {"model.0.0": "stem", "model.0.1": "stem_norm", "fc": "classifier"}.items()
    for pair in range(13):
        for half, conv in enumerate(("conv3x3", "pointwise")):
            old, new = f"model.{pair + 1}", f"stages.{pair}.{half}"
            yield f"{old}.{conv}.0", f"{new}.conv"
            yield f"{old}.{conv}.1", f"{new}.norm"
            yield f"{old}.rprelu{half + 1}", f"{new}.activation"
            yield f"{old}.shiftbn{half + 1}", f"{new}.shift_norm"


def _random_state(model: Model) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.randint(1, 99, value.shape, generator=generator).to(value.dtype)
        for key, value in model.state_dict().items()
    }


def _origin_ab_bnn(model: Model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    expected = _random_state(model)
    names = _reactnet_a_names if model.settings.name == "reactnetA" else _reactnet_names
    origin: dict[str, Tensor] = {}
    for old, new in names(model):
        value = expected[new]
        doubles = ".binary_pw." in old and 2 * expected[new.replace("gain", "weight")].shape[1] == len(value)
        if old.endswith(".bias") and old != "fc.bias":
            origin[old] = value.view(1, -1, 1, 1)
        elif doubles:  # two convolutions whose outputs are concatenated
            for number, half in enumerate(value.chunk(2)):
                origin[old.replace("binary_pw", f"binary_pw_down{number + 1}")] = half
        else:
            origin[old] = value
    return origin, expected


def _origin_fracbnn(model: Model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    expected = _random_state(model)
    small = model.settings.name == "fracbnn20"
    fields = {"bias_in": "shift_x.bias", "slope": "prelu.weight", "bias_out": "shift_y.bias"}
    origin: dict[str, Tensor] = {}
    for old, new in (_fracbnn20_names if small else _fracbnn_imagenet_names)(model):
        for field in model.get_submodule(new).state_dict():
            value = expected[f"{new}.{field}"]
            is_map = field in ("bias_in", "bias_out", "threshold")
            origin[f"{old}.{fields.get(field, field)}"] = value.view(1, -1, 1, 1) if is_map else value
    origin["encoder.placeholder"] = torch.zeros(2, 3, 32, 8, 8)
    if not small:
        origin |= {"teacher.layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "teacher.fc.bias": torch.zeros(1000)}
        origin |= {"img_mean": torch.zeros(1, 3, 1, 1), "img_std": torch.ones(1, 3, 1, 1)}
    return origin, expected


LATER_ORIGINS = {
    "reactnet18": ("ab-bnn", _origin_ab_bnn),
    "reactnet34": ("ab-bnn", _origin_ab_bnn),
    "reactnetA": ("ab-bnn", _origin_ab_bnn),
    "fracbnn20": ("fracbnn", _origin_fracbnn),
    "fracbnn_imagenet": ("fracbnn", _origin_fracbnn),
}


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", LATER_ORIGINS)
def test_networks_of_ab_bnn_and_fracbnn(name: str, prefix: str, wrap: str | None) -> None:
    model = create_model(name, width=1)
    origin, make = LATER_ORIGINS[name]
    state, expected = make(model)
    checkpoint: dict[str, Any] = {prefix + key: value for key, value in state.items()}
    assert importers.load(origin, model, {wrap: checkpoint} if wrap else checkpoint) is model
    loaded = model.state_dict()
    assert loaded.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(loaded[key], value), key


def test_the_names_are_those_of_the_origins() -> None:
    state, _ = _origin_ab_bnn(create_model("reactnetA", width=4))
    assert state["feature.1.binary_pw_down2.gain"].shape == (32, 1, 1, 1)
    assert state["feature.12.binary_pw_down1.weight"].shape == (512, 512, 1, 1)
    assert state["feature.13.binary_pw.weight"].shape == (1024, 1024, 1, 1)
    assert sum("binary_pw_down1.weight" in key for key in state) == 5
    state, _ = _origin_ab_bnn(create_model("reactnet18"))
    assert state["layer2.0.downsample.1.weight"].shape == (128, 64, 1, 1)
    assert state["layer2.0.move0.bias"].shape == (1, 64, 1, 1)
    assert state["layer4.3.prelu.L_alpha"].shape == (512,)
    assert len(state) == 106
    state, _ = _origin_fracbnn(create_model("fracbnn20"))
    assert state["conv1.weight"].shape == (16, 96, 3, 3)
    assert state["layer1.0.conv1.threshold"].shape == (1, 16, 1, 1)
    assert state["layer3.2.bn4.running_var"].shape == (64,)
    assert len(state) == 278 + 1  # the placeholder of the input code


def test_every_problem_of_an_ab_bnn_checkpoint_is_named() -> None:
    model = create_model("reactnet18", width=1)
    state, _ = _origin_ab_bnn(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del state["layer2.0.downsample.1.gain"]
    state["layer5.0.move0.bias"] = torch.zeros(1, 8, 1, 1)
    state["layer1.2.prelu.weight"] = torch.zeros(16)
    state["layer3.1.move1.bias"] = torch.zeros(1, 63, 1, 1)
    with pytest.raises(MismatchError) as error:
        importers.load("ab-bnn", model, state)
    assert error.value.message == (
        "ab-bnn checkpoint for reactnet18: unknown layer5.0.move0.bias, layer1.2.prelu.weight; "
        "missing stages.1.0.shortcut_conv.gain; shapes layer3.1.move1.bias [1, 63, 1, 1] instead of [64]"
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_every_problem_of_a_fracbnn_checkpoint_is_named() -> None:
    model = create_model("fracbnn20")
    state, _ = _origin_fracbnn(model)
    del state["layer2.1.rprelu2.prelu.weight"]
    state["layer2.1.rprelu3.prelu.weight"] = torch.zeros(32)
    state["layer1.0.conv1.threshold"] = torch.zeros(1, 1, 16, 2)
    with pytest.raises(MismatchError) as error:
        importers.load("fracbnn", model, state)
    assert error.value.message == (
        "fracbnn checkpoint for fracbnn20: unknown layer2.1.rprelu3.prelu.weight; "
        "missing stages.1.3.activation.slope; shapes layer1.0.conv1.threshold [1, 1, 16, 2] instead of [16]"
    )


@pytest.mark.parametrize(("half", "other"), [(1, 2), (2, 1)])
def test_half_of_a_pointwise_convolution_is_a_missing_parameter(half: int, other: int) -> None:
    model = create_model("reactnetA", width=1)
    state, _ = _origin_ab_bnn(model)
    del state[f"feature.2.binary_pw_down{half}.weight"]
    with pytest.raises(MismatchError, match=rf"stages\.1\.1\.conv\.weight|feature\.2\.binary_pw_down{other}"):
        importers.load("ab-bnn", model, state)


def test_halves_that_do_not_fit_are_named() -> None:
    model = create_model("reactnetA", width=1)
    state: dict[str, Any] = _origin_ab_bnn(model)[0]
    state["feature.2.binary_pw_down2.weight"] = torch.zeros(16, 5, 1, 1)
    with pytest.raises(MismatchError, match=r"feature\.2\.binary_pw"):
        importers.load("ab-bnn", model, state)
    state["feature.2.binary_pw_down2.weight"] = [1.0]
    with pytest.raises(MismatchError, match=r"feature\.2\.binary_pw"):
        importers.load("ab-bnn", model, state)


def test_checkpoints_of_another_network_of_the_same_origin_are_refused() -> None:
    state, _ = _origin_ab_bnn(create_model("reactnet34", width=1))
    with pytest.raises(MismatchError, match=r"unknown layer1\.4\.move0\.bias"):
        importers.load("ab-bnn", create_model("reactnet18", width=1), state)
    state, _ = _origin_ab_bnn(create_model("reactnet18", width=2))
    with pytest.raises(MismatchError, match=r"shapes conv1\.weight \[32, 3, 3, 3\] instead of \[16, 3, 3, 3\]"):
        importers.load("ab-bnn", create_model("reactnet18", width=1), state)
