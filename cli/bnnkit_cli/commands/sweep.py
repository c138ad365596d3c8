"""`bnnkit sweep`: one command over a grid of options, or a published table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli.commands.sweep_words import Words, check_words, sort_words

if TYPE_CHECKING:
    from bnnkit.sweep import Cell, Preset, Published

CONTEXT_SETTINGS = {"ignore_unknown_options": True}
"""Options that are not the sweep's are those of its cells."""

DEFAULT_TOLERANCE = 1.0


def sweep(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[train|eval|inject] [NETWORK] [OPTIONS OF IT]...", help="What every cell runs; or give --preset."
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="An option of the command and its values, or model=...; A;B where values have commas; yes and no for "
            "flags. Repeatable: all combinations.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Every cell once per seed: 1,2,3, or a number of them; means and spreads.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A published table: iga-table1, iga-table2, rram-vgg7, image-faults or weight-noise."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=A,B,...", help="Only these cells of a preset. Repeatable.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Exit with 1 if an accuracy is not that of this results.json or CSV table."),
    ] = None,
    tol: Annotated[float, typer.Option(help="Points that --expect allows.")] = DEFAULT_TOLERANCE,
    executor: Annotated[str, typer.Option(help="local (processes) or ray (a Ray cluster).")] = "local",
    jobs: Annotated[
        int | None, typer.Option(help="Cells at a time [default: one, or one per GPU; ray: as many as fit].")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for trainings and processes.")] = "cpu",
    runs_dir: Annotated[Path, typer.Option(help="Where run directories and finished cells live.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells, their commands and an estimate; run nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Run train, eval or inject for all combinations of options, and put the accuracies into one table.

    Finished cells are kept in runs/sweep/cells by what they compute: the same cell is never computed twice, and after
    Ctrl-C or a crash the same command goes on where it stopped. Failed cells are listed with the command that repeats
    them. Options that are not those of sweep are given to every cell; --limit gives a quick look.

    bnnkit sweep train mlp --grid adc-bit=1,2,3,4 --seeds 3 --epochs 10
    """
    from bnnkit_cli.commands.sweep_work import Sweep, show_cells

    options = _Options(context, words or [], grid or [], seeds, preset, only or [], device, runs_dir)
    asked = options.resolve()
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1 was needed", hint="leave --jobs out")
    if dry_run:
        show_cells(asked, runs_dir, json=json)
        return
    expected = _expected(expect, tol)
    work = Sweep(asked, runs_dir, executor, jobs, device, ["bnnkit", *sys.argv[1:]])
    work.run()
    work.report(expected, tol, json=json)


@dataclass(frozen=True)
class Asked:
    """What a person asked for, resolved.

    Attributes:
        cells: those of the table.
        hidden: labels that are no columns.
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
class _Options:
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
        """
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"--device {self.device}: cpu or cuda was needed", hint="--device cpu")
        asked = self._grid() if self.preset is None else self._preset(self.preset)
        for cell in asked.cells:
            check_words(self.context.find_root(), cell.words(None))
        return asked

    def _commands(self, names: Sequence[str]) -> list[Any]:
        known: dict[str, Any] = getattr(self.context.find_root().command, "commands", {})
        return [known[name] for name in names]

    def _seeds(self) -> list[str]:
        from bnnkit.train.series import parse_seeds

        return [] if self.seeds is None else [str(seed) for seed in parse_seeds(self.seeds, 1)]

    def _grid(self) -> Asked:
        from dataclasses import replace

        from bnnkit.sweep import COMMANDS, NETWORK, SEED, cells_of, identity, parse_grid

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
        if found.network is not None and NETWORK in grid:
            raise UsageError(f"sweep: {found.network} and --grid model; one was needed", hint="leave one out")
        if SEED in grid and self.seeds is not None:
            raise UsageError("sweep: --seeds and --grid seed; one was needed", hint="leave one out")
        networks = self._networks(command, found, grid.pop(NETWORK, ()))
        seeds = {SEED: tuple(self._seeds())} if self.seeds is not None else {}
        fixed = [*found.arguments(), *self._device_words(command)]
        cells = [
            replace(cell, labels={**cell.labels, NETWORK: identity.short_name(network)})
            for network, data in networks.items()
            for cell in cells_of(command, {NETWORK: (network,), **grid, **seeds}, fixed, data)
        ]
        what = " x ".join([*grid, *["seeds"] * bool(seeds)]) or "one cell"
        named = f"{identity.short_name(next(iter(networks)))} " if len(networks) == 1 else ""
        arguments = " ".join(found.arguments())
        title = f"{command} {named}{arguments + ' ' if arguments else ''}over {what}"
        keys = {NETWORK: list(networks), **{name: list(values) for name, values in grid.items()}}
        return Asked(title, command, cells, (), None, (), self._written(found, command=command, grid=keys))

    def _networks(self, command: str, found: Words, names: Sequence[str]) -> dict[str, str]:
        """Return the networks, checkpoints by their files, and the fingerprint of the data each of them reads."""
        from bnnkit.sweep import identity

        options = found.values()
        if command == "train":
            models = names or [found.network or identity.model_of_recipe(options.get("recipe", "")) or ""]
            if not models[0]:
                raise UsageError("sweep train: no model; a network was needed", hint="bnnkit models list")
            return identity.data_of_training(models, options)
        given: Sequence[str | None] = names or [found.network]
        files = [identity.network_file(name, self.runs_dir) for name in given]
        return {file: identity.data_of_network(file, options, self.runs_dir) for file in files}

    def _preset(self, name: str) -> Asked:
        from bnnkit.sweep import identity, load_preset, parse_grid

        if self.grid:
            raise UsageError("sweep: --preset has a grid of its own; --grid has no place", hint="--only LABEL=VALUE")
        chosen = load_preset(name)
        commands = list(dict.fromkeys(stage.command for stage in chosen.stages))
        objects = self._commands(commands)
        found = sort_words(self.words, objects)
        _check_known(found, objects, name)
        trained = None if found.network is None else identity.network_file(found.network, self.runs_dir)
        extra = {
            command: [*found.known_to(known), *self._device_words(command)]
            for command, known in zip(commands, objects, strict=True)
        }
        only = {key: tuple(values) for key, values in parse_grid(self.only).items()}
        cells = chosen.cells(extra, only=only, trained=trained, seeds=self._seeds())
        cells = _with_data(cells, found.values(), trained, self.runs_dir)
        written = self._written(found, preset=name, only={key: list(values) for key, values in only.items()} or None)
        return Asked(
            chosen.title, name, cells, chosen.published, chosen.across, _preset_notes(chosen, found, trained), written
        )

    def _device_words(self, command: str) -> list[str]:
        return ["--device", self.device] if command == "train" and self.device != "cpu" else []

    def _written(self, found: Words, **more: Any) -> dict[str, Any]:
        from bnnkit.sweep.record import COMMENTS

        seeds = [int(seed) for seed in self._seeds()] or None
        known = {"arguments": found.arguments(), "seeds": seeds, "device": self.device}
        return {**dict.fromkeys(COMMENTS), **known, **more}


def _with_data(cells: Sequence[Cell], options: dict[str, str], trained: str | None, root: Path) -> list[Cell]:
    """Return the cells of a preset with the fingerprints of the data they read."""
    from dataclasses import replace

    from bnnkit.sweep import NETWORK, identity

    if trained is not None:
        data = identity.data_of_network(trained, options, root)
        return [replace(cell, data=data) for cell in cells]
    models = sorted({(cell.needs or cell).labels[NETWORK] for cell in cells})
    known = identity.data_of_training(models, options)

    def filled(cell: Cell) -> Cell:
        needs = None if cell.needs is None else filled(cell.needs)
        return replace(cell, needs=needs, data=known[cell.labels[NETWORK]])

    return [filled(cell) for cell in cells]


def _check_known(found: Words, commands: Sequence[Any], preset: str) -> None:
    known = {name for command in commands for parameter in command.params for name in parameter.opts}
    strange = [name for name, _ in found.options if name not in known]
    if strange:
        import difflib

        near = difflib.get_close_matches(strange[0], [name for name in known if name.startswith("-")], n=1)
        raise UsageError(
            f"sweep: no command of preset {preset} has an option '{strange[0]}'",
            hint=f"did you mean '{near[0]}'?" if near else "bnnkit train --help",
        )


def _preset_notes(preset: Preset, found: Words, trained: str | None) -> list[str]:
    notes = [f"published: {preset.source}", *preset.differs]
    if trained is not None:
        notes.append(f"network: {trained}, instead of one trained by the published recipe")
    arguments = " ".join(found.arguments())
    return [*notes, f"options beside the published ones: {arguments}"] if arguments else notes


def _expected(path: Path | None, tolerance: float) -> Sequence[Published] | None:
    from bnnkit.sweep import read_expected

    if tolerance < 0:
        raise UsageError(f"--tol {tolerance:g}: 0 or more points were needed", hint="--tol 1")
    return None if path is None else read_expected(path)
