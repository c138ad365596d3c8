"""Pictures of lines: where points lie, what is drawn, and which values stand beside the axes."""

from __future__ import annotations

import re

import pytest

from bnnkit.report.chart import LEFT, RIGHT, WIDTH, Chart, Line, Mark, Rule, figure
from bnnkit.report.markup import Markup, element, escape, table
from bnnkit.report.scale import Linear, Rates


def _chart(*lines: Line, **options: object) -> Chart:
    return Chart("Title", "epoch", "percent", Linear(0, 10), Linear(0, 100), lines, **options)  # type: ignore[arg-type]


def test_points_lie_between_the_axes() -> None:
    chart = _chart(Line("a", 0, [(0, 0), (10, 100)]))
    assert (chart.across(0), chart.across(10)) == (LEFT, WIDTH - RIGHT)
    assert chart.down(100) == chart.top < chart.down(0) < chart.height
    drawn = figure(chart)
    path = f"M{LEFT:.1f} {chart.down(0):.1f}L{WIDTH - RIGHT:.1f} {chart.top:.1f}"
    assert f'd="{path}"' in drawn
    assert drawn.count("<circle") == 2 and "<title>a: 100 at epoch 10</title>" in drawn


def test_gaps_stairs_bands_marks_and_rules() -> None:
    gap = figure(_chart(Line("a", 0, [(0, 1), (1, None), (2, 3)])))
    assert re.search(r'd="M[\d. ]+M[\d. ]+" class="line"', gap)
    stairs = figure(_chart(Line("a", 0, [(0, 1), (5, 3)], steps=True, marked=False)))
    assert re.search(r'd="M[\d. ]+H[\d.]+V[\d.]+" class="line"', stairs) and "<circle" not in stairs
    line = Line("a <b>", 9, [(0, 50), (5, 40)], [(45, 55), (30, 50)])
    full = figure(_chart(line, marks=[Mark("m", 1, 5, 40, (30, 50))], rules=[Rule("golden", 90)]))
    for part in ('class="band"', 'class="whisker"', 'class="mark"', 'class="rule"', "a &lt;b&gt;", 'class="c1"'):
        assert part in full
    assert 'stroke-dasharray="6 3"' in full


def test_axes_have_round_numbers() -> None:
    assert [text for _, text in Linear(0, 0.0011).ticks()] == ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]
    assert [text for _, text in Linear(0.98, 3.06, whole=True).ticks()] == ["1", "2", "3"]
    assert [text for _, text in Linear(97.1, 97.9).ticks()] == ["97.2", "97.4", "97.6", "97.8"]
    assert [text for _, text in Rates((0.5, 1, 2, 4, 8)).ticks()] == ["0.5", "1", "2", "5"]


@pytest.mark.parametrize("values", [[0.0], [100.0], [50.0, 50.0], [0.0, 100.0], []])
def test_an_axis_is_never_without_length(values: list[float]) -> None:
    scale = Linear.around(values, 0, 100)
    assert 0 <= scale.low < scale.high <= 100
    assert all(0 <= scale.place(value) <= 1 for value in values)
    assert len(scale.ticks()) >= 2


def test_rates_with_zero_begin_there() -> None:
    rates = Rates((0.0, 0.001, 0.1))
    assert [rates.place(rate) for rate in (0.0, 0.001, 0.01, 0.1)] == pytest.approx([0, 0.2, 0.6, 1])
    assert Rates((0.5,)).place(0.5) == 0.5


def test_markup_escapes_text_and_attributes_only_once() -> None:
    inner = element("b", "<&>")
    assert element("p", inner, title='"<') == '<p title="&quot;&lt;"><b>&lt;&amp;&gt;</b></p>'
    assert escape(Markup("<i>")) == "<i>" and element("img", alt=None) == "<img>"


def test_numbers_in_tables_are_aligned() -> None:
    drawn = table(["name", "count", "none"], [["1", "2,000", None], ["2", "-3", None]], label="things")
    assert drawn.count('class="n"') == 3 and drawn.count("<td>-</td>") == 2
