"""`bnnkit models`: the figures of known networks, and the errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["rs20"], "unknown model 'rs20'", "did you mean 'res20'?"),
        (["mlp", "--input", "28x28"], "--input: '28x28' is not an image shape; CxHxW was needed", "3x32x32"),
        (["res20", "--rows", "8"], "array: 1 channels of a 3x3 kernel need 9 rows; the array has 8", "more rows"),
        (["res20", "--w-bit", "7.5"], "7.5", ""),
        (["res20", "--mapping", "row"], "mapping 'row' is unknown", "channel"),
    ],
)
def test_wrong_options_are_usage_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    assert main(["models", "show", *arguments]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    first, second = streams.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second
