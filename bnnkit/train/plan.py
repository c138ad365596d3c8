"""From what a person asked for to a complete training: recipe, defaults, and the data they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnnkit.data import Dataset, is_prepared, load
from bnnkit.data.content import Progress
from bnnkit.errors import MissingError, UsageError
from bnnkit.models import MODELS, parse_options
from bnnkit.train.config import Config, read_toml
from bnnkit.train.images import AUGMENTATIONS
from bnnkit.train.optimizers import OPTIMIZERS
from bnnkit.train.precision import PRECISIONS
from bnnkit.train.recipes import RECIPES, recipe_for
from bnnkit.train.schedule import learning_rate

EMBEDDED = "digits"
DEFAULT_SEED = 1
EMBEDDED_BATCH = 32
"""The digits are so few that larger batches would leave too few steps."""
MAX_DEFAULT_VALIDATION = 5000

_FIXED: dict[str, Any] = {
    "rows": 128,
    "channels_per_array": None,
    "adc_sigma": None,
    "value_gradient": "ste",
    "init": None,
    "data_dir": None,
    "limit": None,
    "seed": DEFAULT_SEED,
    "precision": "fp32",
    "max_steps": None,
    "device": "cpu",
}


@dataclass(frozen=True)
class Plan:
    """A resolved training with its data; `notices` are what the person should know about the choices made."""

    config: Config
    dataset: Dataset
    notices: tuple[str, ...]


def resolve(
    model: str | None, given: Mapping[str, Any], *, recipe: str | None = None, progress: Progress | None = None
) -> Plan:
    """Complete the options of a training.

    Args:
        model: a network's name; None takes the recipe's.
        given: options of `Config` by name, as asked for; bits may be text, `val_split` a share (below 1) or a count.
        recipe: name in `RECIPES` or path of a TOML file (a run's config.toml is one); None takes the model's usual one.
        progress: called with (stage, done, total) if the dataset has to be downloaded.

    Raises:
        UsageError: unknown name or impossible value.
        MissingError: no GPU, or a dataset that is neither prepared nor downloadable.

    Example:
        >>> plan = resolve("mlp", {"dataset": "digits", "adc_bit": "4"})
        >>> plan.config.adc_bit, plan.config.schedule, plan.config.val_split
        (4, 'cosine', 144)
    """
    base = _recipe_options(recipe, model)
    name = model or base.get("model")
    if name is None:
        raise UsageError("train: no model; MODEL or a recipe file that names one was needed", hint="bnnkit models list")
    entry = MODELS.get(name)
    asked = {**base, **given}
    dataset_name, notices = _dataset_name(name, entry.dataset, asked)
    dataset = load(dataset_name, data_dir=asked.get("data_dir"), progress=progress)
    usual = {**_FIXED, **entry.family.usual, "width": entry.width, "threads": torch.get_num_threads()}
    options: dict[str, Any] = {**usual, **asked}
    options |= {"model": name, "dataset": dataset_name}
    options |= _timing(base, given, embedded=dataset_name == EMBEDDED)
    options.pop("short", None)
    options |= parse_options(name, asked)
    if asked.get("augment") is None:
        # Grey images are digits here, which mirroring would turn into something else.
        options["augment"] = "crop-flip" if dataset.train.images.shape[1] == 3 else "none"
    used = min(len(dataset.train), options["limit"] or len(dataset.train))
    options["val_split"] = validation_count(asked.get("val_split"), used)
    config = Config(**options)
    check(config)
    return Plan(config, dataset, notices)


def check(config: Config) -> None:
    """Raise `UsageError` for an impossible option, `MissingError` for a GPU that is not there."""
    at_least = {"epochs": 1, "batch": 2, "threads": 1, "limit": 3, "max_steps": 1, "rows": 1, "width": 1}
    for name, least in at_least.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise UsageError(f"{_flag(name)} {value}: at least {least} was needed", hint="bnnkit train --help")
    for name in ("lr", "weight_decay"):
        value = getattr(config, name)
        if not (value > 0 or (name == "weight_decay" and value == 0)):
            raise UsageError(f"{_flag(name)} {value}: a positive number was needed", hint="leave it out")
    choices = {"precision": PRECISIONS, "device": ("cpu", "cuda"), "value_gradient": ("ste", "iga")}
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise UsageError(f"{_flag(name)} {getattr(config, name)}: unknown", hint=f"one of {', '.join(allowed)}")
    OPTIMIZERS.get(config.optimizer)
    AUGMENTATIONS.get(config.augment)
    learning_rate(config, 0.0)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise MissingError("--device cuda: torch sees no GPU here; one was needed", hint="--device cpu")


def _recipe_options(recipe: str | None, model: str | None) -> dict[str, Any]:
    if recipe is not None and (recipe.endswith(".toml") or Path(recipe).is_file()):
        options = read_toml(Path(recipe))
        usual = RECIPES.get(recipe_for(model or options.get("model", "")))
        return {**usual.options(), **options}
    entry = RECIPES.get(recipe if recipe is not None else recipe_for(model or ""))
    named = entry.models[0] if recipe is not None and entry.models else None
    return {**entry.options(), "short": entry.short} | ({"model": named} if named and model is None else {})


def _dataset_name(model: str, usual: str, asked: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if asked.get("dataset") is not None:
        return str(asked["dataset"]), ()
    if is_prepared(usual, asked.get("data_dir")):
        return usual, ()
    return EMBEDDED, (
        f"{usual}, the usual dataset of {model}, is not prepared: using the embedded {EMBEDDED} instead; for the real "
        f"one: bnnkit data prepare {usual}",
    )


def _timing(base: Mapping[str, Any], given: Mapping[str, Any], *, embedded: bool) -> dict[str, Any]:
    """Return epochs, batch, learning rate and milestones, the milestones moved and scaled with the others."""
    # Recipe files say what they want; only the named recipes have a short form.
    usual = {**base, "epochs": base["short"], "batch": EMBEDDED_BATCH} if embedded and "short" in base else base
    names = ("epochs", "batch", "lr", "schedule", "milestones")
    timing = {name: given.get(name, usual[name]) for name in names}
    if timing["schedule"] != "piecewise":
        return {**timing, "milestones": ()}
    if "milestones" in given:
        return timing
    stretch, factor = timing["epochs"] / base["epochs"], timing["lr"] / base["lr"]
    moved = tuple((start * stretch, value * factor) for start, value in base["milestones"])
    return {**timing, "milestones": moved}


def validation_count(asked: float | None, used: int) -> int:
    """Return how many of `used` training images are held out: a share below 1, a count, or by default a tenth."""
    if asked is None:
        return min(round(0.1 * used), MAX_DEFAULT_VALIDATION)
    if asked < 0 or (asked > 1 and asked != int(asked)):
        raise UsageError(
            f"--val-split {asked:g}: a share below 1 or a number of images was needed", hint="--val-split 0.1"
        )
    return round(asked * used) if asked < 1 else int(asked)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
