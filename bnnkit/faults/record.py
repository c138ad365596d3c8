"""The run directory of a campaign: what was asked for, on what, and every evaluation as soon as it is finished."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

import numpy as np
import torch

from bnnkit import runs
from bnnkit.atomic import write_bytes
from bnnkit.data import Dataset
from bnnkit.errors import MismatchError
from bnnkit.faults.campaign import Campaign
from bnnkit.faults.result import record, trial_of
from bnnkit.faults.settings import Setting
from bnnkit.runs import Run
from bnnkit.train.subject import Subject

COMMENTS = {
    "model": "checkpoint",
    "dataset": "bnnkit data list",
    "fault": "what is faulty, all at once",
    "bit": "faulty bits of a pixel, one table each; 0 is the least significant",
    "kind": "what they read as: random, stuck0, stuck1 or flip",
    "repair": "what faulty bits are replaced by: neighbor, neighbor:OFFSET or msb",
    "rate": "of the faults, a row each; left out: as the faults say",
    "layers": "those with faults; left out: all",
    "per_layer": "a row per layer",
    "per_bit": "a row per bit",
    "replay": "file with fault sites; left out: drawn from the seed",
    "repeats": "fault maps; auto: until the interval is narrow enough",
    "ci": "half of the widest 95 % interval that is narrow enough, in points",
    "drop": "points below golden that count as tolerated",
    "seed": "of the fault maps",
    "adc_bit": "bits of the converters; left out: as trained",
    "limit": "test images used; left out: all",
    "batch": "images per forward pass; the result does not depend on it",
    "backend": "auto, packed, torch or reference",
}
"""Every option that decides what is computed, in the order of config.toml."""

_GOLDEN = "golden.npy"


def begin(
    options: Mapping[str, Any],
    subject: Subject,
    dataset: Dataset,
    *,
    what: str,
    argv: Sequence[str],
    root: Path = runs.ROOT,
) -> Run:
    """Make a run directory with config.toml and stamp.json.

    Args:
        options: by the names of `COMMENTS`; None is left out.
        what: is faulty, in a few characters without spaces.

    Raises:
        MissingError: `root` cannot be written.
    """
    run = runs.create("inject", f"{subject.checkpoint.config['name']}-{what}", to_toml(options), root=root)
    data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "test": len(dataset.test), "note": dataset.note}
    run.write_json(
        "stamp.json",
        {**runs.stamp(argv), "seed": options["seed"], "dataset": data, "checkpoint": _identity(subject)},
    )
    return run


def to_toml(options: Mapping[str, Any]) -> str:
    """Return the text of config.toml, a comment per option.

    >>> to_toml({**dict.fromkeys(COMMENTS), "kind": "flip"}).splitlines()[5]
    'kind = "flip"                       # what they read as: random, stuck0, stuck1 or flip'
    """
    return runs.options_toml("bnnkit inject, as resolved", COMMENTS, options)


def save(run: Run, campaign: Campaign) -> None:
    """Write metrics.jsonl, one line per finished evaluation, and once the predictions without faults."""
    golden = run.path / _GOLDEN
    if campaign.golden is not None and not golden.exists():
        content = io.BytesIO()
        np.save(content, campaign.golden.numpy().astype(np.int32))
        write_bytes(golden, [content.getvalue()])
    run.write_metrics([record(trial) for trial in campaign.trials])


def read_options(run: Run) -> dict[str, Any]:
    """Return the options of a campaign, by the names of `COMMENTS`.

    Raises:
        MismatchError: config.toml is damaged, or of another version.
    """
    try:
        found = tomllib.loads(run.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise MismatchError(f"{run.config}: damaged ({failure})", hint="start anew") from failure
    strange = [name for name in found if name not in COMMENTS]
    if strange:
        raise MismatchError(f"{run.config}: unknown option {strange[0]}", hint="start anew")
    return {name: found.get(name) for name in COMMENTS}


def resume(run: Run, campaign: Campaign, subject: Subject, dataset: Dataset) -> None:
    """Give a campaign what an interrupted one has finished.

    Raises:
        MismatchError: another checkpoint or other data than the run's; a damaged run.
    """
    stamp = run.read_json("stamp.json")
    if stamp["checkpoint"]["sha256"] != _identity(subject)["sha256"]:
        raise MismatchError(f"--resume {run.name}: {subject.path} has changed since", hint="start anew")
    if stamp["dataset"]["fingerprint"] != dataset.fingerprint:
        raise MismatchError(f"--resume {run.name}: {dataset.name} has changed since", hint="start anew")
    if not (run.path / _GOLDEN).exists():
        return  # stopped before anything was finished
    settings: dict[tuple[str | None, str], Setting] = {(s.table, s.row): s for s in campaign.settings}
    try:
        golden = np.load(run.path / _GOLDEN, allow_pickle=False)
        trials = [trial_of(line, settings) for line in run.read_metrics()]
    except (KeyError, ValueError, EOFError) as failure:
        raise MismatchError(f"{run.path}: damaged ({failure})", hint="start anew") from failure
    if golden.shape != (len(campaign.indices),) or not trials or trials[0].setting is not None:
        raise MismatchError(f"{run.path}: damaged; predictions without faults were needed", hint="start anew")
    campaign.golden, campaign.trials = torch.from_numpy(golden.astype(np.int64)), trials


def finish(run: Run, document: Mapping[str, Any]) -> None:
    """Write results.json, and into stamp.json what the campaign took."""
    run.write_json("results.json", document)
    seconds = document["seconds"]
    run.write_json(
        "stamp.json",
        {**run.read_json("stamp.json"), "wall_seconds": seconds, "peak_memory_bytes": runs.peak_memory()},
    )


def _identity(subject: Subject) -> dict[str, str]:
    return {"path": str(subject.path), "sha256": runs.file_digest(subject.path)}
