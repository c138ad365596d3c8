"""`bnnkit eval` and `bnnkit calibrate` of bit-serial networks: what chips make of them, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnnkit import checkpoint, ops
from bnnkit.errors import MissingError
from bnnkit.models import create_model
from bnnkit_cli import main as cli
from bnnkit_cli import output

TRAINING = ["--dataset=digits", "--width=1", "--epochs=1", "--limit=200", "--threads=1"]
FEW = ["--limit=10", "--calibration-images=4"]
FEWEST = ["--limit=2", "--cell-bit=4"]
"""One slice per weight is the fastest chip."""
FULL = ["--cell-bit=4", "--adc-range=full"]
METADATA = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run of vgg7, or a skip without compiled code."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("trained")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNNKIT_DATA", str(folder / "data"))
        assert cli.main(["-q", "train", "vgg7", *TRAINING, "--runs-dir", str(folder / "runs")]) == 0
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(autouse=True)
def clean(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in a folder of its own that holds the trained run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))
    yield
    output.configure()


def document(result: tuple[int, str, str], command: str = "eval") -> dict[str, Any]:
    code, out, err = result
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == f"bnnkit.{command}/1"
    return found


def _binary_network() -> str:
    checkpoint.save("mlp.safetensors", create_model("mlp", width=1, in_shape=(1, 8, 8)), metadata=METADATA)
    return "mlp.safetensors"


def test_without_chip_options_a_network_is_evaluated_in_software(bnnkit: Command) -> None:
    found = document(bnnkit("eval", "--limit", "100", "--json"))
    assert "software" not in found
    (row,) = found["results"]
    assert row["adc_bit"] == "fp" and row["total"] == 100
    assert row["correct"] > 20, "it has learned something"


def test_the_table(bnnkit: Command) -> None:
    code, out, _err = bnnkit("eval", "vgg7", "--cell-bit", "1,2", "--adc-bit", "4,6", *FEW)
    assert code == 0
    lines = out.splitlines()
    assert "vgg7 width 1, activations 4, weights 4, ADC fp, on digits" in lines[0]
    assert lines[1].split()[:4] == ["cells", "bits", "ADC", "test"]
    assert [line.split()[:3] for line in lines[3:8]] == [
        ["software", "-", "-"],
        ["ideal", "1", "4"],
        ["ideal", "1", "6"],
        ["ideal", "2", "4"],
        ["ideal", "2", "6"],
    ]
    assert "/10 " in out
    assert "limited: 10 of 360 test images" in out
    assert "not comparable with MNIST" in out
    assert "arrays: 128 rows, mapping tap, encoding offset; ranges: mse" in out


def test_json_and_picture(bnnkit: Command) -> None:
    arguments = ["--cell-bit", "2,4", "--adc-bit", "3,fp", "--encode", "twos", "--rows", "64", *FEW, "--picture"]
    result = bnnkit("eval", *arguments, "chips.png", "--json")
    assert Path("chips.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert "picture: chips.png" in result[2]
    found = document(result)
    assert found["limited"] and found["adc_range"] == "mse" and found["invariance"] == []
    assert found["cells"]["ideal"]["lrs"] == 166
    rows = found["results"]
    assert [(row["cell_bit"], row["adc_bit"]) for row in rows] == [(2, 3), (2, "fp"), (4, 3), (4, "fp")]
    for row in rows:
        assert (row["cell"], row["encoding"], row["rows"], row["mapping"]) == ("ideal", "twos", 64, "tap")
        assert row["total"] == found["software"]["total"] == 10
        assert row["accuracy"] == pytest.approx(100 * row["correct"] / 10)
        assert row["spread"] is None and len(row["chips"]) == 1
        if row["adc_bit"] == "fp":
            assert row["clipped"] is None
            assert row["correct"] == found["software"]["correct"], "exact partial sums"
        else:
            assert 0 < row["clipped"] < 0.05
    # Slices of 2, 1 and 1 bits against 3 and 1.
    assert rows[0]["conversions_per_image"] * 2 == rows[2]["conversions_per_image"] * 3
    (row,) = document(bnnkit("eval", "--limit", "10", "--json"))["results"]
    assert {name: found["software"][name] for name in ("correct", "total", "wilson95")} == {
        name: row[name] for name in ("correct", "total", "wilson95")
    }


def test_conversions_by_hand(bnnkit: Command) -> None:
    (row,) = document(bnnkit("eval", *FEWEST, "--adc-bit", "fp", "--json"))["results"]
    # Pixels x (arrays of 9 taps) x output channels; 4 input bits, one slice.
    convolutions = 1024 * 9 * 32 + 256 * 9 * (64 + 64) + 64 * 9 * (128 + 128)
    linear = 2048 // 128 * 256 + 256 // 128 * 10
    assert row["conversions_per_image"] == 4 * (convolutions + linear)


def test_several_cells_and_chips(bnnkit: Command) -> None:
    cells = ["--cell", "rram:sigma=0.3", "--cell", "ideal", "--adc-bit", "8", "--adc-range", "full"]
    arguments = ["eval", "--limit=40", "--cell-bit=4", *cells, "--chips", "3", "--seed", "5"]
    found = document(bnnkit(*arguments, "--json"))
    noisy, ideal = found["results"]
    assert (noisy["cell"], ideal["cell"]) == ("rram:sigma=0.3", "ideal")
    assert found["cells"]["rram:sigma=0.3"]["sigma"] == 0.3
    assert len(noisy["chips"]) == len(ideal["chips"]) == 3
    assert noisy["spread"] > 0 and ideal["spread"] == 0
    accuracies = [chip["accuracy"] for chip in noisy["chips"]]
    assert noisy["accuracy"] == pytest.approx(np.mean(accuracies))
    assert noisy["spread"] == pytest.approx(np.std(accuracies, ddof=1))
    assert noisy["clipped"] is None, "there is no calibration to clip"
    # The second chip of three is the first one of its own seed.
    again = document(bnnkit(*arguments[:-3], "1", "--seed", "6", "--json"))["results"]
    assert again[0]["chips"] == noisy["chips"][1:2]
    code, out, _err = bnnkit(*arguments)
    assert code == 0 and "(std of 3 chips)" in out


def test_measured_cells_are_named_with_their_digest(bnnkit: Command) -> None:
    np.save("measured.npy", np.array([[1.0, 1.5], [160.0, 166.0]]))
    cell = "rram:samples=measured.npy"
    arguments = ["eval", "--limit=2", "--adc-range=full", "--cell", cell]
    found = document(bnnkit(*arguments, "--json"))
    assert found["samples"] == {"measured.npy": hashlib.sha256(Path("measured.npy").read_bytes()).hexdigest()}
    code, out, err = bnnkit(*arguments, "--cell-bit", "2")
    assert (code, out) == (4, "")
    assert "measured.npy: 2 levels; 4 were needed for 2-bit cells" in err
    Path("measured.npy").write_bytes(b"")
    assert bnnkit(*arguments)[0] == 4
    Path("measured.npy").unlink()
    assert bnnkit(*arguments)[0] == 3


def test_check_invariance(bnnkit: Command) -> None:
    arguments = ["--check-invariance", "--adc-bit", "4", "--adc-range", "full"]
    code, out, err = bnnkit("eval", *FEWEST, *arguments)
    assert code == 0, err
    for setting in ("batch 1", "batch 7", "batch 256", "threads 2", "variant reference", "backend reference"):
        assert any(line.startswith(setting) and " yes " in line for line in out.splitlines())
    assert "on the first kind of chip" in out


def test_check_invariance_fails_where_logits_differ(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnnkit.nn import ProgrammedLayer

    whole = ProgrammedLayer.__call__

    def depends_on_batch(self: ProgrammedLayer, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * (-1 if len(x) == 1 else 1)

    monkeypatch.setattr(ProgrammedLayer, "__call__", depends_on_batch)
    code, out, err = bnnkit("eval", *FEWEST, "--check-invariance", "--adc-bit", "fp")
    assert code == 1
    assert "error: --check-invariance: logits differ (batch 1: first in layer 'features.1." in err
    assert any(line.startswith("batch 1 ") and " no " in line for line in out.splitlines())


def test_a_calibration_holds_for_its_arrays(bnnkit: Command) -> None:
    chip = ["--cell-bit", "3", "--adc-bit", "4"]
    code, out, _err = bnnkit("calibrate", "vgg7", "-o", "ranges.json", "--images", "4", *chip)
    assert code == 0
    assert "4 training images of digits, mse per slice, 4-bit converters" in out
    assert "written: ranges.json" in out
    assert [line.split()[0] for line in out.splitlines()[3:5]] == ["features.1.conv", "1"]
    saved = json.loads(Path("ranges.json").read_text())
    assert (saved["format"], saved["method"], saved["scope"]) == ("bnnkit.calibration", "mse", "slice")
    assert saved["arrays"]["cell_bit"] == 3
    from_file = document(bnnkit("eval", "--limit=10", *chip, "--adc-range", "ranges.json", "--json"))
    chosen = document(bnnkit("eval", *FEW, *chip, "--json"))
    assert from_file["adc_range"] == "ranges.json"
    for found, same in zip(from_file["results"], chosen["results"], strict=True):
        names = ("correct", "clipped", "conversions_per_image")
        assert {name: found[name] for name in names} == {name: same[name] for name in names}
    for changes, text in ((["--rows", "64"], "rows 128 instead of 64"), (["--encode", "twos"], "encoding offset")):
        code, out, err = bnnkit("eval", "--limit=10", *chip, "--adc-range", "ranges.json", *changes)
        assert (code, out) == (4, "")
        assert "calibration: made for other arrays" in err and text in err
        assert "hint: bnnkit calibrate" in err
    Path("ranges.json").write_text("{}")
    code, _out, err = bnnkit("eval", "--limit=10", *chip, "--adc-range", "ranges.json")
    assert code == 4 and "ranges.json: not a calibration file" in err


def test_calibration_as_json(bnnkit: Command) -> None:
    options = ["--images=2", "--cell-bit=4", "--per=input-bit", "--method=percentile:99"]
    found = document(bnnkit("calibrate", *options, "-o", "a.json", "--json"), "calibrate")
    assert (found["file"], found["method"], found["scope"], found["adc_bit"]) == (
        "a.json", "percentile:99", "input-bit", 6,
    )  # fmt: skip
    saved = json.loads(Path("a.json").read_text())
    assert saved["layers"] == found["layers"]
    assert list(found["layers"]) == [*(f"features.{i}.conv" for i in range(1, 6)), "hidden", "classifier"]
    assert np.shape(found["layers"]["hidden"]["low"]) == (4, 1, 1)


def test_ranges_of_the_batch_are_warned_about(bnnkit: Command) -> None:
    code, out, err = bnnkit("eval", *FEWEST, "--adc-range", "batch")
    assert code == 0
    assert "warning: --adc-range batch: results depend on the batch" in err
    assert "ranges: batch" in out
    _code, _out, err = bnnkit("eval", *FEWEST, "--adc-range", "full")
    assert "warning" not in err


def test_the_gate_names_every_chip_that_fails(bnnkit: Command) -> None:
    arguments = ["eval", *FEWEST, "--adc-range", "full", "--adc-bit", "1,fp", "--min-acc"]
    code, out, err = bnnkit(*arguments, "100.5")
    assert code == 1
    assert "(ideal, ADC 1), " in err and "(ideal, ADC fp); at least 100.5 % was demanded" in err
    assert "software" in out
    assert bnnkit(*arguments, "0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["--adc-range", "nonsense"], 2, "calibration 'nonsense'; max, percentile:P, mse or sigma:K", "use mse"),
        (["--adc-range", "none.json"], 3, "none.json: does not exist; a calibration was needed", "bnnkit calibrate"),
        (["--cell", "nonsense"], 2, "unknown cell 'nonsense'", "known: ideal, pcm, rram"),
        (["--cell", "rramm"], 2, "unknown cell 'rramm'", "did you mean 'rram'?"),
        (["--cell", "rram:sgima=1"], 2, "cell: 'sgima=1' in 'rram:sgima=1'", "rram:sigma=0.05"),
        (["--cell", "rram:sigma=x"], 2, "cell: sigma 'x'; a number was needed", "sigma=0.1"),
        (["--cell-bit", "9"], 2, "--cell-bit '9': 1 to 4 bits were needed", "--cell-bit 1,2"),
        (["--cell-bit", "1,x"], 2, "--cell-bit 'x'", "--cell-bit 1,2"),
        (["--adc-bit", "12"], 2, "adc bits: '12'; 1 to 8 or fp was needed", "--adc-bit 6"),
        (["--adc-bit", "4,"], 2, "adc bits: ''", "--adc-bit 6"),
        (["--encode", "plain"], 2, "encoding 'plain'; one of offset, differential, twos", "--encode offset"),
        (["--mapping", "row"], 2, "mapping 'row' is unknown", "use"),
        (["--rows", "0", "--cell-bit", "1"], 2, "0 rows", "128"),
        pytest.param(["--rows", "0"], 2, "0 rows", "128"),
        (["--channels-per-array", "3", "--cell-bit", "1"], 2, "channels_per_array 3 has no meaning", "leave"),
        pytest.param(["--channels-per-array", "3"], 2, "3 has no meaning with mapping tap", "leave"),
        (["--adc-offset", "-1"], 2, "adc_offset -1.0; 0 or more was needed", "leave it out"),
        (["--chips", "-1"], 2, "--chips -1: at least 1 was needed", "leave --chips out"),
        pytest.param(["--chips", "0", *FULL], 2, "--chips 0: at least 1", "leave --chips out"),
        pytest.param(["--calibration-images", "0", "--cell-bit", "4"], 2, "0 images", "use 128"),
        (["--calibration-images", "9999"], 2, "9999 images; 1 to 1437 training images were needed", "use 128"),
        (["--per", "row", *FEW], 2, "per 'row'; one of layer, slice, input-bit, column", "slice"),
        (
            ["--cell-bit", "1", "--logits", "a.npy"],
            2,
            "--compare, --logits and --device cuda have no place",
            "leave them out",
        ),
        (
            ["--cell-bit", "1", "--compare", "latest"],
            2,
            "--compare, --logits and --device cuda have no place",
            "leave them out",
        ),
        (["--cell-bit", "1", "--backend", "cuda"], 2, "backend: 'cuda' is unknown", "use auto"),
        (["--cell", "rram:read=0.1", "--backend", "reference", "--adc-range", "full"], 2, "read noise needs", "auto"),
        (["--cell-bit", "1", "--w-bit", "2"], 4, "w_bit is 4, needed 2", "give the checkpoint of that network"),
    ],
)
def test_errors(bnnkit: Command, arguments: list[str], code: int, error: str, hint: str) -> None:
    got, out, err = bnnkit("eval", "--limit=2", *arguments)
    assert (got, out) == (code, ""), err
    assert "error: " in err and error in err
    assert hint in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["--method", "nonsense"], 2, "calibration 'nonsense'", "use mse"),
        (["--per", "row", "--images=1", "--cell-bit=4"], 2, "per 'row'; one of layer, slice", "slice"),
        (["--images", "0"], 2, "calibration: 0 images; 1 to 1437 training images were needed", "use 128"),
        (["--adc-bit", "9"], 2, "chip: 9-bit converters; 1 to 8 bits or fp were needed", "--adc-bit 6"),
        (["--cell-bit", "9"], 2, "9-bit cells; 1 to 4 bits were needed", "--cell-bit 1"),
        (["--cell", "nonsense"], 2, "unknown cell 'nonsense'", "known: ideal"),
        (["none.safetensors"], 3, "none.safetensors: does not exist", "ls ."),
    ],
)
def test_errors_of_calibrate(bnnkit: Command, arguments: list[str], code: int, error: str, hint: str) -> None:
    got, out, err = bnnkit("calibrate", *arguments)
    assert (got, out) == (code, ""), err
    assert "error: " in err and error in err
    assert hint in err.splitlines()[-1]
    assert not Path("calibration.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--cell-bit", "1"],
        ["--cell", "ideal"],
        ["--encode", "offset"],
        ["--adc-range", "mse"],
        ["--per", "slice"],
        ["--calibration-images", "4"],
        ["--adc-offset", "0.1"],
        ["--adc-gain", "0.1"],
        ["--chips", "2"],
        ["--seed", "1"],
        ["--picture", "a.png"],
    ],
    ids=lambda options: options[0],
)
def test_chips_are_for_bit_serial_networks(bnnkit: Command, options: list[str]) -> None:
    # A checkpoint, and the packaged sample where there is no run.
    for subject in ([_binary_network()], ["--runs-dir", "none"]):
        code, out, err = bnnkit("eval", *subject, "--limit=2", *options)
        assert (code, out) == (2, ""), err
        assert f"error: eval: {options[0]} is for bit-serial networks; " in err
        assert err.splitlines()[-1] == f"hint: leave {options[0]} out"
    assert not Path("a.png").exists()


def test_networks_without_low_bit_layers_cannot_be_calibrated(bnnkit: Command) -> None:
    code, out, err = bnnkit("calibrate", _binary_network())
    assert (code, out) == (2, "")
    assert "error: calibrate: mlp has no bit-serial layers; some were needed" in err
    assert err.splitlines()[-1] == "hint: bnnkit train vgg7"
    plain = create_model("vgg7", width=1, in_shape=(1, 8, 8), ao_bit="fp", w_bit="fp")
    checkpoint.save("plain.safetensors", plain, metadata=METADATA)
    assert bnnkit("calibrate", "plain.safetensors")[0] == 2
    assert bnnkit("eval", "plain.safetensors", "--adc-bit", "4", "--limit=2", "--adc-range", "full")[0] == 2
    assert not Path("calibration.json").exists()


def test_converters_have_no_place_in_the_training_of_bit_serial_networks(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "vgg7", "--adc-bit", "4", *TRAINING)
    assert (code, out) == (2, "")
    assert "error: model vgg7: adc bits 4; it is trained without converters" in err
    assert err.splitlines()[-1] == "hint: give --adc-bit to bnnkit eval"


def test_weight_quantizers_are_for_bit_serial_networks(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "mlp", "--weight-quant", "sawb", *TRAINING)
    assert (code, out) == (2, "")
    assert "error: model mlp: weight quantizer 'sawb'; it has none, its bits decide" in err
    code, _out, err = bnnkit("train", "vgg7", "--weight-quant", "lsq", *TRAINING)
    assert code == 2 and "weight quantizer 'lsq'; it has sawb, dorefa" in err
    code, _out, err = bnnkit("train", "vgg7", "--w-bit", "1", *TRAINING)
    assert code == 2 and "'1'" in err


def test_models_show(bnnkit: Command) -> None:
    code, out, err = bnnkit("models", "show", "vgg7", "--width", "1", "--ao-bit", "3", "--w-bit", "5")
    assert code == 0, err
    assert "features.0.conv" in out and "BitSerialConv2d" in out and "3/5/fp" in out
    found = document(bnnkit("models", "show", "vgg7", "--json"), "models-show")
    weights = [layer["weight"] for layer in found["layers"]]
    assert weights == [
        [128, 3, 3, 3], [128, 128, 3, 3], [256, 128, 3, 3], [256, 256, 3, 3], [512, 256, 3, 3], [512, 512, 3, 3],
        [1024, 8192], [10, 1024],
    ]  # fmt: skip
    assert found["layers"][0]["ao_bit"] == "fp"
    assert {layer["ao_bit"] for layer in found["layers"][1:]} == {layer["w_bit"] for layer in found["layers"]} == {4}
    quantized = 3 * 128 * 9 + 9 * (128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2) + 8192 * 1024 + 1024 * 10
    assert found["totals"]["parameters_by_bits"]["4"] == quantized
