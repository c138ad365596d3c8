"""From what a person typed after `bnnkit sweep` to cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.errors import UsageError
from bnnkit_cli.commands.sweep_words import Words, check_names, check_words, sort_words

if TYPE_CHECKING:
    import typer

    from bnnkit.data import Dataset
    from bnnkit.sweep import Cell, Preset, Published

SAMPLE = "sample"
"""The name of the packaged network, which is used where there is no run."""


@dataclass(frozen=True)
class Asked:
    """What a person asked for, resolved.

    Attributes:
        name: of the run directory.
        cells: those of the table.
        across: label of the columns of the published table, where there is one.
        options: for config.toml.
    """

    title: str
    name: str
    cells: Sequence[Cell]
    published: Sequence[Published]
    across: str | None
    notes: Sequence[str]
    options: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """The options of `bnnkit sweep` that say what is computed, as typed."""

    context: typer.Context
    words: list[str]
    grid: list[str]
    seeds: str | None
    preset: str | None
    only: list[str]
    device: str
    runs_dir: Path

    def resolve(self) -> Asked:
        """Return the cells, every one read by its command.

        Raises:
            UsageError: wrong or contradicting options, of the sweep or of a cell.
            MissingError, MismatchError: a network or a dataset that is not there.
        """
        from bnnkit.sweep.cell import in_order
        from bnnkit.sweep.identity import with_files

        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"--device {self.device}: cpu or cuda was needed", hint="--device cpu")
        asked = self._grid() if self.preset is None else self._preset(self.preset)
        for cell in in_order(list(asked.cells)):
            check_words(self.context.find_root(), cell.words(None))
        return replace(asked, cells=[with_files(cell, self.runs_dir) for cell in asked.cells])

    def _commands(self, names: Sequence[str]) -> list[Any]:
        known: dict[str, Any] = getattr(self.context.find_root().command, "commands", {})
        return [known[name] for name in names]

    def _seeds(self) -> list[str]:
        from bnnkit.train.series import parse_seeds

        return [] if self.seeds is None else [str(seed) for seed in parse_seeds(self.seeds, 1)]

    def _grid(self) -> Asked:
        from bnnkit.sweep import COMMANDS, NETWORK, SEED, parse_grid

        if not self.words or self.words[0] not in COMMANDS:
            got = f"'{self.words[0]}'" if self.words else "nothing"
            raise UsageError(
                f"sweep: {got}; {', '.join(COMMANDS)} or --preset was needed",
                hint="bnnkit sweep train mlp --grid adc-bit=1,2,3,4",
            )
        if self.only:
            raise UsageError("--only: is for presets", hint="give fewer values to --grid")
        command = self.words[0]
        found = sort_words(self.words[1:], self._commands([command]))
        grid = parse_grid(self.grid)
        self._check_grid(command, found, grid)
        seeds = {SEED: tuple(self._seeds())} if self.seeds is not None else {}
        varied = {name: values for name, values in grid.items() if name != NETWORK} | seeds
        networks = grid.get(NETWORK) or (self._network(command, found),)
        fixed = [*found.arguments(), *self._device_words()]
        cells, notes = self._cells(command, {NETWORK: networks, **varied}, fixed, found.values())
        what = " x ".join(["seeds" if name == SEED else name for name in varied]) or "one cell"
        title = " ".join([command, *networks[:1] * (len(networks) == 1), *found.arguments(), "over", what])
        keys = {name: list(values) for name, values in ({NETWORK: networks} | grid).items()}
        return Asked(title, command, cells, (), None, notes, self._written(found, command=command, grid=keys))

    def _check_grid(self, command: str, found: Words, grid: Mapping[str, Sequence[str]]) -> None:
        from bnnkit.sweep import NETWORK, SEED

        commands = self._commands([command])
        given = {name for name, _ in found.options}
        keys = [f"--{name}" for name in grid if name != NETWORK]
        check_names([*given, *keys], commands, self.context.command, command)
        twice = [name for name in keys if name in given]
        if found.network is not None and NETWORK in grid:
            twice = [found.network]
        if twice:
            what = NETWORK if found.network in twice else twice[0].lstrip("-")
            raise UsageError(f"sweep: {twice[0]} and --grid {what}; one was needed", hint="leave one out")
        if SEED in grid and self.seeds is not None:
            raise UsageError("sweep: --seeds and --grid seed; one was needed", hint="leave one out")

    def _network(self, command: str, found: Words) -> str:
        from bnnkit import runs
        from bnnkit.sweep import identity

        if found.network is not None:
            return found.network
        if command == "train":
            model = identity.model_of_recipe(found.values().get("recipe"))
            if model is None:
                raise UsageError("sweep train: no model; a network was needed", hint="bnnkit models list")
            return model
        return runs.LATEST if runs.every("train", root=self.runs_dir) else SAMPLE

    def _cells(
        self, command: str, grid: Mapping[str, Sequence[str]], fixed: Sequence[str], options: Mapping[str, str]
    ) -> tuple[list[Cell], list[str]]:
        """Return the cells of a grid, and on which networks and data they work."""
        from bnnkit import deploy
        from bnnkit.sweep import NETWORK, Cell, identity
        from bnnkit.sweep.grid import arguments_of, combinations

        known = _Data(self.runs_dir)
        files: dict[str, str] = {}
        if command != "train":
            files = {name: identity.network_file(name, self.runs_dir) for name in grid[NETWORK] if name != SAMPLE}
            files |= {name: str(deploy.SAMPLE) for name in grid[NETWORK] if name == SAMPLE}
        cells = []
        for chosen in combinations(grid):
            network = files.get(chosen[NETWORK], chosen[NETWORK])
            data = known.of(command, network, {**options, **chosen})
            words = arguments_of(command, {**chosen, NETWORK: network}, fixed)
            cells.append(Cell(command, words, chosen, data=data.fingerprint))
        return cells, [*(f"{name}: {file}" for name, file in files.items() if name != file), *known.notes()]

    def _preset(self, name: str) -> Asked:
        from bnnkit.sweep import identity, load_preset, parse_grid

        if self.grid:
            raise UsageError("sweep: --preset has a grid of its own; --grid has no place", hint="--only LABEL=VALUE")
        chosen = load_preset(name)
        commands = list(dict.fromkeys(stage.command for stage in chosen.stages))
        objects = self._commands(commands)
        found = sort_words(self.words, objects)
        given = [option for option, _ in found.options]
        check_names(given, objects, self.context.command, " or ".join(commands))
        own = [option for option in given if option.lstrip("-") in chosen.varied()]
        if own:
            raise UsageError(f"sweep: preset {name} has its own {own[0]}", hint="--only LABEL=VALUE")
        trained = None if found.network is None else identity.network_file(found.network, self.runs_dir)
        extra = {
            command: [*found.known_to(known), *(self._device_words() if command == "train" else [])]
            for command, known in zip(commands, objects, strict=True)
        }
        only = {key: tuple(values) for key, values in parse_grid(self.only, "--only").items()}
        cells = chosen.cells(extra, only=only, trained=trained, seeds=self._seeds())
        known = _Data(self.runs_dir)
        cells = [known.filled(cell, found.values(), trained) for cell in cells]
        notes = [*_preset_notes(chosen, found, trained), *known.notes()]
        written = self._written(found, preset=name, only={key: list(values) for key, values in only.items()} or None)
        return Asked(chosen.title, name, cells, chosen.published, chosen.across, notes, written)

    def _device_words(self) -> list[str]:
        return [] if self.device == "cpu" else ["--device", self.device]

    def _written(self, found: Words, **more: Any) -> dict[str, Any]:
        from bnnkit.sweep.record import COMMENTS

        seeds = [int(seed) for seed in self._seeds()] or None
        known = {"arguments": found.arguments(), "seeds": seeds, "device": self.device}
        return {**dict.fromkeys(COMMENTS), **known, **more}


class _Data:
    """The datasets that cells read, each opened once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[str, ...], Dataset] = {}
        self._usual: dict[str, str] = {}

    def of(self, command: str, network: str, options: Mapping[str, str]) -> Dataset:
        """Return what a cell reads; `network` is a model's name for a training, else a checkpoint."""
        from bnnkit.models import MODELS
        from bnnkit.sweep import identity

        key = (network, *(options.get(name, "") for name in ("dataset", "data-dir", "recipe")))
        if key not in self._known:
            if command == "train":
                self._known[key] = identity.data_of_training(network, options)
                if "dataset" not in options and "recipe" not in options:
                    self._usual[network] = MODELS.get(network).dataset
            else:
                self._known[key] = identity.data_of_network(network, options, self._root)
        return self._known[key]

    def filled(self, cell: Cell, options: Mapping[str, str], trained: str | None) -> Cell:
        """Return a cell of a preset with the fingerprint of what it reads."""
        from bnnkit.sweep import NETWORK

        if trained is not None:
            return replace(cell, data=self.of(cell.command, trained, options).fingerprint)
        needs = None if cell.needs is None else self.filled(cell.needs, options, None)
        data = self.of("train", cell.labels[NETWORK], options)
        return replace(cell, needs=needs, data=data.fingerprint)

    def notes(self) -> list[str]:
        """Return what must be said about the data."""
        notes = [f"dataset: {name}" for name in dict.fromkeys(data.name for data in self._known.values())]
        for (network, *_), data in self._known.items():
            usual = self._usual.get(network, data.name)
            if usual != data.name:
                notes.append(f"{network}: usually on {usual}, which is not prepared (bnnkit data prepare {usual})")
        return notes


def _preset_notes(preset: Preset, found: Words, trained: str | None) -> list[str]:
    from bnnkit import checkpoint

    notes = [f"published: {preset.source}", *preset.differs]
    if trained is not None:
        what = checkpoint.describe(checkpoint.read(trained).config)
        notes.append(f"network: {trained} ({what}), instead of one trained by the published recipe")
    arguments = " ".join(found.arguments())
    return [*notes, f"options beside the published ones: {arguments}"] if arguments else notes
