"""Pictures: heat maps where two labels vary, else a line, and nothing where there is nothing to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from bnnkit.sweep import Row, load_preset, picture, rows_of
from tests.sweep.test_preset import finished


def rows(*labels: dict[str, str]) -> list[Row]:
    return [Row(each, (50.0 + place,), published=60.0 if place == 0 else None) for place, each in enumerate(labels)]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keep what would be written."""
    found: list[Figure] = []
    monkeypatch.setattr(picture, "write_png", lambda path, figure: found.append(figure))
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_two_labels_are_a_map(figures: list[Figure]) -> None:
    grid = rows(*({"a": a, "b": b, "same": "x"} for a in "12" for b in "pqr"))
    assert picture.draw(Path("somewhere"), "title", grid) == [Path("somewhere/heatmap.png")]
    [axes] = figures[0].axes
    assert axes.get_xlabel() == "b" and [label.get_text() for label in axes.get_xticklabels()] == ["p", "q", "r"]
    assert axes.get_ylabel() == "a" and [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]
    assert texts(figures[0]) == ["50.00\n(60.00)", "51.00", "52.00", "53.00", "54.00", "55.00"]
    assert picture.axes_of(grid, "a") == ("b", "a")
    assert picture.axes_of(grid, "same") == ("a", "b")


def test_three_labels_are_several_maps(figures: list[Figure]) -> None:
    grid = rows(*({"c": c, "a": a, "b": b} for c in "mn" for a in "123" for b in "pqr"))
    picture.draw(Path(), "title", grid, across="b")
    assert [axes.get_title(loc="left").partition(":")[0] for axes in figures[0].axes] == ["c m", "c n"]
    assert len(texts(figures[0])) == len(grid)


def test_a_combination_without_a_value_is_empty(figures: list[Figure]) -> None:
    grid = rows(*({"a": a, "b": b} for a in "12" for b in "pq"))
    picture.draw(Path(), "title", [*grid[:3], Row(grid[3].labels)])
    assert len(texts(figures[0])) == 3
    picture.draw(Path(), "title", [Row(row.labels, (70.0,)) for row in grid])
    assert texts(figures[1]) == ["70.00"] * 4


def test_one_label_is_a_line(figures: list[Figure]) -> None:
    grid = [Row({"bit": str(bit)}, (50.0, 52.0), published=51.5) for bit in (1, 2, 4)]
    grid.append(Row({"bit": "8"}, (60.0,), interval=(58.0, 61.0)))
    assert picture.draw(Path("here"), "title", grid) == [Path("here/curve.png")]
    [axes] = figures[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "8"]
    line, *_ = axes.containers[0]
    assert list(line.get_ydata()) == [51.0, 51.0, 51.0, 60.0] and line.get_linestyle() == "-"
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == [
        "published",
        "here, standard deviation",
    ]


@pytest.mark.parametrize("limited", [False, True])
def test_pictures_of_limited_runs_say_so(figures: list[Figure], limited: bool) -> None:
    picture.draw(Path(), "title", [Row({"bit": str(bit)}, (50.0,), limited=limited) for bit in (1, 2)])
    assert ("limited" in figures[0].axes[0].get_title(loc="left")) == limited


def test_names_are_not_joined_by_a_line(figures: list[Figure]) -> None:
    picture.draw(Path(), "title", rows({"model": "mlp"}, {"model": "res20"}))
    line, *_ = figures[0].axes[0].containers[0]
    assert line.get_linestyle() == "None"


@pytest.mark.parametrize("grid", [[], rows({"a": "1"}), [Row({"a": "1"}), Row({"a": "2"})]])
def test_nothing_to_draw(figures: list[Figure], grid: list[Row]) -> None:
    assert picture.draw(Path(), "title", grid) == [] and figures == []


@pytest.mark.parametrize("name", ["iga-table1", "iga-table2", "rram-vgg7", "image-faults", "weight-noise"])
def test_pictures_of_presets(tmp_path: Path, name: str) -> None:
    preset = load_preset(name)
    [path] = picture.draw(
        tmp_path, preset.title, rows_of(finished(preset.cells({})), preset.published), across=preset.across
    )
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 300
