"""`bnnkit inject`: accuracy of a trained network whose images lie in a faulty memory, without and with repair."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import InterruptedRunError, UsageError
from bnnkit_cli import output
from bnnkit_cli.commands.inject_report import print_tables

if TYPE_CHECKING:
    from torch import Tensor

    from bnnkit.data import Dataset
    from bnnkit.faults import Network, Setting, Trial
    from bnnkit.runs import Run
    from bnnkit.train.subject import Subject

MAPS = 3
"""Fault maps, where they differ."""


# The parameters are the documentation of the command, which makes the function long.
def inject(
    bit: Annotated[
        list[str],
        typer.Option(
            metavar="B",
            help="Faulty bit of a pixel, 0 (least significant) to 7; may be repeated, or a list such as 5,6.",
        ),
    ],
    kind: Annotated[
        str, typer.Option(help="What a faulty bit reads as: random, stuck0, stuck1 or flip (the opposite).")
    ] = "random",
    rate: Annotated[float, typer.Option(help="Share of the pixels whose bit is faulty.")] = 1.0,
    repair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="none, neighbor[:OFFSET] (copy of the adjacent lower bit, or of another) or msb (copy of bit 7); may "
            "be repeated, or a list.",
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help=f"Fault maps [default: {MAPS}; 1 where all would be equal].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the fault maps.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="CKPT|RUN|MODEL",
            help="Trained network, as for `bnnkit eval` [default: latest, or without runs the packaged sample].",
        ),
    ] = None,
    adc_bit: Annotated[
        str | None, typer.Option(help="Bits of the converters: 1, 2, 3, 4 or fp [default: as trained].")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset [default: the one it was trained on].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    backend: Annotated[str, typer.Option(help="auto, packed, torch or reference.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only N test images; marks the result limited.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass; the result does not depend on it.")] = 256,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor [default: all cores].")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Some images, clean, faulty and repaired [default: in the run directory]."
        ),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Put faults into the memory that holds the images, and measure what they cost and what a repair brings back.

    Also called `bnnkit inject-faults`. Bit B of the stored bytes is faulty, in every pixel or in a share of them. The
    table has a row without faults (golden), one with faults, and one per repair; a repair knows which bits are faulty
    and replaces no others. Accuracies are means over fault maps, with an interval. A map follows from its seed and
    number alone, and faults at a lower rate are some of those at a higher one.

    Everything is written to runs/inject/<name>-<time>-<hash>/. Ctrl-C saves the evaluations that are finished.
    """
    from bnnkit import deploy, faults
    from bnnkit.cim import parse_adc_bits
    from bnnkit.decompose import check_name
    from bnnkit.faults.record import begin
    from bnnkit.train.images import limited
    from bnnkit.train.subject import find_or_sample

    settings = _settings(bit, kind, rate, repair or [])
    if picture is not None:
        check_name(picture, (".png",))
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    maps = _maps(settings, repeats)
    trained = find_or_sample(model, root=runs_dir)
    sample = trained.path == deploy.SAMPLE
    output.log(f"no run in {runs_dir}: the sample network of the package" if sample else f"network: {trained.path}")
    changes: dict[str, Any] = {} if adc_bit is None else {"adc_bit": parse_adc_bits(adc_bit)}
    network = faults.Network(trained, changes, backend)
    if network.not_packed is not None:
        output.log(f"not packed: {network.not_packed}")
    data = trained.dataset(dataset, data_dir)
    if trained.provenance.get("fingerprint") not in (None, data.fingerprint):
        output.warn(f"{trained.path}: trained on other data than this {data.name} (fingerprints differ)")
    # Images that do not fit are refused before anything is written.
    trained.preparation.fit(data.test.images[:1])
    options = {
        "model": str(trained.path),
        "dataset": data.name,
        "bit": list(dict.fromkeys(setting.fault.bit for setting in settings)),
        "kind": kind,
        "rate": rate,
        "repair": [name for name in dict.fromkeys(s.repair.name for s in settings) if name != "none"],
        "repeats": maps,
        "seed": seed,
        "adc_bit": changes.get("adc_bit"),
        "limit": limit,
        "batch": batch,
        "backend": backend,
    }
    run = begin(options, trained, data, argv=["bnnkit", *sys.argv[1:]], root=runs_dir)
    output.log(f"run {run.path}")
    work = _Work(trained, network, data, limited(len(data.test), limit), settings, maps, options, run)
    work.measure(json=json, picture=picture)


