"""Published tables as sweeps: which commands make them, and what was published.

A preset is a TOML file in `presets/`. Its stages are commands with grids; a stage `of` another one runs once for each
network that one trains. `across` names the label whose values are the columns of the published table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnkit.errors import UsageError
from bnnkit.registry import Registry
from bnnkit.sweep.cell import TRAINED, Cell
from bnnkit.sweep.grid import NETWORK, arguments_of, combinations
from bnnkit.sweep.table import Published

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

FOLDER = Path(__file__).with_name("presets")


@dataclass(frozen=True)
class Stage:
    """One command for all combinations of a grid; see `Preset`."""

    name: str
    command: str
    arguments: tuple[str, ...]
    grid: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, str]
    of: str | None
    shown: bool


@dataclass(frozen=True)
class Preset:
    """A published table.

    Attributes:
        stages: in their order.
        across: label of the columns.
        published: accuracies in percent, by labels.
        source: where they were published.
        differs: what is different here, whatever the options.
    """

    name: str
    title: str
    source: str
    across: str
    stages: tuple[Stage, ...]
    published: tuple[Published, ...]
    differs: tuple[str, ...]

    def cells(
        self,
        extra: Mapping[str, Sequence[str]],
        *,
        only: Mapping[str, Sequence[str]] | None = None,
        trained: str | None = None,
        seeds: Sequence[str] = (),
    ) -> list[Cell]:
        """Return the cells of the table, without the trainings that are only a step on the way.

        Args:
            extra: further arguments by command.
            only: labels that cells must have one of, for example {"model": ["mlp"]}.
            trained: a checkpoint in place of everything that stages train; only their evaluations remain.
            seeds: of the trainings; every cell exists once per seed.

        Raises:
            UsageError: `only` names an unknown label or value, or no cell; a checkpoint where several networks are
                trained, or nothing but trainings remains to be done.
        """
        if trained is not None and len(self._networks()) > 1:
            raise UsageError(
                f"preset {self.name}: trains {', '.join(self._networks())}; one checkpoint does not stand for all",
                hint="leave the network out",
            )
        made: dict[str, list[Cell]] = {}
        for stage in self.stages:
            made[stage.name] = self._stage(stage, made, extra.get(stage.command, ()), trained, seeds)
        cells = [cell for stage in self.stages if stage.shown for cell in made[stage.name]]
        if not cells:
            raise UsageError(
                f"preset {self.name}: trains its networks; a checkpoint has no place", hint="leave the network out"
            )
        return _chosen(cells, only or {}, self.name)

    def _stage(
        self,
        stage: Stage,
        made: Mapping[str, Sequence[Cell]],
        extra: Sequence[str],
        trained: str | None,
        seeds: Sequence[str],
    ) -> list[Cell]:
        if stage.of is None and trained is not None:
            return []
        cells = []
        for chosen in combinations(stage.grid):
            labels = {**stage.labels, **chosen}
            fixed = [*stage.arguments, *extra]
            if stage.of is None:
                for seed in seeds or [""]:
                    options = {**chosen, **({"seed": seed} if seed else {})}
                    words = arguments_of(stage.command, options, fixed)
                    cells.append(Cell(stage.command, words, {**labels, **options}))
                continue
            trainings: list[Cell | None] = [*made[stage.of]]
            for before in trainings or [None]:
                network = trained if before is None else TRAINED
                words = arguments_of(stage.command, {NETWORK: str(network), **chosen}, fixed)
                inherited = {} if before is None else before.labels
                cells.append(Cell(stage.command, words, {**inherited, **labels}, before))
        return cells

    def varied(self) -> set[str]:
        """Return the options that make its cells what they are, without dashes."""
        labelled = {name for stage in self.stages for name in stage.labels if f"--{name}" in stage.arguments}
        return labelled.union(*(stage.grid for stage in self.stages))

    def _networks(self) -> list[str]:
        return list(dict.fromkeys(name for stage in self.stages for name in stage.grid.get(NETWORK, ())))


PRESETS: Registry[Path] = Registry("preset")
for _path in sorted(FOLDER.glob("*.toml")):
    PRESETS.register(_path.stem)(_path)


def load_preset(name: str) -> Preset:
    """Read a preset.

    Raises:
        UsageError: there is none of that name.

    >>> load_preset("image-faults").across
    'bit'
    """
    document: dict[str, Any] = tomllib.loads(PRESETS.get(name).read_text(encoding="utf-8"))
    stages = tuple(
        Stage(
            stage["name"],
            stage["command"],
            tuple(stage.get("arguments", ())),
            {key: tuple(values) for key, values in stage.get("grid", {}).items()},
            stage.get("labels", {}),
            stage.get("of"),
            stage.get("shown", True),
        )
        for stage in document["stage"]
    )
    published = tuple(
        Published({key: value for key, value in entry.items() if key != "accuracy"}, float(entry["accuracy"]))
        for entry in _spread(document["published"], document["across"])
    )
    differs = tuple(document.get("differs", ()))
    return Preset(name, document["title"], document["source"], document["across"], stages, published, differs)


def _spread(entries: Sequence[Mapping[str, Any]], across: str) -> list[dict[str, Any]]:
    """Return an entry per value of rows that are written as {labels..., values = {column: accuracy}}."""
    return [
        {**{key: value for key, value in entry.items() if key != "values"}, across: column, "accuracy": accuracy}
        for entry in entries
        for column, accuracy in entry["values"].items()
    ]


def _chosen(cells: list[Cell], only: Mapping[str, Sequence[str]], name: str) -> list[Cell]:
    labels = list(dict.fromkeys(label for cell in cells for label in cell.labels))
    for label, values in only.items():
        known = list(dict.fromkeys(cell.labels[label] for cell in cells if label in cell.labels))
        strange = [value for value in values if value not in known]
        if not known or strange:
            what = f"{label}={strange[0]}" if known else label
            raise UsageError(
                f"--only {what}: nothing like that in preset {name}",
                hint=f"{label}: {', '.join(known)}" if known else f"labels: {', '.join(labels)}",
            )
    chosen = [cell for cell in cells if all(cell.labels.get(label) in values for label, values in only.items())]
    if not chosen:
        asked = " ".join(f"--only {label}={','.join(values)}" for label, values in only.items())
        raise UsageError(f"{asked}: no cell of preset {name} is all of that", hint="give fewer of them")
    return chosen
