"""The only file that prints.

Results go to stdout: tables and text, or exactly one JSON document. Everything else (log, warnings, progress,
errors) goes to stderr. `configure` is called once by `bnnkit_cli.main`; streams are looked up at every call, so
redirections work. `NO_COLOR` is obeyed by rich, which also leaves out all colour where the stream is no terminal.
"""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

SECONDS_BETWEEN_PLAIN_LINES = 10.0
UNLIMITED_WIDTH = 100_000


@dataclass
class _Settings:
    quiet: bool = False
    verbosity: int = 0
    live: Live | None = None


_settings = _Settings()


def configure(*, quiet: bool = False, verbosity: int = 0) -> None:
    """Set how much is said on stderr: `quiet` leaves errors only, `verbosity` counts the `-v` flags."""
    _settings.quiet = quiet
    _settings.verbosity = verbosity


def result_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print a table to stdout, then one line per note.

    Cells may be any object: `None` prints as `-`, booleans as yes/no, integers with thousands separators, floats with
    four significant digits, everything else by `str`; format a value yourself where that is not what is wanted.
    A column whose cells are all numbers (or `-`) is aligned right. On a terminal long cells fold into several
    lines; elsewhere the table is as wide as its contents and nothing is cut.

    Raises:
        ValueError: a row has not as many cells as there are columns.
    """
    from rich.text import Text

    table = _table(columns, rows)
    console = _console(sys.stdout)
    if title is not None:
        console.print(Text(title, style="bold"), soft_wrap=True)
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        result_text(line.rstrip())
    for note in notes:
        result_text(note)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"row {row!r} has {len(row)} cells, the table has {len(columns)} columns")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def result_text(text: str) -> None:
    """Print `text` and a newline to stdout, as it is."""
    print(text, file=sys.stdout)


def emit_json(command: str, payload: Mapping[str, object]) -> None:
    """Print the one JSON document of a command to stdout, `"schema": "bnnkit.<command>/1"` first.

    Paths become strings; NumPy and torch scalars and arrays become numbers and lists; NaN and infinities, which JSON
    does not have, become null.
    """
    document = {"schema": f"bnnkit.{command}/1", **payload}
    print(json.dumps(_plain(document), indent=2, allow_nan=False), file=sys.stdout)


def log(message: str, *, verbosity: int = 0) -> None:
    """Print a line to stderr, unless `--quiet` was given or fewer than `verbosity` flags `-v`."""
    if _settings.quiet or _settings.verbosity < verbosity:
        return
    if _settings.live is None:
        print(message, file=sys.stderr, flush=True)
    else:
        _settings.live.console.print(message, soft_wrap=True)


def warn(message: str) -> None:
    """Print `warning: message` to stderr, unless `--quiet` was given."""
    _marked("warning", "yellow", message, shown=not _settings.quiet)


def error(message: str, *, hint: str | None = None, mark: str = "error", cause: BaseException | None = None) -> None:
    """Print `error: message` and `hint: hint` to stderr; with `-vv` the traceback of `cause` before them."""
    if cause is not None and _settings.verbosity >= 2:
        traceback.print_exception(cause, file=sys.stderr)
    _marked(mark, "bold red", message)
    if hint is not None:
        _marked("hint", "cyan", hint)


class Progress(Protocol):
    """How far a piece of work is."""

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        """Report that `done` units of `total` are finished; `detail` is a few words on the current state."""


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Progress]:
    """Show the progress of `what` on stderr: a bar on a terminal, else a line every ten seconds, nothing if `--quiet`.

    Example:
        with progress("reading images", total=60_000) as bar:
            for done in range(0, 60_000, 1_000):
                bar.update(done)
    """
    if _settings.quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar(what, total) as bar:
            yield bar
    else:
        yield _Lines(what, total)


class _Silent:
    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        return


class _Lines:
    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._last = time.monotonic()

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        self._total = total if total is not None else self._total
        now = time.monotonic()
        if done != self._total and now - self._last < SECONDS_BETWEEN_PLAIN_LINES:
            return
        self._last = now
        count = f"{done:,}" if self._total is None else f"{done:,}/{self._total:,}"
        log(f"{self._what}: {count}{' ' if detail else ''}{detail}")


class Board(Protocol):
    """A table that changes while work goes on."""

    def show(self, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> None:
        """Replace what is shown."""


@contextmanager
def board() -> Iterator[Board | None]:
    """Keep a table on stderr that can be replaced; None where there is no terminal, or after `--quiet`.

    It disappears at the end. Lines that `log` prints meanwhile appear above it.
    """
    if _settings.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.live import Live

    with Live(console=_console(sys.stderr), transient=True, refresh_per_second=4) as live:

        class Shown:
            def show(self, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> None:
                from rich.console import Group
                from rich.text import Text

                live.update(Group(_table(columns, rows), *map(Text, notes)))

        _settings.live = live
        try:
            yield Shown()
        finally:
            _settings.live = None


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with RichProgress(*columns, console=_console(sys.stderr), transient=True) as display:
        task = display.add_task(what, total=total, detail="")

        class Bar:
            def update(self, done: int, total: int | None = None, detail: str = "") -> None:
                display.update(task, completed=done, total=total, detail=detail)

        yield Bar()


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    # Where no terminal sets a width, rich assumes 80 columns and would fold or cut what a file can hold.
    width = None if stream.isatty() else UNLIMITED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _marked(mark: str, style: str, message: str, *, shown: bool = True) -> None:
    if not shown:
        return
    if not sys.stderr.isatty():
        # rich costs more time to load than everything else that an error needs.
        print(f"{mark}: {message}", file=sys.stderr, flush=True)
        return
    from rich.text import Text

    _console(sys.stderr).print(Text.assemble((f"{mark}:", style), f" {message}"), soft_wrap=True)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return _plain(tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
