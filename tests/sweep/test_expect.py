"""Expected accuracies: the forms they are written in, and what is near enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnnkit.errors import MissingError, UsageError
from bnnkit.sweep import Published, Report, Row, compare, read_expected, rows_of
from bnnkit.sweep.expect import Difference
from bnnkit.sweep.table import as_csv
from tests.sweep.documents import entry, train_cell, train_document


@pytest.fixture
def rows() -> list[Row]:
    return rows_of([entry(train_cell(adc_bit=bit, rows=128), train_document(90.0 + bit)) for bit in (1, 2)])


def test_the_tables_of_a_sweep(tmp_path: Path, rows: list[Row]) -> None:
    rows = [*rows, Row({"adc-bit": "3", "rows": "128"})]
    (tmp_path / "table.csv").write_text(as_csv(rows))
    (tmp_path / "results.json").write_text(json.dumps(Report("", rows, (), ()).as_json()))
    wanted = [Published({"adc-bit": str(bit), "rows": "128"}, 90.0 + bit) for bit in (1, 2)]
    for name in ("table.csv", "results.json"):
        expected = read_expected(tmp_path / name)
        assert expected == wanted
        assert all(difference.within(0.0) for difference in compare(rows, expected))


def test_a_table_of_ones_own(tmp_path: Path, rows: list[Row]) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('adc-bit,accuracy,published\n1,91.4,99\n"2",,\n3,50,\n')
    expected = read_expected(path)
    assert expected == [Published({"adc-bit": "1"}, 91.4), Published({"adc-bit": "3"}, 50.0)]
    near, absent = compare(rows, expected)
    assert (near.found, near.within(0.5), near.within(0.3)) == (91.0, True, False)
    assert (absent.found, absent.within(1000.0)) == (None, False)


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "within"),
    [
        (91.0, 90.0, 1.0, True),
        (89.0, 90.0, 1.0, True),
        (91.01, 90.0, 1.0, False),
        (87.46, 86.46, 1.0, True),
        (0.3, 0.1, 0.2, True),
        (90.0, 90.0, 0.0, True),
        (90.01, 90.0, 0.0, False),
        (None, 90.0, 100.0, False),
        (90.0, float("nan"), 100.0, False),
    ],
)
def test_edges_of_the_tolerance(found: float | None, expected: float, tolerance: float, within: bool) -> None:
    assert Difference({}, expected, found).within(tolerance) is within


def test_a_row_that_could_be_several(rows: list[Row]) -> None:
    with pytest.raises(UsageError) as failure:
        compare(rows, [Published({"rows": "128"}, 91.0)])
    assert failure.value.message == "--expect: 2 rows of the sweep have rows 128; one was needed"
    assert failure.value.hint == "columns: adc-bit, rows"


def test_a_row_with_no_further_labels_is_meant() -> None:
    rows = [Row({"row": "golden", "fault": ""}, (90.0,)), Row({"row": "golden", "fault": "bit 6"}, (80.0,))]
    [found] = compare(rows, [Published({"row": "golden"}, 90.0)])
    assert found.found == 90.0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "holds no accuracy"),
        ("a.csv", "adc-bit,accuracy\n", "holds no accuracy"),
        ("a.csv", "adc-bit,test\n1,90\n", "cannot be read ('accuracy')"),
        ("a.csv", "adc-bit,accuracy\n1,many\n", "could not convert"),
        ("a.csv", "adc-bit,accuracy\n1,90,more\n", "a line has more values"),
        ("a.json", "{}", "cannot be read ('table')"),
        ("a.json", "[1]", "cannot be read"),
        ("a.json", "no json", "cannot be read"),
        ("a.json", '{"table": [{"labels": 1, "accuracy": 2}]}', "cannot be read"),
        ("a.json", '{"table": []}', "holds no accuracy"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as failure:
        read_expected(tmp_path / name)
    assert failure.value.message.startswith(f"--expect {tmp_path / name}: ") and message in failure.value.message


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not exist"):
        read_expected(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_expected(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_expected(tmp_path / "binary.csv")
