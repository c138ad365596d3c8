"""The picture of a campaign: always a picture, whatever the curves are like."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bnnkit.errors import MissingError
from bnnkit.faults.curve import COLOURS, Series, describe, draw, lines
from bnnkit.faults.tolerance import Knee


def series(name: str, rates: list[float], start: float = 97.5, fall: float = 10.0) -> Series:
    means = [start - fall * place for place in range(len(rates))]
    return Series(name, rates, means, [mean - 1 for mean in means], [mean + 1 for mean in means])


@pytest.mark.parametrize(
    "rates", [[1e-5, 1e-4, 1e-3], [0.0, 0.1, 0.2, 0.5], [0.3, 0.31], [0.03], [0.0], [], [1e-12, 1e-6, 1.0]]
)
@pytest.mark.parametrize(("start", "fall"), [(97.5, 10.0), (97.5, 0.0), (50.0, 1.0)])
def test_a_curve_is_a_png(tmp_path: Path, rates: list[float], start: float, fall: float) -> None:
    if not rates:
        draw(tmp_path / "curve.png", "nothing yet", "rate", 97.5, [])
    else:
        draw(tmp_path / "curve.png", "title", "rate", 97.5, [series("one", rates, start, fall)], chance=10)
    with Image.open(tmp_path / "curve.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (1500, 825))
        # More than an empty frame: the lines, in their colours.
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50


@pytest.mark.parametrize("count", [1, 8, 17])
def test_legend_and_title_are_beside_the_lines(count: int) -> None:
    names = [f"fault {number} of the weights of all layers of a network" for number in range(count)]
    many = [series(name, [1e-5, 1e-4, 1e-3], 97.5, 1 + number) for number, name in enumerate(names)]
    figure = lines("What a network makes of faults " * 5, "rate", 97.5, many, chance=10)
    figure.draw_without_rendering()
    [legend], [axes] = figure.legends, figure.axes
    beside, inside, page = legend.get_window_extent(), axes.get_window_extent(), figure.bbox
    assert inside.x1 < beside.x0 < beside.x1 <= page.x1
    assert page.y0 <= beside.y0 < beside.y1 <= page.y1
    assert inside.width > 0.5 * page.width
    heading = figure.texts[0].get_window_extent()
    assert inside.y1 < heading.y0
    assert heading.x1 < beside.x0
    assert len(legend.get_texts()) == count + 3


def test_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == 8


def test_knees_are_marked_where_the_lines_fall() -> None:
    falling, flat, below = series("a", [1e-4, 1e-2]), series("b", [1e-4, 1e-2], fall=0), series("c", [1e-4, 1e-2], 90)
    [axes] = lines("title", "rate", 97.5, [falling, flat, below]).axes
    marks = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert [tuple(mark) for mark in marks] == [(pytest.approx(1e-4 * 100**0.1), 96.5), (1e-4, 90)]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Knee(1e-5, 2e-5, 3e-4), "knee 2e-5 (≤ 1e-5 to 0.0003)"),
        (Knee(0.01, None, None), "knee > 0.1 (0.01 to > 0.1)"),
        (Knee(1e-5, 1e-5, 1e-5), "knee ≤ 1e-5"),
    ],
)
def test_knees_in_words(found: Knee, text: str) -> None:
    assert describe(found, [1e-5, 0.1]) == text


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        draw(tmp_path / "none" / "curve.png", "title", "rate", 97.5, [])
