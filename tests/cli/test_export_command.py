"""`bnnkit export`: what it writes, where, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnnkit import checkpoint, data, deploy
from bnnkit.models import create_model

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")

METADATA = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}


def saved(name: str, metadata: dict[str, Any] = METADATA, **options: Any) -> str:
    torch.manual_seed(1)
    options = {"in_shape": (1, 8, 8), **options}
    checkpoint.save(f"{name}.safetensors", create_model(name, **options), metadata=metadata)
    return f"{name}.safetensors"


def document(bnnkit: Command, *arguments: str) -> dict[str, Any]:
    code, out, err = bnnkit("export", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == "bnnkit.export/1"
    return found


def test_the_sample_network_as_cpp(bnnkit: Command) -> None:
    code, out, err = bnnkit("export", "--format", "cpp", "--vectors", "3")
    assert code == 0, err
    assert "mlp width 4, activations 1, weights 1, ADC 1 -> mlp-cpp" in out
    assert "images: 3 test images of digits" in out and "next: make -C mlp-cpp check" in out
    stored = data.load("digits").test.images[:3]
    assert Path("mlp-cpp/vectors/images.bin").read_bytes() == stored.numpy().tobytes()
    logits = np.fromfile("mlp-cpp/vectors/logits.bin", np.float32).reshape(3, 10)
    assert np.array_equal(logits, deploy.PackedNetwork(deploy.load(deploy.SAMPLE))(stored).numpy())


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("make", "c++")), reason="make or a C++ compiler is not installed"
)
def test_make_check_does_what_the_command_says(bnnkit: Command) -> None:
    found = document(bnnkit, "--format", "cpp", "-o", "net")
    assert found["next"] == "make -C net check"
    done = subprocess.run([*found["next"].split(), "-j2", "CXXFLAGS=-O0"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "PASS: the logits of 4 of 4 images are equal, bit for bit" in done.stdout
    document(bnnkit, "--format", "cpp", "-o", "net", "--adc-bit", "4")
    assert Path("net/check-program").exists(), "what was built stays"
    done = subprocess.run(["make", "-C", "net", "check", "CXXFLAGS=-O0"], capture_output=True, text=True, timeout=300)
    assert "PASS: the logits of 4 of 4 images" in done.stdout, "and is built anew"


def test_the_document_lists_the_files(bnnkit: Command) -> None:
    found = document(bnnkit, saved("mlp", width=1), "--format", "cpp", "--adc-bit", "2", "--rows", "40")
    assert (found["output"], found["format"], found["vectors"]) == ("mlp-cpp", "cpp", 4)
    assert (found["model"]["adc_bit"], found["model"]["rows"]) == (2, 40)
    assert {file["path"]: file["bytes"] for file in found["files"]} == {
        path.relative_to("mlp-cpp").as_posix(): path.stat().st_size
        for path in Path("mlp-cpp").rglob("*")
        if path.is_file()
    }
    assert found["facts"]["namespace"] == "mlp" and found["facts"]["weight_bytes"] > 0


def test_without_images_vectors_are_noise(bnnkit: Command) -> None:
    unknown = {**METADATA, "provenance": {}}
    found = document(bnnkit, saved("mlp", unknown, width=1), "--format", "cpp")
    assert found["vectors_from"] == "noise"
    missing = {"preparation": {"mean": [0.5] * 3, "std": [0.25] * 3}, "provenance": {"dataset": "cifar10"}}
    path = saved("res20", missing, width=1, in_shape=(3, 8, 8))
    code, out, err = bnnkit("export", path, "--format", "cpp")
    assert code == 0
    assert "images: 4 noise" in out and "dataset 'cifar10' is not prepared" in err


def test_only_earlier_exports_are_replaced(bnnkit: Command) -> None:
    for bits in ("1", "2"):
        assert document(bnnkit, "--format", "cpp", "-o", "net", "--adc-bit", bits)["model"]["adc_bit"] == int(bits)
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("")
    code, _out, err = bnnkit("export", "--format", "cpp", "-o", "thesis")
    assert code == 2
    assert "thesis: is not empty, and no export of bnnkit" in err
    assert [path.name for path in Path("thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no --format; cpp, memh or onnx was needed"),
        (("--format", "c"), "--format c; cpp, memh or onnx was needed"),
        (("--format", "cpp", "--vectors", "0"), "--vectors 0; at least 1 was needed"),
        (("--format", "cpp", "--adc-bit", "many"), "'many' is not a converter width"),
        (("--format", "cpp", "--mapping", "row"), "mapping 'row' is unknown"),
        (("--format", "onnx", "-o", "."), ".: is a folder; a file was needed"),
    ],
)
def test_bad_options_are_refused(bnnkit: Command, arguments: tuple[str, ...], message: str) -> None:
    code, _out, err = bnnkit("export", *arguments)
    assert code == 2
    assert message in err
    assert not list(Path().iterdir())


def test_networks_that_cannot_be_packed_are_refused(bnnkit: Command) -> None:
    plain = saved("mlp", ao_bit="fp", w_bit="fp", adc_bit="fp")
    code, _out, err = bnnkit("export", plain, "--format", "cpp")
    assert code == 2
    assert "layer hidden.0: fp-bit activations, fp-bit weights; bits were needed on both sides" in err
    exact = saved("mlp", ao_bit=2, adc_bit="fp")
    code, _out, err = bnnkit("export", exact, "--format", "cpp")
    assert code == 2
    assert "no converter" in err and "--adc-bit" in err
    assert bnnkit("export", exact, "--format", "cpp", "--adc-bit", "2")[0] == 0
    serial = saved("vgg7", {**METADATA, "preparation": {"mean": [0.5] * 3, "std": [0.25] * 3}}, in_shape=(3, 32, 32))
    code, _out, err = bnnkit("export", serial, "--format", "cpp")
    assert code == 2
    assert "vgg7 is a bit-serial network" in err


def test_a_missing_network(bnnkit: Command) -> None:
    code, _out, err = bnnkit("export", "nowhere.safetensors", "--format", "cpp")
    assert code == 3
    assert "nowhere.safetensors" in err


def test_memory_images_and_onnx(bnnkit: Command) -> None:
    found = document(bnnkit, "--format", "memh", "-o", "chip", "--vectors", "2", "--adc-bit", "2")
    assert found["facts"]["layers"] == 3 and (Path("chip") / "manifest.json").is_file()
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    found = document(bnnkit, "--format", "onnx")
    assert found["output"] == "mlp.onnx" and found["facts"]["opset"] == 17
    assert Path("mlp.onnx").stat().st_size == found["facts"]["bytes"]
    code, _out, err = bnnkit("export", "--format", "onnx", "-o", "chip")
    assert code == 2 and "chip: is a folder; a file was needed" in err
