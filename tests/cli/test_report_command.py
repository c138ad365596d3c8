"""`bnnkit report`: what is written and printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnkit import runs

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")

TINY = ("--dataset=digits", "--width=1", "--limit=100", "--epochs=2", "--threads=1")


def test_of_a_training_and_a_campaign(bnnkit: Command) -> None:
    assert bnnkit("train", "mlp", *TINY, "--adc-bit=2")[0] == 0
    assert (
        bnnkit("inject", "--bit", "6", "--repair", "msb", "--repeats", "2", "--limit", "50", "--threads", "1")[0] == 0
    )
    code, out, err = bnnkit("report", "mlp-a1", "latest")
    assert (code, err) == (0, "")
    assert out.startswith("report.html: 2 runs (1 train, 1 inject), 4 curves, 1 array map, 1 picture, ")
    html = Path("report.html").read_text(encoding="utf-8")
    found = runs.resolve("latest").read_json("results.json")
    assert f"{found['test']['accuracy']:.2f} %" in html and f"{found['test']['correct']}/100 images" in html
    assert "bit 6 of every pixel replaced by a random bit" in html and "data:image/png;base64,iVBOR" in html
    code, out, _ = bnnkit("report", "mlp-a1", "--title", "Mine", "--json")
    document = json.loads(out)
    assert (code, document["schema"], document["path"], document["title"]) == (
        0,
        "bnnkit.report/1",
        "report.html",
        "Mine",
    )
    assert document["replaced"] and document["bytes"] == Path("report.html").stat().st_size
    assert (document["curves"], document["array_maps"], document["pictures"]) == (4, 1, 0)
    (entry,) = document["runs"]
    assert (entry["command"], entry["dataset"], entry["finished"], entry["limited"]) == ("train", "digits", True, True)
    assert (entry["correct"], entry["total"]) == (found["test"]["correct"], 100)
    assert entry["interval95"] == found["test"]["wilson95"]


def test_an_unfinished_run_is_marked(bnnkit: Command) -> None:
    runs.create("sweep", "begun", "")
    code, out, _ = bnnkit("report", "latest", "-o", "page.html")
    assert code == 0 and out.startswith("page.html: 1 run (1 sweep), 1 unfinished, ")
    assert bnnkit("report", "latest", "-o", "page.html")[1].endswith(" kB, replaced\n")


def test_what_is_refused(bnnkit: Command) -> None:
    code, _, err = bnnkit("report")
    assert code == 2 and "bnnkit report: " in err
    code, _, err = bnnkit("report", "latest")
    assert code == 3 and "runs: holds no run yet" in err
    run = runs.create("sweep", "begun", "")
    code, _, err = bnnkit("report", run.name.replace("begun", "bgeun"))
    assert code == 3 and f"did you mean '{run.name}'?" in err
    Path("folder.html").mkdir()
    for out, said in (
        ("folder.html", "is a folder"),
        ("nowhere/a.html", "its folder does not exist"),
        ("a.pdf", "'.pdf'"),
    ):
        code, _, err = bnnkit("report", "latest", "-o", out)
        assert code == 2 and said in err
    (run.path / "results.json").write_text("{")
    code, _, err = bnnkit("report", "latest")
    assert code == 4 and f"{run.path / 'results.json'}: damaged" in err.replace(f"{Path.cwd()}/", "")
    assert not Path("report.html").exists()
