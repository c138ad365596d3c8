"""The page: everything about some runs in one HTML file, which asks for nothing from anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bnnkit
from bnnkit.atomic import write_text
from bnnkit.errors import MissingError
from bnnkit.report import arrays, hardware, injection, overview, provenance, study, training
from bnnkit.report.contents import Injection, Training
from bnnkit.report.find import kind
from bnnkit.report.markup import Markup, element, join
from bnnkit.report.overview import Subject
from bnnkit.report.read import read, understood
from bnnkit.runs import Run, file_digest
from bnnkit.train.subject import find as find_network
from bnnkit.train.subject import weights_of

_STYLE = Path(__file__).with_name("style.css")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Of the browser: nothing is fetched and no script is run, whatever a run is called."""


@dataclass(frozen=True)
class Page:
    """A page and what is in it."""

    title: str
    subjects: tuple[Subject, ...]
    html: str

    @property
    def charts(self) -> int:
        return self.html.count('<figure class="chart')

    @property
    def pictures(self) -> int:
        return self.html.count('<figure class="picture')

    @property
    def array_maps(self) -> int:
        return self.html.count('<figure class="arrays')


def write(path: Path, runs: Sequence[Run], title: str | None = None) -> Page:
    """Write a report; an older one is replaced as a whole.

    Raises:
        MismatchError: a file of a run is damaged.
        MissingError: no space, or no folder.

    >>> import tempfile
    >>> from bnnkit import runs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = runs.create("sweep", "adc-bits", "", root=Path(folder))
    ...     page = write(Path(folder) / "report.html", [run])
    ...     page.title == run.name, (Path(folder) / "report.html").read_text()[:15]
    (True, '<!doctype html>')
    """
    page = build(runs, title)
    write_text(path, page.html)
    return page


def build(runs: Sequence[Run], title: str | None = None) -> Page:
    """Return the page for some runs, in their order.

    Args:
        title: of the page; None: the run's name, or how many there are.

    Raises:
        MismatchError: a file of a run is damaged.
    """
    found = tuple(read(run) for run in runs)
    heading = title or (found[0].run.name if len(found) == 1 else f"Report on {len(found)} runs")
    written = f"Written {time.strftime('%Y-%m-%d %H:%M')} by bnnkit {bnnkit.__version__}"
    several = len(found) > 1
    body = join(
        [
            element("header", element("h1", heading), element("p", written)),
            _contents(found) if several else None,
            element(
                "main", overview.section(found) if several else None, *(_section(*one) for one in enumerate(found))
            ),
        ]
    )
    return Page(heading, found, _document(heading, body))


def _document(title: str, body: Markup) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        # Without one a browser asks the server for its own.
        element("link", rel="icon", href="data:,"),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


def _contents(found: Sequence[Subject]) -> Markup:
    links = [
        element("li", element("a", one.run.name, href=f"#{overview.anchor(number)}"), " ", overview.marks(one))
        for number, one in enumerate(found)
    ]
    return element("nav", element("h2", "Contents"), element("ol", *links))


def _section(number: int, found: Subject) -> Markup:
    name = element("span", kind(found.run), class_="kind")
    heading = element("h2", name, " ", found.run.name, " ", overview.marks(found))
    parts: list[Markup | None]
    if isinstance(found, Training):
        parts = [training.section(found), _hardware(found)]
    elif isinstance(found, Injection):
        parts = [injection.section(found)]
    else:
        parts = [study.section(found)]
    with understood(found.run.path / "stamp.json"):
        parts.append(provenance.section(found))
    return element("section", heading, *parts, id=overview.anchor(number), class_="run")


def _hardware(found: Training) -> Markup | None:
    """Return what the trained network occupies; None where its checkpoint is gone."""
    try:
        path = weights_of(found.run)
    except MissingError:
        return element("p", "No checkpoint is there any more: nothing is known about its arrays.", class_="note")
    recorded = found.stamp.get("checkpoints")
    digest = recorded.get(path.name) if isinstance(recorded, dict) else None
    same = "" if digest is None or digest == file_digest(path) else ", which is not the file that this run recorded"
    return arrays.section(hardware.of(find_network(str(path))), f"{path.name}{same}")
