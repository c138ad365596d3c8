"""`bnnkit train`: train a network through its converters, in a run directory that can be continued."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output, warnings
from bnnkit_cli.commands.train_report import check_gate, report, show_plan

if TYPE_CHECKING:
    from bnnkit.train import Outcome, Plan
    from bnnkit.train.workers import Workers


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
        str | None,
        typer.Option(
            help="Gradient of the value quantizers: ste, iga, clip, polynomial, sigmoid or ede [default: published]."
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Multiplier of the channel counts [default: the published network].")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from: the same network, any bits and converters.")
    ] = None,
    weight_standardization: Annotated[
        bool | None,
        typer.Option(
            "--weight-standardization",
            help="Standardize the latent weights of every output before their signs are taken.",
        ),
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
        str | None,
        typer.Option(
            help="crop-flip, reflect-crop-flip, shift or none [default: for colour images by recipe or crop-flip]."
        ),
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
    optimizer: Annotated[str | None, typer.Option(help="adam, amsgrad, adamw or sgd [default: by recipe].")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer [default: by recipe].")] = None,
    decay_on: Annotated[
        str | None,
        typer.Option(
            help="What weight decay acts on: all or convolutions (their weights) [default: by recipe or all]."
        ),
    ] = None,
    clip_factor: Annotated[
        float | None,
        typer.Option(
            help="Adaptive gradient clipping: gradients at most so many times as long as the weights; 0: off "
            "[default: by recipe or off]."
        ),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Distance from the labels: cross-entropy or margin [default: cross-entropy].")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Loss margin: how far from 0 every output is pushed, in units of the outputs [default: 1]."),
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of the target spread over all classes [default: 0].")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="CKPT|RUN|MODEL", help="Imitate the outputs of a trained network with the same classes."),
    ] = None,
    distill: Annotated[
        float | None, typer.Option(help="Share of the loss that is the distance from the teacher, 0 to 1 [default: 1].")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Outputs are divided by it before they are compared [default: 1].")
    ] = None,
    gate_penalty: Annotated[
        float | None,
        typer.Option(help="FracBNN: weight of the gates' thresholds in the loss [default: by recipe or 0]."),
    ] = None,
    gate_target: Annotated[
        float | None, typer.Option(help="FracBNN: what the penalty pulls the thresholds to [default: 0].")
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="SITE:KIND@AMOUNT",
            help="Train with faults, new ones in every step, none in evaluations: bits of weight or activation (flip, "
            "stuck0, stuck1, random) with a rate, latent weights (gauss, lognormal) with a sigma. Repeatable.",
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(metavar="SIGMA", help="Short for --fault latent:gauss@SIGMA, whose deviation is SIGMA squared."),
    ] = None,
    noise_std: Annotated[
        bool, typer.Option("--noise-std", help="SIGMA of --noise is the standard deviation itself.")
    ] = False,
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

    A recipe may have two steps, the first with real weights, the second with binary weights that start from them. Each
    is a run of its own, and options apply to both; with --w-bit or --init only the last one is trained.

    Several processes compute one training, each with a share of every batch, where torchrun starts them: torchrun
    --nproc-per-node 2 -m bnnkit_cli train res20. The options mean what they mean for one; --threads is per process.
    """
    from dataclasses import fields

    from bnnkit.train.config import Config

    # Every option of a training is one of this command, and None where it was not given.
    names = {item.name for item in fields(Config)}
    asked = {name: value for name, value in context.params.items() if name in names and value is not None}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
    with _workers(context) as workers:
        if workers is None:
            return
        given |= _faults(faults, noise, plain=noise_std)
        if resume is not None:
            if recipe or seeds or dry_run:
                raise UsageError(
                    "--resume: continues a run as it was begun; --recipe, --seeds and --dry-run have no place",
                    hint=f"bnnkit train --resume {resume}",
                )
            outcomes = _resume(resume, given, runs_dir, workers)
        else:
            if dry_run and workers.world_size > 1:
                raise UsageError(
                    "--dry-run: estimates the time of one process; one was needed", hint="leave torchrun out"
                )
            plan, chosen = _plan(given, recipe, seeds, runs_dir)
            if dry_run:
                show_plan(plan, chosen, json=json)
                return
            outcomes = _start(plan, chosen, runs_dir, workers)
        report(outcomes, json=json)
        check_gate(outcomes, min_acc)


@contextmanager
def _workers(context: typer.Context) -> Iterator[Workers | None]:
    """Join the processes of torchrun; None in all but the first, which have followed it to its end and say nothing."""
    from bnnkit.train.follow import follow
    from bnnkit.train.workers import EndedElsewhereError, together

    try:
        with together() as workers:
            if workers.rank == 0:
                yield workers
                return
            output.configure(quiet=True, verbosity=context.find_root().params.get("verbose", 0))
            follow(workers)
            yield None
    except EndedElsewhereError as end:
        raise typer.Exit(end.exit_code) from None


def _faults(faults: Sequence[str] | None, noise: float | None, *, plain: bool) -> dict[str, tuple[str, ...]]:
    """Return the faults a person gave in either form as an option of a training; nothing where there are none."""
    if plain and noise is None:
        raise UsageError("--noise-std: says what --noise means, which was needed", hint="--noise 0.4 --noise-std")
    given = list(faults or ())
    if noise is not None:
        given.append(f"latent:gauss@{noise!r}{',std=plain' if plain else ''}")
    return {"faults": tuple(given)} if given else {}


def _plan(given: dict[str, Any], recipe: str | None, seeds: str | None, runs_dir: Path) -> tuple[Plan, list[int]]:
    from bnnkit.train import resolve
    from bnnkit.train.series import parse_seeds

    model = given.pop("model", None)
    warnings.of_no_converter(given.get("adc_bit"))
    with _Display() as display:
        plan = resolve(model, given, recipe=recipe, progress=display.work, root=runs_dir)
    for notice in plan.notices:
        output.warn(notice)
    if seeds is None:
        return plan, [plan.config.seed]
    return plan, parse_seeds(seeds, plan.config.seed)


def _start(plan: Plan, seeds: Sequence[int], runs_dir: Path, workers: Workers) -> list[Outcome]:
    from bnnkit.train import start

    with _Display() as display:
        return start(plan, display, argv=["bnnkit", *sys.argv[1:]], seeds=seeds, root=runs_dir, workers=workers)


def _resume(reference: str, given: Mapping[str, Any], runs_dir: Path, workers: Workers) -> list[Outcome]:
    from bnnkit.train import resume

    with _Display() as display:
        return resume(reference, given, display, argv=["bnnkit", *sys.argv[1:]], root=runs_dir, workers=workers)


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
