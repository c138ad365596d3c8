"""`bnnkit inject`: tables, documents, run directories, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from bnnkit import checkpoint, deploy, faults, runs
from bnnkit.faults import picture
from bnnkit.models import create_model
from bnnkit_cli.main import COMMANDS

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the picture, which takes longer than the rest."""
    monkeypatch.setattr(picture, "draw", lambda *arguments: None)


def document(bnnkit: Command, *arguments: str) -> dict[str, Any]:
    code, out, err = bnnkit("inject", *arguments, "--json")
    assert code == 0, err
    found = dict(json.loads(out))
    assert found["schema"] == "bnnkit.inject/1"
    return found


def rows(found: dict[str, Any], table: int = 0) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in (found["golden"], *found["tables"][table]["rows"])}


def test_as_a_person_types_it(bnnkit: Command) -> None:
    code, out, err = bnnkit("inject", "--bit", "6", "--repair", "msb")
    assert code == 0
    title, what, header, _line, *rest = out.splitlines()
    assert title.startswith(f"{deploy.SAMPLE}: mlp") and title.endswith("on digits")
    assert what == "bit 6 of every pixel replaced by a random bit"
    assert header.split()[0] == "images"
    golden, faulty, repaired = (line.split() for line in rest[:3])
    assert golden[:2] == ["golden", "-"] and golden[-4].endswith("/360") and golden[-3:] == ["-", "-", "-"]
    assert faulty[:2] == ["faulty", "3"] and faulty[-4].endswith("/1,080") and faulty[-3].startswith("-")
    assert repaired[:3] == ["repair", "msb", "-"] and repaired[-4].endswith("/360") and repaired[-1] == "1/1"
    assert rest[3].startswith("faulty bits per map: 23,040; 23,040 expected; 50.")
    run = runs.resolve("latest", command="inject")
    assert out.endswith(f"run: {run.path}\n") and f"picture: {run.path / 'images.png'}\n" in out
    assert err.splitlines() == ["no run in runs: the sample network of the package", f"run {run.path}"]


def test_the_sites_as_a_document(bnnkit: Command) -> None:
    code, out, _err = bnnkit("inject", "--sites", "--json")
    assert code == 0
    assert {"input", "weight", "adc", "line"} <= {site["site"] for site in json.loads(out)["sites"]}


def test_the_run_directory(bnnkit: Command) -> None:
    found = document(
        bnnkit, "--bit", "5,6", "--repair", "neighbor,msb", "--limit", "40", "--rate", "0.5", "--seed", "9"
    )
    run = runs.Run(Path(found["run"]))
    assert run.path.parent == Path("runs/inject") and run.name.startswith("mlp-bit5.6-random-")
    names = ["config.toml", "golden.npy", "images.png", "metrics.jsonl", "results.json", "stamp.json"]
    assert sorted(path.name for path in run.path.iterdir()) == names
    del found["schema"]
    assert run.read_json("results.json") == found
    text = run.config.read_text()
    for line in (
        'bit = ["5", "6"] ',
        'repair = ["neighbor", "msb"] ',
        'rate = "0.5" ',
        'repeats = "3" ',
        "seed = 9 ",
        "limit = 40 ",
    ):
        assert f"\n{line}" in text
    stamp = run.read_json("stamp.json")
    assert (stamp["seed"], stamp["dataset"]["name"], stamp["checkpoint"]["path"]) == (9, "digits", str(deploy.SAMPLE))
    assert stamp["checkpoint"]["sha256"] == runs.file_digest(deploy.SAMPLE) and stamp["wall_seconds"] > 0
    metrics = run.read_metrics()
    assert len(metrics) == 1 + 3 * 2 * 3
    table = "bit 5 of 50 % of all pixels replaced by a random bit"
    assert [(entry["table"], entry["row"], entry["map"]) for entry in metrics[:4]] == [
        (None, "golden", 0),
        (table, "faulty", 0),
        (table, "repair neighbor", 0),
        (table, "repair msb", 0),
    ]
    with Image.open(run.path / "images.png") as image:
        assert image.format == "PNG"


