"""One sweep as a part of the page."""

from __future__ import annotations

from bnnkit.report.contents import Study
from bnnkit.report.embedded import figure
from bnnkit.report.markup import Markup, element, folded, join, table


def section(found: Study) -> Markup:
    """Return the table of a sweep, its notes, its cells that failed, and all its pictures."""
    parts: list[object] = [element("div", element("p", found.title), class_="lead")]
    if found.columns:
        rows = [[_cell(value) for value in row] for row in found.rows]
        parts.append(table(found.columns, rows, label=found.title))
    told = [f"{found.done} of {found.cells} cells are finished."] if found.cells else []
    told += [] if found.finished or found.cells else ["No cell is finished."]
    parts += [element("p", note, class_="note") for note in [*told, *found.notes]]
    if found.failed:
        parts.append(element("h3", "Failed cells"))
    parts += [folded(element("code", line), element("pre", said, tabindex="0")) for line, said in found.failed]
    return join([*parts, *(figure(picture, picture.path.stem) for picture in found.pictures)])


def finding(found: Study) -> str:
    """Return how much there is."""
    if found.results is None:
        return "no cell is finished"
    count = len(found.rows)
    failed = f", {len(found.failed)} cells failed" if found.failed else ""
    return f"{found.title}: {count:,} row{'' if count == 1 else 's'}{failed}"


def _cell(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
