"""The training curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.atomic import write_png
from bnnkit.runs import Run
from bnnkit.train.config import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN, VALIDATION, TEST, LOSS = "#9ecae1", "#08519c", "#d62728", "#7f7f7f"
INK, GRID = "#404040", "#e5e5e5"
MOST_MARKED_EPOCHS = 40


@dataclass(frozen=True)
class Earlier:
    """The step a training started from: its metrics, and its results.json."""

    records: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]

    @classmethod
    def of(cls, run: Run, config: Config) -> Earlier | None:
        """Read the step before the one in `run`; None if it is the first, or the step before is no longer there."""
        if config.init is None or not (run.path / "stamp.json").is_file():
            return None
        if run.read_json("stamp.json").get("step", 1) == 1:
            return None
        before = Run(Path(config.init).parent)
        records = before.read_metrics() if before.finished else []
        return cls(records, before.read_json("results.json")) if records else None


def draw(
    path: Path,
    config: Config,
    records: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any] | None,
    earlier: Earlier | None = None,
) -> None:
    """Write a PNG with the accuracies and the training loss per epoch, and, at the end, the test accuracy.

    Args:
        records: lines of metrics.jsonl, at least one.
        result: results.json when the training is over, else None.
        earlier: the step it started from, drawn before it: the whole path to these weights.
    """
    # The figure is made without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), dpi=150, layout="constrained")
    accuracy, loss = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    before = 0 if earlier is None else len(earlier.records)
    if earlier is not None:
        _curves(accuracy, loss, earlier.records, 0, labelled=False)
        _mark_test(accuracy, earlier.result, 0, "step 1: test")
        for axes in (accuracy, loss):
            axes.axvline(before + 0.5, color=INK, linewidth=1, linestyle=":")
    _curves(accuracy, loss, records, before)
    if result is not None:
        _mark_test(accuracy, result, before, "test" if earlier is None else "step 2: test")
    _dress(accuracy, loss, config)
    write_png(path, figure)


def title(config: Config) -> str:
    """Return the configuration in two lines."""
    bits = f"activations {config.ao_bit} bit, weights {config.w_bit} bit, ADC {config.adc_bit} bit, {config.rows} rows"
    limits = [f"limited to {config.limit} images"] if config.limit is not None else []
    limits += [f"stopped after {config.max_steps} steps"] if config.max_steps is not None else []
    how = f"{config.optimizer} {config.lr:g} {config.schedule}, batch {config.batch}, seed {config.seed}"
    first = f"{config.model} (width {config.width}) on {config.dataset}: {bits.replace('fp bit', 'fp')}"
    return f"{first}\n{'; '.join([how, *limits])}"


def _curves(
    accuracy: Axes, loss: Axes, records: Sequence[Mapping[str, Any]], before: int, *, labelled: bool = True
) -> None:
    marker = "o" if len(records) + before <= MOST_MARKED_EPOCHS else ""
    epochs = [before + record["epoch"] for record in records]

    def curve(axes: Axes, key: str, label: str, **options: Any) -> None:
        values = [record[key] for record in records]
        axes.plot(epochs, values, marker=marker, label=label if labelled else "_", **options)

    curve(accuracy, "train_accuracy", "training", color=TRAIN, linewidth=1.5, markersize=3)
    if records[-1]["val_accuracy"] is not None:
        curve(accuracy, "val_accuracy", "validation", color=VALIDATION, linewidth=2, markersize=4)
    curve(loss, "loss", "loss", color=LOSS, linewidth=1.5, markersize=3)


def _mark_test(axes: Axes, result: Mapping[str, Any], before: int, what: str) -> None:
    test = result["test"]
    value, (low, high) = test["accuracy"], test["wilson95"]
    epoch = result["best_epoch"] if result["chosen"] == "best-val" else result["epochs"]
    count = f"{test['correct']:,}/{test['total']:,}"
    axes.errorbar(
        [before + epoch],
        [value],
        yerr=[[value - low], [high - value]],
        color=TEST,
        marker="D",
        markersize=6,
        markeredgecolor="white",
        capsize=4,
        linestyle="none",
        zorder=5,
        label=f"{what} {value:.2f} % ({count}, 95 % interval), weights of epoch {epoch}",
    )


def _dress(accuracy: Axes, loss: Axes, config: Config) -> None:
    from matplotlib.ticker import MaxNLocator

    accuracy.set_title(title(config), loc="left", color=INK, fontsize=11)
    accuracy.set_ylabel("accuracy [%]", color=INK)
    accuracy.set_ylim(top=min(101.0, accuracy.get_ylim()[1]))
    accuracy.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    loss.set_ylabel("training loss", color=INK)
    loss.set_ylim(0, 1.1 * loss.dataLim.ymax)
    loss.set_xlabel("epoch", color=INK)
    loss.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (accuracy, loss):
        axes.grid(color=GRID, linewidth=0.8)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
