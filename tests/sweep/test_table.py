"""Tables: rows of cells, means over seeds, published values, and the same numbers in every form."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from bnnkit.errors import MismatchError
from bnnkit.sweep import Cell, Published, Report, Row, State, rows_of
from bnnkit.sweep.record import COMMENTS, to_toml
from bnnkit.sweep.table import as_csv, as_markdown, cells_of, columns_of
from tests.sweep.documents import chip_document, entry, eval_document, inject_document, train_cell, train_document


def test_seeds_become_means_and_sample_deviations() -> None:
    entries = [
        entry(train_cell(adc_bit=bit, seed=seed), train_document(accuracy))
        for bit, accuracies in ((1, (90.0, 92.0, 94.0)), (2, (95.0,)))
        for seed, accuracy in enumerate(accuracies)
    ]
    several, single = rows_of(entries)
    assert several.labels == {"adc-bit": "1"}
    assert several.accuracies == (90.0, 92.0, 94.0)
    assert (several.mean, several.spread) == (pytest.approx(92.0), pytest.approx(2.0))
    assert (several.correct, several.total, several.interval) == (276, 300, None)
    assert (single.mean, single.spread, single.interval) == (95.0, None, (94.0, 96.0))
    heads, lines = cells_of([several, single], columns_of([several, single]))
    assert heads == ["adc-bit", "test %", "mean of", "95 % interval", "correct"]
    assert lines == [
        ["1", "92.00", "3", "+- 2.00 (std)", "276/300"],
        ["2", "95.00", "1", "94.00 to 96.00", "95/100"],
    ]


def test_seeds_of_one_cell_are_put_together_too() -> None:
    [row] = rows_of([entry(train_cell(adc_bit=1), train_document(80.0, 90.0, limited=True))])
    assert (row.accuracies, row.limited) == ((80.0, 90.0), True)


def test_chips_are_put_together_and_software_counts_once() -> None:
    def cell(bit: int) -> Cell:
        return Cell("eval", ("vgg7", "--cell-bit", str(bit)), {"cell-bit": str(bit)})

    rows = rows_of(
        [
            entry(cell(1), chip_document(92.0, {1: [90.0, 91.0]})),
            entry(cell(2), chip_document(92.0, {2: [80.0, 82.0]})),
        ]
    )
    assert [(row.labels["cell"], row.labels["cell-bit"], row.accuracies) for row in rows] == [
        ("none", "none", (92.0,)),
        ("ideal", "1", (90.0, 91.0)),
        ("ideal", "2", (80.0, 82.0)),
    ]


def test_labels_in_another_order_are_the_same_row() -> None:
    first = Cell("train", ("a",), {"model": "mlp", "adc-bit": "1", "seed": "1"})
    second = Cell("train", ("b",), {"adc-bit": "1", "seed": "2", "model": "mlp"})
    [row] = rows_of([entry(first, train_document(80.0)), entry(second, train_document(90.0))])
    assert row.accuracies == (80.0, 90.0) and list(row.labels) == ["model", "adc-bit"]


def test_what_is_not_finished_has_a_state() -> None:
    cells = [train_cell(adc_bit=bit) for bit in (1, 2, 3)]
    rows = rows_of(
        [entry(cells[0], train_document(90.0)), entry(cells[1], state=State.failed), entry(cells[2])],
        [Published({"adc-bit": "2"}, 96.21)],
    )
    assert [(row.mean, row.state) for row in rows] == [
        (90.0, State.finished), (None, State.failed), (None, State.waiting),
    ]  # fmt: skip
    _, lines = cells_of(rows, ["adc-bit"])
    assert lines[1] == ["2", "failed", "", "", "96.21", ""]
    # A seed that failed does not hide those that did not.
    seeds = [entry(train_cell(seed=1), state=State.failed), entry(train_cell(seed=2), train_document(90.0))]
    assert [row.accuracies for row in rows_of(seeds)] == [(90.0,)]


def test_published_values_and_differences() -> None:
    cells = [train_cell(adc_bit=bit, rows=128) for bit in (1, 2)]
    published = [Published({"adc-bit": "1", "rows": "64"}, 1.0), Published({"adc-bit": "1"}, 96.5)]
    rows = rows_of([entry(cell, train_document(90.0)) for cell in cells], published)
    assert [(row.published, row.difference) for row in rows] == [(96.5, pytest.approx(-6.5)), (None, None)]
    heads, lines = cells_of(rows, columns_of(rows))
    assert heads[-2:] == ["published", "difference"]
    assert [line[-2:] for line in lines] == [["96.50", "-6.50"], ["", ""]]


def test_columns_that_say_nothing_are_left_out() -> None:
    rows = [Row({"model": "mlp", "adc-bit": str(bit), "fault": ""}) for bit in (1, 2)]
    assert columns_of(rows) == ["adc-bit"]
    assert columns_of(rows[:1]) == ["model", "adc-bit", "fault"]
    assert columns_of([]) == []


def test_columns_of_campaigns() -> None:
    cell = Cell("inject", ("--bit", "6"), {"model": "cnv"})
    rows = rows_of([entry(cell, inject_document(90.0, {"faulty": 50.0}, {"faulty": 60.0}))])
    assert columns_of(rows) == ["row", "fault"]
    assert [(row.labels["fault"], row.labels["row"], row.mean) for row in rows] == [
        ("", "golden", 90.0), ("bit 0", "faulty", 50.0), ("bit 1", "faulty", 60.0),
    ]  # fmt: skip


def test_another_commands_document_is_a_mismatch() -> None:
    with pytest.raises(MismatchError, match="no document of `bnnkit train`"):
        rows_of([entry(train_cell(), eval_document({1: 90.0}))])


@pytest.fixture
def rows() -> list[Row]:
    cells = [
        Cell("eval", (fault,), {"fault": fault, "seed": str(seed)})
        for fault in ("weight:flip@0.1,layers=a|b", 'with "quotes"')
        for seed in (1, 2)
    ]
    accuracies = (100 / 3, 200 / 3, 90.0, 91.0)
    entries = [entry(cell, eval_document({"fp": value})) for cell, value in zip(cells, accuracies, strict=True)]
    waiting = entry(Cell("eval", ("last",), {"fault": "last"}))
    return rows_of([*entries, waiting], [Published({"fault": 'with "quotes"'}, 90.0)])


def test_all_forms_say_the_same(rows: list[Row]) -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    plain = json.loads(json.dumps([row.as_json() for row in rows]))
    assert len(read) == len(plain) == len(rows) == 3
    for line, document, row in zip(read, plain, rows, strict=True):
        assert {name: line[name] for name in row.labels} == document["labels"] == dict(row.labels)
        for name in ("accuracy", "spread", "correct", "total", "published", "difference"):
            text = line[name]
            assert (float(text) if text else None) == document[name]
        assert (line["limited"], line["state"]) == (str(document["limited"]), document["state"])
    assert [row["accuracy"] for row in plain] == [50.0, 90.5, None]
    assert plain[0]["accuracies"] == [100 / 3, 200 / 3]

    text = as_markdown("a title", rows, ["a note"])
    heads, lines = cells_of(rows, columns_of(rows))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("# a title\n\n") and text.endswith("\n\n- a note\n")
    assert len(table) == 2 + len(lines)
    assert table[2].startswith("| weight:flip@0.1,layers=a\\|b |")
    for line, cells in zip(table[2:], lines, strict=True):
        parts = [part.strip() for part in line.replace("\\|", "&").strip("|").split("|")]
        assert parts == [cell.replace("|", "&") for cell in cells] and len(parts) == len(heads)


def test_the_report(rows: list[Row]) -> None:
    waiting = entry(train_cell(adc_bit=1), state=State.failed)
    waiting.said = "error: it broke"
    report = Report("a title", [replace(rows[0], limited=True), *rows[1:]], [waiting], ["a note"])
    document = json.loads(json.dumps(report.as_json()))
    assert (document["limited"], document["finished"]) == (True, False)
    [cell] = document["cells"]
    assert (cell["state"], cell["said"], cell["line"]) == (
        "failed", "error: it broke", "bnnkit train mlp --adc-bit 1",
    )  # fmt: skip
    assert len(document["rows"]) == len(document["table"]) == 3
    assert Report("", (), (), ()).as_json()["finished"] is True


def test_config_toml_can_be_read() -> None:
    from bnnkit.sweep.preset import tomllib

    options = dict.fromkeys(COMMENTS) | {
        "command": "train",
        "arguments": ["--epochs", "1", 'a "quote"'],
        "grid": {"adc-bit": ["1", "2"], "model": ["mlp"]},
        "seeds": [1, 2],
        "jobs": 2,
    }
    read = tomllib.loads(to_toml(options))
    assert read == {name: value for name, value in options.items() if value is not None}
