"""`bnnkit eval`: what can be evaluated, in which settings, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnnkit import checkpoint, runs
from bnnkit.models import create_model
from bnnkit_cli import main as cli
from bnnkit_cli import output

OPTIONS = {"dataset": "digits", "width": 1, "batch": 64, "epochs": 3, "threads": 1, "ao-bit": "fp", "adc-bit": "fp"}
TINY = [f"--{name}={value}" for name, value in OPTIONS.items()]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run of mlp; its activations are in full precision, so that it needs no compiled extension."""
    folder = tmp_path_factory.mktemp("trained")
    threads = torch.get_num_threads()
    assert cli.main(["-q", "train", "mlp", *TINY, "--runs-dir", str(folder / "runs")]) == 0
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


def document(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def test_every_way_to_name_a_network_gives_the_result_of_its_training(bnnkit: Command) -> None:
    run = runs.resolve("latest")
    expected = run.read_json("results.json")
    for reference in ([], ["latest"], ["mlp"], [str(run.path)], [run.name], [str(run.best)]):
        code, out, _err = bnnkit("eval", *reference, "--json")
        assert code == 0
        found = document(out)
        assert found["schema"] == "bnnkit.eval/1"
        assert found["checkpoint"] == str(run.best)
        (row,) = found["results"]
        assert {name: row[name] for name in expected["test"]} == expected["test"]
        assert not found["limited"]
    (row,) = document(bnnkit("eval", str(run.last), "--json")[1])["results"]
    assert {name: row[name] for name in expected["test_last"]} == expected["test_last"]


def test_the_table(bnnkit: Command) -> None:
    code, out, _err = bnnkit("eval", "mlp", "--adc-bit", "fp,2,4", "--limit", "50", "--batch", "7")
    assert code == 0
    assert "mlp width 1, activations fp, weights 1, ADC fp, on digits" in out.splitlines()[0]
    assert [line.split()[0] for line in out.splitlines()[3:6]] == ["fp", "2", "4"]
    assert "/50 " in out
    assert "limited: 50 of 360 test images" in out
    assert "not comparable with MNIST" in out


def test_other_converters_and_arrays(bnnkit: Command) -> None:
    def accuracies(*arguments: str) -> list[int]:
        code, out, err = bnnkit("eval", "--json", *arguments)
        assert code == 0, err
        return [row["correct"] for row in document(out)["results"]]

    through = accuracies("--adc-bit", "fp,1,2,3,4")
    assert len(through) == 5 and through[0] > through[1]
    assert accuracies("--adc-bit", "1", "--rows", "8") != [through[1]]
    assert accuracies("--adc-bit", "fp", "--backend", "reference") == through[:1]


def test_batch_and_threads_do_not_matter(bnnkit: Command) -> None:
    files = []
    for batch, threads in (("1", "1"), ("7", "2"), ("360", "1")):
        files.append(Path(f"logits-{batch}.npy"))
        flags = ["--batch", batch, "--threads", threads, "--adc-bit", "2"]
        assert bnnkit("eval", *flags, "--logits", str(files[-1]))[0] == 0
    logits = [np.load(file) for file in files]
    assert logits[0].shape == (360, 10) and logits[0].dtype == np.float32
    assert all((found == logits[0]).all() for found in logits)


def test_check_invariance(bnnkit: Command) -> None:
    code, out, err = bnnkit("eval", "--check-invariance", "--adc-bit", "2", "--backend", "torch", "--limit", "20")
    assert code == 0, err
    for setting in ("batch 1", "batch 7", "batch 256", "threads 2", "backend reference"):
        assert any(line.startswith(setting) and " yes " in line for line in out.splitlines())
    assert "checked on 20 of 360 test images" in out


def test_check_invariance_fails_where_integers_differ(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnnkit.nn import CimLinear

    weights = checkpoint.read(runs.resolve("latest").best)
    model = create_model(**{**weights.config, "ao_bit": 1, "adc_bit": 1})
    checkpoint.load_weights(weights, model)
    checkpoint.save("binary.safetensors", model, metadata=_labels(weights.metadata))
    whole = CimLinear.forward

    def depends_on_batch(self: CimLinear, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * (-1 if len(x) == 7 else 1)

    monkeypatch.setattr(CimLinear, "forward", depends_on_batch)
    arguments = ["eval", "binary.safetensors", "--check-invariance", "--backend", "torch", "--limit", "20"]
    code, out, err = bnnkit(*arguments)
    assert code == 1
    assert "error: --check-invariance: logits differ on the integer path (batch 7: first in layer 'hidden.0')" in err
    assert "hidden.0 (integers)" in out


def test_compare(bnnkit: Command) -> None:
    run = runs.resolve("latest")
    model = checkpoint.load(run.best)
    with torch.no_grad():
        model.classifier.weight.mul_(-1)  # type: ignore[union-attr, operator]
    checkpoint.save("other.safetensors", model, metadata=_labels(checkpoint.read_metadata(run.best)))
    (row,) = document(bnnkit("eval", "--compare", "other.safetensors", "--json")[1])["results"]
    assert row["differing_predictions"] > 180
    assert row["compare"]["correct"] < row["correct"]
    (row,) = document(bnnkit("eval", "--compare", "latest", "--json")[1])["results"]
    assert row["differing_predictions"] == 0
    _code, out, _err = bnnkit("eval", "--compare", "other.safetensors")
    assert "differing predictions" in out and "other: other.safetensors" in out


def _labels(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in ("preparation", "provenance")}


def test_the_gate_names_every_setting_that_fails(bnnkit: Command) -> None:
    code, out, err = bnnkit("eval", "--adc-bit", "fp,1", "--min-acc", "100")
    assert code == 1
    assert "(ADC fp), " in err and "(ADC 1); at least 100 % was demanded" in err
    assert "correct" in out
    assert bnnkit("eval", "--min-acc", "10")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["none.safetensors"], 3, "none.safetensors: does not exist; a checkpoint file was needed", "ls ."),
        (["mpl"], 3, "'mpl': neither a checkpoint file, nor a run in runs/train, nor a model", "did you mean 'mlp'?"),
        (["res20"], 3, "res20: no run of this model in runs/train", "bnnkit train res20"),
        (["--ao-bit", "4"], 4, "ao_bit is fp, needed 4", "give the checkpoint of that network, or options that fit"),
        (["--w-bit", "2"], 4, "w_bit is 1, needed 2", "give the checkpoint of that network, or options that fit"),
        (["--adc-bit", "1,9x"], 2, "'9x'", "use 1"),
        (["--adc-bit", "1,2", "--logits", "a.npy"], 2, "--logits with 2 settings", "give one --adc-bit"),
        (["--batch", "0"], 2, "--batch 0; at least 1", "leave --batch out"),
        (["--backend", "cuda", "--adc-bit", "1"], 2, "backend: 'cuda' is unknown", "use auto"),
        (["--device", "tpu"], 2, "--device tpu: cpu or cuda was needed", "--device cpu"),
        (["--device", "cuda", "--check-invariance"], 2, "compares ways of a processor", "leave --device out"),
        (["--mapping", "row", "--adc-bit", "1"], 2, "mapping 'row' is unknown", "use channel"),
        (["--dataset", "mnits"], 2, "mnits", "mnist"),
    ],
)
def test_errors(bnnkit: Command, arguments: list[str], code: int, error: str, hint: str) -> None:
    got, out, err = bnnkit("eval", *arguments)
    assert (got, out) == (code, ""), err
    assert "error: " in err and error in err
    assert hint in err.splitlines()[-1]


