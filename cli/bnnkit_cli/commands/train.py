"""`bnnkit train`: train a network through its converters, in a run directory that can be continued."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import GateError, UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.train import Outcome, Plan


# The parameters are the documentation of the command, which makes the function long.
def train(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="A network of `bnnkit models list`; or give --recipe.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Name from `bnnkit recipes`, or a TOML file such as the config.toml of a run.")
    ] = None,
    ao_bit: Annotated[
        str | None,
        typer.Option(
            "--ao-bit",
            "--a-bit",
            help="Bits of activations: 1, 1.5, 2, 3, 4 or fp [default: 1]; bit-serial networks: 2 to 8 [default: 4].",
        ),
    ] = None,
    w_bit: Annotated[
        str | None,
        typer.Option(
            help="Bits of weights: 1, 1.5, 2, 3, 4 or fp [default: 1]; bit-serial networks: 2 to 8 [default: 4]."
        ),
    ] = None,
    weight_quant: Annotated[
        str | None, typer.Option(help="Weight quantizer of bit-serial networks: sawb or dorefa [default: sawb].")
    ] = None,
    adc_bit: Annotated[
        str | None,
        typer.Option(
            help="Bits of the converters: 1, 2, 3, 4, or fp for none [default: 1]; bit-serial networks have none yet."
        ),
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Word lines of an array [default: 128].")] = None,
    mapping: Annotated[
        str | None, typer.Option(help="Inputs that share an array: channel or tap [default: channel].")
    ] = None,
    channels_per_array: Annotated[
        int | None, typer.Option(help="Input channels of an array [default: what fits].")
    ] = None,
    adc_sigma: Annotated[
        float | None, typer.Option(help="Width of the converter's impulse gradient [default: published].")
    ] = None,
    value_gradient: Annotated[
        str | None, typer.Option(help="Gradient of the value quantizers: ste or iga [default: ste].")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Multiplier of the channel counts [default: the published network].")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from: the same network, any bits and converters.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name from `bnnkit data list` [default: the usual one if prepared, else digits].")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    val_split: Annotated[
        float | None,
        typer.Option(help="Training images held out, a share or a count [default: a tenth, at most 5000]."),
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="crop-flip, shift or none [default: crop-flip for colour images].")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use only N images for training and N for the test; marks the result limited.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; milestones move along.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step, at most [default: by recipe].")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at the start [default: by recipe].")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, piecewise, cosine or linear [default: by recipe].")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or sgd [default: by recipe].")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer [default: by recipe].")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random [default: 1].")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several trainings: 1,2,3, or a number of them; mean and spread at the end.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after N steps; marks the result limited.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the full-precision layers: fp32 or bf16 [default: fp32].")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda [default: cpu].")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the processor [default: all cores].")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue a run: latest, its path, or the beginning of its name.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    min_acc: Annotated[
        float | None, typer.Option(help="Exit with 1 if the test accuracy (mean over seeds) is below this percentage.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the options and an estimate from a few steps; write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Train a network through its converters and test it.

    Everything is written to runs/train/<name>-<time>-<hash>/. The checkpoint is chosen on validation images, which are
    held out of the training images; the test images are used once, at the end. Ctrl-C saves; --resume continues, bit
    for bit as if never stopped.
    """
    from dataclasses import fields

    from bnnkit.train.config import Config

    # Every option of a training is one of this command, and None where it was not given.
    names = {item.name for item in fields(Config)}
    asked = {name: value for name, value in context.params.items() if name in names and value is not None}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
    if resume is not None:
        if recipe or seeds or dry_run:
            raise UsageError(
                "--resume: continues a run as it was begun; --recipe, --seeds and --dry-run have no place",
                hint=f"bnnkit train --resume {resume}",
            )
        outcomes = _resume(resume, given, runs_dir)
    else:
        plan, chosen = _plan(given, recipe, seeds)
        if dry_run:
            _show_plan(plan, chosen, json)
            return
        outcomes = _start(plan, chosen, runs_dir)
    _report(outcomes, json)
    _check_gate(outcomes, min_acc)


def _plan(given: dict[str, Any], recipe: str | None, seeds: str | None) -> tuple[Plan, list[int]]:
    from bnnkit.train import resolve
    from bnnkit.train.session import parse_seeds

    model = given.pop("model", None)
    with _Display() as display:
        plan = resolve(model, given, recipe=recipe, progress=display.work)
    for notice in plan.notices:
        output.warn(notice)
    if seeds is None:
        return plan, [plan.config.seed]
    return plan, parse_seeds(seeds, plan.config.seed)


