"""Accuracies in the documents that the commands really print, in this process and on tiny networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnkit import ops
from bnnkit.errors import MissingError
from bnnkit.sweep.measured import CHIP, measured
from bnnkit_cli import main as cli
from bnnkit_cli import output
from tests.sweep.documents import chip_document, inject_document

Printed = Callable[..., dict[str, Any]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Printed]:
    """Return the document of a command line, run in an empty folder."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))
    threads = torch.get_num_threads()

    def run(*arguments: str) -> dict[str, Any]:
        code = cli.main([*arguments, "--threads", "1", "--json"])
        streams = capsys.readouterr()
        assert code == 0, streams.err
        return dict(json.loads(streams.out))

    yield run
    torch.set_num_threads(threads)
    output.configure()


QUICK = ("--dataset", "digits", "--limit", "40", "--epochs", "1", "--max-steps", "1")


def test_trainings_of_several_seeds(printed: Printed) -> None:
    document = printed("train", "mlp", *QUICK, "--seeds", "4,7")
    found = measured("train", document)
    assert [each.labels for each in found] == [{"seed": "4"}, {"seed": "7"}]
    for each, run in zip(found, document["runs"], strict=True):
        test = run["test"]
        assert (each.accuracy, each.correct, each.total) == (test["accuracy"], test["correct"], test["total"])
        assert each.accuracy == pytest.approx(100 * each.correct / each.total)
        assert each.interval[0] < each.accuracy < each.interval[1] and each.limited
    alone = measured("train", {**document, "runs": document["runs"][:1]})
    assert [each.labels for each in alone] == [{}]


def test_a_recipe_of_two_steps_and_its_faults(printed: Printed) -> None:
    document = printed("train", "fracbnn20", *QUICK, "--width", "1", "--batch", "8")
    assert [(run["step"], run["steps"]) for run in document["runs"]] == [(1, 2), (2, 2)]
    [found] = measured("train", document)
    assert found.labels == {} and found.accuracy == document["runs"][1]["test"]["accuracy"]


def test_evaluations_and_campaigns(printed: Printed) -> None:
    document = printed("eval", "--adc-bit", "1,fp", "--limit", "50")
    found = measured("eval", document)
    assert [each.labels for each in found] == [{"adc-bit": "1"}, {"adc-bit": "fp"}]
    assert [each.correct for each in found] == [row["correct"] for row in document["results"]]
    assert all(each.total == 50 and each.limited for each in found)

    document = printed("inject", "--bit", "5,6", "--repair", "msb", "--repeats", "2", "--limit", "30")
    found = measured("inject", document)
    names = [table["table"] for table in document["tables"]]
    assert [each.labels for each in found] == [
        {"row": "golden"},
        *({"fault": name, "row": row} for name in names for row in ("faulty", "repair msb")),
    ]
    faulty = document["tables"][1]["rows"][0]
    assert (found[3].accuracy, list(found[3].interval)) == (faulty["accuracy"], faulty["interval95"])
    assert (found[3].correct, found[3].total) == (faulty["correct"], 60)

    document = printed("inject", "--fault", "weight:flip@0", "--rate", "0,1e-2,0.5", "--repeats", "2", "--limit", "20")
    assert [each.labels["row"] for each in measured("inject", document)] == ["golden", "0", "0.01", "0.5"]


def test_chips(printed: Printed) -> None:
    train = printed("train", "resnet20", *QUICK, "--width", "1")
    assert measured("train", train)[0].total == 40
    cells = ("ideal", "rram:sigma=0.2")
    options = ("--cell", cells[0], "--cell", cells[1], "--cell-bit", "4", "--adc-range", "full")
    document = printed("eval", *options, "--chips", "2", "--limit", "2")
    software, *found = measured("eval", document)
    assert software.labels == dict.fromkeys(("cell", "cell-bit", "adc-bit"), "none")
    assert software.correct == document["software"]["correct"]
    assert [each.labels for each in found] == [
        {"cell": cell, "cell-bit": "4", "adc-bit": "6", CHIP: chip} for cell in cells for chip in ("0", "1")
    ]
    for place, row in enumerate(document["results"]):
        chips = found[2 * place : 2 * place + 2]
        assert sum(chip.accuracy for chip in chips) / 2 == pytest.approx(row["accuracy"])
        assert [chip.correct for chip in chips] == [chip["correct"] for chip in row["chips"]]
    assert len(measured("eval", printed("eval", "--limit", "2"))) == 1


def test_one_chip_and_several() -> None:
    found = measured("eval", chip_document(92.0, {1: [90.0], 2: [80.0, 84.0]}))
    assert [each.labels.get(CHIP) for each in found] == [None, None, "0", "1"]
    assert [each.accuracy for each in found] == [92.0, 90.0, 80.0, 84.0]


def test_a_single_amount_is_no_name_of_a_row() -> None:
    one = measured("inject", inject_document(90.0, {"0.01": 80.0}))
    assert [each.labels["row"] for each in one] == ["golden", "faulty"]
    two = measured("inject", inject_document(90.0, {"0.01": 80.0, "0.1": 70.0}))
    assert [each.labels["row"] for each in two] == ["golden", "0.01", "0.1"]


@pytest.mark.parametrize("command", ["train", "eval", "inject"])
@pytest.mark.parametrize("document", [{}, {"runs": [{}], "results": [{}], "tables": [{}], "limited": False}])
def test_what_is_no_document(command: str, document: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        measured(command, document)
