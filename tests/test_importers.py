"""Reading the origin's checkpoints: names, wrappers, and errors that name the keys."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from origin_states import NAMERS, RRAM, origin_ab_bnn, origin_fracbnn, origin_mlp, origin_rram, origin_vgg9

from bnnkit import importers
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.importers import images
from bnnkit.models import create_model


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_mlp(wrap: str | None, prefix: str) -> None:
    state = origin_mlp()
    checkpoint: dict[str, Any] = {prefix + key: value for key, value in state.items()}
    model = create_model("mlp")
    assert importers.load("bnn-iga", model, {wrap: checkpoint, "epoch": 3} if wrap else checkpoint) is model
    assert torch.equal(model.state_dict()["hidden.1.weight"], state["fc2.weight"])
    assert torch.equal(model.state_dict()["norms.2.running_var"], state["bn3.running_var"])
    assert torch.equal(model.state_dict()["classifier.bias"], state["fc6.bias"])


def test_vgg9_has_the_origins_layer_numbers() -> None:
    model = create_model("vgg9", width=1)
    state = origin_vgg9(model)
    assert state["features.0.weight"].shape == (128, 3, 3, 3)
    assert state["classifier.6.weight"].shape == (10, 1024)
    importers.load("bnn-iga", model, state)
    assert torch.equal(model.state_dict()["features.5.conv.weight"], state["features.17.weight"])


def test_every_problem_is_named_and_the_model_is_unchanged() -> None:
    model = create_model("mlp")
    before = model.state_dict()["hidden.0.weight"].clone()
    state = origin_mlp()
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
        importers.load("bnn-iga", create_model("res20", width=1), origin_mlp())


def test_what_is_not_a_tensor_is_refused() -> None:
    state: dict[str, Any] = origin_mlp()
    state["fc1.bias"] = [1.0]
    with pytest.raises(MismatchError, match=r"fc1.bias is a list and not a tensor"):
        importers.load("bnn-iga", create_model("mlp"), state)


def test_unknown_origin() -> None:
    with pytest.raises(UsageError, match="unknown origin 'bnn-igo'") as error:
        importers.load("bnn-igo", create_model("mlp"), {})
    assert error.value.hint == "did you mean 'bnn-iga'?"


@pytest.mark.parametrize("alpha_shape", [(), (1,)])
@pytest.mark.parametrize("name", RRAM)
def test_rram_networks(name: str, alpha_shape: tuple[int, ...]) -> None:
    model = create_model(name, width=1)
    origin, expected = origin_rram(model, alpha_shape)
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
    origin, _ = origin_rram(model)
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
    origin, _ = origin_rram(model)
    origin["features.3.act_quant.act_alpha"] = torch.ones(2)
    with pytest.raises(MismatchError, match=r"shapes features.3.act_quant.act_alpha \[2\] instead of \[\]"):
        importers.load("rram", model, origin)


LATER_ORIGINS = {
    "reactnet18": ("ab-bnn", origin_ab_bnn),
    "reactnet34": ("ab-bnn", origin_ab_bnn),
    "reactnetA": ("ab-bnn", origin_ab_bnn),
    "fracbnn20": ("fracbnn", origin_fracbnn),
    "fracbnn_imagenet": ("fracbnn", origin_fracbnn),
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
    state, _ = origin_ab_bnn(create_model("reactnetA", width=4))
    assert state["feature.1.binary_pw_down2.gain"].shape == (32, 1, 1, 1)
    assert state["feature.12.binary_pw_down1.weight"].shape == (512, 512, 1, 1)
    assert state["feature.13.binary_pw.weight"].shape == (1024, 1024, 1, 1)
    assert sum("binary_pw_down1.weight" in key for key in state) == 5
    state, _ = origin_ab_bnn(create_model("reactnet18"))
    assert state["layer2.0.downsample.1.weight"].shape == (128, 64, 1, 1)
    assert state["layer2.0.move0.bias"].shape == (1, 64, 1, 1)
    assert state["layer4.3.prelu.L_alpha"].shape == (512,)
    assert len(state) == 106
    state, _ = origin_fracbnn(create_model("fracbnn20"))
    assert state["conv1.weight"].shape == (16, 96, 3, 3)
    assert state["layer1.0.conv1.threshold"].shape == (1, 16, 1, 1)
    assert state["layer3.2.bn4.running_var"].shape == (64,)
    assert len(state) == 278 + 1  # the placeholder of the input code


def test_every_problem_of_an_ab_bnn_checkpoint_is_named() -> None:
    model = create_model("reactnet18", width=1)
    state, _ = origin_ab_bnn(model)
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
    state, _ = origin_fracbnn(model)
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
    state, _ = origin_ab_bnn(model)
    del state[f"feature.2.binary_pw_down{half}.weight"]
    with pytest.raises(MismatchError, match=rf"stages\.1\.1\.conv\.weight|feature\.2\.binary_pw_down{other}"):
        importers.load("ab-bnn", model, state)


def test_halves_that_do_not_fit_are_named() -> None:
    model = create_model("reactnetA", width=1)
    state: dict[str, Any] = origin_ab_bnn(model)[0]
    state["feature.2.binary_pw_down2.weight"] = torch.zeros(16, 5, 1, 1)
    with pytest.raises(MismatchError, match=r"feature\.2\.binary_pw"):
        importers.load("ab-bnn", model, state)
    state["feature.2.binary_pw_down2.weight"] = [1.0]
    with pytest.raises(MismatchError, match=r"feature\.2\.binary_pw"):
        importers.load("ab-bnn", model, state)


def test_checkpoints_of_another_network_of_the_same_origin_are_refused() -> None:
    state, _ = origin_ab_bnn(create_model("reactnet34", width=1))
    with pytest.raises(MismatchError, match=r"unknown layer1\.4\.move0\.bias"):
        importers.load("ab-bnn", create_model("reactnet18", width=1), state)
    state, _ = origin_ab_bnn(create_model("reactnet18", width=2))
    with pytest.raises(MismatchError, match=r"shapes conv1\.weight \[32, 3, 3, 3\] instead of \[16, 3, 3, 3\]"):
        importers.load("ab-bnn", create_model("reactnet18", width=1), state)


@pytest.mark.parametrize("name", NAMERS)
def test_every_network_is_recognised_with_its_width_classes_and_images(name: str) -> None:
    usual = "mnist" if name == "mlp" else "imagenet" if name == "fracbnn_imagenet" else "cifar10"
    classes = 1000 if usual == "imagenet" else 10
    model = create_model(name, width=1, classes=classes)
    origin, make = NAMERS[name]
    found = importers.infer(origin, {f"module.{key}": value for key, value in make(model).items()}, {}, None)
    config = model.config
    assert found.options == {"name": name, "width": 1, "classes": classes, "in_shape": tuple(config["in_shape"])}
    told = found.options if name in ("mlp", "vgg9", "vgg7", "cnv") else {"name": name, "width": 1, "classes": classes}
    assert found.inferred == told
    assert found.images is not None and found.images.name == usual
    usually = {**config, "in_shape": tuple(config["in_shape"]), "dataset": usual}
    assert found.assumed == {key: usually[key] for key in found.assumed} and {"dataset", "w_bit"} <= set(found.assumed)
    importers.load(origin, create_model(**found.options), make(model))


def test_networks_with_other_sizes_are_recognised() -> None:
    model = create_model("vgg7", width=2, classes=200, in_shape=(3, 64, 64))
    found = importers.infer("rram", origin_rram(model)[0], {}, None)
    assert found.options == {"name": "vgg7", "width": 2, "classes": 200, "in_shape": (3, 64, 64)}
    assert found.images is not None and found.images.name == "tiny-imagenet"
    found = importers.infer("bnn-iga", origin_mlp(128, 64), {}, None)
    assert found.options["in_shape"] == (1, 8, 8) and found.images is not None and found.images.name == "digits"
    found = importers.infer("bnn-iga", origin_mlp(128, 1024), {}, None)
    assert found.options["in_shape"] == (1, 32, 32) and found.images is not None and found.images.name == "mnist"
    large = create_model("reactnet18", width=1, classes=1000, in_shape=(3, 224, 224))
    found = importers.infer("ab-bnn", origin_ab_bnn(large)[0], {}, None)
    assert found.options["in_shape"] == (3, 224, 224) and found.images is not None and found.images.name == "imagenet"
    strange = create_model("res20", width=1, classes=7)
    found = importers.infer("bnn-iga", NAMERS["res20"][1](strange), {}, None)
    assert found.images is None and found.options["in_shape"] == (3, 32, 32)


def test_what_is_given_is_not_inferred() -> None:
    state = NAMERS["res20"][1](create_model("res20", width=1))
    tiny = images.of_dataset("digits", "bnn-iga")
    given = {"name": "res20", "width": 1, "classes": 10, "in_shape": (3, 16, 16), "w_bit": "fp"}
    found = importers.infer("bnn-iga", state, given, tiny)
    assert found.options == given and found.inferred == {} and found.images == tiny
    assert found.assumed == {"ao_bit": 1, "adc_bit": 1}


def test_every_origin_has_its_normalization() -> None:
    def prepared(origin: str, model: str, dataset: str, channels: int) -> dict[str, list[float]]:
        return images.of_dataset(dataset, origin).preparation(model, channels)

    assert prepared("bnn-iga", "res20", "cifar10", 3)["mean"] == [0.485, 0.456, 0.406]
    assert prepared("bnn-iga", "mlp", "mnist", 1) == {"mean": [0.1307], "std": [0.3081]}
    assert prepared("bnn-iga", "vgg9", "mnist", 3) == {"mean": [0.1307] * 3, "std": [0.3081] * 3}
    assert prepared("rram", "vgg7", "cifar10", 3)["std"] == [63.0 / 255, 62.1 / 255, 66.7 / 255]
    assert prepared("rram", "vgg7", "imagenet", 3)["std"] == [0.229, 0.224, 0.225]
    assert prepared("ab-bnn", "reactnet18", "cifar100", 3)["std"] == [0.229, 0.224, 0.225]
    assert prepared("fracbnn", "fracbnn20", "cifar10", 3) == {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert prepared("cnv", "cnv", "cifar10", 3) == {"mean": [0.0] * 3, "std": [1.0] * 3}


def test_impossible_checkpoints_are_refused() -> None:
    state = NAMERS["res20"][1](create_model("res20", width=1))
    with pytest.raises(MismatchError, match="its keys are those of none of vgg7, resnet20, resnet18") as error:
        importers.infer("rram", state, {}, None)
    assert error.value.hint == "its keys look like --from bnn-iga"
    with pytest.raises(MismatchError, match="no tensors at all"):
        importers.infer("rram", {"epoch": 3}, {}, None)
    with pytest.raises(UsageError, match="model vgg7: is none of bnn-iga; it has mlp, vgg9, res18, res20"):
        importers.infer("bnn-iga", state, {"name": "vgg7"}, None)
    with pytest.raises(UsageError, match="--dataset cifar100: has 100 classes, the checkpoint 10"):
        importers.infer("bnn-iga", state, {}, images.of_dataset("cifar100", "bnn-iga"))
    vgg7 = origin_rram(create_model("vgg7", width=1, classes=200))[0]
    with pytest.raises(UsageError, match="images of 3x64x64 do not fit a network for 3x32x32"):
        importers.infer("rram", vgg7, {}, images.of_dataset("tiny-imagenet", "rram"))
    with pytest.raises(MismatchError, match=r"conv1.weight \[20, 3, 3, 3\]: 20 outputs; a multiple of 16"):
        importers.infer("bnn-iga", {**state, "conv1.weight": torch.zeros(20, 3, 3, 3)}, {}, None)


def test_counters_of_batches_may_be_missing() -> None:
    state = {key: value for key, value in origin_mlp().items() if not key.endswith("num_batches_tracked")}
    model = importers.load("bnn-iga", create_model("mlp"), {"net": state})
    assert torch.equal(model.state_dict()["norms.1.running_mean"], state["bn2.running_mean"])
    assert model.state_dict()["norms.1.num_batches_tracked"] == 0


def test_what_is_ignored_is_named() -> None:
    model = create_model("cnv", width=1)
    checkpoint = {"net": NAMERS["cnv"][1](model), "acc": 71.2, "rng_state": torch.zeros(3)}
    match = importers.match("cnv", model, checkpoint)
    assert match.parameters.keys() == model.state_dict().keys()
    scale = "conv_features.0.act_quant.fused_activation_quant_proxy.scale"
    assert list(match.ignored) == [scale, "acc", "rng_state"]
    assert "quantizer" in match.ignored[scale] and "beside" in match.ignored["acc"]


def test_files_that_are_no_plain_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not exist"):
        importers.read(tmp_path / "nowhere.pth")
    with pytest.raises(MissingError, match="is a folder"):
        importers.read(tmp_path)
    path = tmp_path / "x.pth.tar"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(MismatchError, match="holds a list; a dictionary of parameters was needed"):
        importers.read(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(
        MismatchError, match=r"objects that can run code .* \(torch.nn.modules.linear.Linear\)"
    ) as error:
        importers.read(path)
    assert error.value.hint is not None and "state_dict()" in error.value.hint
    for zipped in (True, False):
        torch.save({"fc.weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
        assert list(importers.read(path)) == ["fc.weight"]
        content = path.read_bytes()
        for length in (len(content) - 5, len(content) // 2, 100):
            path.write_bytes(content[:length])
            with pytest.raises(MismatchError, match="truncated"):
                importers.read(path)
    for content in (b"", b"hello world\n", b"\x93NUMPY" + bytes(100), b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(MismatchError, match=r"truncated|not a file written by torch.save"):
            importers.read(path)


def test_archives_are_to_be_unpacked_first(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "net.pth")
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.add(tmp_path / "net.pth", "net.pth")
    with pytest.raises(MismatchError, match="is a tar archive") as error:
        importers.read(tmp_path / "net.tar")
    assert error.value.hint is not None and error.value.hint.startswith("tar -xf")
