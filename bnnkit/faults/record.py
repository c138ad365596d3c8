"""The run directory of a campaign: what was asked for, on what, and every evaluation as soon as it is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnkit import runs
from bnnkit.data import Dataset
from bnnkit.faults.campaign import Trial
from bnnkit.faults.result import record
from bnnkit.runs import Run
from bnnkit.train.subject import Subject

COMMENTS = {
    "model": "checkpoint",
    "dataset": "bnnkit data list",
    "bit": "faulty bits of a pixel, one table each; 0 is the least significant",
    "kind": "what they read as: random, stuck0, stuck1 or flip",
    "rate": "share of the pixels whose bit is faulty",
    "repair": "what faulty bits are replaced by: neighbor, neighbor:OFFSET or msb",
    "repeats": "fault maps",
    "seed": "of the fault maps",
    "adc_bit": "bits of the converters; left out: as trained",
    "limit": "test images used; left out: all",
    "batch": "images per forward pass; the result does not depend on it",
    "backend": "auto, packed, torch or reference",
}
"""Every option that decides what is computed, in the order of config.toml."""


def begin(
    options: Mapping[str, Any], subject: Subject, dataset: Dataset, *, argv: Sequence[str], root: Path = runs.ROOT
) -> Run:
    """Make a run directory with config.toml and stamp.json.

    Args:
        options: by the names of `COMMENTS`; None is left out.

    Raises:
        MissingError: `root` cannot be written.
    """
    bits = ".".join(map(str, options["bit"]))
    name = f"{subject.checkpoint.config['name']}-bit{bits}-{options['kind']}"
    run = runs.create("inject", name, to_toml(options), root=root)
    data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "test": len(dataset.test), "note": dataset.note}
    checkpoint = {"path": str(subject.path), "sha256": runs.file_digest(subject.path)}
    run.write_json(
        "stamp.json", {**runs.stamp(argv), "seed": options["seed"], "dataset": data, "checkpoint": checkpoint}
    )
    return run


def to_toml(options: Mapping[str, Any]) -> str:
    """Return the text of config.toml, a comment per option.

    >>> to_toml({**dict.fromkeys(COMMENTS), "kind": "flip"}).splitlines()[4]
    'kind = "flip"                       # what they read as: random, stuck0, stuck1 or flip'
    """
    lines = ["# bnnkit inject, as resolved"]
    for name, comment in COMMENTS.items():
        value = options[name]
        # What JSON writes for numbers, texts and lists is TOML too.
        setting = f"# {name} is left out" if value is None else f"{name} = {json.dumps(value, ensure_ascii=False)}"
        lines.append(f"{setting:<34}  # {comment}")
    return "\n".join(lines) + "\n"


def save(run: Run, trials: Sequence[Trial]) -> None:
    """Write metrics.jsonl, one line per finished evaluation."""
    run.write_metrics([record(trial) for trial in trials])


def finish(run: Run, document: Mapping[str, Any]) -> None:
    """Write results.json, and into stamp.json what the campaign took."""
    run.write_json("results.json", document)
    seconds = document["seconds"]
    run.write_json(
        "stamp.json",
        {**run.read_json("stamp.json"), "wall_seconds": seconds, "peak_memory_bytes": runs.peak_memory()},
    )