@pytest.mark.usefixtures("undrawn")
def test_the_document(bnnkit: Command) -> None:
    found = document(bnnkit, "--bit", "6", "--bit", "5", "--repair", "neighbor:+1", "--repeats", "2", "--limit", "100")
    assert (found["limited"], found["images"], found["of_images"], found["backend"]) == (True, 100, 360, "packed")
    assert (found["finished"], found["evaluations"], found["repeats"]) == (True, [7, 7], 2)
    assert [table["table"][:5] for table in found["tables"]] == ["bit 6", "bit 5"]
    for table in (0, 1):
        named = rows(found, table)
        assert list(named) == ["golden", "faulty", "repair neighbor:+1"]
        faulty = named["faulty"]
        assert [entry["map"] for entry in faulty["maps"]] == [0, 1]
        for entry in faulty["maps"]:
            counts = ("total", "faulty_bits", "expected_faulty_bits")
            assert tuple(entry[key] for key in counts) == (100, 6400, 6400)
            low, high = entry["wilson95"]
            assert low < entry["accuracy"] < high
        low, high = faulty["interval95"]
        assert low <= faulty["accuracy"] <= high and faulty["interval_over"] == "maps"
        assert faulty["change"] == pytest.approx(faulty["accuracy"] - named["golden"]["accuracy"])
    assert found["tables"][0]["rows"][1]["copied_bit"] == 7 and found["tables"][1]["rows"][1]["copied_bit"] == 6


@pytest.mark.usefixtures("undrawn")
def test_results_depend_on_nothing_but_the_seed(bnnkit: Command) -> None:
    def counts(*options: str) -> list[tuple[int, ...]]:
        found = document(bnnkit, "--bit", "6", "--rate", "0.7", "--repeats", "2", "--repair", "msb", *options)
        keys = ("correct", "changed_predictions", "faulty_bits", "wrong_bits")
        return [tuple(entry[key] for key in keys) for row in found["tables"][0]["rows"] for entry in row["maps"]]

    first = counts()
    assert counts("--batch", "33", "--threads", "1") == counts("--backend", "torch") == first
    assert counts("--seed", "1") != first


@pytest.mark.usefixtures("undrawn")
def test_golden_is_what_eval_says(bnnkit: Command) -> None:
    found = document(bnnkit, "--bit", "0", "--kind", "flip", "--adc-bit", "2")
    (row,) = json.loads(bnnkit("eval", "--adc-bit", "2", "--json")[1])["results"]
    assert (found["golden"]["correct"], found["model"]["adc_bit"]) == (row["correct"], 2)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["stuck0", "stuck1", "flip"])
def test_maps_that_would_be_equal_are_not_repeated(bnnkit: Command, kind: str) -> None:
    code, out, err = bnnkit("inject", "--bit", "7", "--kind", kind, "--repeats", "5", "--json")
    assert code == 0 and "the same in every fault map: one is evaluated" in err
    (faulty,) = json.loads(out)["tables"][0]["rows"]
    assert len(faulty["maps"]) == 1 and faulty["same_for_all_maps"] and faulty["interval_over"] == "images"
    assert document(bnnkit, "--bit", "7", "--kind", kind, "--rate", "0.5")["repeats"] == 3


@pytest.mark.usefixtures("undrawn")
def test_no_faults_change_nothing(bnnkit: Command) -> None:
    code, out, err = bnnkit("inject", "--bit", "7", "--rate", "0")
    assert (code, "same in every fault map" in err) == (0, False)
    assert "faulty bits" not in out
    named = rows(document(bnnkit, "--bit", "7", "--rate", "0"))
    assert named["faulty"]["correct"] == named["golden"]["correct"] and named["faulty"]["changed_predictions"] == 0


@pytest.mark.usefixtures("undrawn")
def test_none_and_repeated_repairs_add_no_rows(bnnkit: Command) -> None:
    found = document(bnnkit, "--bit", "3,3", "--repair", "none,neighbor,neighbor:-1", "--limit", "9")
    assert len(found["tables"]) == 1
    assert list(rows(found)) == ["golden", "faulty", "repair neighbor"]


@pytest.mark.usefixtures("undrawn")
def test_the_second_name(bnnkit: Command) -> None:
    code, out, _err = bnnkit("inject-faults", "--bit", "6", "--limit", "9", "--json")
    assert (code, json.loads(out)["schema"]) == (0, "bnnkit.inject/1")
    assert "Usage: bnnkit inject-faults" in bnnkit("inject-faults", "--help")[1]
    listed = bnnkit("--help")[1]
    assert listed.count("\n  inject ") == 1 and "\n  inject-faults" not in listed
    assert bnnkit("injcet")[2].splitlines()[1] == "hint: did you mean 'inject'?"
    assert bnnkit("inject-faults", "--bit")[2].startswith("error: bnnkit inject-faults: ")
    assert bnnkit("qqq")[2].splitlines()[1].endswith(", ".join(COMMANDS))


@pytest.mark.usefixtures("undrawn")
def test_the_newest_run_comes_before_the_sample(bnnkit: Command) -> None:
    metadata = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}
    run = runs.create("train", "mlp", "")
    checkpoint.save(run.last, create_model("mlp", width=1, in_shape=(1, 8, 8)), metadata=metadata)
    _code, out, err = bnnkit("inject", "--bit", "6", "--limit", "20")
    assert out.startswith(f"{run.last}: mlp width 1") and f"\nnetwork: {run.last}\n" in err
    assert err.startswith(f"warning: {run.last}: its training is not finished")
    shutil.copy(deploy.SAMPLE, "sample.safetensors")
    found = document(bnnkit, "--bit", "6", "--limit", "20", "--model", "sample.safetensors")
    assert found["checkpoint"] == "sample.safetensors"


