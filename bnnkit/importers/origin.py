"""Reading a foreign state dictionary into a network: names mapped, shapes checked, nothing left over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from bnnkit.errors import MismatchError
from bnnkit.importers.layout import Layout
from bnnkit.models import Model
from bnnkit.registry import Registry

WRAPPERS = ("state_dict", "model", "net", "model_state_dict")
"""Keys under which training scripts put the state dictionary into a checkpoint."""

BESIDE = "no parameter: stands beside the state dictionary"
COUNTER = ".num_batches_tracked"

Statistics: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


class Origin:
    """The naming scheme of one origin project.

    Attributes:
        layouts: its networks.
        dropped: what the keys are that `rename` drops.
        statistics: mean and std by dataset, where they are not those that bnnkit gives it.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ()
    dropped: ClassVar[str] = ""
    statistics: ClassVar[Mapping[str, Statistics]] = {}

    @staticmethod
    def prepare(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the state dictionary with parameters joined that bnnkit keeps as one; usually as it is."""
        return state_dict

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for the origin's `key`, the same `key` when unknown, or None to drop it."""
        raise NotImplementedError


ORIGINS: Registry[type[Origin]] = Registry("origin")


@dataclass(frozen=True)
class Match:
    """A state dictionary that fits a network.

    Attributes:
        parameters: by bnnkit's names, in the network's shapes.
        ignored: the origin's keys that are no parameters of it, and why.
    """

    parameters: dict[str, Tensor]
    ignored: dict[str, str]


def load(origin: str, model: Model, state_dict: Mapping[str, Any]) -> Model:
    """Copy an origin project's parameters into `model`, in place, and return it.

    Args:
        origin: "bnn-iga", "rram", "ab-bnn", "fracbnn" or "cnv".
        model: a network of the same architecture, width and number of classes.
        state_dict: the origin's parameters; a checkpoint that wraps them as "state_dict", "model", "net" or
            "model_state_dict" and the "module." prefix of DataParallel are understood, and so are scalars of shape
            [1], vectors of shape [1, C, 1, 1], and normalizations without a counter of batches.

    Raises:
        UsageError: for an unknown origin.
        MismatchError: naming every key that is unknown, missing or of another shape; the model is then unchanged.

    >>> import bnnkit
    >>> load("bnn-iga", bnnkit.create_model("mlp"), {"fc9.weight": 0})
    Traceback (most recent call last):
    ...
    bnnkit.errors.MismatchError: bnn-iga checkpoint for mlp: unknown fc9.weight; missing classifier.bias, \
classifier.weight, hidden.0.bias and 20 more
    """
    model.load_state_dict(match(origin, model, state_dict).parameters)
    return model


def unwrap(checkpoint: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[str]]:
    """Return the state dictionary of a checkpoint, and the keys that stand beside it.

    >>> unwrap({"state_dict": {"fc.weight": 0}, "epoch": 3})
    ({'fc.weight': 0}, ['epoch'])
    """
    beside: list[str] = []
    for wrapper in WRAPPERS:
        inner = checkpoint.get(wrapper)
        if isinstance(inner, Mapping):
            beside += [str(key) for key in checkpoint if key != wrapper]
            checkpoint = inner
    return checkpoint, beside


def match(origin: str, model: Model, checkpoint: Mapping[Any, Any]) -> Match:
    """Find the parameters of `model` in an origin's checkpoint; arguments and errors are those of `load`."""
    scheme = ORIGINS.get(origin)
    inner, beside = unwrap(checkpoint)
    state = scheme.prepare({str(key): value for key, value in inner.items()})
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    unknown: list[str] = []
    shapes: list[str] = []
    # Shape errors name the origin's key, so the same parameter is not reported as missing again.
    named: set[str] = set()
    for key, value in state.items():
        name = scheme.rename(model, without_prefix(key))
        if name is None:
            ignored[key] = scheme.dropped
            continue
        named.add(name)
        if name not in own:
            unknown.append(key)
        elif not isinstance(value, Tensor):
            shapes.append(f"{key} is a {type(value).__name__} and not a tensor")
        elif not _fits(value, own[name]):
            shapes.append(f"{key} {list(value.shape)} instead of {list(own[name].shape)}")
        else:
            found[name] = value.reshape(own[name].shape)
    missing = sorted(set(own) - named)
    # Evaluation does not need the counters, and not every normalization of the origins has one.
    counters = [name for name in missing if f"{name.removesuffix(COUNTER)}.running_mean" in named]
    found |= {name: torch.zeros_like(own[name]) for name in counters if name.endswith(COUNTER)}
    missing = [name for name in missing if name not in found]
    problems = [("unknown", unknown), ("missing", missing), ("shapes", shapes)]
    if any(keys for _, keys in problems):
        text = "; ".join(f"{what} {first_few(keys)}" for what, keys in problems if keys)
        raise MismatchError(
            f"{origin} checkpoint for {model.settings.name}: {text}",
            hint="build the model with the architecture, width, classes and image shape of the checkpoint",
        )
    return Match(found, {**ignored, **dict.fromkeys(beside, BESIDE)})


def without_prefix(key: object) -> str:
    """Return a key without the prefix of DataParallel."""
    return str(key).removeprefix("module.")


def first_few(keys: list[str]) -> str:
    """Return the first three of some keys, and how many more there are."""
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown


def _fits(value: Tensor, own: Tensor) -> bool:
    """Return whether the shapes are the same; scalars and vectors may come with dimensions of 1 around them."""
    if own.dim() > 1:
        return value.shape == own.shape
    return [size for size in value.shape if size != 1] == [size for size in own.shape if size != 1]
