"""Operations on one image, by layer and by part of a network, and what they cost; `bnnkit models show --ops`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnnkit_cli.commands.models_layers import Layer

if TYPE_CHECKING:
    from bnnkit.deploy.operations import Operations
    from bnnkit.energy import Cost
    from bnnkit.models import Model

ENDS = ("images", "stem", "stem_pool", "pool", "classifier")
"""Steps, and what stands before the first dot of their layers, that are no part of the body."""


@dataclass(frozen=True)
class Step:
    """One step of a packed network, or one layer; `part` is "body" or "ends", the first and last layers."""

    name: str
    part: str
    operations: Operations


@dataclass(frozen=True)
class Counted:
    """The operations of a network.

    Attributes:
        why_by_formula: why they are not those of the packed network, None if they are.
        costs: energy of an operation, by kind.
        costs_file: where they stand.
    """

    steps: list[Step]
    why_by_formula: str | None
    costs: dict[str, Cost]
    costs_file: Path

    def operations(self, part: str) -> Operations:
        """Return the operations of "ends", "body" or "total"."""
        from bnnkit.deploy.operations import Operations

        return sum((step.operations for step in self._of(part)), Operations())

    def counts(self, part: str) -> dict[str, int]:
        """Return the same by kind of energy."""
        from bnnkit.energy import KINDS, by_kind

        sums = Counter(dict.fromkeys(KINDS, 0))
        for step in self._of(part):
            sums.update(by_kind(step.operations))
        return dict(sums)

    def energy(self, counts: Mapping[str, int]) -> float:
        """Return the energy of counted operations, in picojoules."""
        from bnnkit.energy import picojoules

        return sum(picojoules(counts, self.costs).values())

    def _of(self, part: str) -> list[Step]:
        return [step for step in self.steps if part in ("total", step.part)]


def count(model: Model, layers: Sequence[Layer], costs_file: Path | None) -> Counted:
    """Count the operations of a network: those of its packed form, or by formula where it has none.

    Raises:
        MissingError: the compiled extension or the file of costs is missing.
        UsageError: the file of costs cannot be used.
    """
    from bnnkit import deploy
    from bnnkit.deploy.operations import Operations
    from bnnkit.energy import PACKAGED, read

    path, adc_bit = costs_file or PACKAGED, model.settings.adc_bit
    costs = read(path, adc_bit=None if adc_bit == "fp" else int(adc_bit))
    reason = deploy.why_not(model)
    if reason is None:
        channels = model.settings.in_shape[0]
        # The normalization of the images is a table: it takes no operation.
        operations = deploy.compile(model, (0.0,) * channels, (1.0,) * channels).operations()
    else:
        operations = {
            layer.name: Operations(additions=layer.macs, multiplications=layer.macs, conversions=layer.adc_conversions)
            for layer in layers
        }
    steps = [Step(name, _part(name, layers[0]), counted) for name, counted in operations.items()]
    return Counted(steps, reason, costs, path)


def _part(name: str, first: Layer) -> str:
    reads_values = name == first.name and first.ao_bit == "fp"
    return "ends" if reads_values or name.partition(".")[0] in ENDS else "body"
