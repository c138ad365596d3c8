"""Run directories, read once and completely: a damaged file is an error here and never half a page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from bnnkit.checkpoint import describe
from bnnkit.errors import MismatchError
from bnnkit.faults.record import read_options
from bnnkit.faults.statistics import mean_interval
from bnnkit.report.contents import (
    Accuracy,
    Contents,
    Epoch,
    FaultRow,
    FaultTable,
    Injection,
    Picture,
    Study,
    Training,
    amount,
    percentage,
)
from bnnkit.report.find import kind
from bnnkit.runs import Run
from bnnkit.train.config import from_run
from bnnkit.train.evaluation import Score
from bnnkit.train.gate_report import gates_text

AGAIN = "run it again, or leave it out"


def read(run: Run) -> Training | Injection | Study:
    """Read a run directory.

    Raises:
        MismatchError: a file is damaged; the message names it.
        MissingError: config.toml is gone.
    """
    results = run.read_json("results.json") if run.finished else None
    stamp = run.read_json("stamp.json") if (run.path / "stamp.json").is_file() else {}
    made = kind(run)
    common = (run, _text(run.config), stamp, results)
    redrawn = () if made == "sweep" else ("curve.png",)
    pictures = tuple(picture(path) for path in sorted(run.path.glob("*.png")) if path.name not in redrawn)
    if made == "train":
        return _training(Contents(*common, pictures))
    if made == "inject":
        return _injection(Contents(*common, pictures))
    return _study(Contents(*common, pictures))


def picture(path: Path) -> Picture:
    """Read a PNG completely.

    Raises:
        MismatchError: it is damaged, or none.
    """
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.load()
            return Picture(path, content, *image.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise MismatchError(f"{path}: damaged ({failure}); a PNG was needed", hint=AGAIN) from failure


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Say which file is damaged when what it holds cannot be used inside the block.

    Raises:
        MismatchError: it holds something else than was expected.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as failure:
        said = f"{type(failure).__name__}: {failure}"
        raise MismatchError(f"{path}: damaged, or of another version of bnnkit ({said})", hint=AGAIN) from failure


def _text(path: Path) -> str:
    with understood(path):
        return path.read_text(encoding="utf-8")


def _training(found: Contents) -> Training:
    run, results = found.run, found.results
    config = from_run(run.config)
    with understood(run.path / "metrics.jsonl"):
        epochs = tuple(_epoch(record) for record in run.read_metrics())
    tested: dict[str, Any] = dict.fromkeys(("test", "test_last", "validation", "chosen_epoch", "gates", "seconds"))
    if results is not None:
        with understood(run.path / "results.json"):
            for key in ("test", "test_last", "validation"):
                tested[key] = None if results[key] is None else Accuracy.of(results[key])
            best = results["chosen"] == "best-val"
            tested["chosen_epoch"] = int(results["best_epoch"] if best else results["epochs"])
            tested["seconds"] = amount(results["seconds"])
            tested["gates"] = gates_text(results["gates"]) if results.get("gates") else None
    return Training(**vars(found), config=config, epochs=epochs, **tested)


def _epoch(record: Mapping[str, Any]) -> Epoch:
    def known(key: str) -> float | None:
        value = record.get(key)
        return None if value is None else (percentage if "accuracy" in key else amount)(value)

    keys = ("loss", "train_accuracy", "val_accuracy", "val_loss", "lr", "seconds")
    return Epoch(int(record["epoch"]), *(known(key) for key in keys))


def _injection(found: Contents) -> Injection:
    run, results = found.run, found.results
    options = read_options(run)
    if results is None:
        begun: dict[str, Any] = {
            "network": str(options["model"]),
            "dataset": str(options["dataset"]),
            "classes": None,
            "images": 0,
            "of_images": 0,
        }
        with understood(run.path / "metrics.jsonl"):
            return Injection(**vars(found), options=options, **begun, **_so_far(run.read_metrics()))
    with understood(run.path / "results.json"):
        return Injection(
            **vars(found),
            options=options,
            network=describe(results["model"]),
            dataset=str(results["dataset"]["name"]),
            classes=int(results["model"]["classes"]),
            images=int(results["images"]),
            of_images=int(results["of_images"]),
            golden=Accuracy.of(results["golden"]),
            tables=tuple(_fault_table(table) for table in results["tables"]),
        )


def _fault_table(table: Mapping[str, Any]) -> FaultTable:
    rows = table["rows"]
    knee = table.get("knee")
    return FaultTable(
        heading=str(table["table"]),
        rows=tuple(_fault_row(row) for row in rows),
        faults=tuple(map(str, rows[0]["faults"])) if rows else (),
        knee=None if knee is None else (_known(knee["low"]), _known(knee["knee"]), _known(knee["high"])),
        drop=float(rows[0]["yield"]["drop"]) if rows else 1.0,
    )


def _fault_row(row: Mapping[str, Any]) -> FaultRow:
    return FaultRow(
        name=str(row["row"]),
        accuracy=Accuracy.of(row),
        maps=None if row["same_for_all_maps"] else len(row["maps"]),
        change=float(row["change"]),
        changed=float(row["changed_percent"]),
        tolerated=f"{row['yield']['maps']}/{row['yield']['of']}",
        amount=_known(row["amount"]),
    )


def _known(value: Any) -> float | None:
    return None if value is None else amount(value)


def _so_far(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the evaluations that are finished, from the lines of metrics.jsonl."""
    golden = next((Accuracy.of(record) for record in records if record["table"] is None), None)
    tables = []
    for heading in dict.fromkeys(record["table"] for record in records if record["table"] is not None):
        mine = [record for record in records if record["table"] == heading]
        rows = []
        for name in dict.fromkeys(str(record["row"]) for record in mine):
            maps = [record for record in mine if str(record["row"]) == name]
            rows.append(_row_so_far(name, maps, golden))
        tables.append(FaultTable(str(heading), tuple(rows)))
    return {"golden": golden, "tables": tuple(tables)}


