"""One training as a part of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnnkit.report import chart
from bnnkit.report.chart import Chart, Line, Mark
from bnnkit.report.contents import Accuracy, Epoch, Training
from bnnkit.report.markup import Markup, element, folded, join, table, terms
from bnnkit.report.scale import Linear
from bnnkit.train.curve import title
from bnnkit.train.loop import duration

TRAINING, VALIDATION, TEST = 6, 0, 1
"""Colours."""
FLAT = 158
"""Height of a picture that shares its place with another."""


def section(found: Training) -> Markup:
    """Return what a training is, what came of it, and its curves."""
    lead = [element("p", line) for line in title(found.config).splitlines()]
    return join([element("div", *lead, class_="lead"), _tiles(found), _curves(found), _scores(found), _numbers(found)])


def accuracy_line(found: Training, number: int) -> Line:
    """Return the validation accuracies of a training, or those of the training where no images were held out."""
    validated = any(epoch.val_accuracy is not None for epoch in found.epochs)
    points = [(epoch.number, epoch.val_accuracy if validated else epoch.train_accuracy) for epoch in found.epochs]
    return Line("validation" if validated else "training", number, points)


def test_mark(found: Training, number: int, name: str, *, listed: bool = True) -> list[Mark]:
    """Return the test accuracy at the epoch whose weights were tested; none while the training is not finished."""
    if found.test is None or found.chosen_epoch is None:
        return []
    interval = (found.test.low, found.test.high)
    return [Mark(name, number, found.chosen_epoch, found.test.value, interval, listed=listed)]


def epoch_axis(epochs: Sequence[int]) -> Linear:
    """Return an axis from the first to the last epoch."""
    last = max(epochs, default=1)
    return Linear(min(epochs, default=0) - 0.02 * last, 1.02 * last, whole=True)


def _tiles(found: Training) -> Markup:
    test = found.test
    tested = None if test is None else join([f"{test.value:.2f} %", element("small", f"{test.counted} images")])
    held = found.validation
    validated = None if held is None else join([f"{held.value:.2f} %", element("small", f"{held.counted} images")])
    interval = None if test is None else join([test.interval, element("small", "percent (Wilson)")])
    last = max((epoch.number for epoch in found.epochs), default=0)
    best = None if found.chosen_epoch is None else f"epoch {found.chosen_epoch}"
    of = f"of {last}" if found.finished else f"{last} of {found.config.epochs} epochs so far"
    pairs = [
        ("test accuracy", tested),
        ("95 % interval", interval),
        ("validation", validated),
        ("weights", join([best or "none chosen yet", element("small", of)])),
        ("time", None if found.seconds is None else duration(found.seconds)),
    ]
    return terms(pairs, "tiles")


def _curves(found: Training) -> Markup:
    epochs = found.epochs
    if not epochs:
        return element("p", "No epoch is finished.", class_="note")
    x = epoch_axis([epoch.number for epoch in epochs])
    lines = [Line("training", TRAINING, _points(epochs, lambda epoch: epoch.train_accuracy))]
    if any(epoch.val_accuracy is not None for epoch in epochs):
        lines.append(Line("validation", VALIDATION, _points(epochs, lambda epoch: epoch.val_accuracy)))
    marks = test_mark(found, TEST, "test, with 95 % interval")
    known = [y for line in lines for _, y in line.points if y is not None]
    known += [end for mark in marks for end in mark.interval or ()]
    accuracy = Chart("Accuracy", "epoch", "percent", x, Linear.around(known, 0, 100), lines, marks, height=344)
    drawn = [chart.figure(accuracy, class_="tall"), _losses(epochs, x)]
    rates = [epoch.lr for epoch in epochs if epoch.lr is not None]
    if rates:
        line = Line("learning rate", 2, _points(epochs, lambda epoch: epoch.lr))
        up = Linear(0, 1.08 * max(rates) or 1)
        drawn.append(chart.figure(Chart("Learning rate", "epoch", "", x, up, [line], height=FLAT), legend=False))
    return element("div", *drawn, class_="charts")


def _losses(epochs: Sequence[Epoch], x: Linear) -> Markup:
    lines = [Line("training", TRAINING, _points(epochs, lambda epoch: epoch.loss))]
    if any(epoch.val_loss is not None for epoch in epochs):
        lines.append(Line("validation", VALIDATION, _points(epochs, lambda epoch: epoch.val_loss)))
    known = [y for line in lines for _, y in line.points if y is not None]
    up = Linear(0, 1.08 * max(known, default=1) or 1)
    return chart.figure(Chart("Loss", "epoch", "", x, up, lines, height=FLAT))


def _points(epochs: Sequence[Epoch], value: Callable[[Epoch], float | None]) -> list[tuple[float, float | None]]:
    return [(epoch.number, value(epoch)) for epoch in epochs]


def _scores(found: Training) -> Markup:
    if found.test is None:
        told = f"Not finished: there is no test yet; bnnkit train --resume {found.run.name} continues it."
        return element("p", told, class_="note")
    last = max((epoch.number for epoch in found.epochs), default=None)
    chosen = found.chosen_epoch
    rows = [_score("test", chosen, found.test)]
    if found.test_last is not None and chosen != last:
        rows.append(_score("test, last weights", last, found.test_last))
    if found.validation is not None:
        rows.append(_score("validation", chosen, found.validation))
    notes = ["The test images were used once, at the end; the epoch was chosen on the validation images."]
    if found.validation is None:
        notes = ["No images were held out: the last weights were tested."]
    notes += [found.gates] if found.gates else []
    columns = ["images", "weights of epoch", "accuracy, percent", "95 % interval", "correct"]
    shown = table(columns, rows, label="accuracies")
    return join([element("h3", "Result"), shown, *(element("p", note, class_="note") for note in notes)])


def _score(name: str, epoch: int | None, score: Accuracy) -> list[object]:
    return [name, epoch, f"{score.value:.2f}", score.interval, score.counted]


def _numbers(found: Training) -> Markup | None:
    if not found.epochs:
        return None
    columns = [
        "epoch",
        "loss",
        "training, percent",
        "validation, percent",
        "validation loss",
        "learning rate",
        "seconds",
    ]
    rows = [
        [
            epoch.number,
            _digits(epoch.loss, ".4f"),
            _digits(epoch.train_accuracy, ".2f"),
            _digits(epoch.val_accuracy, ".2f"),
            _digits(epoch.val_loss, ".4f"),
            _digits(epoch.lr, ".4g"),
            _digits(epoch.seconds, ",.1f"),
        ]
        for epoch in found.epochs
    ]
    return folded(f"Numbers of all epochs ({len(rows)})", table(columns, rows, label="numbers of all epochs"))


def _digits(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)
