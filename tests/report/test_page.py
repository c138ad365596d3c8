"""The page: well-formed, self-contained, escaped, and with everything that a run holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bnnkit import report
from bnnkit.errors import MismatchError, MissingError
from bnnkit.runs import Run
from bnnkit.train.evaluation import Score
from tests.report.conftest import HOSTILE, png

VOID = {"meta", "link", "img", "br"}
Make = Callable[..., Run]


class Reader(HTMLParser):
    """Checks that every element ends, and collects addresses, text and names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.seen: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                assert value not in self.ids
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""


@pytest.fixture
def page(train: Make, inject: Make, sweep: Make) -> report.Page:
    """Build the report on one run of each kind, an unfinished one and one more training."""
    found = [train(weights=True), train(finished=False, epochs=1), inject(amounts=(0.0, 0.01, 0.1)), sweep()]
    (found[2].path / "images.png").write_bytes(png())
    return report.build(found, f"Title {HOSTILE}")


def test_is_well_formed_and_asks_for_nothing(page: report.Page) -> None:
    read = Reader(page.html)
    assert page.html.startswith("<!doctype html>\n<html")
    inside = [address for address in read.addresses if address.startswith("#")]
    assert {address[1:] for address in inside} <= read.ids
    assert all(address.startswith("data:") for address in read.addresses if address not in inside)
    style = page.html.partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"url\(|@import|https?:|//", style)
    assert "default-src 'none'" in page.html.replace("&#x27;", "'")


def test_what_others_wrote_is_text(page: report.Page) -> None:
    read = Reader(page.html)
    assert "script" not in read.seen and not read.handlers
    # In the title, the heading, the command line and the note of the dataset of each run, the sweep's title and note.
    assert read.text.count("<script>alert(") >= 2 + 4 + 2
    assert read.seen.count("img") == 2


def test_holds_what_is_known_about_each_run(page: report.Page) -> None:
    text = Reader(page.html).text
    low, high = Score(300, 360).interval
    for expected in (
        "Overview", "unfinished", "limited", "83.33", "300/360", f"{100 * low:.2f} to {100 * high:.2f}", "epoch 2",
        "0123456789ab", "A processor", "f" * 64, "1 min 01 s", "1 MiB", "reference, avx2", "1 of 1, 2", 'model = "mlp"',
        "Validation accuracy on digits", "Levels -128, -42.7, 42.7, 128", "weight:flip", "0.02", "180/200",
        "Limited: 100 of 360 test images.", "1 of 3 epochs so far", "heatmap.png", "images.png", "adc-bit",
    ):  # fmt: skip
        assert expected in text, expected
    # Two trainings with three curves each, both in one picture, a converter, and a curve over faults.
    assert (page.charts, page.array_maps, page.pictures) == (2 * 3 + 1 + 1 + 1, 1, 2)


def test_one_run_has_no_overview(train: Make, tmp_path: Path) -> None:
    run = train()
    found = report.write(tmp_path / "page.html", [run])
    assert (tmp_path / "page.html").read_text() == found.html
    assert found.title == run.name
    assert "Overview" not in found.html and "<nav" not in found.html
    assert "No checkpoint is there any more" in found.html


def test_a_checkpoint_that_changed_is_told(train: Make) -> None:
    run = train(weights=True)
    assert "not the file" not in report.build([run]).html
    stamp = json.loads((run.path / "stamp.json").read_text())
    stamp["checkpoints"][run.best.name] = "0" * 64
    run.write_json("stamp.json", stamp)
    assert "best-val.safetensors, which is not the file that this run recorded" in report.build([run]).html


def test_an_unfinished_campaign_has_what_is_finished(inject: Make) -> None:
    found = report.build([inject(finished=False)])
    text = Reader(found.html).text
    assert "Not finished: 3 evaluations so far" in text and "unfinished" in text
    # Two maps of 60 correct images of 100.
    assert "120/200" in text and "90/100" in text and "-30.00" in text


def test_a_curve_does_not_depend_on_the_order_of_its_amounts(inject: Make) -> None:
    drawn = [report.build([inject(amounts=amounts)]).html for amounts in ((0.0, 0.01, 0.1), (0.1, 0.0, 0.01))]
    curves = [re.findall(r'<path d="([^"]*)" class="(?:band|line)"', html) for html in drawn]
    assert curves[0] == curves[1] and len(curves[0]) > 3


def test_a_run_that_was_just_begun(root: Path) -> None:
    from bnnkit import runs

    run = runs.create("sweep", "begun", "", root=root)
    text = Reader(report.build([run]).html).text
    assert "unfinished" in text and "stamp.json was not written" in text and "No cell is finished." in text


def test_failed_cells_of_a_sweep(sweep: Make) -> None:
    cells = [
        {"line": "bnnkit eval a", "state": "finished", "said": ""},
        {"line": "bnnkit eval b", "state": "failed", "said": "error: no <network>"},
    ]
    found = report.build([sweep(cells=cells, finished=False)])
    text = Reader(found.html).text
    assert "1 of 2 cells are finished." in text and "bnnkit eval b" in text and "error: no <network>" in text
    assert "unfinished" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", "{"),
        ("results.json", "{}"),
        ("results.json", '{"test": {"accuracy": 140, "wilson95": [1, 2], "correct": 1, "total": 2}}'),
        ("metrics.jsonl", '{"epoch": 1}\nnothing\n'),
        ("metrics.jsonl", '{"epoch": 1, "loss": NaN}\n'),
        ("metrics.jsonl", "[]\n"),
        ("stamp.json", "[1]"),
        ("stamp.json", '{"wall_seconds": Infinity}'),
        ("config.toml", "model = \n"),
        ("best-val.safetensors", "short"),
        ("extra.png", "no picture"),
    ],
)
def test_damaged_files_are_named(train: Make, name: str, content: str) -> None:
    run = train(weights=True)
    (run.path / name).write_text(content)
    with pytest.raises(MismatchError, match=re.escape(str(run.path / name))):
        report.build([run])


def test_damaged_campaigns_and_sweeps_are_named(inject: Make, sweep: Make) -> None:
    for run in (inject(tables=[{}]), sweep(rows=[["one"]])):
        with pytest.raises(MismatchError, match=re.escape(str(run.path / "results.json"))):
            report.build([run])


def test_a_page_that_cannot_be_written(train: Make, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="cannot be written"):
        report.write(tmp_path / "nowhere" / "page.html", [train()])
