"""`bnnkit decompose`: tables, documents, files, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bnnkit import checkpoint, decompose, deploy
from bnnkit.models import create_model

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def signed() -> np.ndarray[Any, Any]:
    """Write `w.npy`, [128, 128, 3, 3] of -7 .. 8, and return it."""
    values = np.random.default_rng(3).integers(-7, 9, (128, 128, 3, 3), dtype=np.int8)
    values[0, 0, 0] = -7, 0, 8
    np.save("w.npy", values)
    return values


def document(bnnkit: Command, *arguments: str) -> dict[str, Any]:
    code, out, err = bnnkit("decompose", *arguments, "--json")
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_the_document(bnnkit: Command, signed: np.ndarray[Any, Any]) -> None:
    found = document(bnnkit, "w.npy", "--w-bit", "4", "--cell-bit", "1")
    assert (found["schema"], found["source"], found["verified"]) == ("bnnkit.decompose/1", "w.npy", True)
    assert found["layers"] == [
        {
            "name": "w",
            "weight": [128, 128, 3, 3],
            "w_bit": 4,
            "cell_bit": 1,
            "encoding": "offset",
            "offset": 7,
            "slice_bits": [1, 1, 1, 1],
            "slice_weights": [1, 2, 4, 8],
            "slices": 4,
            "matrix": [1152, 512],
            "groups": 1,
            "rows": 128,
            "cols": 128,
            "mapping": "tap",
            "dummy_columns": 4,
            "row_blocks": 9,
            "column_blocks": 5,
            "arrays": 45,
            "row_utilisation": 100.0,
            "column_utilisation": 83.125,
            "cells_used": 1152 * (512 + 5 * 4),
            "cells_available": 45 * 128 * 128,
            "adc_conversions": 9 * 512,
            "input_bits": None,
            "adc_conversions_per_image": None,
        }
    ]
    assert found["totals"]["arrays"] == 45


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--encode", "differential"], {"slices": 3, "matrix": [1152, 768], "column_blocks": 7, "dummy_columns": 0}),
        (["--encode", "twos"], {"slices": 4, "slice_weights": [1, 2, 4, -8], "column_blocks": 4, "arrays": 36}),
        (["--cell-bit", "3"], {"slices": 2, "slice_bits": [3, 1], "slice_weights": [1, 8]}),
        (["--w-bit", "5", "--cell-bit", "4"], {"slices": 2, "slice_bits": [4, 1], "offset": 15}),
        (["--rows", "64", "--cols", "256"], {"row_blocks": 18, "column_blocks": 3, "rows": 64, "cols": 256}),
        (["--mapping", "channel"], {"row_blocks": 10, "row_utilisation": 90.0}),
    ],
)
def test_options(bnnkit: Command, options: list[str], expected: dict[str, object]) -> None:
    values = np.random.default_rng(4).integers(-7, 8, (128, 128, 3, 3))
    np.save("w.npy", values)
    (layer,) = document(bnnkit, "w.npy", *options, "-o", "p.npz")["layers"]
    assert {key: layer[key] for key in expected} == expected
    with np.load("p.npz") as archive:
        if layer["encoding"] == "differential":
            planes = archive["w.plus"].astype(int) - archive["w.minus"]
        else:
            planes = archive["w"].astype(int)
    assert np.array_equal(np.tensordot(layer["slice_weights"], planes, 1) - layer["offset"], values)


def test_unsigned_codes_are_sliced_as_they_are(bnnkit: Command) -> None:
    values = np.zeros((128, 128, 3, 3), np.float32)
    values[0, 0, 0, :2] = 7, 8
    np.save("w.npy", values)
    (layer,) = document(bnnkit, "w.npy", "-o", "p.npy")["layers"]
    assert (layer["encoding"], layer["dummy_columns"], layer["arrays"]) == ("unsigned", 0, 36)
    planes = np.load("p.npy")
    assert (planes.shape, planes.dtype) == ((4, 128, 128, 3, 3), np.uint8)
    assert planes[:, 0, 0, 0, 0].tolist() == [1, 1, 1, 0]
    assert planes[:, 0, 0, 0, 1].tolist() == [0, 0, 0, 1]
    (layer,) = document(bnnkit, "w.npy", "--encode", "offset")["layers"]
    assert layer["encoding"] == "offset"


def test_the_table(bnnkit: Command) -> None:
    np.savez("w.npz", first=np.full((6, 5), 3), second=np.full((4, 6), -3), bias=np.ones(4), scale=np.array(0.5))
    code, out, err = bnnkit("decompose", "w.npz", "--no-verify")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "w.npz"
    rows = {line.split()[0]: line.split() for line in lines[3:6]}
    assert rows["first"][1:8] == ["6x5", "unsigned", "4", "4", "5x24", "1x1", "1"]
    assert rows["second"][1:9] == ["4x6", "offset", "7", "4", "4", "6x16", "1x1", "1"]
    assert rows["total"] == ["total", "-", "-", "2", "-", "-", "240", "32,768", "40"]
    assert "bias (shape [4]; " in out and "scale (float64, value 0.5; " in out
    assert "dummy column per slice" in out
    assert lines[-1] == "not verified"
    assert bnnkit("decompose", "w.npz")[1].splitlines()[-1].startswith("verified: ")


def test_a_failed_verification_is_an_error(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("w.npy", [[7, 8]])
    monkeypatch.setattr(decompose.Unsigned, "merge", lambda self, plus, minus: plus.int().sum(0))
    code, out, err = bnnkit("decompose", "w.npy", "-o", "p.npz")
    assert (code, out) == (1, "")
    assert err.startswith("error: w: 2 of 2 weights differ when their planes are merged: [0, 0] is 3 instead of 7")
    assert not Path("p.npz").exists()
    assert bnnkit("decompose", "w.npy", "--no-verify")[0] == 0


def test_a_network_keeps_its_bits_and_arrays(bnnkit: Command) -> None:
    torch.manual_seed(1)
    options = {"ao_bit": 2, "w_bit": 1.5, "adc_bit": 2, "rows": 64}
    model = create_model("res20", width=1, in_shape=(3, 16, 16), **options)
    checkpoint.save("net.safetensors", model)
    found = document(bnnkit, "net.safetensors", "-o", "p.npz")
    shown = json.loads(
        bnnkit(
            *("models", "show", "res20", "--width", "1", "--input", "3x16x16"),
            *("--ao-bit", "2", "--w-bit", "1.5", "--adc-bit", "2", "--rows", "64", "--json"),
        )[1]
    )["layers"]
    shown = {layer["name"]: layer for layer in shown if layer["w_bit"] == 1.5}
    assert [layer["name"] for layer in found["layers"]] == list(shown)
    for layer in found["layers"]:
        expected = shown[layer["name"]]
        assert (layer["w_bit"], layer["rows"], layer["mapping"]) == (2, 64, "channel")
        assert layer["row_blocks"] == expected["arrays"]
        # Two slices, two bits of input, each converted on its own; `models show` counts one conversion for all.
        assert layer["adc_conversions_per_image"] == 4 * expected["adc_conversions"]
    assert "in full precision" in {entry["reason"] for entry in found["skipped"]}
    name = found["layers"][0]["name"]
    layer = model.get_submodule(name)
    with np.load("p.npz") as archive:
        codes = archive[name][0].astype(int) + 2 * archive[name][1]
    assert np.array_equal(codes - 1, torch.sign(layer.weight_quantizer(layer.weight)).int().numpy())
    code, _out, err = bnnkit("decompose", "net.safetensors", "--w-bit", "4")
    assert (code, f"{name}: weights of 2 bits" in err) == (4, True)
    code, _out, err = bnnkit("decompose", "net.safetensors", "--encode", "offset")
    assert (code, "never negative" in err) == (2, True)


def test_without_arguments_the_packaged_sample(bnnkit: Command) -> None:
    code, out, err = bnnkit("decompose", "--json")
    assert (code, json.loads(out)["source"]) == (0, str(deploy.SAMPLE))
    assert "sample network" in err


def test_a_picture_of_the_chosen_layer(bnnkit: Command) -> None:
    np.savez("w.npz", small=np.eye(3), large=np.ones((40, 40)))
    document(bnnkit, "w.npz", "--picture", "a.png")
    document(bnnkit, "w.npz", "--picture", "b.png", "--layer", "large")
    document(bnnkit, "w.npz", "--picture", "c.png", "--layer", "small")
    pixels = []
    for name in ("a.png", "b.png", "c.png"):
        with Image.open(name) as image:
            assert image.format == "PNG"
            pixels.append(np.asarray(image.convert("L")).astype(int))
    assert pixels[0].shape == pixels[1].shape == pixels[2].shape
    # Letters may move by a fraction of a pixel from one drawing to the next.
    assert np.abs(pixels[0] - pixels[1]).mean() < 0.1 < 10 < np.abs(pixels[0] - pixels[2]).mean()
    code, _out, err = bnnkit("decompose", "w.npz", "--picture", "a.png", "--layer", "smal")
    assert (code, err.splitlines()[1]) == (2, "hint: did you mean 'small'?")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no.npy"], 3, "no.npy: does not exist"),
        (["no.safetensors"], 3, "no.safetensors: does not exist"),
        (["nothing"], 3, "'nothing': neither a checkpoint file, nor a run"),
        (["text.npy"], 4, "text.npy: corrupt, or not a .npy file"),
        (["text.safetensors"], 4, "text.safetensors: corrupt"),
        (["text.txt"], 4, "text.txt: '.txt' is no kind of tensor file"),
        (["half.npy"], 4, "half.npy: float64, value 0.5 at [0, 1]; integers"),
        (["w.npy", "--w-bit", "2"], 2, "w: codes 1 to 9; 0 to 3 fit 2 bits"),
        (["w.npy", "--encode", "twos"], 2, "w: slicing: weights 1 to 9; -8 to 7 fit 4 bits in encoding twos"),
        (["w.npy", "--encode", "gray"], 2, "encoding 'gray'; one of offset, differential, twos was needed"),
        (["w.npy", "--mapping", "row"], 2, "mapping 'row' is unknown"),
        (["w.npy", "--cols", "2"], 2, "w: array: 2 bit lines; one weight needs 4"),
        (["w.npy", "-o", "p.txt"], 2, "p.txt: '.txt' cannot be written"),
        (["w.npy", "-o", "no/p.npz"], 2, "its folder does not exist"),
        (["w.npy", "-o", "w.npy"], 2, "w.npy: is the file to be read"),
        (["w.npy", "--picture", "p.jpg"], 2, "p.jpg: '.jpg' cannot be written"),
        (["w.npy", "--layer", "w"], 2, "--layer w: chooses what --picture draws"),
    ],
)
def test_refusals(bnnkit: Command, arguments: list[str], code: int, message: str) -> None:
    np.save("w.npy", [[1, 9]])
    np.save("half.npy", [[1, 0.5]])
    for name in ("text.npy", "text.safetensors", "text.txt"):
        Path(name).write_text("hello\n")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    got, out, err = bnnkit("decompose", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith("error: ") and message in err and "\nhint: " in err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
