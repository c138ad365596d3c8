"""Run directories as the commands write them, without computing anything."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bnnkit import checkpoint, runs
from bnnkit.faults import record
from bnnkit.faults.plan import DEFAULTS
from bnnkit.models import create_model
from bnnkit.runs import Run
from bnnkit.train.config import Config, to_toml
from bnnkit.train.evaluation import Score

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>&amp;"
"""Text that would be code if it were not escaped."""

STAMP = {
    "bnnkit": "0.1.0",
    "commit": "0123456789ab",
    "argv": ["bnnkit", "train", "mlp", HOSTILE],
    "started": "2026-01-02T03:04:05+0000",
    "python": "3.11.7",
    "torch": "2.13.0",
    "platform": "Linux",
    "cpu": "A processor",
    "cpu_count": 2,
    "gpu": None,
    "threads": 1,
    "variants": ["reference", "avx2"],
    "seed": 1,
    "seeds": [1, 2],
    "dataset": {"name": "digits", "fingerprint": "f" * 64, "train": 1437, "test": 360, "note": HOSTILE},
    "wall_seconds": 61.0,
    "peak_memory_bytes": 2**20,
}

CONFIG: dict[str, Any] = {
    "model": "mlp", "ao_bit": 1, "w_bit": 1, "weight_quant": None, "adc_bit": 2, "rows": 128, "mapping": "channel",
    "channels_per_array": None, "adc_sigma": None, "value_gradient": "ste", "width": 1, "init": None,
    "dataset": "digits", "data_dir": None, "val_split": 100, "augment": "none", "limit": None, "epochs": 3, "batch": 64,
    "optimizer": "adam", "lr": 0.001, "schedule": "cosine", "milestones": (), "weight_decay": 0.0, "seed": 1,
    "precision": "fp32", "max_steps": None, "device": "cpu", "threads": 1,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder that run directories are in."""
    return tmp_path / "runs"


@pytest.fixture
def train(root: Path) -> Callable[..., Run]:
    """Make a run of `bnnkit train`: three epochs, the second of them chosen."""

    def make(*, finished: bool = True, epochs: int = 3, weights: bool = False, **changes: Any) -> Run:
        config = Config(**{**CONFIG, **changes})
        run = runs.create("train", config.label, to_toml(config), root=root)
        run.write_metrics(
            [
                {"epoch": n, "lr": 0.001 / n, "loss": 1 / n, "train_accuracy": 40.0 + n, "val_loss": 1.1 / n,
                 "val_accuracy": 30.0 + n, "seconds": 1.5}
                for n in range(1, epochs + 1)
            ]
        )  # fmt: skip
        run.write_json("stamp.json", STAMP)
        if weights:
            options = {**config.model_options(), "classes": 10, "in_shape": (1, 8, 8)}
            checkpoint.save(run.best, create_model(**options))
            digest = runs.file_digest(run.best)
            run.write_json("stamp.json", {**STAMP, "checkpoints": {run.best.name: digest}})
        if finished:
            test, last, held = (Score(right, of).as_json() for right, of in ((300, 360), (290, 360), (80, 100)))
            run.write_json(
                "results.json",
                {"test": test, "test_last": last, "validation": held, "chosen": "best-val", "best_epoch": 2,
                 "epochs": 3, "seconds": 61.0, "limited": config.limited, "gates": None},
            )  # fmt: skip
        return run

    return make


@pytest.fixture
def inject(root: Path) -> Callable[..., Run]:
    """Make a run of `bnnkit inject`; a curve over `amounts`, or one row."""

    def make(*, finished: bool = True, amounts: tuple[float, ...] = (), **changes: Any) -> Run:
        options = {**DEFAULTS, "model": "net.safetensors", "dataset": "digits", "fault": ["weight:flip@0.1"]}
        run = runs.create("inject", "mlp-weight-flip", record.to_toml(options), root=root)
        run.write_json("stamp.json", STAMP)
        golden = {"row": "golden", **_mean(90.0, 1)}
        rows = [_row(f"{amount:g}", 90 - 100 * amount, amount) for amount in amounts] or [_row("faulty", 60.0, None)]
        table: dict[str, Any] = {"table": "weight:flip", "rows": rows}
        if amounts:
            table["knee"] = {"low": amounts[0], "knee": 0.02, "high": None}
        maps = [
            {
                "table": table["table"],
                "row": row["row"],
                "map": n,
                "changed_predictions": 9,
                **_mean(row["accuracy"], 1),
            }
            for row in rows
            for n in range(2)
        ]
        run.write_metrics([{"table": None, "map": 0, "changed_predictions": 0, **golden}, *maps])
        if finished:
            model = {"name": "mlp", "width": 1, "ao_bit": 1, "w_bit": 1, "adc_bit": 2, "classes": 10}
            document = {
                "model": model,
                "dataset": {"name": "digits"},
                "images": 100,
                "of_images": 360,
                "limited": True,
                "backend": "packed",
                "finished": True,
                "golden": golden,
                "tables": [table],
                "picture": None,
            }
            run.write_json("results.json", {**document, **changes})
        return run

    return make


@pytest.fixture
def sweep(root: Path) -> Callable[..., Run]:
    """Make a run of `bnnkit sweep` with two rows and a picture."""

    def make(**changes: Any) -> Run:
        run = runs.create("sweep", "adc-bits", "# bnnkit sweep\n", root=root)
        run.write_json("stamp.json", {**STAMP, "argv": ["bnnkit", "sweep", "eval"]})
        document = {
            "title": HOSTILE,
            "columns": ["adc-bit", "test %"],
            "rows": [["1", "90.00"], ["fp", None]],
            "notes": [HOSTILE],
        }
        run.write_json("results.json", {**document, **changes})
        (run.path / "heatmap.png").write_bytes(png())
        return run

    return make


def png() -> bytes:
    """Return a small picture."""
    content = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(content, "PNG")
    return content.getvalue()


def _mean(accuracy: float, maps: int) -> dict[str, Any]:
    interval = [max(0.0, accuracy - 5), min(100.0, accuracy + 5)]
    return {"accuracy": accuracy, "interval95": interval, "correct": round(accuracy) * maps, "total": 100 * maps}


def _row(name: str, accuracy: float, amount: float | None) -> dict[str, Any]:
    return {
        "row": name,
        **_mean(accuracy, 2),
        "change": accuracy - 90,
        "changed_percent": 9.0,
        "yield": {"drop": 1.0, "maps": 1, "of": 2},
        "faults": ["weight:flip@0.1"],
        "amount": amount,
        "same_for_all_maps": False,
        "maps": [{}, {}],
    }