def _start(plan: Plan, seeds: Sequence[int], runs_dir: Path) -> list[Outcome]:
    from bnnkit.train import start

    with _Display() as display:
        return start(plan, display, argv=["bnnkit", *sys.argv[1:]], seeds=seeds, root=runs_dir)


def _resume(reference: str, given: Mapping[str, Any], runs_dir: Path) -> list[Outcome]:
    from bnnkit.train import resume

    with _Display() as display:
        return resume(reference, given, display, argv=["bnnkit", *sys.argv[1:]], root=runs_dir)


def _show_plan(plan: Plan, seeds: Sequence[int], json: bool) -> None:
    from dataclasses import asdict

    from bnnkit.train.config import to_toml
    from bnnkit.train.estimate import estimate
    from bnnkit.train.loop import duration

    found = estimate(plan)
    total = found.seconds * len(seeds)
    if json:
        payload = {"dry_run": True, "config": asdict(plan.config), "seeds": list(seeds), **found.as_json()}
        output.emit_json("train", {**payload, "runs": len(seeds), "seconds_of_all_runs": total})
        return
    output.result_text(to_toml(plan.config))
    rows = [
        ("runs", f"{len(seeds)} (seeds {', '.join(map(str, seeds))})"),
        ("steps", f"{found.steps:,} per run, {found.steps_per_epoch:,} per epoch"),
        ("parameters", f"{found.parameters:,}"),
        ("time per step", f"{found.step_seconds:.3g} s, {plan.config.batch / found.step_seconds:,.0f} images/s"),
        ("time", f"about {duration(total)}"),
    ]
    output.result_table(["dry run", "estimate"], rows, notes=["nothing was written"])


def _report(outcomes: Sequence[Outcome], json: bool) -> None:
    from bnnkit.train import Summary

    summary = Summary.of([outcome.accuracy for outcome in outcomes])
    limited = any(outcome.results["limited"] for outcome in outcomes)
    if json:
        runs = [{"run": outcome.run.path, "seed": outcome.seed, **outcome.results} for outcome in outcomes]
        payload = {"runs": runs, "mean": summary.mean, "spread": summary.spread, "limited": limited}
        output.emit_json("train", payload)
        return
    columns = ["seed", "test %", "95 % interval", "correct", "val %", "best epoch", "time"]
    notes = [f"curve: {outcome.run.curve}" for outcome in outcomes]
    if summary.spread is not None:
        many = f"{len(outcomes)} seeds"
        notes.insert(0, f"mean {summary.mean:.2f} %, standard deviation {summary.spread:.2f} over {many}")
    if limited:
        notes.insert(0, "limited: not all images or steps were used")
    output.result_table(columns, [_row(outcome) for outcome in outcomes], notes=notes)


def _row(outcome: Outcome) -> tuple[object, ...]:
    from bnnkit.train.loop import duration

    results = outcome.results
    test, validation = results["test"], results["validation"]
    return (
        outcome.seed,
        f"{test['accuracy']:.2f}",
        f"{test['wilson95'][0]:.2f} to {test['wilson95'][1]:.2f}",
        f"{test['correct']:,}/{test['total']:,}",
        f"{validation['accuracy']:.2f}" if validation else None,
        f"{results['best_epoch']}/{results['epochs']}",
        duration(results["seconds"]),
    )


def _check_gate(outcomes: Sequence[Outcome], min_acc: float | None) -> None:
    mean = sum(outcome.accuracy for outcome in outcomes) / len(outcomes)
    if min_acc is not None and mean < min_acc:
        raise GateError(
            f"--min-acc: test accuracy {mean:.2f} %; at least {min_acc:g} % was demanded", hint="train longer"
        )


class _Display(ExitStack):
    """Shows log lines and, one after the other, the progress of downloads, epochs and evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self._what = ""
        self._bar: output.Progress | None = None

    def log(self, line: str) -> None:
        self._end()
        output.log(line)

    def work(self, what: str, done: int, total: int, detail: str = "") -> None:
        if total and done >= total:
            self._end()
            return
        if self._bar is None or what != self._what:
            self._end()
            self._what, self._bar = what, self.enter_context(output.progress(what, total or None))
        self._bar.update(done, total or None, detail)

    def _end(self) -> None:
        self.close()
        self._bar = None
