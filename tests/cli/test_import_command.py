"""`bnnkit import`: files as the origins' users have them become checkpoints that `bnnkit eval` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from origin_states import origin_mlp, saved

from bnnkit import checkpoint
from bnnkit.data import load
from bnnkit.models import Model, create_model
from bnnkit.nn import backend
from bnnkit.train.evaluation import evaluate
from bnnkit.train.images import Preparation
from bnnkit_cli import output

Command = Callable[..., tuple[int, str, str]]

IMAGES = 6
NETWORKS = {
    "mlp": {"in_shape": (1, 8, 8)},
    "vgg9": {"in_shape": (3, 8, 8)},
    "res18": {},
    "res20": {},
    "vgg7": {},
    "resnet20": {},
    "resnet18": {},
    "reactnet18": {},
    "fracbnn20": {},
    "cnv": {},
}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    yield
    output.configure()


def _wrapped(state: dict[str, Any], how: str) -> dict[str, Any]:
    parallel = {f"module.{key}": value for key, value in state.items()}
    if how == "plain":
        return state
    if how == "net":
        return {"net": parallel, "acc": 71.5, "epoch": 3, "rng_state": torch.get_rng_state()}
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1).state_dict()
    return {"state_dict": parallel, "optimizer": optimizer, "epoch": 3, "best": torch.tensor(0.7)}


def _network(name: str) -> Model:
    torch.manual_seed(7)
    model = create_model(name, width=1, **NETWORKS[name])
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize(("how", "file"), [("plain", "a.h5"), ("state_dict", "best.pth.tar"), ("net", "ckpt.t7.pth")])
@pytest.mark.parametrize("name", NETWORKS)
def test_imported_networks_evaluate_as_their_source(bnnkit: Command, name: str, how: str, file: str) -> None:
    model = _network(name)
    origin, state = saved(model)
    torch.save(_wrapped(state, how), file)
    code, out, err = bnnkit("import", "--from", origin, file, "-o", "o.safetensors", "--dataset", "digits", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "bnnkit.import/1"
    assert document["model"] == model.config
    read = checkpoint.read("o.safetensors")
    own = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    imported = read.part("model.")
    assert all(torch.equal(value, imported[key]) for key, value in own.items())
    assert document["parameters"]["tensors"] == len(imported)
    beside = {"plain": set(), "net": {"acc", "epoch", "rng_state"}, "state_dict": {"optimizer", "epoch", "best"}}
    assert beside[how] <= {entry["key"] for entry in document["ignored"]}
    if how != "plain":
        return
    data = load("digits")
    preparation = Preparation.of(data, tuple(model.config["in_shape"]), normalized=name not in ("fracbnn20", "cnv"))
    assert document["preparation"] == preparation.metadata()
    arguments = ["--backend", "torch", "--limit", str(IMAGES), "--logits", "logits.npy", "--json"]
    code, out, err = bnnkit("eval", "o.safetensors", *arguments)
    assert code == 0, err
    assert json.loads(out)["provenance"]["origin"] == origin
    from bnnkit.train.images import limited

    with backend("torch"):
        expected = evaluate(model, data.test, limited(len(data.test), IMAGES), preparation).logits
    assert np.array_equal(np.load("logits.npy"), expected.numpy())


def test_the_table_says_what_was_done(bnnkit: Command) -> None:
    torch.save(_wrapped(saved(_network("resnet20"))[1], "state_dict"), "best.pth.tar")
    code, out, err = bnnkit("import", "best.pth.tar", "--from", "rram", "-o", "a net.safetensors", "--w-bit", "3")
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "resnet20 width 1, activations 4, weights 3" in text
    assert "inferred name resnet20, width 1, classes 10 " in text
    assert "assumed in_shape 3x32x32, dataset cifar10, ao_bit 4, weight_quant sawb: the file does not tell" in text
    assert "images cifar10, mean 0.4914/0.4824/0.4467, std 0.2471/0.2435/0.2616" in text
    assert "optimizer, epoch, best: no parameter: stands beside the state dictionary" in text
    assert text.endswith("evaluate bnnkit eval 'a net.safetensors'")


def test_an_older_file_is_replaced_but_never_the_source(bnnkit: Command) -> None:
    torch.save(origin_mlp(128, 64), "net.pth")
    Path("net.safetensors").write_text("old")
    assert bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "net.safetensors")[0] == 0
    assert checkpoint.read("net.safetensors").metadata["provenance"]["file"] == "net.pth"
    source = Path("net.pth").read_bytes()
    code, _out, err = bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "net.pth")
    assert code == 2 and "is the file to import" in err
    assert Path("net.pth").read_bytes() == source


def test_keys_and_shapes_that_do_not_fit_are_named(bnnkit: Command) -> None:
    state = origin_mlp(128, 64)
    del state["fc3.bias"]
    state["fc4.weight"] = torch.zeros(2)
    state["fc2.weight"] = torch.zeros(128, 100)
    torch.save(state, "net.pth")
    code, out, err = bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "net.safetensors")
    assert code == 4 and out == ""
    assert "unknown fc4.weight; missing hidden.2.bias; shapes fc2.weight [128, 100] instead of [128, 128]" in err
    assert "hint: " in err
    assert not Path("net.safetensors").exists()
    code, _out, err = bnnkit("import", "net.pth", "--from", "rram", "-o", "net.safetensors")
    assert code == 4 and "those of none of vgg7, resnet20, resnet18: fc1.weight" in err
    assert "hint: its keys look like --from bnn-iga" in err
    code, _out, err = bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "o", "--width", "2")
    assert code == 4 and "fc1.weight [128, 64] instead of [256, 784]" in err


class _Command:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch was-run",)


def test_nothing_in_a_file_is_run(bnnkit: Command) -> None:
    torch.save({"state_dict": origin_mlp(128, 64), "args": _Command()}, "net.pth")
    code, _out, err = bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "net.safetensors")
    assert code == 4
    assert "can run code" in err and ".system)" in err and "torch.save(net.state_dict()" in err
    assert not Path("was-run").exists() and not Path("net.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--from", "bnn-igo"], 2, "hint: did you mean 'bnn-iga'?"),
        ([], 2, "Missing option '--from'"),
        (["--from", "bnn-iga", "--model", "vgg7"], 2, "model vgg7: is none of bnn-iga"),
        (["--from", "bnn-iga", "--model", "mpl"], 2, "hint: did you mean 'mlp'?"),
        (["--from", "bnn-iga", "--in-shape", "8x8"], 2, "'8x8' is not an image shape"),
        (["--from", "bnn-iga", "--ao-bit", "7"], 2, "7"),
        (["--from", "bnn-iga", "--weight-quant", "sawb"], 2, "weight quantizer 'sawb'"),
        (["--from", "bnn-iga", "--dataset", "digit"], 2, "did you mean 'digits'?"),
        (["--from", "bnn-iga", "--dataset", "cifar100"], 2, "has 100 classes, the checkpoint 10"),
    ],
)
def test_wrong_options(bnnkit: Command, arguments: list[str], code: int, text: str) -> None:
    torch.save(origin_mlp(128, 64), "net.pth")
    found, out, err = bnnkit("import", "net.pth", "-o", "net.safetensors", *arguments)
    assert (found, out) == (code, "")
    assert text.lower() in err.lower()
    assert not Path("net.safetensors").exists()


def test_images_of_an_unknown_dataset(bnnkit: Command) -> None:
    for name in ("res20", "cnv"):
        origin, state = saved(create_model(name, width=1, classes=7))
        torch.save(state, f"{name}.pth")
        code, out, err = bnnkit("import", f"{name}.pth", "--from", origin, "-o", f"{name}.safetensors")
        if name == "res20":
            assert code == 2 and "no known dataset has 7 classes" in err
        else:
            assert code == 0 and "of an unknown dataset" in out and "--dataset NAME" in out


def test_damaged_files(bnnkit: Command) -> None:
    torch.save(origin_mlp(128, 64), "net.pth")
    content = Path("net.pth").read_bytes()
    for damaged, text in {content[:-50]: "truncated", b"text": "not a file written by torch.save"}.items():
        Path("net.pth").write_bytes(damaged)
        code, _out, err = bnnkit("import", "net.pth", "--from", "bnn-iga", "-o", "net.safetensors")
        assert code == 4 and text in err and "hint: " in err
    assert bnnkit("import", "nowhere.pth", "--from", "bnn-iga", "-o", "net.safetensors")[0] == 3
