"""What a campaign found, as JSON: a table per fault, a row per setting, an entry per fault map."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bnnkit.faults.campaign import Setting, Trial
from bnnkit.faults.images import ImageFault
from bnnkit.faults.kinds import KINDS
from bnnkit.faults.statistics import mean_interval


def tables(trials: Sequence[Trial], settings: Sequence[Setting], maps: int, pixels: int) -> list[dict[str, Any]]:
    """Return one table per fault, in the order of `settings`; settings without a finished evaluation are left out.

    Args:
        pixels: bytes of all images, each of which has the bit.
    """
    found = []
    for fault in dict.fromkeys(setting.fault for setting in settings):
        mine = [setting for setting in settings if setting.fault == fault]
        rows = [row(setting, trials, maps) for setting in mine if any(trial.setting == setting for trial in trials)]
        found.append(
            {
                "site": "image",
                "bit": fault.bit,
                "kind": fault.kind,
                "rate": fault.rate,
                "text": describe(fault),
                "expected_faulty_bits": fault.rate * pixels,
                "rows": rows,
            }
        )
    return found


def row(setting: Setting | None, trials: Sequence[Trial], maps: int) -> dict[str, Any]:
    """Return what is known about one setting (None: without faults) from its evaluations, percentages in percent.

    The interval is over fault maps (Student's t, cut to 0..100) where there are several, else over images (Wilson).
    `trials` begin with the one without faults.
    """
    golden, mine = trials[0], [trial for trial in trials if trial.setting == setting]
    accuracies = [100 * trial.score.accuracy for trial in mine]
    over_maps = len(mine) > 1
    if over_maps:
        low, high = mean_interval(accuracies)
        interval = [max(0.0, low), min(100.0, high)]
    else:
        interval = [100 * bound for bound in mine[0].score.interval]
    accuracy, total = statistics.fmean(accuracies), sum(trial.score.total for trial in mine)
    entry: dict[str, Any] = {
        "row": name(setting),
        "accuracy": accuracy,
        "interval95": interval,
        "interval_over": "maps" if over_maps else "images",
        "correct": sum(trial.score.correct for trial in mine),
        "total": total,
    }
    if setting is None:
        return entry
    return entry | {
        "change": accuracy - 100 * golden.score.accuracy,
        "changed_predictions": sum(trial.changed for trial in mine),
        "changed_percent": 100 * sum(trial.changed for trial in mine) / total,
        "repair": setting.repair.name,
        "copied_bit": setting.repair.source,
        "same_for_all_maps": not setting.varies,
        "maps_planned": maps if setting.varies else 1,
        "maps": [as_json(trial) for trial in mine],
    }


def as_json(trial: Trial) -> dict[str, Any]:
    """Return one evaluation."""
    return {
        "map": trial.number,
        **trial.score.as_json(),
        "changed_predictions": trial.changed,
        "faulty_bits": trial.faulty,
        "wrong_bits": trial.wrong,
        "seconds": trial.seconds,
        "fault_seconds": trial.fault_seconds,
    }


def record(trial: Trial) -> dict[str, Any]:
    """Return one line of metrics.jsonl."""
    bit = None if trial.setting is None else trial.setting.fault.bit
    return {"bit": bit, "row": name(trial.setting), **as_json(trial)}


def name(setting: Setting | None) -> str:
    """Return the name of a row: "golden", "faulty", or "repair <name>"."""
    if setting is None:
        return "golden"
    return "faulty" if setting.repair.source is None else f"repair {setting.repair.name}"


def describe(fault: ImageFault) -> str:
    """Say in a few words what is faulty.

    >>> describe(ImageFault(6, "flip", 0.01))
    'bit 6 of 1 % of all pixels flipped'
    """
    where = "every pixel" if fault.rate == 1 else f"{100 * fault.rate:g} % of all pixels"
    return f"bit {fault.bit} of {where} {KINDS.get(fault.kind).text}"
