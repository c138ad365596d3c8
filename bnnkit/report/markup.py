"""HTML from Python values: everything that is not marked as HTML is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

VOID = ("br", "img", "meta", "link", "hr")
"""Elements without an end tag."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Return a value as HTML: markup as it is, anything else as text.

    >>> escape("<b> & 'c'")
    '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Return the parts one after the other, as HTML; None is left out.

    >>> join(["a < b", element("br"), None])
    'a &lt; b<br>'
    """
    return Markup(html.escape(between).join(escape(part) for part in parts if part is not None))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; attributes that are None are left out; `_` in a name stands for `-`, at its end for nothing.

    >>> element("a", "x > 0", href="#1", class_=None)
    '<a href="#1">x &gt; 0</a>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in VOID else f"</{name}>"
    return Markup(f"<{name}{given}>{join(children)}{end}")


def table(columns: Sequence[object], rows: Sequence[Sequence[object]], *, label: str, total: bool = False) -> Markup:
    """Return a table that scrolls by itself on a narrow screen; columns of numbers but the first are aligned right.

    Args:
        rows: a cell per column each; None is shown as a dash.
        label: what the table holds, for those who hear it.
        total: whether the last row is the sum of the others.
    """
    sides = ["n" if place and _is_numeric([row[place] for row in rows]) else None for place in range(len(columns))]
    head = [element("th", name, scope="col", class_=side) for name, side in zip(columns, sides, strict=True)]
    body = [
        element(
            "tr",
            *(element("td", "-" if cell is None else cell, class_=side) for cell, side in zip(row, sides, strict=True)),
            class_="total" if total and place == len(rows) - 1 else None,
        )
        for place, row in enumerate(rows)
    ]
    drawn = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=label)


def folded(summary: object, *contents: object) -> Markup:
    """Return contents under a line that opens and closes them."""
    return element("details", element("summary", summary), *contents)


def terms(pairs: Iterable[tuple[object, object]], class_: str) -> Markup:
    """Return names and what they stand for; those of None are left out."""
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in pairs if value is not None]
    return element("dl", *rows, class_=class_)


def _is_numeric(cells: Sequence[object]) -> bool:
    known = [cell for cell in cells if cell not in (None, "")]
    return bool(known) and all(_is_number(cell) for cell in known)


def _is_number(cell: object) -> bool:
    # A number with a bar behind it is markup.
    if isinstance(cell, Markup):
        return 'class="bar"' in cell
    return str(cell)[0] in "0123456789+-."
