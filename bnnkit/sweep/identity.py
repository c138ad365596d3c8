"""What cells read besides their arguments: the network a name stands for, the content of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bnnkit import runs
from bnnkit.data import is_prepared, load
from bnnkit.models import MODELS
from bnnkit.sweep.cell import TRAINED
from bnnkit.train.plan import EMBEDDED
from bnnkit.train.recipes import RECIPES
from bnnkit.train.subject import find_or_sample


def network_file(reference: str | None, root: Path = runs.ROOT) -> str:
    """Return the checkpoint that a person means by a name: names such as "latest" mean another one tomorrow.

    Raises:
        MissingError, MismatchError: there is none, or it is damaged; see `bnnkit.train.subject.find`.
    """
    return TRAINED if reference == TRAINED else str(find_or_sample(reference, root=root).path.resolve())


def short_name(network: str) -> str:
    """Return what a network is called in tables: a model's name, a run's, or that of a file.

    >>> short_name("res20"), short_name("networks/mine.safetensors")
    ('res20', 'mine.safetensors')
    """
    file = Path(network)
    return file.parent.name if file.with_name("config.toml").exists() else file.name


def data_of_training(models: Sequence[str], options: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprint of the dataset that each model would be trained on.

    Args:
        options: those given, by name without dashes: dataset, data-dir and recipe matter.

    Raises:
        UsageError: an unknown model or dataset.
        MissingError: a dataset that is neither prepared nor can be downloaded.
    """
    found: dict[str, str] = {}
    folder = options.get("data-dir")
    for model in models:
        usual = MODELS.get(model).dataset
        name = options.get("dataset") or (usual if is_prepared(usual, folder) else EMBEDDED)
        found[model] = load(name, data_dir=folder).fingerprint
    return found


def data_of_network(file: str, options: Mapping[str, str], root: Path = runs.ROOT) -> str:
    """Return the fingerprint of the dataset that a network would be tested on."""
    folder = options.get("data-dir")
    return find_or_sample(file, root=root).dataset(options.get("dataset"), Path(folder) if folder else None).fingerprint


def model_of_recipe(recipe: str) -> str | None:
    """Return the network a named recipe trains when none is named; None for a file or a recipe of no network."""
    models = RECIPES.get(recipe).models if recipe in RECIPES else ()
    return models[0] if models else None
