"""From what a person asked for to a complete training: recipe, defaults, and the data they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnnkit import runs
from bnnkit.data import Dataset, is_prepared, load
from bnnkit.data.content import Progress
from bnnkit.errors import UsageError
from bnnkit.models import MODELS, parse_options
from bnnkit.train.checks import check
from bnnkit.train.config import Config, read_toml
from bnnkit.train.faults import as_in_config
from bnnkit.train.recipes import RECIPES, Recipe, recipe_for
from bnnkit.train.subject import find

EMBEDDED = "digits"
DEFAULT_SEED = 1
EMBEDDED_BATCH = 32
"""The digits are so few that larger batches would leave too few steps."""
MAX_DEFAULT_VALIDATION = 5000

ONE_STEP = ("w_bit", "init")
"""Options that say what only one step of a recipe can do."""

_FIXED: dict[str, Any] = {
    "rows": 128,
    "channels_per_array": None,
    "adc_sigma": None,
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
    """A resolved training with its data.

    Attributes:
        config: of the training, in a recipe of two steps of the last one.
        notices: what the person should know about the choices made.
        first: the step before it, whose weights it starts from; None where there is only one.
    """

    config: Config
    dataset: Dataset
    notices: tuple[str, ...]
    first: Config | None = None

    @property
    def steps(self) -> tuple[Config, ...]:
        """The trainings in their order."""
        return (self.config,) if self.first is None else (self.first, self.config)


def resolve(
    model: str | None,
    given: Mapping[str, Any],
    *,
    recipe: str | None = None,
    progress: Progress | None = None,
    root: Path = runs.ROOT,
) -> Plan:
    """Complete the options of a training.

    Args:
        model: a network's name; None takes the recipe's.
        given: options of `Config` by name, as asked for; bits may be text, `val_split` a share (below 1) or a count,
            `teacher` whatever `bnnkit.train.subject.find` understands. They apply to every step of a recipe; with one
            of `ONE_STEP` only the last step remains.
        recipe: name in `RECIPES` or path of a TOML file (a run's config.toml is one); None takes the model's usual one.
        progress: called with (stage, done, total) if the dataset has to be downloaded.
        root: where run directories live.

    Raises:
        UsageError: unknown name or impossible value.
        MissingError: no GPU, no such teacher, or a dataset that is neither prepared nor downloadable.

    Example:
        >>> plan = resolve("mlp", {"dataset": "digits", "adc_bit": "4"})
        >>> plan.config.adc_bit, plan.config.schedule, plan.config.val_split
        (4, 'cosine', 144)
    """
    basis = _basis(recipe, model)
    name = model or basis.model
    if name is None:
        raise UsageError("train: no model; MODEL or a recipe file that names one was needed", hint="bnnkit models list")
    asked = {**basis.written, **given}
    if asked.get("teacher") is not None:
        asked["teacher"] = str(find(asked["teacher"], root=root).path)
    dataset_name, data_notices = _dataset_name(name, MODELS.get(name).dataset, asked)
    dataset = load(dataset_name, data_dir=asked.get("data_dir"), progress=progress)
    steps, step_notices = basis.steps(given)
    configs = [_complete(name, step, asked, given, basis, dataset) for step in steps]
    for config in configs:
        check(config)
    *before, last = configs
    return Plan(last, dataset, data_notices + step_notices, before[0] if before else None)


@dataclass(frozen=True)
class _Basis:
    """What a training begins with: a recipe by name, or a file and the recipe that completes it.

    Attributes:
        written: what the file says.
        is_file: a file says what it wants; only the named recipes have several steps and a short form for the digits.
    """

    name: str
    recipe: Recipe
    written: Mapping[str, Any]
    is_file: bool
    model: str | None

    def steps(self, given: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
        """Return the options of each step, and what the person should know about them."""
        if self.is_file:
            return ({**self.recipe.options(), **self.written},), ()
        steps = self.recipe.steps()
        fixed = [f"--{name.replace('_', '-')}" for name in ONE_STEP if given.get(name) is not None]
        if len(steps) == 1 or not fixed:
            return steps, ()
        weights = "the weights given" if given.get("init") is not None else "random weights"
        notice = (
            f"recipe {self.name}: with {' and '.join(fixed)} only the last of its {len(steps)} steps, from {weights}"
        )
        return steps[-1:], (notice,)


def _basis(recipe: str | None, model: str | None) -> _Basis:
    if recipe is not None and (recipe.endswith(".toml") or Path(recipe).is_file()):
        written = read_toml(Path(recipe))
        usual = recipe_for(model or written.get("model", ""))
        return _Basis(usual, RECIPES.get(usual), written, True, written.get("model"))
    name = recipe if recipe is not None else recipe_for(model or "")
    entry = RECIPES.get(name)
    return _Basis(name, entry, {}, False, entry.models[0] if recipe is not None and entry.models else None)


def _complete(
    model: str,
    step: Mapping[str, Any],
    asked: Mapping[str, Any],
    given: Mapping[str, Any],
    basis: _Basis,
    dataset: Dataset,
) -> Config:
    """Return the config of one step of a recipe.

    Args:
        step: the recipe's options for it.
        asked: what the person gave, here or in a file; `given`: here.
    """
    entry = MODELS.get(model)
    usual = {**_FIXED, **entry.family.usual, "width": entry.width, "threads": torch.get_num_threads()}
    options: dict[str, Any] = {**usual, **step, **asked, "model": model, "dataset": dataset.name}
    short = None if basis.is_file or dataset.name != EMBEDDED else basis.recipe.short
    options |= _timing(step, given, short)
    options |= parse_options(model, {**step, **asked})
    options["faults"] = as_in_config(options.get("faults", ()))
    if asked.get("augment") is None:
        # Grey images are digits here, which mirroring would turn into something else.
        grey = dataset.train.images.shape[1] != 3
        options["augment"] = "none" if grey else basis.recipe.augment or "crop-flip"
    used = min(len(dataset.train), options["limit"] or len(dataset.train))
    options["val_split"] = validation_count(asked.get("val_split"), used)
    return Config(**options)


def _dataset_name(model: str, usual: str, asked: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if asked.get("dataset") is not None:
        return str(asked["dataset"]), ()
    if is_prepared(usual, asked.get("data_dir")):
        return usual, ()
    return EMBEDDED, (
        f"{usual}, the usual dataset of {model}, is not prepared: using the embedded {EMBEDDED} instead; for the real "
        f"one: bnnkit data prepare {usual}",
    )


def _timing(base: Mapping[str, Any], given: Mapping[str, Any], short: int | None) -> dict[str, Any]:
    """Return epochs, batch, learning rate and milestones, the milestones moved and scaled with the others.

    Args:
        short: epochs in the short form; None: the form is not used.
    """
    usual = base if short is None else {**base, "epochs": short, "batch": EMBEDDED_BATCH}
    names = ("epochs", "batch", "lr", "schedule", "milestones")
    timing = {name: given.get(name, usual[name]) for name in names}
    if timing["schedule"] != "piecewise":
        return {**timing, "milestones": ()}
    if "milestones" in given:
        return timing
    stretch, factor = timing["epochs"] / base["epochs"], timing["lr"] / base["lr"]
    # Products such as 2.8000000000000003 are of no use to a reader.
    moved = tuple((_short(start * stretch), _short(value * factor)) for start, value in base["milestones"])
    return {**timing, "milestones": moved}


def _short(value: float) -> float:
    return float(f"{value:.12g}")


def validation_count(asked: float | None, used: int) -> int:
    """Return how many of `used` training images are held out: a share below 1, a count, or by default a tenth."""
    if asked is None:
        return min(round(0.1 * used), MAX_DEFAULT_VALIDATION)
    if asked < 0 or (asked > 1 and asked != int(asked)):
        raise UsageError(
            f"--val-split {asked:g}: a share below 1 or a number of images was needed", hint="--val-split 0.1"
        )
    return round(asked * used) if asked < 1 else int(asked)
