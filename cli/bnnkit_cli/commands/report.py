"""`bnnkit report`: some runs as one HTML page, to read without a network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.report import Page


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Run directories of train, inject or sweep: paths, names, beginnings of names, or latest (of all).",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.html", help="The page; an older one is replaced.")
    ] = Path("report.html"),
    title: Annotated[
        str | None,
        typer.Option(help="Of the page [default: the run's name, or how many]."),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a line.")] = False,
) -> None:
    """Write one HTML page about some runs: curves, tables, sample faults, array maps, and where they come from.

    Everything is inside the file: it needs no network and no script. Several runs have an overview, with the curves of
    all trainings in one picture per dataset. Runs that are not finished are marked.
    """
    from bnnkit import report as work
    from bnnkit.decompose import check_name

    check_name(out, (".html", ".htm"))
    found = work.find(runs, root=runs_dir)
    replaced = out.exists()
    page = work.write(out, found, title)
    size = out.stat().st_size
    if json:
        output.emit_json("report", _document(page, out, size, replaced))
        return
    output.result_text(f"{out}: {_told(page)}, {size / 1000:,.0f} kB{', replaced' if replaced else ''}")


def _told(page: Page) -> str:
    from bnnkit.report import kind

    kinds = Counter(kind(one.run) for one in page.subjects)
    count = len(page.subjects)
    parts = [f"{count} run{'' if count == 1 else 's'} ({', '.join(f'{n} {name}' for name, n in kinds.items())})"]
    unfinished = sum(not one.finished for one in page.subjects)
    parts += [f"{unfinished} unfinished"] if unfinished else []
    things = (("curve", page.charts), ("array map", page.array_maps), ("picture", page.pictures))
    return ", ".join([*parts, *(f"{n} {name}{'' if n == 1 else 's'}" for name, n in things if n)])


def _document(page: Page, out: Path, size: int, replaced: bool) -> dict[str, Any]:
    from bnnkit.report import kind
    from bnnkit.report.overview import accuracy, dataset, network

    entries = []
    for one in page.subjects:
        score = accuracy(one)
        entries.append(
            {
                "run": one.run.path,
                "command": kind(one.run),
                "network": network(one),
                "dataset": dataset(one),
                "finished": one.finished,
                "limited": one.limited,
                "accuracy": None if score is None else score.value,
                "interval95": None if score is None else [score.low, score.high],
                "correct": None if score is None else score.correct,
                "total": None if score is None else score.total,
            }
        )
    counts = {"curves": page.charts, "array_maps": page.array_maps, "pictures": page.pictures}
    return {"path": out, "bytes": size, "replaced": replaced, "title": page.title, **counts, "runs": entries}
