"""Cells on disk: what is found again, what is continued, and what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnnkit.errors import MismatchError, MissingError
from bnnkit.sweep import TRAINED, Cell, Store
from tests.sweep.documents import eval_document, train_cell, train_document


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "sweep" / "cells")


def begin_run(store: Store, cell: Cell, name: str, *files: str) -> Path:
    """Make a run directory in a cell with these files."""
    path = store.begin(cell) / "runs" / cell.command / name
    path.mkdir(parents=True)
    for file in ("config.toml", *files):
        (path / file).write_text("{}")
    return path


def test_a_finished_cell_is_found_by_what_it_computes(store: Store) -> None:
    cell = train_cell(adc_bit=1)
    assert store.result(cell) is None
    folder = store.begin(cell)
    assert folder == store.folder(cell) == store.root / cell.key
    described = json.loads((folder / "cell.json").read_text())
    assert described["line"] == "bnnkit train mlp --adc-bit 1" and described["labels"] == {"adc-bit": "1"}
    store.finish(cell, train_document(91.5), 12.5)
    again = Cell("train", cell.arguments, {"another": "label"})
    found = Store(store.root).result(again)
    assert found is not None and (found.document, found.seconds) == (train_document(91.5), 12.5)
    assert store.result(train_cell(adc_bit=2)) is None
    store.begin(cell)
    assert store.result(cell) == found


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"document": {}, "seconds": 1}', '{"document": {"runs": [{}]}, "seconds": 1}']
)
def test_a_damaged_result(store: Store, text: str) -> None:
    path = store.begin(train_cell()) / "result.json"
    path.write_text(text)
    with pytest.raises(MismatchError) as failure:
        store.result(train_cell())
    assert failure.value.message == f"{path}: damaged; the JSON document of a finished cell was needed"
    assert failure.value.hint == f"rm {path}"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="cannot be made") as failure:
        Store(tmp_path / "file" / "cells").begin(train_cell())
    assert failure.value.hint == "give --runs-dir a folder you can write to"


def test_what_has_not_begun_is_begun(store: Store) -> None:
    cell = train_cell(adc_bit=1, threads=2)
    begin_run(store, cell, "mlp-20260101-000000-aaaaaa", "stamp.json")
    begin_run(store, cell, "mlp-20260101-000001-bbbbbb", "last.safetensors")
    assert store.begun(cell) is None
    home = store.folder(cell) / "runs"
    words = ["train", "mlp", "--adc-bit", "1", "--threads", "2", "--runs-dir", str(home), "--json"]
    assert store.words(cell) == words


def test_the_newest_run_is_continued(store: Store) -> None:
    cell = Cell("train", ("mlp", "--data-dir", "here", "--threads", "2", "--epochs", "3"), {})
    begin_run(store, cell, "mlp-20260101-000000-aaaaaa", "stamp.json", "last.safetensors")
    path = begin_run(store, cell, "mlp-20260101-000001-bbbbbb", "stamp.json", "last.safetensors")
    begin_run(store, cell, "mlp-20260101-000002-cccccc", "stamp.json")
    begun = store.begun(cell)
    assert begun is not None and begun.path == path
    kept = ["--data-dir", "here", "--threads", "2"]
    home = store.folder(cell) / "runs"
    assert store.words(cell) == ["train", "--resume", str(path), *kept, "--runs-dir", str(home), "--json"]


def test_a_campaign_is_continued_from_its_first_evaluation_on(store: Store) -> None:
    cell = Cell("inject", ("--bit", "6"), {})
    path = begin_run(store, cell, "mlp-20260101-000000-aaaaaa", "stamp.json")
    assert store.words(cell)[:3] == ["inject", "--resume", str(path)]


def test_an_evaluation_takes_what_was_trained(store: Store) -> None:
    before = train_cell(adc_bit=1)
    cell = Cell("eval", (TRAINED, "--adc-bit", "2"), {}, before)
    with pytest.raises(MissingError, match="holds no checkpoint") as failure:
        store.words(cell)
    assert failure.value.hint == f"rm -r {store.folder(before)}"
    # A recipe of two steps: the network is what the last step ends with.
    store.begin(before)
    store.finish(before, train_document(90.0, steps=2), 1.0)
    first = begin_run(store, before, "mlp-1-1", "last.safetensors", "best-val.safetensors")
    last = begin_run(store, before, "mlp-1-2", "last.safetensors")
    assert store.trained(before) == last / "last.safetensors"
    (last / "best-val.safetensors").write_text("")
    assert store.trained(before) == last / "best-val.safetensors" != first / "best-val.safetensors"
    assert store.words(cell) == ["eval", str(last / "best-val.safetensors"), "--adc-bit", "2", "--json"]
    assert store.begun(cell) is None


def test_documents_of_other_commands_are_no_results(store: Store) -> None:
    store.begin(train_cell())
    store.finish(train_cell(), eval_document({1: 90.0}), 1.0)
    with pytest.raises(MismatchError, match="damaged"):
        store.result(train_cell())
