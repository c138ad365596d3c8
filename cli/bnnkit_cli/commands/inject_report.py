"""What `bnnkit inject` found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnkit_cli import output

COLUMNS = ("image memory", "maps", "test %", "95 % interval", "correct", "change", "SDC %")


def print_tables(document: Mapping[str, Any]) -> None:
    """Print a table per faulty bit, and what must be said about all of them."""
    from bnnkit.checkpoint import describe

    heading = f"{document['checkpoint']}: {describe(document['model'])}, on {document['dataset']['name']}"
    for place, table in enumerate(document["tables"]):
        rows = [_row(row) for row in (document["golden"], *table["rows"])]
        title = f"{heading}\n{table['text']}" if place == 0 else f"\n{table['text']}"
        output.result_table(COLUMNS, rows, title=title, notes=_bits(table))
    output.result_text("")
    for note in _notes(document):
        output.result_text(note)


def _row(row: Mapping[str, Any]) -> list[object]:
    low, high = row["interval95"]
    is_golden = row["row"] == "golden"
    return [
        row["row"],
        None if is_golden or row["same_for_all_maps"] else len(row["maps"]),
        f"{row['accuracy']:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{row['correct']:,}/{row['total']:,}",
        None if is_golden else f"{row['change']:+.2f}",
        None if is_golden else f"{row['changed_percent']:.2f}",
    ]


def _bits(table: Mapping[str, Any]) -> list[str]:
    """Say how many bits were faulty, and how many of them were read wrong without repair."""
    faulty = next((row for row in table["rows"] if row["repair"] == "none"), None)
    if faulty is None:
        return []
    maps = faulty["maps"]
    counts = [found["faulty_bits"] for found in maps]
    wrong = sum(found["wrong_bits"] for found in maps)
    share = f"{100 * wrong / sum(counts):.1f} % of them read wrong" if wrong else "none of them read wrong"
    listed = " ".join(f"{count:,}" for count in dict.fromkeys(counts))
    return [f"faulty bits per map: {listed}; {table['expected_faulty_bits']:,.0f} expected; {share}"]


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
    notes.append("change: points against golden; SDC: predictions that differ from golden's")
    notes.append(f"backend: {document['backend']}; picture: {document['picture']}")
    notes.append(f"run: {document['run']}")
    return notes
