"""Packed networks on disk: the container of checkpoints, holding bits and floats instead of latent weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnnkit import checkpoint
from bnnkit.checkpoint import Checkpoint
from bnnkit.deploy.weights import REPACK, PackedWeights
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import MODELS

VERSION = 1


def save(weights: PackedWeights, path: Path | str) -> None:
    """Write a packed network, atomically; see `bnnkit.checkpoint.write` for what may go wrong.

    Raises:
        UsageError: the network is no model of bnnkit, so that nothing could build it again.

    Example:
        >>> import tempfile
        >>> from bnnkit import create_model, deploy
        >>> weights = deploy.pack_model(create_model("mlp", in_shape=(1, 8, 8)), (0.5,), (0.25,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(weights, f"{folder}/net.safetensors")
        ...     load(f"{folder}/net.safetensors").config["name"]
        'mlp'
    """
    if weights.config["name"] not in MODELS:
        raise UsageError(
            f"{path}: {weights.config['name']} is no model that bnnkit can build again, so its packed form has no file",
            hint="torch.save its state_dict, and compile it where its class is",
        )
    metadata: dict[str, Any] = {
        "packed": VERSION,
        "preparation": {"mean": list(weights.mean), "std": list(weights.std)},
        "provenance": weights.provenance,
    }
    checkpoint.write(path, weights.tensors, weights.config, metadata)


def load(path: Path | str) -> PackedWeights:
    """Read a packed network and check that its tensors are those of its architecture.

    Raises:
        MissingError: there is no such file.
        MismatchError: truncated, corrupt, written by a newer bnnkit, not packed, or of another architecture.
    """
    return of_checkpoint(checkpoint.read(path))


def is_packed(found: Checkpoint) -> bool:
    """Return whether a file holds a packed network."""
    return "packed" in found.metadata


def of_checkpoint(found: Checkpoint) -> PackedWeights:
    """Return the packed network of a file that was read."""
    if not is_packed(found):
        raise MismatchError(f"{found.path}: a checkpoint, not a packed network", hint=f"bnnkit pack {found.path}")
    try:
        version = int(found.metadata["packed"])
        preparation = found.metadata["preparation"]
        mean, std = tuple(map(float, preparation["mean"])), tuple(map(float, preparation["std"]))
    except (KeyError, TypeError, ValueError) as failure:
        raise MismatchError(f"{found.path}: corrupt: its metadata cannot be read", hint=REPACK) from failure
    if version > VERSION:
        raise MismatchError(
            f"{found.path}: packed format {version}; this bnnkit reads up to {VERSION}",
            hint="pip install --upgrade bnnkit",
        )
    weights = PackedWeights(found.config, mean, std, found.tensors, dict(found.metadata.get("provenance", {})))
    try:
        weights.skeleton()
    except MismatchError as failure:
        raise MismatchError(f"{found.path}: {failure}", hint=REPACK) from failure
    return weights