def _settings(bits: Sequence[str], kind: str, rate: float, repairs: Sequence[str]) -> list[Setting]:
    """Return the rows that are asked for: for every bit without repair, then with each."""
    from bnnkit.faults import ImageFault, Setting, parse_repair

    found = []
    for text in _parts(bits):
        if not text.isdecimal():
            raise UsageError(f"--bit '{text}': a number from 0 to 7 was needed", hint="--bit 6")
        fault = ImageFault(int(text), kind, rate)
        found += [Setting(fault, parse_repair(name, fault.bit)) for name in ("none", *_parts(repairs))]
    return list(dict.fromkeys(found))


def _parts(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",")]


def _maps(settings: Sequence[Setting], repeats: int | None) -> int:
    if any(setting.varies for setting in settings):
        return MAPS if repeats is None else repeats
    if repeats is not None and repeats > 1:
        fault = settings[0].fault
        output.log(f"{fault.kind} at rate {fault.rate:g} is the same in every fault map: one instead of {repeats}")
    return 1


class _Work:
    """One campaign: from the network to the printed tables."""

    def __init__(
        self,
        trained: Subject,
        network: Network,
        data: Dataset,
        indices: Tensor,
        settings: Sequence[Setting],
        maps: int,
        options: dict[str, Any],
        run: Run,
    ) -> None:
        from bnnkit.faults import plan

        self.trained, self.network, self.data, self.indices = trained, network, data, indices
        self.settings, self.maps, self.options, self.run = settings, maps, options, run
        self.planned = 1 + len(plan(settings, maps))

    def measure(self, *, json: bool, picture: Path | None) -> None:
        """Evaluate, save, draw and print.

        Raises:
            InterruptedRunError: after Ctrl-C, when everything that is finished is saved and printed.
        """
        from bnnkit.faults.record import finish

        start = time.perf_counter()
        trials = self._evaluate()
        if trials:
            path = self.run.path / "images.png" if picture is None else picture
            self._draw(path, trials)
            document = self._document(trials, path, time.perf_counter() - start)
            if document["finished"]:
                finish(self.run, document)
            if json:
                output.emit_json("inject", document)
            else:
                print_tables(document)
        if len(trials) < self.planned:
            raise InterruptedRunError(
                f"inject: {len(trials)} of {self.planned} evaluations are finished, and saved in {self.run.path}",
                hint="run the command again: the fault maps are the same",
            )

    def _evaluate(self) -> list[Trial]:
        from bnnkit.faults import measure
        from bnnkit.faults.record import save
        from bnnkit.train.interrupt import stop_on_signals

        trials: list[Trial] = []
        total = self.planned * len(self.indices)
        with stop_on_signals() as stop, output.progress("images", total) as bar:
            each = measure(
                self.network,
                self.data.test,
                self.indices,
                self.settings,
                self.maps,
                seed=self.options["seed"],
                batch=self.options["batch"],
                each=lambda done: None if done == total else bar.update(done, total, f"{len(trials)} evaluated"),
                stop=lambda: stop,
            )
            for trial in each:
                trials.append(trial)
                save(self.run, trials)
        return trials

    def _draw(self, path: Path, trials: Sequence[Trial]) -> None:
        from bnnkit.faults.picture import draw
        from bnnkit.faults.result import row

        found = list(dict.fromkeys(trial.setting for trial in trials))
        accuracies = {setting: row(setting, trials, self.maps)["accuracy"] for setting in found}
        title = f"{self.trained.checkpoint.config['name']} on {self.data.name}"
        draw(path, title, self.data.test, self.indices, self.settings, self.options["seed"], accuracies)

    def _document(self, trials: Sequence[Trial], picture: Path, seconds: float) -> dict[str, Any]:
        from bnnkit.faults.result import row, tables

        data = self.data
        config = {**self.trained.checkpoint.config}
        config |= {} if self.options["adc_bit"] is None else {"adc_bit": self.options["adc_bit"]}
        return {
            "checkpoint": str(self.trained.path),
            "model": config,
            "provenance": self.trained.provenance,
            "dataset": {"name": data.name, "fingerprint": data.fingerprint, "note": data.note},
            "images": len(self.indices),
            "of_images": len(data.test),
            "limited": len(self.indices) < len(data.test),
            "backend": self.network.computed,
            "seed": self.options["seed"],
            "repeats": self.maps,
            "finished": len(trials) == self.planned,
            "evaluations": [len(trials), self.planned],
            "golden": row(None, trials, self.maps),
            "tables": tables(trials, self.settings, self.maps, len(self.indices) * data.test.images[0].numel()),
            "seconds": seconds,
            "fault_seconds": sum(trial.fault_seconds for trial in trials),
            "run": str(self.run.path),
            "picture": str(picture),
        }
