"""Grids of options: from `key=a,b,c` to the command lines of all combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TypeAlias

from bnnkit.errors import UsageError

COMMANDS = ("train", "eval", "inject")
NETWORK = "model"
"""The key of what is trained, evaluated or made faulty."""
SEED = "seed"

Grid: TypeAlias = Mapping[str, Sequence[str]]


def parse_grid(texts: Sequence[str], option: str = "--grid") -> dict[str, tuple[str, ...]]:
    """Return the values of every key; a key given twice has the values of both.

    Values are separated by commas, or by semicolons where they contain commas. `option` is what messages name.

    Raises:
        UsageError: no key, no value, or a value twice.

    >>> parse_grid(["adc-bit=1,2", "fault=weight:flip@0.01,layers=hidden.0;weight:flip@0.1"])
    {'adc-bit': ('1', '2'), 'fault': ('weight:flip@0.01,layers=hidden.0', 'weight:flip@0.1')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        key = name.strip().lstrip("-").replace("_", "-")
        parts = tuple(part.strip() for part in values.split(";" if ";" in values else ",") if part.strip())
        if not equals or not key or not parts:
            raise UsageError(f"{option} {text}: KEY=VALUE,VALUE,... was needed", hint=f"{option} adc-bit=1,2,3,4")
        found[key] = found.get(key, ()) + parts
    for key, parts in found.items():
        twice = [part for part in parts if parts.count(part) > 1]
        if twice:
            raise UsageError(f"{option} {key}: {twice[0]} is given twice", hint=f"give {twice[0]} once")
    return found


def combinations(grid: Grid) -> list[dict[str, str]]:
    """Return one choice of values per cell, the last key changing fastest.

    >>> combinations({"rows": ["64", "128"], "adc-bit": ["1"]})
    [{'rows': '64', 'adc-bit': '1'}, {'rows': '128', 'adc-bit': '1'}]
    """
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def arguments_of(command: str, chosen: Mapping[str, str], fixed: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of one combination: the network first, then what is fixed, then the chosen options.

    "yes" and "no" as values mean that a flag is given or is not.

    >>> arguments_of("train", {"adc-bit": "2", "model": "mlp", "noise-std": "yes"}, ["--epochs", "3"])
    ('mlp', '--epochs', '3', '--adc-bit', '2', '--noise-std')
    """
    words: list[str] = []
    if NETWORK in chosen:
        words += ["--model", chosen[NETWORK]] if command == "inject" else [chosen[NETWORK]]
    words += fixed
    for key, value in chosen.items():
        if key == NETWORK or value == "no":
            continue
        words += [f"--{key}"] if value == "yes" else [f"--{key}", value]
    return tuple(words)
