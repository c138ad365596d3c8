"""What a campaign found, as JSON: tables, a row per setting, an entry per fault map."""

from __future__ import annotations

import statistics
from typing import Any

from bnnkit.faults.campaign import Campaign, Trial
from bnnkit.faults.network import Hits
from bnnkit.faults.settings import Setting
from bnnkit.faults.statistics import bootstrap_interval, mean_interval
from bnnkit.faults.tolerance import knee_band, yield_within
from bnnkit.train.evaluation import Score

DROP = 1.0
"""Points below golden that count as tolerated."""


def tables(campaign: Campaign, drop: float = DROP) -> list[dict[str, Any]]:
    """Return the tables in the order of the settings; settings without a finished evaluation are left out.

    Args:
        drop: points below golden within which a map counts for the yield, and at which the knee of a curve lies.
    """
    found = []
    for heading in dict.fromkeys(setting.table for setting in campaign.settings):
        mine = [setting for setting in campaign.settings if setting.table == heading]
        rows = [row(campaign, setting, drop) for setting in mine if campaign.of(setting)]
        table: dict[str, Any] = {"table": heading, "rows": rows}
        if mine[0].amount is not None and rows:
            lows, highs = zip(*(entry["interval95"] for entry in rows), strict=True)
            amounts, means = ([entry[key] for entry in rows] for key in ("amount", "accuracy"))
            golden = 100 * campaign.trials[0].score.accuracy
            table["knee"] = knee_band(amounts, means, lows, highs, golden, drop)._asdict()
        found.append(table)
    return found


def row(campaign: Campaign, setting: Setting | None, drop: float = DROP) -> dict[str, Any]:
    """Return what is known about one setting (None: without faults) from its evaluations, percentages in percent.

    The interval is over fault maps (Student's t, cut to 0..100) where there are several, else over images (Wilson).
    """
    golden, mine = campaign.trials[0], campaign.of(setting)
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
    within = yield_within(accuracies, 100 * golden.score.accuracy, drop)
    changed = [100 * trial.changed / trial.score.total for trial in mine]
    return entry | {
        "change": accuracy - 100 * golden.score.accuracy,
        "changed_predictions": sum(trial.changed for trial in mine),
        "changed_percent": 100 * sum(trial.changed for trial in mine) / total,
        "changed_interval95": list(bootstrap_interval(changed)) if over_maps else None,
        "yield": {"drop": drop, "maps": within.count, "of": within.total, "wilson95": list(within.interval)},
        "faults": [str(fault) for fault in setting.faults],
        "amount": setting.amount,
        "layers": list(setting.layers),
        "repair": setting.repair.name,
        "copied_bit": setting.repair.source,
        "same_for_all_maps": not setting.varies and campaign.recorded is None,
        "maps_planned": campaign.planned(setting),
        "maps": [as_json(trial) for trial in mine],
    }


def as_json(trial: Trial) -> dict[str, Any]:
    """Return one evaluation."""
    return {
        "map": trial.number,
        **trial.score.as_json(),
        "changed_predictions": trial.changed,
        "faulty_bits": trial.hits.faulty,
        "wrong_bits": trial.hits.wrong,
        "expected_faulty_bits": trial.hits.expected,
        "seconds": trial.seconds,
        "fault_seconds": trial.fault_seconds,
    }


def record(trial: Trial) -> dict[str, Any]:
    """Return one line of metrics.jsonl."""
    table = None if trial.setting is None else trial.setting.table
    return {"table": table, "row": name(trial.setting), **as_json(trial)}


def trial_of(line: dict[str, Any], settings: dict[tuple[str | None, str], Setting]) -> Trial:
    """Return the evaluation of a line of metrics.jsonl.

    Args:
        settings: by table and row.

    Raises:
        KeyError: a line of something else.
    """
    return Trial(
        None if line["table"] is None else settings[line["table"], line["row"]],
        line["map"],
        Score(line["correct"], line["total"]),
        line["changed_predictions"],
        Hits(line["faulty_bits"], line["wrong_bits"], line["expected_faulty_bits"]),
        line["seconds"],
        line["fault_seconds"],
    )


def name(setting: Setting | None) -> str:
    """Return the name of a row."""
    return "golden" if setting is None else setting.row
