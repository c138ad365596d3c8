"""What is printed, where, and in which form."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnkit_cli import output


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    output.configure()
    yield
    output.configure()


def test_a_table_is_never_cut_where_stdout_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = [[f"layer{i}." + "x" * 60, "y" * 50, i * 1000] for i in range(3)]
    output.result_table(["name", "other", "count"], rows, title="T", notes=["n" * 300])
    printed = capsys.readouterr().out
    for row in rows:
        line = next(line for line in printed.splitlines() if line.startswith(str(row[0])))
        assert str(row[1]) in line
        assert line.endswith(f"{row[2]:,}")
    assert "n" * 300 in printed
    assert "…" not in printed
    assert "\x1b" not in printed


def test_a_table_on_a_narrow_terminal_folds_and_keeps_every_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    output.result_table(["name", "count"], [["x" * 60, 5]])
    printed = capsys.readouterr().out
    assert printed.count("x") == 60
    visible = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert max(map(len, visible.splitlines())) <= 40


def test_cells(capsys: pytest.CaptureFixture[str]) -> None:
    output.result_table(["a", "b", "c", "d"], [[None, True, 1234567, 0.123456], ["[bold]text[/]", False, None, 97.53]])
    printed = capsys.readouterr().out
    first, second = printed.splitlines()[-2:]
    assert first.split() == ["-", "yes", "1,234,567", "0.1235"]
    assert second.split() == ["[bold]text[/]", "no", "-", "97.53"]


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        output.result_table(["a", "b"], [["only one"]])


def test_json_is_one_document_with_its_schema_first(capsys: pytest.CaptureFixture[str]) -> None:
    class Scalar:
        def tolist(self) -> list[float]:
            return [1.5, math.nan]

    output.emit_json("eval", {"path": Path("a/b"), "loss": math.inf, "values": Scalar(), "pair": (1, True, None)})
    document = json.loads(capsys.readouterr().out)
    assert next(iter(document.items())) == ("schema", "bnnkit.eval/1")
    assert document["path"] == "a/b"
    assert document["loss"] is None
    assert document["values"] == [1.5, None]
    assert document["pair"] == [1, True, None]


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.emit_json("x", {"a": object()})


def test_messages_go_to_stderr_and_obey_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    output.log("plain")
    output.log("only with -v", verbosity=1)
    output.warn("careful")
    output.configure(verbosity=1)
    output.log("more", verbosity=1)
    output.configure(quiet=True, verbosity=1)
    output.log("never")
    output.warn("never")
    output.error("always", hint="do this")
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "plain\nwarning: careful\nmore\nerror: always\nhint: do this\n"


def test_progress_writes_plain_lines_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    with output.progress("reading", total=4000) as bar:
        for done in (1000, 2000, 3000, 4000):
            bar.update(done, detail="fast")
    assert capsys.readouterr().err == "reading: 2,000/4,000 fast\nreading: 4,000/4,000 fast\n"


def test_progress_draws_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress("reading", total=3) as bar:
        bar.update(3)
    streams = capsys.readouterr()
    assert "3/3" in streams.err
    assert streams.out == ""


def test_no_colour_on_a_terminal_when_no_color_is_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.error("first")
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    output.error("second")
    assert "\x1b[3" not in capsys.readouterr().err


def test_quiet_progress_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.configure(quiet=True)
    with output.progress("reading", total=3) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_board_shows_what_it_is_given_last_and_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    with output.board() as board:
        assert board is not None
        board.show(["cell", "state"], [["first", "running"]], ["0/2 cells"])
        output.log("a line above [not markup]")
        output.warn("and a warning")
        board.show(["cell", "state"], [["first", "finished"], ["second", "running"]], ["1/2 cells"])
    output.log("after it")
    streams = capsys.readouterr()
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", streams.err)
    assert streams.out == ""
    for text in (
        "cell",
        "second",
        "1/2 cells",
        "a line above [not markup]\n",
        "warning: and a warning\n",
        "after it\n",
    ):
        assert text in visible
    # At the end its lines are erased.
    assert "\x1b[2K" in streams.err.rpartition("1/2 cells")[2]


def test_no_board_without_a_terminal_or_when_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with output.board() as board:
        assert board is None
        output.log("a plain line")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output.configure(quiet=True)
    with output.board() as board:
        assert board is None
    assert capsys.readouterr().err == "a plain line\n"


def test_lines_are_plain_again_after_a_board_that_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyError), output.board():
        raise KeyError
    capsys.readouterr()
    output.log("plain")
    assert capsys.readouterr().err == "plain\n"
