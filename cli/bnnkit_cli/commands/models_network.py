"""Which network `bnnkit models show` shows: one of the registry with fresh weights, or a trained one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.errors import UsageError
from bnnkit_cli.commands.models_layers import times

if TYPE_CHECKING:
    from bnnkit.models import Model


@dataclass(frozen=True)
class Network:
    """What is shown.

    Attributes:
        model: in evaluation mode.
        path: the file of its weights; None: they are random.
    """

    model: Model
    path: Path | None

    @property
    def title(self) -> str:
        """Which network it is, and the images it takes."""
        settings = self.model.settings
        name = settings.name if self.path is None else f"{self.path}: {settings.name}"
        return f"{name}, input {times(settings.in_shape)}"


def find_network(name: str, runs_dir: Path, fixed: Mapping[str, Any], free: Mapping[str, Any]) -> Network:
    """Build the network that a person means.

    Args:
        name: a model of the registry; or a checkpoint or packed file, or a run.
        fixed: options of `create_model` that belong to the weights, None where not given.
        free: options of arrays and converters, None where not given.

    Raises:
        UsageError: an impossible option, or a fixed one for a trained network.
        MissingError, MismatchError: there is no such network, or its file is damaged.
    """
    import torch

    from bnnkit.models import MODELS, create_model
    from bnnkit.train.subject import find

    given, changes = ({key: value for key, value in options.items() if value is not None} for options in (fixed, free))
    if name in MODELS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same counts of shifts every time
            return Network(create_model(name, **given, **changes).eval(), None)
    trained = find(name, root=runs_dir)
    if given:
        option = {"in_shape": "input"}.get(next(iter(given)), next(iter(given)).replace("_", "-"))
        raise UsageError(
            f"--{option}: {trained.path} is trained; options of its arrays and converters were needed",
            hint="--adc-bit, --rows, --mapping and --channels-per-array can change",
        )
    return Network(trained.model(changes), trained.path)
