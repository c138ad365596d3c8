"""`bnnkit sweep`: tables, documents, what is kept, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnnkit import deploy, runs
from bnnkit.sweep import estimate
from bnnkit.sweep import executor as executor_module
from bnnkit_cli import output

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")

FAKE = """
import json, pathlib, sys
words = sys.argv[1:]
def value(name, default):
    return words[words.index(name) + 1] if name in words else default
with open("calls.txt", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if value("--rows", "128") == "64":
    sys.stderr.write("run somewhere\\nerror: --rows 64: too few\\nhint: --rows 128\\n")
    sys.exit(2)
accuracy = 90.0 + float(value("--adc-bit", "0").replace("fp", "5")) + int(value("--seed", "0")) / 10
score = {"accuracy": accuracy, "correct": round(accuracy), "total": 100}
wilson = {"wilson95": [accuracy - 1, accuracy + 1]}
if words[0] == "train":
    if "--dry-run" in words:
        print(json.dumps({"seconds_of_all_runs": 60.0}))
        sys.exit()
    run = pathlib.Path(value("--runs-dir", "")) / "train" / "run"
    run.mkdir(parents=True, exist_ok=True)
    (run / "best-val.safetensors").write_bytes(b"weights")
    document = {"runs": [{"seed": 1, "step": 1, "steps": 1, "run": str(run), "limited": "--limit" in words,
                          "test": {**score, **wilson}}]}
elif words[0] == "eval":
    document = {"limited": False, "results": [{"adc_bit": value("--adc-bit", "1"), **score, **wilson}]}
else:
    row = {**score, "interval95": [accuracy - 1, accuracy + 1]}
    rows = [{"row": name, **row} for name in value("--rate", "faulty").split(",")]
    document = {"limited": False, "golden": {"row": "golden", **row}, "tables": [{"table": "t", "rows": rows}]}
print(json.dumps(document))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Let a short program stand for the commands; return the words it was called with since the last time."""
    program = tmp_path / "fake.py"
    program.write_text(FAKE)
    words = (sys.executable, "-S", str(program))
    monkeypatch.setattr(executor_module, "PROGRAM", words)
    monkeypatch.setattr(estimate, "PROGRAM", words)
    calls = tmp_path / "calls.txt"

    def called() -> list[list[str]]:
        found = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        calls.unlink(missing_ok=True)
        return found

    return called


def document(bnnkit: Command, *arguments: str, code: int = 0) -> dict[str, Any]:
    found, out, err = bnnkit("sweep", *arguments, "--json")
    assert found == code, err
    read = dict(json.loads(out))
    assert read["schema"] == "bnnkit.sweep/1"
    return read


def refused(bnnkit: Command, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, message and hint of a sweep that must not begin."""
    code, out, err = bnnkit("sweep", *arguments)
    assert out == "" and not Path("runs/sweep").exists()
    message, hint = err.splitlines()[-2:]
    return code, message.removeprefix("error: "), hint.removeprefix("hint: ")


TWO = ("train", "mlp", "--dataset", "digits", "--limit", "60", "--grid", "adc-bit=1,2", "--epochs", "1")


def test_as_a_person_types_it_and_once_more(bnnkit: Command) -> None:
    code, out, err = bnnkit("sweep", *TWO, "--threads", "1")
    assert code == 0, err
    title, head, _line, first, second, *notes = out.splitlines()
    assert title == "train mlp --dataset digits --limit 60 --epochs 1 --threads 1 over adc-bit"
    assert head.split() == ["adc-bit", "test", "%", "95", "%", "interval", "correct"]
    assert first.split()[0] == "1" and second.split()[0] == "2" and first.endswith("/60")
    run = runs.resolve("latest", command="sweep")
    assert notes == [
        "limited: not all images or steps were used",
        "dataset: digits",
        f"picture: {run.path / 'curve.png'}",
        f"run: {run.path}",
    ]
    said = err.splitlines()
    assert said[0] == f"run {run.path}: 2 cells"
    assert said[1].startswith("1/2  train mlp, adc-bit 1: ") and "left" in said[1]
    assert said[2].startswith("2/2  train mlp, adc-bit 2: ") and "left" not in said[2] and len(said) == 3
    names = ["config.toml", "curve.png", "results.json", "stamp.json", "table.csv", "table.md"]
    assert sorted(path.name for path in run.path.iterdir()) == names
    assert 'grid = {"model" = ["mlp"], "adc-bit" = ["1", "2"]}' in run.config.read_text()
    cells = list(Path("runs/sweep/cells").iterdir())
    for cell in cells:
        result = json.loads((cell / "result.json").read_text())
        assert len(result["document"]["runs"]) == 1 and result["seconds"] > 0

    changed = {cell: (cell / "result.json").stat().st_mtime_ns for cell in cells}
    found = document(bnnkit, *TWO, "--threads", "1")
    assert changed == {cell: (cell / "result.json").stat().st_mtime_ns for cell in cells}
    assert [cell["found"] for cell in found["cells"]] == [True, True] and found["finished"] and found["limited"]
    assert [row["labels"]["adc-bit"] for row in found["table"]] == ["1", "2"]
    assert [line[0] for line in found["rows"]] == ["1", "2"]
    again = runs.resolve("latest", command="sweep")
    assert again.path != run.path and found["run"] == str(again.path)
    stored = again.read_json("results.json")
    assert {name: found[name] for name in stored} == stored
    assert "2 of them finished before" in bnnkit("sweep", *TWO, "--threads", "1")[2]


def test_a_table_of_several_networks_and_seeds(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    grid = ("--grid", "model=mlp,vgg9", "--grid", "adc-bit=1,2")
    found = document(bnnkit, "train", "--dataset", "digits", *grid, "--seeds", "2", "--jobs", "3")
    assert len(fake()) == 8
    assert found["columns"] == ["model", "adc-bit", "test %", "mean of", "95 % interval", "correct"]
    assert found["rows"][3] == ["vgg9", "2", "92.15", "2", "+- 0.07 (std)", "184/200"]
    assert found["title"] == "train --dataset digits over adc-bit x seeds"
    [picture] = found["pictures"]
    assert picture.endswith("heatmap.png") and Path(picture).exists()
    # More seeds compute only what is new.
    document(bnnkit, "train", "--dataset", "digits", *grid, "--seeds", "1,2,7")
    assert [call[call.index("--seed") + 1] for call in fake()] == ["7"] * 4


def test_evaluations_of_the_newest_run(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    first = runs.create("train", "mlp-first", "")
    shutil.copy(deploy.SAMPLE, first.last)
    arguments = ("eval", "latest", "--limit", "30", "--grid", "adc-bit=1,fp")
    found = document(bnnkit, *arguments)
    file = str(first.last)
    assert fake() == [["eval", file, "--limit", "30", "--adc-bit", bit, "--json"] for bit in ("1", "fp")]
    assert [row["labels"] for row in found["table"]] == [{"model": "latest", "adc-bit": bit} for bit in ("1", "fp")]
    assert f"latest: {file}" in found["notes"] and "dataset: digits" in found["notes"]
    # The same weights elsewhere are the same network, and each name has rows of its own.
    second = runs.create("train", "mlp-second", "")
    shutil.copy(deploy.SAMPLE, second.last)
    both = document(bnnkit, "eval", "--grid", "model=mlp-f,latest", "--limit", "30", "--grid", "adc-bit=1,fp")
    assert fake() == [] and [row["labels"]["model"] for row in both["table"]] == ["mlp-f"] * 2 + ["latest"] * 2
    assert [row["accuracies"] for row in both["table"]] == [[91.0], [95.0]] * 2


def test_without_a_run_the_packaged_network(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    found = document(bnnkit, "inject", "--fault", "weight:flip@0.01", "--grid", "rate=0.01,0.1", "--repeats", "2")
    sample = str(Path(deploy.SAMPLE).resolve())
    words = ["inject", "--model", str(deploy.SAMPLE), "--fault", "weight:flip@0.01", "--repeats", "2", "--rate", "0.01"]
    assert fake()[0][:9] == words
    assert found["columns"][:2] == ["rate", "row"]
    assert [line[:2] for line in found["rows"]] == [
        ["0.01", "golden"], ["0.01", "faulty"], ["0.1", "golden"], ["0.1", "faulty"],
    ]  # fmt: skip
    assert sample.endswith(".safetensors") and found["title"].startswith("inject sample --fault")


def test_names_of_networks_in_options(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    run = runs.create("train", "mlp-first", "")
    shutil.copy(deploy.SAMPLE, run.last)
    grid = ("--grid", "distill=0.5,1")
    document(bnnkit, "train", "mlp", "--dataset", "digits", "--teacher", "latest", *grid)
    assert all(call[call.index("--teacher") + 1] == str(run.last) for call in fake())


def test_faults_with_commas_and_flags(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    faults = "fault=weight:flip@0.1,layers=hidden.0;weight:flip@0.2"
    document(bnnkit, "inject", "--grid", faults, "--grid", "per-layer=yes,no")
    calls = fake()
    assert len(calls) == 4 and ["--per-layer" in call for call in calls] == [True, False, True, False]
    assert [call[call.index("--fault") + 1] for call in calls[::2]] == faults.partition("=")[2].split(";")


def test_failed_cells_are_listed_and_tried_again(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    arguments = ("train", "mlp", "--dataset", "digits", "--grid", "rows=64,128")
    code, out, err = bnnkit("sweep", *arguments)
    assert code == 1
    assert "warning: failed: train mlp, rows 64: --rows 64: too few\n" in err
    assert err.splitlines()[-2:] == [
        "error: sweep: 1 of 2 cells failed", "hint: the same command tries them again",
    ]  # fmt: skip
    *_, empty, command, first, second, third = out.splitlines()
    assert empty == "" and command == "failed: bnnkit train mlp --dataset digits --rows 64"
    assert [first, second, third] == ["    run somewhere", "    error: --rows 64: too few", "    hint: --rows 128"]
    assert next(line for line in out.splitlines() if line.startswith("64")).split() == ["64", "failed"]
    fake()
    found = document(bnnkit, *arguments, code=1)
    assert [call[-5:-3] for call in fake()] == [["--rows", "64"]]
    assert [cell["state"] for cell in found["cells"]] == ["failed", "finished"]
    assert found["cells"][0]["said"].endswith("hint: --rows 128") and not found["finished"]


def test_what_needs_a_failed_training_is_left_out(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    only = ("--only", "model=mlp", "--only", "adc-bit=1,2", "--only", "training=BNN, no ADC")
    code, out, err = bnnkit("sweep", "--preset", "iga-table1", *only[:4], "--dataset", "digits", "--rows", "64")
    assert code == 1
    assert "error: sweep: 3 of 5 cells failed, and 2 that need them were left out\n" in err
    assert out.count("left out") == 2


def test_a_preset(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    arguments = ("--preset", "iga-table1", "--only", "model=mlp", "--epochs", "1", "--limit", "100")
    found = document(bnnkit, *arguments)
    calls = fake()
    assert [call[0] for call in calls] == ["train"] * 2 + ["eval"] * 4 + ["train"] * 4
    assert all("--limit" in call for call in calls) and ["--epochs" in call for call in calls].count(True) == 6
    assert calls[2][1].endswith("runs/train/run/best-val.safetensors")
    assert [row["published"] for row in found["table"]] == [
        98.56, 97.74, 63.64, 96.64, 96.86, 97.59, 96.57, 96.21, 97.47, 97.78,
    ]  # fmt: skip
    assert "published" in found["columns"] and "difference" in found["columns"]
    assert found["notes"][0] == "limited: not all images or steps were used"
    assert "published: hpic-lab/BNN_IGA, table of results" in found["notes"]
    assert "options beside the published ones: --epochs 1 --limit 100" in found["notes"]
    assert "mlp: usually on mnist, which is not prepared (bnnkit data prepare mnist)" in found["notes"]
    table = (Path(found["run"]) / "table.md").read_text()
    assert table.startswith("# BNN-IGA: accuracy through converters") and "| IGA | 4 |" in table


def test_a_checkpoint_in_place_of_a_presets_training(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    shutil.copy(deploy.SAMPLE, "mine.safetensors")
    found = document(bnnkit, "--preset", "image-faults", "mine.safetensors")
    assert [call[:3] for call in fake()] == [["inject", "--model", "mine.safetensors"]] * 2
    what = "mlp width 4, activations 1, weights 1, ADC 1"
    assert f"network: mine.safetensors ({what}), instead of one trained by the published recipe" in found["notes"]


def test_what_is_expected(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    first = document(bnnkit, *TWO)
    table = Path(first["run"]) / "table.csv"
    for file in (table, table.with_name("results.json")):
        found = document(bnnkit, *TWO, "--expect", str(file), "--tol", "0")
        assert [each["within"] for each in found["expected"]] == [True, True]
    Path("mine.csv").write_text("adc-bit,accuracy\n1,91.9\n2,93.5\n4,90\n")
    code, out, err = bnnkit("sweep", *TWO, "--expect", "mine.csv")
    assert code == 1 and out.startswith("train mlp")
    assert err.splitlines()[-2:] == [
        "error: --expect: 2 accuracies are more than 1 points off; worst adc-bit 4: nothing, expected 90.00 %",
        "hint: --tol POINTS",
    ]
    Path("mine.csv").write_text("adc-bit,accuracy\n1,91.9\n2,93.5\n")
    assert bnnkit("sweep", *TWO, "--expect", "mine.csv", "--tol", "1.5")[0] == 0
    assert bnnkit("sweep", *TWO, "--expect", "absent.csv")[0] == 3
    assert bnnkit("sweep", *TWO, "--expect", "mine.csv", "--tol", "-1")[0] == 2


def test_a_dry_run_runs_nothing(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    arguments = (*TWO, "--seeds", "2")
    code, out, err = bnnkit("sweep", *arguments, "--dry-run")
    assert code == 0, err
    # Seeds take the same time: one estimate for each setting.
    assert [call[-2:] for call in fake()] == [["--dry-run", "--json"]] * 2 and not Path("runs").exists()
    assert "4 cells, 0 of them finished before\n" in out and out.endswith("nothing was run\n")
    assert "trainings together about 4 min 00 s, one after the other" in out
    assert "bnnkit train mlp --dataset digits --limit 60 --epochs 1 --adc-bit 2 --seed 2" in out
    document(bnnkit, *TWO, "--seeds", "1")
    found = document(bnnkit, *arguments, "--dry-run")
    states = [(cell["state"], cell["seconds"]) for cell in found["cells"]]
    assert states == [("finished", None), ("new", 60.0)] * 2
    assert found["seconds_of_trainings"] == 120.0


REFUSED = [
    ((), 2, "sweep: nothing; train, eval, inject or --preset was needed", "bnnkit sweep train mlp"),
    (("trian", "mlp"), 2, "sweep: 'trian'; train, eval, inject or --preset was needed", "bnnkit sweep"),
    (("train",), 2, "sweep train: no model; a network was needed", "bnnkit models list"),
    (("train", "mpl"), 2, "unknown model 'mpl'", "did you mean 'mlp'?"),
    (("train", "mlp", "res20"), 2, "sweep: networks mlp and res20; one was needed", "--grid model=mlp,res20"),
    (("train", "mlp", "--epohcs", "3"), 2, "sweep: neither sweep nor train has an option '--epohcs'", "'--epochs'?"),
    (("train", "mlp", "--jbos", "3"), 2, "sweep: neither sweep nor train has an option '--jbos'", "'--jobs'?"),
    (
        ("train", "mlp", "--grid", "adcbit=1"),
        2,
        "sweep: neither sweep nor train has an option '--adcbit'",
        "'--adc-bit'?",
    ),
    (("train", "mlp", "--epochs"), 2, "sweep: option '--epochs' needs a value", "--epochs VALUE"),
    (("train", "mlp", "--epochs", "many"), 2, "bnnkit train: --epochs many: a whole number", "bnnkit train --help"),
    (("train", "mlp", "--grid", "epochs=1,x"), 2, "bnnkit train: --epochs", "bnnkit train --help"),
    (
        ("train", "mlp", "--grid", "adc-bit"),
        2,
        "--grid adc-bit: KEY=VALUE,VALUE,... was needed",
        "--grid adc-bit=1,2,3,4",
    ),
    (("train", "mlp", "--grid", "model=vgg9"), 2, "sweep: mlp and --grid model; one was needed", "leave one out"),
    (
        ("train", "mlp", "--lr", "1", "--grid", "lr=1,2"),
        2,
        "sweep: --lr and --grid lr; one was needed",
        "leave one out",
    ),
    (
        ("train", "mlp", "--seeds", "2", "--grid", "seed=1"),
        2,
        "sweep: --seeds and --grid seed; one was",
        "leave one out",
    ),
    (("train", "mlp", "--seeds", "1,1"), 2, "--seeds 1,1: a count or different numbers", "--seeds 3 or"),
    (("train", "mlp", "--resume", "latest"), 2, "sweep: --resume is not for cells", "the same sweep again"),
    (("train", "mlp", "--min-acc", "9"), 2, "sweep: --min-acc is not for cells", "bnnkit sweep --expect FILE"),
    (("train", "mlp", "--grid", "dry-run=yes"), 2, "sweep: --dry-run is not for cells", "bnnkit sweep --help"),
    (("eval", "--logits", "a.npy"), 2, "sweep: --logits is not for cells", "bnnkit eval --logits"),
    (("train", "mlp", "--only", "adc-bit=1"), 2, "--only: is for presets", "give fewer values to --grid"),
    (("train", "mlp", "--jobs", "0"), 2, "--jobs 0: at least 1 was needed", "leave --jobs out"),
    (("train", "mlp", "--device", "tpu"), 2, "--device tpu: cpu or cuda was needed", "--device cpu"),
    (("train", "mlp", "--executor", "slurm"), 2, "--executor slurm: local or ray was needed", "--executor local"),
    (("eval", "res20"), 3, "res20: no run of this model in runs/train", "bnnkit train res20"),
    (("eval", "absent.safetensors"), 3, "absent.safetensors: does not exist", ""),
    (("--preset", "iga-table9"), 2, "unknown preset 'iga-table9'", "did you mean"),
    (("--preset", "iga-table1", "--grid", "lr=1"), 2, "sweep: --preset has a grid of its own", "--only LABEL=VALUE"),
    (("--preset", "iga-table1", "--only", "model=cnv"), 2, "--only model=cnv: nothing like that", "model: mlp, vgg9"),
    (("--preset", "iga-table1", "--only", "model"), 2, "--only model: KEY=VALUE,VALUE,... was needed", "--only"),
    (("--preset", "iga-table1", "--adc-bit", "1"), 2, "sweep: preset iga-table1 has its own --adc-bit", "--only LABEL"),
    (
        ("--preset", "iga-table1", "--onyl", "a=b"),
        2,
        "sweep: neither sweep nor train or eval has an option",
        "'--only'?",
    ),
]


@pytest.mark.parametrize(("arguments", "code", "message", "hint"), REFUSED)
def test_what_is_refused_before_anything_runs(
    bnnkit: Command, arguments: tuple[str, ...], code: int, message: str, hint: str
) -> None:
    found = refused(bnnkit, *arguments)
    assert found[0] == code
    assert found[1].startswith(message), found
    assert hint in found[2], found


def test_trainings_on_the_way_are_checked_too(bnnkit: Command) -> None:
    found = refused(bnnkit, "--preset", "rram-vgg7", "--epochs", "many")
    assert found[0] == 2 and found[1].startswith("bnnkit train: --epochs")


def test_quiet_says_nothing_but_the_result(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    code, out, err = bnnkit("-q", "sweep", *TWO)
    assert (code, err) == (0, "") and out.startswith("train mlp")
    bnnkit("-v", "sweep", *TWO, "--lr", "0.5")
    output.configure()
    said = bnnkit("-v", "sweep", *TWO, "--lr", "0.25")[2]
    assert "running bnnkit train mlp --dataset digits --limit 60 --epochs 1 --lr 0.25 --adc-bit 1\n" in said


def test_a_folder_that_cannot_be_written(bnnkit: Command) -> None:
    Path("file").write_text("")
    code, out, err = bnnkit("sweep", *TWO, "--runs-dir", "file/runs")
    assert (code, out) == (3, "") and "a run directory cannot be made" in err
    if os.geteuid() == 0:
        return
    Path("closed").mkdir(mode=0o500)
    assert bnnkit("sweep", *TWO, "--runs-dir", "closed")[0] == 3


def test_a_damaged_result_says_what_to_do(bnnkit: Command, fake: Callable[[], list[list[str]]]) -> None:
    document(bnnkit, *TWO)
    path = next(Path("runs/sweep/cells").glob("*/result.json"))
    path.write_text("{")
    code, _, err = bnnkit("sweep", *TWO)
    assert code == 4 and f"hint: rm {path}" in err
