"""What cells read besides their arguments: the network a name stands for, the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnkit import runs
from bnnkit.data import Dataset, is_prepared, load
from bnnkit.models import MODELS
from bnnkit.sweep.cell import TRAINED, Cell
from bnnkit.train.config import read_toml
from bnnkit.train.plan import EMBEDDED
from bnnkit.train.recipes import RECIPES
from bnnkit.train.subject import find_or_sample

REFERENCES = ("--teacher", "--compare")
"""Options whose value names a network, as `network_file` reads it."""


def network_file(reference: str | None, root: Path = runs.ROOT) -> str:
    """Return the checkpoint that a person means by a name: names such as "latest" mean another one tomorrow.

    A file below the current folder is named from there, so that what is written about it holds elsewhere too.

    Raises:
        MissingError, MismatchError: there is none, or it is damaged; see `bnnkit.train.subject.find`.
    """
    if reference == TRAINED:
        return TRAINED
    path, here = find_or_sample(reference, root=root).path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def with_files(cell: Cell, root: Path = runs.ROOT) -> Cell:
    """Return a cell whose `REFERENCES` are checkpoints: what they name lies in `root`, not in the folder of the cell.

    Raises:
        MissingError, MismatchError: as `network_file`.
    """
    words = list(cell.arguments)
    for place, word in enumerate(words[:-1]):
        if word in REFERENCES:
            words[place + 1] = network_file(words[place + 1], root)
    needs = None if cell.needs is None else with_files(cell.needs, root)
    return replace(cell, arguments=tuple(words), needs=needs)


def data_of_training(model: str, options: Mapping[str, str]) -> Dataset:
    """Return the dataset that a model would be trained on.

    Args:
        options: those given, by name without dashes: dataset, data-dir and recipe matter.

    Raises:
        UsageError: an unknown model or dataset.
        MissingError: a dataset that is neither prepared nor can be downloaded.
    """
    written = _written(options.get("recipe"))
    folder = options.get("data-dir") or written.get("data_dir")
    usual = MODELS.get(model).dataset
    name = options.get("dataset") or written.get("dataset") or (usual if is_prepared(usual, folder) else EMBEDDED)
    return load(name, data_dir=folder)


def data_of_network(file: str, options: Mapping[str, str], root: Path = runs.ROOT) -> Dataset:
    """Return the dataset that a network would be tested on."""
    folder = options.get("data-dir")
    return find_or_sample(file, root=root).dataset(options.get("dataset"), Path(folder) if folder else None)


def model_of_recipe(recipe: str | None) -> str | None:
    """Return the network that a recipe, by name or file, trains when none is named; None if it names none."""
    if recipe is None:
        return None
    if _is_file(recipe):
        return _written(recipe).get("model")
    return next(iter(RECIPES.get(recipe).models), None)


def _written(recipe: str | None) -> dict[str, Any]:
    """Return the options in a recipe's file; none of a recipe that is known by name."""
    return read_toml(Path(recipe)) if recipe is not None and _is_file(recipe) else {}


def _is_file(recipe: str) -> bool:
    return recipe.endswith(".toml") or Path(recipe).is_file()
