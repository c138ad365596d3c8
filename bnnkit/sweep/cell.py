"""A cell of a sweep: one command line of bnnkit, known by what it computes."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import bnnkit
from bnnkit.runs import file_digest

TRAINED = "{trained}"
"""Stands in the arguments of a cell for the checkpoint that the cell it needs has trained."""
LONGEST_PATH = 1024


@dataclass(frozen=True)
class Cell:
    """One command with its arguments.

    Attributes:
        command: "train", "eval" or "inject".
        arguments: what follows it, as typed; `TRAINED` where the trained network of `needs` stands.
        labels: what distinguishes it from the other cells, by the names of the columns.
        needs: the training it evaluates.
        data: fingerprint of the dataset it reads, where that is known.

    >>> Cell("train", ("mlp", "--adc-bit", "2"), {"adc-bit": "2"}).line
    'bnnkit train mlp --adc-bit 2'
    """

    command: str
    arguments: tuple[str, ...]
    labels: Mapping[str, str]
    needs: Cell | None = None
    data: str | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> str:
        """Return 12 hexadecimal digits that stand for what the cell computes.

        Files that arguments name count by their content, a needed training by its own key.
        """
        identity = {
            "bnnkit": bnnkit.__version__,
            "command": self.command,
            "arguments": [_identity(argument) for argument in self.arguments],
            "needs": None if self.needs is None else self.needs.key,
            "data": self.data,
        }
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]

    @property
    def line(self) -> str:
        """Return the command as a person would type it."""
        return shlex.join(["bnnkit", self.command, *self.arguments])

    def words(self, trained: Path | None) -> list[str]:
        """Return command and arguments; `trained` is the checkpoint of `needs`."""
        return [self.command, *(str(trained) if word == TRAINED and trained else word for word in self.arguments)]

    def as_json(self) -> dict[str, Any]:
        """Return what identifies the cell."""
        return {
            "key": self.key,
            "command": self.command,
            "arguments": list(self.arguments),
            "labels": dict(self.labels),
            "needs": None if self.needs is None else self.needs.key,
            "data": self.data,
        }


def in_order(cells: list[Cell]) -> list[Cell]:
    """Return cells and what they need, each once, everything after what it needs.

    >>> first = Cell("train", ("mlp",), {})
    >>> [cell.command for cell in in_order([Cell("eval", (TRAINED,), {}, first), first])]
    ['train', 'eval']
    """
    found: dict[str, Cell] = {}

    def add(cell: Cell) -> None:
        if cell.needs is not None:
            add(cell.needs)
        found.setdefault(cell.key, cell)

    for cell in cells:
        add(cell)
    return list(found.values())


def parts_of(argument: str, is_name: Callable[[str], bool]) -> list[str]:
    """Return an argument that names a file, or the parts of one that may do so inside: rram:samples=FILE,levels=2.

    >>> parts_of("rram:samples=a.npy", lambda text: False)
    ['rram:samples', '=', 'a.npy']
    """
    return [argument] if is_name(argument) else re.split("([=,])", argument)


def _identity(argument: str) -> str:
    """Return an argument with the digest of every file it names."""
    parts = parts_of(argument, _is_file)
    return "".join(f"sha256:{file_digest(Path(part))}" if _is_file(part) else part for part in parts)


def _is_file(text: str) -> bool:
    return 0 < len(text) < LONGEST_PATH and Path(text).is_file()
