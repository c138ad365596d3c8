"""The training curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.atomic import write_bytes
from bnnkit.train.config import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS, TRAIN, VALIDATION, TEST = "#8c8c8c", "#9ecae1", "#08519c", "#d62728"
INK = "#404040"


def draw(path: Path, config: Config, records: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> None:
    """Write a PNG with the training loss, the accuracies per epoch, and, at the end, the test accuracy.

    Args:
        records: lines of metrics.jsonl, at least one.
        result: results.json when the training is over, else None.
    """
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    accuracy = figure.add_subplot()
    loss = accuracy.twinx()
    epochs = [record["epoch"] for record in records]
    _plot_loss(loss, epochs, records)
    _plot_accuracy(accuracy, epochs, records)
    if result is not None:
        _plot_test(accuracy, result)
    _dress(accuracy, loss, config)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, [content.getvalue()])


def _plot_loss(axes: Axes, epochs: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
    values = [record["loss"] for record in records]
    axes.plot(epochs, values, color=LOSS, linewidth=1.2, linestyle="--", marker=_marker(epochs), markersize=3)
    axes.plot([], [], color=LOSS, linewidth=1.2, linestyle="--", label="training loss")
    axes.set_ylim(0, 1.05 * max(values) or 1)


def _plot_accuracy(axes: Axes, epochs: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
    train = [record["train_accuracy"] for record in records]
    marker = _marker(epochs)
    axes.plot(epochs, train, color=TRAIN, linewidth=1.5, marker=marker, markersize=3, label="training accuracy")
    validation = [record["val_accuracy"] for record in records]
    if None not in validation:
        label = "validation accuracy"
        axes.plot(epochs, validation, color=VALIDATION, linewidth=2, marker=marker, markersize=4, label=label)


def _plot_test(axes: Axes, result: Mapping[str, Any]) -> None:
    test = result["test"]
    value, (low, high) = test["accuracy"], test["wilson95"]
    where = result["best_epoch"] if result["chosen"] == "best-val" else result["epochs"]
    label = f"test {value:.2f} % ({test['correct']:,}/{test['total']:,}), {result['chosen']} weights of epoch {where}"
    axes.errorbar(
        [where],
        [value],
        yerr=[[value - low], [high - value]],
        color=TEST,
        marker="D",
        markersize=6,
        markeredgecolor="white",
        capsize=4,
        linestyle="none",
        zorder=5,
        label=label,
    )


def _dress(accuracy: Axes, loss: Axes, config: Config) -> None:
    accuracy.set_zorder(loss.get_zorder() + 1)
    accuracy.patch.set_visible(False)
    accuracy.set_xlabel("epoch", color=INK)
    accuracy.set_ylabel("accuracy [%]", color=INK)
    loss.set_ylabel("training loss", color=LOSS)
    loss.tick_params(axis="y", colors=LOSS, length=0)
    accuracy.tick_params(colors=INK, length=0)
    accuracy.xaxis.get_major_locator().set_params(integer=True)
    accuracy.set_ylim(top=min(101.0, accuracy.get_ylim()[1]))
    accuracy.grid(color="#e5e5e5", linewidth=0.8)
    for axes in (accuracy, loss):
        for spine in axes.spines.values():
            spine.set_visible(False)
    accuracy.set_title(title(config), loc="left", color=INK, fontsize=11)
    handles, labels = accuracy.get_legend_handles_labels()
    more, names = loss.get_legend_handles_labels()
    accuracy.legend(handles + more, labels + names, frameon=False, fontsize=8, labelcolor=INK, loc="center right")


def title(config: Config) -> str:
    """Return the configuration in two lines."""
    bits = f"activations {config.ao_bit} bit, weights {config.w_bit} bit, ADC {config.adc_bit} bit, {config.rows} rows"
    limits = [f"limit {config.limit} images"] if config.limit is not None else []
    limits += [f"stopped after {config.max_steps} steps"] if config.max_steps is not None else []
    how = f"{config.optimizer} {config.lr:g} {config.schedule}, batch {config.batch}, seed {config.seed}"
    first = f"{config.model} (width {config.width}) on {config.dataset}: {bits.replace('fp bit', 'fp')}"
    return f"{first}\n{'; '.join([how, *limits])}"


def _marker(epochs: Sequence[int]) -> str:
    return "o" if len(epochs) <= 40 else ""
