"""Reading the origin's checkpoints: names, wrappers, and errors that name the keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bnnkit import importers
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import Model, create_model


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
