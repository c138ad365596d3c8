"""`bnnkit train` and `bnnkit recipes`: what is printed, what is written, which exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnkit import checkpoint, runs
from bnnkit_cli import output

PNG = b"\x89PNG\r\n\x1a\n"
OPTIONS = {"dataset": "digits", "width": 1, "batch": 64, "limit": 200, "epochs": 2, "threads": 1}
TINY = [f"--{name}={value}" for name, value in {**OPTIONS, "ao-bit": "fp", "adc-bit": "fp"}.items()]
INJECT = "bnnkit inject puts every fault into a trained network"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, with nothing prepared and the settings of the output as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    output.configure()


Command = Callable[..., tuple[int, str, str]]


def document(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def test_a_training_prints_a_table_and_fills_its_directory(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "mlp", *TINY)
    assert code == 0
    run = runs.resolve("latest")
    names = "best-val.safetensors config.toml curve.png last.safetensors log.txt metrics.jsonl results.json stamp.json"
    assert sorted(path.name for path in run.path.iterdir()) == names.split()
    results = run.read_json("results.json")
    test = results["test"]
    assert test["total"] == 200
    assert f"{test['correct']}/200" in out and f"{test['accuracy']:.2f}" in out and str(run.path) in out
    assert "limited: not all images or steps were used" in out
    assert results["limited"]
    lines = err.splitlines()
    assert lines[0] == f"run {run.path}: 2 epochs on digits, 64 images a step"
    for part in ("epoch 1/2  loss ", "train ", "val ", "s/epoch", "images/s", "ETA "):
        assert part in lines[1]
    assert lines[3].startswith("test ") and "95 % interval" in lines[3] and lines[3].endswith("(limited)")
    assert run.curve.read_bytes().startswith(PNG)
    assert [line.split(" ", 2)[2] for line in (run.path / "log.txt").read_text().splitlines()] == lines[1:]


def test_the_stamp_says_how_to_repeat_the_result(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY, "--seed", "5")[0] == 0
    run = runs.resolve("latest")
    stamp = run.read_json("stamp.json")
    assert stamp["seed"] == 5 and stamp["dataset"]["name"] == "digits" and len(stamp["dataset"]["fingerprint"]) == 64
    assert stamp["checkpoints"]["best-val.safetensors"] == runs.file_digest(run.best)
    assert stamp["wall_seconds"] > 0 and stamp["peak_memory_bytes"] > 0
    provenance = checkpoint.read_metadata(run.best)["provenance"]
    assert provenance["run"] == run.name and provenance["limited"] and provenance["seed"] == 5


def test_the_checkpoint_is_chosen_on_validation_images(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY, "--epochs", "4", "--lr", "0.1")[0] == 0
    run = runs.resolve("latest")
    metrics, results = run.read_metrics(), run.read_json("results.json")
    best = max(record["val_accuracy"] for record in metrics)
    first = next(record["epoch"] for record in metrics if record["val_accuracy"] == best)
    assert results["best_epoch"] == first
    assert results["validation"]["accuracy"] == best
    assert results["chosen"] == "best-val"


def test_without_validation_images_the_last_weights_are_tested(bnnkit: Command) -> None:
    code, _out, err = bnnkit("train", "mlp", *TINY, "--val-split", "0")
    assert code == 0
    run = runs.resolve("latest")
    results = run.read_json("results.json")
    assert results["chosen"] == "last" and results["validation"] is None and results["test"] == results["test_last"]
    assert not run.best.exists()
    assert "  val " not in err


def test_several_seeds_give_mean_and_spread(bnnkit: Command) -> None:
    code, out, _err = bnnkit("train", "mlp", *TINY, "--epochs", "1", "--seeds", "2", "--json")
    assert code == 0
    found = document(out)
    assert found["schema"] == "bnnkit.train/1"
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    accuracies = [run["test"]["accuracy"] for run in found["runs"]]
    assert found["mean"] == pytest.approx(sum(accuracies) / 2)
    assert found["spread"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    assert found["limited"]
    code, out, _err = bnnkit("train", "mlp", *TINY, "--epochs", "1", "--seeds", "3,4")
    assert "over 2 seeds" in out


def test_two_steps_in_one_command(bnnkit: Command) -> None:
    arguments = ["mlp", *TINY, "--recipe", "ab-bnn", "--epochs", "1"]
    code, out, err = bnnkit("train", *arguments)
    assert code == 0, err
    header, _line, first, second, *_notes = out.splitlines()
    assert header.split()[:2] == ["seed", "step"]
    assert [row.split()[:2] for row in (first, second)] == [["1", "1/2"], ["1", "2/2"]]
    assert err.count(", step 1 of 2: 1 epoch on digits") == err.count(", step 2 of 2: 1 epoch on digits") == 1
    assert "-w1-" in runs.resolve("latest").name
    found = document(bnnkit("train", *arguments, "--seeds", "2", "--json")[1])
    assert [(run["seed"], run["step"], run["steps"]) for run in found["runs"]] == [
        (1, 1, 2),
        (1, 2, 2),
        (2, 1, 2),
        (2, 2, 2),
    ]
    last = [run["test"]["accuracy"] for run in found["runs"] if run["step"] == 2]
    assert found["mean"] == pytest.approx(sum(last) / 2) and found["spread"] == pytest.approx(
        abs(last[0] - last[1]) / 2**0.5
    )
    again = document(bnnkit("train", "--resume", "latest", "--json")[1])
    assert again["runs"] == found["runs"]


def test_the_gate_looks_at_the_last_step_only(bnnkit: Command) -> None:
    # So few steps with binary weights at this rate forget what the first step learned.
    arguments = ["mlp", *TINY, "--recipe", "ab-bnn", "--epochs", "20", "--json"]
    code, out, _err = bnnkit("train", *arguments)
    first, second = (run["test"]["accuracy"] for run in document(out)["runs"])
    assert code == 0 and first != second
    between = (first + second) / 2
    assert bnnkit("train", *arguments, "--min-acc", str(between))[0] == (0 if second > first else 1)


def test_a_dry_run_shows_both_steps(bnnkit: Command) -> None:
    arguments = ["mlp", *TINY, "--recipe", "ab-bnn", "--seeds", "2", "--dry-run"]
    code, out, _err = bnnkit("train", *arguments)
    assert code == 0
    for part in (
        "# step 1 of 2",
        "# step 2 of 2",
        'w_bit = "fp"',
        "w_bit = 1",
        "2 of each step (seeds 1, 2)",
        "together",
    ):
        assert part in out
    found = document(bnnkit("train", *arguments, "--json")[1])
    assert [(item["step"], item["config"]["w_bit"]) for item in found["trainings"]] == [(1, "fp"), (2, 1)]
    seconds = sum(item["estimate"]["seconds"] for item in found["trainings"])
    assert found["runs"] == 4 and found["seconds_of_all_runs"] == pytest.approx(2 * seconds)
    assert list(Path().iterdir()) == []


def test_bits_given_leave_one_step_and_say_so(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "mlp", *TINY, "--recipe", "ab-bnn", "--w-bit", "1", "--epochs", "1")
    assert code == 0
    assert "warning: recipe ab-bnn: with --w-bit only the last of its 2 steps, from random weights" in err
    assert "step" not in out.splitlines()[0]


def test_a_network_learns_from_another(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY, "--w-bit", "fp")[0] == 0
    teacher = runs.resolve("latest")
    flags = ["--teacher", "mlp", "--distill", "0.5", "--temperature", "2", "--label-smoothing", "0.1"]
    code, _out, err = bnnkit("train", "mlp", *TINY, *flags)
    assert code == 0, err
    run = runs.resolve("latest")
    assert f'teacher = "{teacher.best}"' in run.config.read_text()
    assert run.read_json("stamp.json")["teacher"] == runs.file_digest(teacher.best)
    (run.path / "results.json").unlink()
    teacher.best.write_bytes(teacher.last.read_bytes())
    code, _out, err = bnnkit("train", "--resume", "latest")
    assert code == 4 and "is not the teacher the series was begun with" in err


@pytest.mark.parametrize(
    ("plain", "fault"), [([], "latent:gauss@0.4"), (["--noise-std"], "latent:gauss@0.4,std=plain")]
)
def test_faults_in_both_forms(bnnkit: Command, plain: list[str], fault: str) -> None:
    flags = ["--fault", "weight:flip@1e-2", "--fault", "weight:stuck0@0.1", "--noise", "0.4", *plain]
    code, _out, err = bnnkit("train", "mlp", *TINY, "--w-bit", "1", *flags)
    assert code == 0, err
    assert f"faults in every step, none in evaluations: weight:flip@0.01, weight:stuck0@0.1, {fault}\n" in err
    run = runs.resolve("latest")
    assert f'faults = ["weight:flip@0.01", "weight:stuck0@0.1", "{fault}"]' in run.config.read_text()
    code, _out, err = bnnkit("train", "--resume", "latest", "--noise", "0.5")
    assert code == 4 and "given latent:gauss@0.5" in err
    code, out, _err = bnnkit("train", "mlp", *TINY, "--w-bit", "1", *flags, "--dry-run")
    assert code == 0 and fault in out


def test_weight_standardization_and_margins(bnnkit: Command) -> None:
    flags = ["--weight-standardization", "--loss", "margin", "--margin", "3"]
    code, _out, err = bnnkit("train", "mlp", *TINY, *flags)
    assert code == 0, err
    run = runs.resolve("latest")
    text = run.config.read_text()
    assert "weight_standardization = true" in text and "margin = 3.0" in text
    assert checkpoint.read_metadata(run.best)["model"]["weight_standardization"] is True
    assert bnnkit("train", "--resume", "latest", *flags)[0] == 0
    assert bnnkit("train", "--recipe", str(run.config), "--dry-run")[0] == 0
    assert bnnkit("eval", str(run.path))[0] == 0


def test_a_dry_run_writes_nothing(bnnkit: Command) -> None:
    code, out, _err = bnnkit("train", "mlp", *TINY, "--seeds", "3", "--dry-run")
    assert code == 0
    for part in (
        "[training]",
        "epochs = 2",
        "3 (seeds 1, 2, 3)",
        "6 per run, 3 per epoch",
        "time per step",
        "nothing was",
    ):
        assert part in out
    found = document(bnnkit("train", "mlp", *TINY, "--dry-run", "--json")[1])
    assert found["dry_run"] and found["steps"] == 6 and found["config"]["epochs"] == 2 and found["seconds"] > 0
    assert list(Path().iterdir()) == []


def test_the_gate(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "mlp", *TINY, "--epochs", "1", "--min-acc", "99.9")
    assert code == 1
    assert "best epoch" in out
    assert "error: --min-acc: test accuracy" in err and "at least 99.9 % was demanded" in err
    assert bnnkit("train", "mlp", *TINY, "--epochs", "1", "--min-acc", "0")[0] == 0


def test_resume_continues_and_refuses_changes(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY)[0] == 0
    run = runs.resolve("latest")
    before = run.read_json("results.json")
    # As if it had been stopped before the test.
    (run.path / "results.json").unlink()
    code, _out, err = bnnkit("train", "mlp", *TINY, "--resume", "latest", "--lr", "0.5")
    assert code == 4
    assert err == (
        f"error: {run.path}: --resume continues a run as it was begun; changed options:\n"
        "  --lr: the run has 0.001, given 0.5\n"
        "hint: leave them out, or start a new run without --resume\n"
    )
    code, _out, err = bnnkit("train", "--resume", run.name[:10])
    assert code == 0
    assert f"run {run.path}, continued after 6 of 6 steps" in err
    assert run.read_json("results.json") == before
    assert "is finished" in bnnkit("train", "--resume", "latest")[2]
    code, _out, err = bnnkit("train", "--resume", "latest", "--dry-run")
    assert code == 2 and "have no place" in err
    code, _out, err = bnnkit("train", "--resume", "res")
    assert code == 3 and "neither a run directory nor a run in runs/train" in err


def test_a_non_finite_loss_stops_saves_and_names_the_layer(bnnkit: Command) -> None:
    code, _out, err = bnnkit("train", "mlp", *TINY, "--lr", "1e38", "--schedule", "constant")
    assert code == 1
    assert "error: train mlp: epoch 1, step 2: loss " in err
    assert "first non-finite output: layer '" in err and " is not finite)" in err
    assert "hint: --lr 1e+37" in err
    run = runs.resolve("latest")
    assert (run.path / "nonfinite.safetensors").exists() and not run.finished
    assert checkpoint.read_metadata(run.last)["position"]["step"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["mpl"], 2, "unknown model 'mpl'", "did you mean 'mlp'?"),
        ([], 2, "train: no model; MODEL or a recipe file that names one was needed", "bnnkit models list"),
        (["mlp", "--recipe", "iga-mpl"], 2, "unknown recipe 'iga-mpl'", "did you mean 'iga-mlp'?"),
        (["mlp", "--seeds", "a,b"], 2, "--seeds a,b: a count or different numbers", "--seeds 3 or --seeds 1,2,3"),
        (["mlp", "--seeds", "1,1"], 2, "--seeds 1,1", "--seeds 3 or --seeds 1,2,3"),
        (["mlp", "--precision", "fp8"], 2, "--precision fp8: unknown", "one of fp32, bf16"),
        (["mlp", "--teacher", "none.safetensors"], 3, "none.safetensors: does not exist", "ls ."),
        (["mlp", "--teacher", "mlpp"], 3, "'mlpp': neither a checkpoint file", "did you mean 'mlp'?"),
        (["mlp", "--distill", "1.5"], 2, "--distill 1.5: a number from 0 to 1 was needed", "leave it out"),
        (["mlp", "--distill", "0.5"], 2, "--distill 0.5: a teacher was needed", "give --teacher"),
        (["mlp", "--clip-factor", "-1"], 2, "--clip-factor -1.0: 0 (off) or a positive", "leave it out"),
        (["cnv", "--fault", "weight@0.1"], 2, "fault 'weight@0.1': SITE:KIND@RATE", "--fault weight:flip@0.01"),
        (["cnv", "--fault", "cell:stuck0@0.1"], 2, "training has no faults of the site cell", INJECT),
        (["cnv", "--noise-std"], 2, "--noise-std: says what --noise means", "--noise 0.4 --noise-std"),
        (["cnv", "--noise", "-1"], 2, "fault 'latent:gauss@-1': sigma -1; a number of at", "--fault latent:gauss@1"),
        (["cnv", "--loss", "margn"], 2, "unknown loss 'margn'", "did you mean 'margin'?"),
        (["cnv", "--margin", "2"], 2, "--margin 2.0: the loss margin was needed", "give --loss margin"),
        (["mlp", "--value-gradient", "st"], 2, "unknown value gradient 'st'", "did you mean 'ste'?"),
        (["mlp", "--init", "none.safetensors"], 3, "none.safetensors: does not exist", "ls ."),
        (["mlp", "--resume", "latest"], 3, "runs/train: holds no run yet", "bnnkit train --help"),
    ],
)
def test_errors(bnnkit: Command, arguments: list[str], code: int, error: str, hint: str) -> None:
    got, out, err = bnnkit("train", *arguments)
    assert (got, out) == (code, "")
    lines = err.splitlines()
    assert any(line.startswith("error: ") and error in line for line in lines), err
    assert lines[-1] == f"hint: {hint}"
    assert not Path("runs").exists()


def test_init_takes_the_weights_and_refuses_another_network(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY)[0] == 0
    first = str(runs.resolve("latest").best)
    # A rate this low leaves the weights where they are.
    code, *_ = bnnkit("train", "mlp", *TINY, "--w-bit", "2", "--init", first, "--lr", "1e-30", "--epochs", "1")
    assert code == 0
    weights = [
        checkpoint.read(path).tensors["model.classifier.weight"] for path in (first, runs.resolve("latest").last)
    ]
    assert torch.equal(*weights)
    code, _out, err = bnnkit("train", "mlp", *TINY, "--width", "2", "--init", first)
    assert code == 4
    assert "holds another network (mlp width 1, activations fp, weights 1, ADC fp): width is 1, needed 2" in err


def test_the_config_of_a_run_is_a_recipe(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY)[0] == 0
    first = runs.resolve("latest")
    assert bnnkit("train", "--recipe", str(first.config))[0] == 0
    second = runs.resolve("latest")
    assert second != first
    for name, value in checkpoint.read(first.last).tensors.items():
        assert torch.equal(checkpoint.read(second.last).tensors[name], value)


def test_bf16_trains(bnnkit: Command) -> None:
    code, _out, err = bnnkit("train", "mlp", *TINY, "--precision", "bf16", "--epochs", "1")
    assert code == 0, err


def test_the_notice_about_data_that_is_not_prepared(bnnkit: Command) -> None:
    arguments = [word for word in TINY if word != "--dataset=digits"]
    code, _out, err = bnnkit("train", "mlp", *arguments, "--epochs", "1")
    assert code == 0
    assert err.startswith("warning: mnist, the usual dataset of mlp, is not prepared: using the embedded digits")
    assert "bnnkit data prepare mnist" in err


def test_a_dataset_that_cannot_be_had_names_the_command_that_fixes_it(
    bnnkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    code, out, err = bnnkit("train", "res20", "--dataset", "cifar10")
    assert (code, out) == (3, "")
    message, hint = err.splitlines()[-2:]
    assert message.startswith("error: dataset 'cifar10' is not prepared and cannot be downloaded")
    assert hint == "hint: bnnkit data prepare cifar10 --source ARCHIVE"


def test_a_full_disk_while_saving_is_an_environment_error(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.fsync

    def full_at_the_second_checkpoint(descriptor: int) -> None:
        saved = Path("runs/train").glob("*/last.safetensors")
        if any(path.with_name(f".{path.name}.partial").exists() for path in saved):
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second_checkpoint)
    code, out, err = bnnkit("train", "mlp", *TINY)
    monkeypatch.setattr(os, "fsync", kept)
    assert (code, out) == (3, "")
    message, hint = err.splitlines()[-2:]
    assert "no space to save it (No space left on device); the previous one is unchanged" in message
    assert hint == "hint: free some space (df -h shows it)"
    checkpoint.read(next(Path("runs/train").glob("mlp*/last.safetensors")))


def test_nothing_but_json_on_stdout_and_nothing_on_stderr_if_quiet(bnnkit: Command) -> None:
    code, out, err = bnnkit("train", "mlp", *TINY, "--epochs", "1", "--json", "--quiet")
    assert code == 0 and err == ""
    assert document(out)["schema"] == "bnnkit.train/1"


def test_recipes(bnnkit: Command) -> None:
    code, out, _err = bnnkit("recipes")
    assert code == 0 and "iga-res" in out and "0.001 @101" in out
    listed = document(bnnkit("recipes", "--json")[1])["recipes"]
    assert {recipe["name"] for recipe in listed} == {
        "ab-bnn",
        "cnv",
        "fracbnn",
        "iga-res",
        "iga-vgg9",
        "iga-mlp",
        "iga-cosine",
        "rram",
    }


def test_runs_live_where_asked(bnnkit: Command, tmp_path: Path) -> None:
    assert bnnkit("train", "mlp", *TINY, "--epochs", "1", "--runs-dir", str(tmp_path / "elsewhere"))[0] == 0
    assert not Path("runs").exists()
    shutil.rmtree(tmp_path / "elsewhere" / "train")
