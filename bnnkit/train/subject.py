"""What is evaluated: from what a person types to a network with its weights and its data."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnkit import checkpoint, deploy, runs
from bnnkit.checkpoint import Checkpoint
from bnnkit.data import Dataset, load
from bnnkit.deploy import PackedWeights
from bnnkit.errors import MismatchError, MissingError
from bnnkit.models import MODELS, Model
from bnnkit.runs import Run
from bnnkit.train.images import Preparation


@dataclass(frozen=True)
class Subject:
    """A trained network as it was stored; `model` builds it, with other converters if asked for."""

    checkpoint: Checkpoint

    @property
    def path(self) -> Path:
        return self.checkpoint.path

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from, as far as the file says."""
        return dict(self.checkpoint.metadata.get("provenance", {}))

    @property
    def preparation(self) -> Preparation:
        """How images become inputs of this network."""
        channels, height, width = (int(size) for size in self.checkpoint.config["in_shape"])
        return Preparation.from_metadata(self.checkpoint.metadata, (channels, height, width))

    @property
    def is_unfinished(self) -> bool:
        """Whether the network is that of a run which has not come to its end."""
        run = Run(self.path.parent)
        return run.config.exists() and not run.finished

    @property
    def is_packed(self) -> bool:
        """Whether the file holds a packed network instead of latent weights."""
        return deploy.is_packed(self.checkpoint)

    def model(self, changes: Mapping[str, Any]) -> Model:
        """Build the network with its weights, in evaluation mode; `changes` are options of arrays and converters."""
        if self.is_packed:
            return deploy.unpack_model(deploy.of_checkpoint(self.checkpoint), **changes)
        return checkpoint.build(self.checkpoint, **changes)

    def packed_weights(self) -> PackedWeights:
        """Return the network packed.

        Raises:
            UsageError: it cannot be packed.
        """
        if self.is_packed:
            return deploy.of_checkpoint(self.checkpoint)
        preparation, provenance = self.preparation, self.provenance
        stamp = self.path.with_name("stamp.json")
        if stamp.is_file():
            provenance["command"] = shlex.join(Run(stamp.parent).read_json(stamp.name)["argv"])
        return deploy.pack_model(self.model({}), preparation.mean, preparation.std, provenance)

    def dataset(self, name: str | None, data_dir: Path | None) -> Dataset:
        """Open the dataset `name`, by default the one the network was trained on.

        Raises:
            MismatchError: the dataset has more classes than the network.
            MissingError: the checkpoint does not name its dataset and neither does `name`.
        """
        chosen = name or self.provenance.get("dataset")
        if chosen is None:
            raise MissingError(
                f"{self.path}: does not say which data it was trained on; a dataset was needed", hint="give --dataset"
            )
        dataset = load(chosen, data_dir=data_dir)
        classes = self.checkpoint.config["classes"]
        if len(dataset.classes) > classes:
            raise MismatchError(
                f"{self.path}: {classes} classes, dataset {dataset.name} has {len(dataset.classes)}",
                hint="give the dataset the network was trained on",
            )
        return dataset

    def is_foreign(self, dataset: Dataset) -> bool:
        """Return whether a dataset is known to be other data than the network was trained on."""
        return self.provenance.get("fingerprint") not in (None, dataset.fingerprint)


def find(reference: str, *, root: Path = runs.ROOT) -> Subject:
    """Read the network that a person means.

    Args:
        reference: a checkpoint file; a run (its path, name or the beginning of it), "latest", or the name of a model,
            which is the newest run of that model. A run stands for the weights chosen on validation images.

    Raises:
        MissingError: there is nothing like that; the hint names the nearest.
        MismatchError: the file is damaged or no checkpoint.

    Example:
        >>> find("nowhere.safetensors")
        Traceback (most recent call last):
        ...
        bnnkit.errors.MissingError: nowhere.safetensors: does not exist; a checkpoint file was needed
    """
    path = Path(reference)
    if path.is_file() or path.suffix == ".safetensors":
        return Subject(checkpoint.read(path))
    if reference in MODELS:
        return Subject(checkpoint.read(weights_of(_newest(reference, root))))
    if "/" not in reference and not path.exists():
        _check_name(reference, root)
    return Subject(checkpoint.read(weights_of(runs.resolve(reference, root=root))))


def find_or_sample(reference: str | None, *, root: Path = runs.ROOT) -> Subject:
    """Read the network that a person means; without a name the newest run, and without runs the packaged sample.

    Raises:
        MissingError, MismatchError: as `find`.
    """
    if reference is None and not runs.every("train", root=root):
        return Subject(checkpoint.read(deploy.SAMPLE))
    return find(runs.LATEST if reference is None else reference, root=root)


def weights_of(run: Run) -> Path:
    """Return the checkpoint a run stands for: the weights chosen on validation images, without those the last ones.

    Raises:
        MissingError: it has none yet.
    """
    if run.best.exists():
        return run.best
    if not run.last.exists():
        raise MissingError(f"{run.path}: holds no checkpoint", hint="bnnkit train --help")
    return run.last


def _newest(model: str, root: Path) -> Run:
    found = [run for run in runs.every("train", root=root) if run.name.startswith(f"{model}-") and run.last.exists()]
    if not found:
        raise MissingError(f"{model}: no run of this model in {root / 'train'}", hint=f"bnnkit train {model}")
    return found[-1]


def _check_name(reference: str, root: Path) -> None:
    names = [run.name for run in runs.every("train", root=root)]
    if reference == runs.LATEST or any(name.startswith(reference) for name in names):
        return
    near = difflib.get_close_matches(reference, [runs.LATEST, *MODELS, *names], n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"bnnkit models list, or ls {root / 'train'}"
    raise MissingError(
        f"'{reference}': neither a checkpoint file, nor a run in {root / 'train'}, nor a model", hint=hint
    )
