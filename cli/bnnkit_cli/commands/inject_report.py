"""What `bnnkit inject` found, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnkit_cli import output

COLUMNS = ("maps", "test %", "95 % interval", "correct", "change", "SDC %", "yield")
MOST_COUNTS = 4
"""Counts of single maps that are listed; of more maps, their sum is."""


def print_tables(document: Mapping[str, Any]) -> None:
    """Print the tables, and what must be said about all of them."""
    from bnnkit.checkpoint import describe

    heading = f"{document['checkpoint']}: {describe(document['model'])}, on {document['dataset']['name']}"
    for place, table in enumerate(document["tables"]):
        rows = [_row(row) for row in (document["golden"], *table["rows"])]
        title = f"{heading}\n{table['table']}" if place == 0 else f"\n{table['table']}"
        output.result_table((_first_column(table), *COLUMNS), rows, title=title, notes=[*_bits(table), *_knee(table)])
    output.result_text("")
    for note in _notes(document):
        output.result_text(note)


def _first_column(table: Mapping[str, Any]) -> str:
    rows = table["rows"]
    if rows and rows[0]["amount"] is not None:
        return "amount"
    return "images" if rows and all(fault.startswith("input") for fault in rows[0]["faults"]) else "network"


def _row(row: Mapping[str, Any]) -> list[object]:
    low, high = row["interval95"]
    is_golden = row["row"] == "golden"
    within = None if is_golden else row["yield"]
    return [
        row["row"],
        None if is_golden or row["same_for_all_maps"] else len(row["maps"]),
        f"{row['accuracy']:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{row['correct']:,}/{row['total']:,}",
        None if is_golden else f"{row['change']:+.2f}",
        None if is_golden else f"{row['changed_percent']:.2f}",
        None if within is None else f"{within['maps']}/{within['of']}",
    ]


def _bits(table: Mapping[str, Any]) -> list[str]:
    """Say how many bits were faulty without repair, how many were expected, and how many of them were read wrong."""
    rows = [row for row in table["rows"] if row["repair"] == "none" and sum(m["faulty_bits"] for m in row["maps"])]
    if not rows:
        return []
    if len(rows) == 1:
        return [_counts(rows[0]["maps"])]
    maps = [found for row in rows for found in row["maps"]]
    faulty, expected = (sum(found[key] for found in maps) for key in ("faulty_bits", "expected_faulty_bits"))
    return [f"faulty bits in all rows: {faulty:,}; {expected:,.0f} expected"]


def _counts(maps: Sequence[Mapping[str, Any]]) -> str:
    counts, expected = [found["faulty_bits"] for found in maps], maps[0]["expected_faulty_bits"]
    wrong = sum(found["wrong_bits"] for found in maps)
    share = f"{100 * wrong / sum(counts):.1f} % of them read wrong" if wrong else "none of them read wrong"
    different = list(dict.fromkeys(counts))
    if len(different) > MOST_COUNTS:
        return f"faulty bits per map: {sum(counts) / len(counts):,.1f} on average; {expected:,.1f} expected; {share}"
    return f"faulty bits per map: {' '.join(f'{n:,}' for n in different)}; {expected:,.0f} expected; {share}"


def _knee(table: Mapping[str, Any]) -> list[str]:
    found = table.get("knee")
    if found is None:
        return []
    drop = table["rows"][0]["yield"]["drop"]
    if found["knee"] is None:
        return [f"knee: the mean stays within {_points(drop)} of golden"]
    low, high = ("beyond" if found[end] is None else f"{found[end]:.3g}" for end in ("low", "high"))
    return [f"knee, {_points(drop)} below golden: {found['knee']:.3g} ({low} to {high})"]


def _points(drop: float) -> str:
    return f"{drop:g} point" + ("" if drop == 1 else "s")


def _notes(document: Mapping[str, Any]) -> list[str]:
    finished, planned = document["evaluations"]
    notes = [f"interrupted: {finished} of {planned} evaluations"] if finished < planned else []
    if document["limited"]:
        notes.append(f"limited: {document['images']:,} of {document['of_images']:,} test images")
    data = document["dataset"]
    notes += [f"{data['name']}: {data['note']}"] if data["note"] else []
    rows = [row for table in document["tables"] for row in table["rows"]]
    over_maps = any(row["interval_over"] == "maps" for row in rows)
    notes.append(
        "95 % interval: over fault maps (Student's t); where there is one or none, over images (Wilson)"
        if over_maps
        else "95 % interval: over images (Wilson)"
    )
    drop = rows[0]["yield"]["drop"] if rows else 1
    notes.append("change: points against golden; SDC: predictions that differ from golden's")
    notes.append(f"yield: maps with at most {_points(drop)} less than golden")
    shown = f"; picture: {document['picture']}" if document["picture"] else ""
    notes.append(f"backend: {document['backend']}{shown}")
    notes.append(f"run: {document['run']}")
    return notes