def _row_so_far(name: str, maps: list[dict[str, Any]], golden: Accuracy | None) -> FaultRow:
    correct, total = (sum(int(record[key]) for record in maps) for key in ("correct", "total"))
    # Every map sees the same images, so the mean over maps is the share of them all.
    score = Score(correct, total)
    over_maps = mean_interval([float(record["accuracy"]) for record in maps]) if len(maps) > 1 else None
    low, high = over_maps or tuple(100 * end for end in score.interval)
    mean = 100 * score.accuracy
    return FaultRow(
        name=name,
        accuracy=Accuracy(mean, max(0.0, low), min(100.0, high), correct, total),
        maps=len(maps),
        change=None if golden is None else mean - golden.value,
        changed=100 * sum(int(record["changed_predictions"]) for record in maps) / total,
        tolerated=None,
        amount=None,
    )


def _study(found: Contents) -> Study:
    results = found.results
    if results is None:
        return Study(**vars(found), title=found.run.name, columns=(), rows=(), notes=())
    with understood(found.run.path / "results.json"):
        columns = tuple(map(str, results.get("columns", ())))
        rows = tuple(tuple(row) for row in results.get("rows", ()))
        if any(len(row) != len(columns) for row in rows):
            raise ValueError(f"a row has not the {len(columns)} cells that the table has columns")
        cells = list(results.get("cells", ()))
        return Study(
            **vars(found),
            title=str(results.get("title", found.run.name)),
            columns=columns,
            rows=rows,
            notes=tuple(map(str, results.get("notes", ()))),
            failed=tuple((str(cell["line"]), str(cell["said"])) for cell in cells if cell["state"] == "failed"),
            cells=len(cells),
            done=sum(cell["state"] == "finished" for cell in cells),
        )