def test_a_truncated_checkpoint_is_refused(bnnkit: Command) -> None:
    run = runs.resolve("latest")
    run.best.write_bytes(run.best.read_bytes()[:5000])
    code, _out, err = bnnkit("eval")
    assert code == 4
    assert err.startswith(f"error: {run.best}: truncated: 5,000 bytes; its header says")


def test_another_dataset_is_warned_about(bnnkit: Command) -> None:
    weights = checkpoint.read(runs.resolve("latest").best)
    labels = _labels(weights.metadata)
    labels["provenance"] = {**labels["provenance"], "fingerprint": "0" * 64}
    checkpoint.save("older.safetensors", checkpoint.build(weights), metadata=labels)
    code, _out, err = bnnkit("eval", "older.safetensors")
    assert code == 0
    assert "warning: older.safetensors: trained on other data than this digits (fingerprints differ)" in err


def test_a_checkpoint_without_a_dataset_needs_one(bnnkit: Command) -> None:
    weights = checkpoint.read(runs.resolve("latest").best)
    checkpoint.save("bare.safetensors", checkpoint.build(weights))
    code, _out, err = bnnkit("eval", "bare.safetensors")
    assert code == 3 and "does not say which data it was trained on" in err
    code, _out, err = bnnkit("eval", "bare.safetensors", "--dataset", "digits")
    assert code == 4 and "does not say how its images were normalized" in err


def test_files_that_cannot_be_written_are_refused_before_any_work(bnnkit: Command) -> None:
    Path("folder").mkdir()
    for command in (["eval", "--logits"], ["pack", "latest", "-o"], ["bench", "-o"], ["eval", "--picture"]):
        code, _out, err = bnnkit(*command, "folder")
        assert code == 2 and "folder: is a folder; the name of a file was needed" in err
        code, _out, err = bnnkit(*command, "nowhere/file.png")
        assert code == 2 and "its folder does not exist" in err


def test_what_a_person_may_have_meant_otherwise_is_a_warning(bnnkit: Command) -> None:
    (runs.resolve("latest").path / "results.json").unlink()
    code, _out, err = bnnkit("eval", "--adc-bit", "9,fp", "--limit", "4")
    assert code == 0
    assert "its training is not finished" in err
    assert err.count("--adc-bit 9: no converter, as with fp") == 1