@pytest.mark.usefixtures("undrawn")
def test_a_network_in_full_precision_runs_layer_by_layer(bnnkit: Command) -> None:
    metadata = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}
    model = create_model("mlp", width=1, in_shape=(1, 8, 8), ao_bit="fp", w_bit="fp", adc_bit="fp")
    checkpoint.save("fp.safetensors", model, metadata=metadata)
    arguments = ["--bit", "6", "--limit", "20", "--model", "fp.safetensors"]
    found = document(bnnkit, *arguments)
    assert found["backend"] == "layer by layer"
    code, _out, err = bnnkit("inject", *arguments, "--backend", "packed")
    assert (code, err.splitlines()[-1]) == (2, "hint: use --backend auto")


def test_images_that_do_not_fit_are_refused_before_anything_is_written(bnnkit: Command) -> None:
    metadata = {"preparation": {"mean": [0.5], "std": [0.25]}}
    checkpoint.save("small.safetensors", create_model("mlp", width=1, in_shape=(1, 4, 4)), metadata=metadata)
    code, out, err = bnnkit("inject", "--bit", "6", "--model", "small.safetensors", "--dataset", "digits")
    assert (code, out, "do not fit a network for 1x4x4" in err) == (2, "", True)
    assert not Path("runs").exists()


def test_a_picture_of_ones_own_name(bnnkit: Command) -> None:
    found = document(bnnkit, "--bit", "6", "--limit", "20", "--picture", "faults.png")
    with Image.open("faults.png") as image:
        assert (found["picture"], image.format) == ("faults.png", "PNG")
    assert not (Path(found["run"]) / "images.png").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_campaign_is_saved(bnnkit: Command, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    predict, calls = faults.Network.predict, []

    def interrupted(self: faults.Network, networks: Any, images: Tensor, indices: Tensor) -> list[Tensor]:
        calls.append(len(images))
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return predict(self, networks, images, indices)

    monkeypatch.setattr(faults.Network, "predict", interrupted)
    arguments = ["--bit", "6", "--repair", "msb", "--limit", "40", "--batch", "20", *(["--json"] if as_json else [])]
    code, out, err = bnnkit("inject", *arguments)
    run = runs.resolve("latest", command="inject")
    assert (code, len(calls)) == (130, 6)
    assert f"interrupted: inject: 3 of 5 evaluations are finished, and saved in {run.path}" in err
    assert [entry["row"] for entry in run.read_metrics()] == ["golden", "faulty", "repair msb"]
    assert not run.finished
    if as_json:
        found = json.loads(out)
        assert (found["finished"], found["evaluations"]) == (False, [3, 5])
        faulty, repaired = found["tables"][0]["rows"]
        assert (len(faulty["maps"]), faulty["maps_planned"], faulty["interval_over"]) == (1, 3, "images")
        assert len(repaired["maps"]) == repaired["maps_planned"] == 1
    else:
        assert "\ninterrupted: 3 of 5 evaluations\n" in out and "\nlimited: 40 of 360 test images\n" in out


def test_interrupted_before_anything_is_finished(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: faults.Network, networks: Any, images: Tensor, indices: Tensor) -> list[Tensor]:
        signal.raise_signal(signal.SIGINT)
        return [torch.zeros(len(images), dtype=torch.int64)]

    monkeypatch.setattr(faults.Network, "predict", interrupted)
    code, out, err = bnnkit("inject", "--bit", "6", "--batch", "20")
    assert (code, out) == (130, "") and "inject: 0 of 4 evaluations are finished" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        ([], 2, "nothing is faulty; --bit, --fault or --replay was needed", "bnnkit inject --bit 6 --repair msb"),
        (["--bit", "9"], 2, "--bit '9': a bit of a byte, 0 to 7, was needed", "--bit 6"),
        (["--bit", "5,"], 2, "--bit '': a bit of a byte, 0 to 7, was needed", "--bit 6"),
        (["--bit", "-1"], 2, "--bit '-1': a bit of a byte, 0 to 7, was needed", "--bit 6"),
        (["--bit", "6", "--kind", "stuck"], 2, "input has no kind 'stuck'; one of flip, stuck0", "--fault input:flip"),
        (["--bit", "6", "--kind", "flip", "--rate", "0.7"], 2, "rate 0.7; flip takes 0 to 0.5", "--fault input:flip"),
        (["--bit", "6", "--fault", "weight:flip@0.1"], 2, "--bit and --fault: exclude each other", "--fault input:"),
        (["--fault", "weight:flip@0.6"], 2, "rate 0.6; flip takes 0 to 0.5", "--fault weight:flip@0.01"),
        (["--fault", "wieght:flip@0.1"], 2, "unknown fault site 'wieght'", "did you mean 'weight'?"),
        (["--fault", "weight:flip@0.1", "--layers", "stem*"], 2, "'stem*': matches none of hidden.0", "--layers"),
        (["--fault", "weight:flip@0.1", "--repair", "msb"], 2, "--repair: means nothing with --fault", "leave it out"),
        (["--fault", "weight:flip@0.1,bit=1"], 2, "has 1-bit codes there; a bit from 0 to 0 was", "leave bit out"),
        (["--fault", "latent:gauss@0.1"], 2, "is packed and holds no latent weights", "give the checkpoint or run"),
        (["--fault", "cell:stuck0@0.1"], 2, "mlp is no bit-serial network", "--fault weight:stuck0@0.01"),
        (["--fault", "adc:flip@0.1", "--adc-bit", "fp"], 2, "layer hidden.0 has no converter", "--adc-bit 1"),
        (["--fault", "adc:flip@0.1", "--backend", "torch"], 2, "computed in packed networks only", "--backend packed"),
        (["--fault", "weight:flip@0.1", "--rate", "1e-3:1:log4"], 2, "rate 1; flip takes 0 to 0.5", "--fault weight"),
        (["--fault", "weight:flip@0.1", "--rate", "0.1:x"], 2, "FIRST:LAST:logN or FIRST:LAST:linN", "1e-5:1e-1:log9"),
        (["--fault", "weight:flip@0.1", "--per-bit", "--per-layer"], 2, "a table has rows of one kind", "leave out"),
        (["--fault", "input:flip@0.1", "--per-layer"], 2, "images have no layers", "leave it out"),
        (["--fault", "weight:flip@0.1", "--repeats", "many"], 2, "--repeats 'many': auto, or", "--repeats auto"),
        (["--fault", "weight:flip@0.1", "--ci", "0"], 2, "--drop, --ci: points above 0 were needed", "--drop 1"),
        (["--fault", "adc:flip@0.1", "--save-sites", "a.safetensors"], 2, "faults of latent, line, weight", "leave"),
        (["--fault", "weight:flip@0.1", "--save-sites", "a.txt"], 2, "a.txt: '.txt' cannot be written", "name it"),
        (["--replay", "none.safetensors"], 3, "none.safetensors: does not exist", ""),
        (["--resume", "latest"], 3, "holds no run yet", "bnnkit inject --help"),
        (["--bit", "6", "--repair", "mbs"], 2, "unknown repair 'mbs'", "did you mean 'msb'?"),
        (["--bit", "6", "--rate", "1.5"], 2, "rate 1.5; random takes 0 to 1", "--fault input:random@0.01"),
        (["--bit", "6", "--rate", "nan"], 2, "rates 'nan': nan; a number of at least 0 was needed", "1e-5:1e-1:log9"),
        (["--bit", "6", "--repair", "neighbor:2"], 2, "'neighbor:+2' of bit 6: would copy bit 8", "--repair neighbor"),
        (["--bit", "6,0", "--repair", "neighbor"], 2, "'neighbor' of bit 0: would copy bit -1", "--repair neighbor:+1"),
        (["--bit", "7", "--repair", "msb"], 2, "'msb' of bit 7: would copy the faulty bit itself", "--repair neighbor"),
        (["--bit", "6", "--repeats", "0"], 2, "--repeats '0': auto, or a number of maps from 1 on", "--repeats auto"),
        (["--bit", "6", "--limit", "0"], 2, "--limit", "bnnkit inject --help"),
        (["--bit", "6", "--adc-bit", "zero"], 2, "adc bits: 'zero'", "use 1"),
        (["--bit", "6", "--backend", "fast"], 2, "backend: 'fast' is unknown", "use auto"),
        (
            ["--bit", "6", "--model", "nothing"],
            3,
            "'nothing': neither a checkpoint file, nor a run",
            "bnnkit models list",
        ),
        (["--bit", "6", "--picture", "a.jpg"], 2, "a.jpg: '.jpg' cannot be written", "name it a.png"),
        (["--bit", "6", "--picture", "no/a.png"], 2, "its folder does not exist", "mkdir -p no"),
        (["--bit", "6", "--dataset", "digist"], 2, "unknown dataset 'digist'", "did you mean 'digits'?"),
    ],
)
def test_refusals(bnnkit: Command, arguments: list[str], code: int, message: str, hint: str) -> None:
    got, out, err = bnnkit("-q", "inject", *arguments)
    assert (got, out) == (code, "")
    assert "error: " in err and message in err and f"\nhint: {hint}" in err
    assert not list(Path().iterdir()), "nothing is written"
