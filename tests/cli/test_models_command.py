"""`bnnkit models`: the figures of known networks, trained ones, and the errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnnkit import checkpoint, deploy
from bnnkit.models import MODELS, create_model
from bnnkit_cli.main import main


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["models", "show", *arguments, "--json"]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    document: dict[str, Any] = json.loads(streams.out)
    assert document["schema"] == "bnnkit.models-show/1"
    return document


def test_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "bnnkit.models-list/1"
    assert {"mlp", "vgg9", "res18", "res20"} <= {model["name"] for model in document["models"]}
    assert main(["models", "list"]) == 0
    assert "res20" in capsys.readouterr().out


def test_res20_has_the_published_size(capsys: pytest.CaptureFixture[str]) -> None:
    document = shown(capsys, "res20")
    totals = document["totals"]
    assert round(totals["parameters"] / 1e6, 2) == 6.76
    assert round(totals["macs"] / 1e9, 2) == 1.01
    assert sum(totals["parameters_by_bits"].values()) == totals["parameters"]
    assert totals["arrays"] == sum(layer["arrays"] for layer in document["layers"])
    first = document["layers"][1]
    assert first["weight"] == [80, 80, 3, 3]
    assert first["output"] == [80, 32, 32]
    assert first["arrays"] == 6  # 14 channels of 9 taps on 128 rows: 80 = 5 * 14 + 10
    assert first["adc_conversions"] == 6 * 80 * 32 * 32
    assert first["macs"] == 80 * 80 * 9 * 32 * 32


def test_mlp_figures_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    document = shown(capsys, "mlp", "--w-bit", "1.5")
    hidden = 784 * 512 + 2 * 512 * 512
    everything = hidden + 3 * 512 + (512 * 10 + 10) + 3 * 2 * 512
    totals = document["totals"]
    assert totals["parameters_by_bits"] == {"1.5": hidden, "fp": everything - hidden}
    assert totals["bytes"] == hidden * 2 // 8 + 4 * (everything - hidden)  # ternary weights are two planes
    assert totals["macs"] == hidden + 5120
    assert totals["arrays"] == 7 + 4 + 4
    assert totals["adc_conversions"] == 15 * 512


@pytest.mark.parametrize("name", tuple(MODELS))
def test_every_network_can_be_shown(capsys: pytest.CaptureFixture[str], name: str) -> None:
    document = shown(capsys, name, "--width", "1")
    layers, totals = document["layers"], document["totals"]
    assert document["checkpoint"] is None
    assert len({layer["name"] for layer in layers}) == len(layers)
    assert sum(totals["parameters_by_bits"].values()) == totals["parameters"]
    assert totals["macs"] == sum(layer["macs"] for layer in layers)
    assert layers[0]["macs"] > 0 and layers[-1]["output"] == [10]


@pytest.mark.parametrize("name", ["fracbnn20", "reactnet18", "res20"])
def test_the_size_is_that_of_the_packed_network(capsys: pytest.CaptureFixture[str], name: str) -> None:
    totals = shown(capsys, name, "--width", "1")["totals"]
    packed = deploy.pack_model(create_model(name, width=1), (0.5,) * 3, (0.25,) * 3)
    # A scaled stem is packed without its gains.
    assert 0 <= totals["bytes"] - packed.needed_bits // 8 <= 4 * 16


def test_low_and_high_bits_of_gated_layers_are_converted_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    document = shown(capsys, "fracbnn20", "--adc-bit", "2", "--rows", "64")
    layer = document["layers"][1]
    assert (layer["ao_bit"], layer["w_bit"], layer["adc_bit"]) == (2, 1, 2)
    assert layer["arrays"] == 3  # 7 channels of 9 taps on 64 rows: 16 = 7 + 7 + 2
    assert layer["adc_conversions"] == 2 * 3 * 16 * 32 * 32
    assert document["totals"]["parameters_by_bits"]["1"] == 281_088


def test_values_through_binary_weights_need_no_converter(capsys: pytest.CaptureFixture[str]) -> None:
    document = shown(capsys, "reactnet18", "--width", "1", "--adc-bit", "1")
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert layers["stages.0.0.conv"]["adc_conversions"] == 2 * 16 * 32 * 32
    assert layers["stages.1.0.shortcut_conv"]["ao_bit"] == "fp"
    assert layers["stages.1.0.shortcut_conv"]["adc_conversions"] == 0


def test_options_change_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tap = shown(capsys, "res20", "--width", "1", "--mapping", "tap", "--rows", "64")
    assert tap["layers"][1]["arrays"] == 9
    none = shown(capsys, "res20", "--width", "1", "--adc-bit", "fp")
    assert none["totals"]["adc_conversions"] == 0
    small = shown(capsys, "vgg9", "--width", "1", "--input", "1x16x16", "--classes", "3")
    assert small["layers"][-1]["output"] == [3]


def test_the_table_holds_every_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "res20", "--width", "1"]) == 0
    printed = capsys.readouterr().out
    names = [layer["name"] for layer in shown(capsys, "res20", "--width", "1")["layers"]]
    assert all(f"\n{name} " in printed for name in [*names, "total"])
    assert "types: CimConv2d, Conv2d (stem, stages.1.0.shortcut.conv, " in printed
    assert "arrays: as many" in printed


def test_columns_about_converters_are_left_out_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "fracbnn20"]) == 0
    printed = capsys.readouterr().out
    assert "arrays" not in printed and "conversions" not in printed
    assert "size with packed weights: 59.4 kB" in printed


def test_a_trained_network_and_its_packed_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved, packed = tmp_path / "net.safetensors", tmp_path / "net.packed.safetensors"
    model = create_model("mlp", width=1, in_shape=(1, 8, 8), adc_bit=2)
    checkpoint.save(saved, model)
    deploy.save(deploy.pack_model(model, (0.5,), (0.25,)), packed)
    fresh = shown(capsys, "mlp", "--width", "1", "--input", "1x8x8", "--adc-bit", "2")
    for file in (saved, packed):
        document = shown(capsys, str(file))
        assert document["checkpoint"] == str(file)
        assert (document["layers"], document["totals"]) == (fresh["layers"], fresh["totals"])
        other = shown(capsys, str(file), "--rows", "32", "--adc-bit", "1")
        assert other["totals"]["arrays"] == 2 + 4 + 4
        assert other["layers"][0]["adc_bit"] == 1
    assert main(["models", "show", str(saved)]) == 0
    assert capsys.readouterr().out.startswith(f"{saved}: mlp, input 1x8x8\n")


@pytest.mark.parametrize("option", ["--w-bit", "--ao-bit", "--width", "--classes", "--input"])
def test_options_of_weights_cannot_change_on_a_trained_network(capsys: pytest.CaptureFixture[str], option: str) -> None:
    value = "3x8x8" if option == "--input" else "2"
    assert main(["models", "show", str(deploy.SAMPLE), option, value]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {option}: ") and "is trained" in first
    assert second.startswith("hint: ") and "--adc-bit" in second


def test_help_needs_no_torch() -> None:
    code = """
import sys
from bnnkit_cli.main import main
assert main(["models", "show", "--help"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--energy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["rs20"], 3, "'rs20': neither a checkpoint file, nor a run in ", "did you mean 'res20'?"),
        (["net.safetensors"], 3, "net.safetensors: does not exist", ""),
        (["mlp", "--input", "28x28"], 2, "--input: '28x28' is not an image shape; CxHxW was needed", "3x32x32"),
        (["res20", "--rows", "8"], 2, "array: 1 channels of a 3x3 kernel need 9 rows; the array has 8", "more rows"),
        (["res20", "--w-bit", "7.5"], 2, "7.5", ""),
        (["res20", "--mapping", "row"], 2, "mapping 'row' is unknown", "channel"),
        (["mlp", "--energy", "a.toml"], 2, "--energy a.toml: changes what --ops shows", "--ops"),
    ],
)
def test_wrong_options_are_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str, hint: str
) -> None:
    assert main(["models", "show", *arguments]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    first, second = streams.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second
