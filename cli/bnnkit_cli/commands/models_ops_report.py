"""What `bnnkit models show --ops` says: two tables, or one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bnnkit_cli import output
from bnnkit_cli.commands.models_network import Network
from bnnkit_cli.commands.models_ops import Counted

PARTS = {"ends": "first and last layers", "body": "body", "total": "total"}

HEADINGS = {
    "binary_macs": "binary\nMACs",
    "additions": "adds",
    "shifts": "shifts",
    "comparisons": "compares",
    "multiplications": "multiplies",
    "conversions": "converts",
}


def as_json(counted: Counted, notes: Sequence[str]) -> dict[str, Any]:
    """Return everything that is known of the operations; energies in picojoules."""
    from bnnkit.energy import by_kind, picojoules

    total = counted.counts("total")
    kinds = {
        kind: {
            "operations": total[kind],
            "picojoules_each": counted.costs[kind].picojoules,
            "picojoules": energy,
            "source": counted.costs[kind].source,
        }
        for kind, energy in picojoules(total, counted.costs).items()
    }
    return {
        "counted": "packed" if counted.why_by_formula is None else "formula",
        "why_by_formula": counted.why_by_formula,
        "steps": [
            {
                "name": step.name,
                "part": step.part,
                **asdict(step.operations),
                "picojoules": counted.energy(by_kind(step.operations)),
            }
            for step in counted.steps
        ],
        "parts": {
            part: {**asdict(counted.operations(part)), "picojoules": counted.energy(counted.counts(part))}
            for part in PARTS
        },
        "energy": {"file": counted.costs_file, "kinds": kinds, "picojoules": counted.energy(total)},
        "notes": list(notes),
    }


def print_ops(network: Network, counted: Counted, notes: Sequence[str]) -> None:
    """Print the operations of every step that has any and of the parts, then their energy by kind."""
    from bnnkit.energy import by_kind

    sums = asdict(counted.operations("total"))
    shown = [kind for kind in HEADINGS if sums[kind]]
    rows: list[tuple[object, ...]] = []
    for step in counted.steps:
        counts = [_thousands(getattr(step.operations, kind)) for kind in shown]
        if any(counts):
            energy = counted.energy(by_kind(step.operations))
            rows.append((step.name, *(number or None for number in counts), _nanojoules(energy)))
    for part, name in PARTS.items():
        counts = [_thousands(getattr(counted.operations(part), kind)) for kind in shown]
        rows.append((name, *counts, _nanojoules(counted.energy(counted.counts(part)))))
    columns = ["step", *(HEADINGS[kind] for kind in shown), "nJ"]
    output.result_table(columns, rows, title=f"{network.title}: operations on one image, in thousands")
    output.result_text("")
    _print_energy(counted, notes)


def _print_energy(counted: Counted, notes: Sequence[str]) -> None:
    from bnnkit.energy import picojoules

    counts = counted.counts("total")
    rows: list[tuple[object, ...]] = []
    for kind, energy in picojoules(counts, counted.costs).items():
        if counts[kind]:
            cost = counted.costs[kind]
            rows.append((_label(kind), counts[kind], cost.picojoules, _nanojoules(energy), cost.source))
    total = counted.energy(counts)
    rows.append(("total", None, None, _nanojoules(total), ""))
    title = f"estimated energy of one image: {_in_units(total)}"
    output.result_table(["operation", "number", "pJ each", "nJ", "source"], rows, title=title, notes=notes)


def notes_on(network: Network, counted: Counted) -> list[str]:
    """Return what a reader has to know about the numbers."""
    from bnnkit.energy import PACKAGED
    from bnnkit.models.reactnet import ReactNet
    from bnnkit.nn import gated_layers

    packed = counted.why_by_formula is None
    if packed:
        notes = ["counted by the steps of the packed network; additions are charged as floats where a step multiplies"]
    else:
        notes = [
            f"cannot be packed ({counted.why_by_formula}), so counted by formula: a multiplication and an addition per "
            "product, nothing between the layers; charged as floats"
        ]
    notes.append(
        "body: all but the images, the stem or else a first layer that reads values, the pool and the classifier"
    )
    if packed and network.path is None and isinstance(network.model, ReactNet):
        notes.append("shifts depend on the weights, here random ones: for a trained network give its file or run")
    if packed and gated_layers(network.model):
        notes.append("low bits are counted as if every gate were open")
    if packed and counted.operations("total").conversions:
        notes.append("the products inside arrays are charged as digital binary MACs")
    source = "energy.toml of bnnkit" if counted.costs_file == PACKAGED else str(counted.costs_file)
    notes.append(f"energy: an estimate of the arithmetic only, no memory, no wires; costs from {source}")
    return notes


def _thousands(number: int) -> int | float:
    """Return a count in thousands: at least four digits, no exponent."""
    return round(number / 1000) if number >= 1_000_000 else number / 1000


def _nanojoules(energy: float) -> int | float:
    return round(energy / 1e3) if energy >= 1e6 else energy / 1e3


def _in_units(energy: float) -> str:
    units = ((1e9, "mJ"), (1e6, "\u00b5J"), (1e3, "nJ"))
    scale, unit = next((pair for pair in units if energy >= pair[0]), (1.0, "pJ"))
    return f"{energy / scale:.4g} {unit}"


def _label(kind: str) -> str:
    return kind.replace("mac", "MAC").replace("_", " ")
