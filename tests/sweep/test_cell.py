"""Cells: what makes two of them the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bnnkit
from bnnkit.sweep import TRAINED, Cell
from bnnkit.sweep.cell import in_order

WORDS = st.lists(st.text(max_size=8), max_size=4)


def test_what_the_key_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("train", ("mlp", "--adc-bit", "2"), {"adc-bit": "2"}, data="d1")
    assert len(cell.key) == 12 and int(cell.key, 16) >= 0
    assert cell.key == Cell("train", ("mlp", "--adc-bit", "2"), {"other": "label"}, data="d1").key
    others = [
        replace(cell, command="eval"),
        replace(cell, arguments=("mlp", "--adc-bit", "3")),
        replace(cell, arguments=("mlp", "--adc-bit 2")),
        replace(cell, data="d2"),
        replace(cell, needs=Cell("train", ("mlp",), {})),
        replace(cell, needs=Cell("train", ("mlp",), {}, data="d1")),
    ]
    assert len({each.key for each in (cell, *others)}) == 1 + len(others)
    monkeypatch.setattr(bnnkit, "__version__", "0.0.0")
    assert replace(cell).key != cell.key


@given(WORDS, WORDS)
def test_keys_are_equal_exactly_where_the_words_are(first: list[str], second: list[str]) -> None:
    keys = [Cell("train", tuple(words), {}).key for words in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)


@pytest.mark.parametrize("form", ["{}", "rram:samples={}", "rram:samples={},levels=2"])
def test_files_count_by_their_content(tmp_path: Path, form: str) -> None:
    def key(name: str) -> str:
        return Cell("eval", ("--cell", form.format(tmp_path / name)), {}).key

    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "b").write_bytes(b"weights")
    assert key("a") == key("b") != key("absent")
    before = key("a")
    (tmp_path / "a").write_bytes(b"other weights")
    assert key("a") != before == key("b")


def test_a_word_too_long_for_a_path_is_a_word() -> None:
    assert Cell("eval", ("x" * 100_000,), {}).key != Cell("eval", ("x" * 100_001,), {}).key


def test_words_and_line(tmp_path: Path) -> None:
    cell = Cell("eval", (TRAINED, "--cell", "rram:sigma=0.05 0.1"), {})
    assert cell.words(tmp_path) == ["eval", str(tmp_path), "--cell", "rram:sigma=0.05 0.1"]
    assert cell.words(None)[1] == TRAINED
    assert cell.line == "bnnkit eval '{trained}' --cell 'rram:sigma=0.05 0.1'"


def test_what_is_needed_comes_first_and_once() -> None:
    base = Cell("train", ("mlp",), {"model": "mlp"})
    other = Cell("train", ("res20",), {"model": "res20"})
    first = Cell("eval", (TRAINED, "--adc-bit", "1"), {}, base)
    second = Cell("eval", (TRAINED, "--adc-bit", "2"), {}, base)
    assert in_order([first, other, second, base]) == [base, first, other, second]
    assert in_order([first, replace(first, labels={"name": "another"})]) == [base, first]
