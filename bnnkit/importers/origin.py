"""Reading a foreign state dictionary into a network: names mapped, shapes checked, nothing left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from bnnkit.errors import MismatchError
from bnnkit.models import Model
from bnnkit.registry import Registry

WRAPPERS = ("state_dict", "model")
"""Keys under which the origins' training scripts put the state dictionary into a checkpoint."""


class Origin(Protocol):
    """The naming scheme of one origin project."""

    @staticmethod
    def prepare(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the state dictionary with parameters joined that bnnkit keeps as one; usually as it is."""
        return state_dict

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for the origin's `key`, the same `key` when unknown, or None to drop it."""
        ...


ORIGINS: Registry[Origin] = Registry("origin")


def load(origin: str, model: Model, state_dict: Mapping[str, Any]) -> Model:
    """Copy an origin project's parameters into `model`, in place, and return it.

    Args:
        origin: "bnn-iga", "rram", "ab-bnn", "fracbnn" or "cnv".
        model: a network of the same architecture, width and number of classes.
        state_dict: the origin's parameters; a checkpoint that wraps them as "state_dict" or "model" and the
            "module." prefix of DataParallel are understood, and so are scalars of shape [1] and vectors of shape
            [1, C, 1, 1].

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
    scheme = ORIGINS.get(origin)
    for wrapper in WRAPPERS:
        inner = state_dict.get(wrapper)
        state_dict = inner if isinstance(inner, Mapping) else state_dict
    state_dict = scheme.prepare(state_dict)
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    shapes: list[str] = []
    for key, value in state_dict.items():
        name = scheme.rename(model, key.removeprefix("module."))
        if name is None:
            continue
        if name not in own:
            unknown.append(key)
        elif not isinstance(value, Tensor):
            shapes.append(f"{key} is a {type(value).__name__} and not a tensor")
        elif not _fits(value, own[name]):
            shapes.append(f"{key} {list(value.shape)} instead of {list(own[name].shape)}")
        else:
            found[name] = value.reshape(own[name].shape)
    # Shape errors name the origin's key, so the same parameter is not reported as missing again.
    named = {scheme.rename(model, key.removeprefix("module.")) for key in state_dict}
    missing = sorted(set(own) - named)
    problems = [("unknown", unknown), ("missing", missing), ("shapes", shapes)]
    if any(keys for _, keys in problems):
        text = "; ".join(f"{what} {_first_few(keys)}" for what, keys in problems if keys)
        raise MismatchError(
            f"{origin} checkpoint for {model.settings.name}: {text}",
            hint="build the model with the architecture, width and classes of the checkpoint",
        )
    model.load_state_dict(found)
    return model


def _fits(value: Tensor, own: Tensor) -> bool:
    """Return whether the shapes are the same; scalars and vectors may come with dimensions of 1 around them."""
    if own.dim() > 1:
        return value.shape == own.shape
    return [size for size in value.shape if size != 1] == [size for size in own.shape if size != 1]


def _first_few(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown
