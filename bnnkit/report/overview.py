"""All runs of a report beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from bnnkit.report import chart, injection, study
from bnnkit.report.chart import Chart, Line, Mark
from bnnkit.report.contents import Accuracy, Injection, Study, Training
from bnnkit.report.find import kind
from bnnkit.report.markup import Markup, element, join, table
from bnnkit.report.scale import Linear
from bnnkit.report.training import accuracy_line, epoch_axis, test_mark

Subject = Training | Injection | Study


def section(found: Sequence[Subject]) -> Markup:
    """Return the table of all runs, and the curves of all trainings, those on the same data in one picture."""
    parts: list[object] = [element("h2", "Overview"), _table(found)]
    if any(isinstance(one, Injection) for one in found):
        parts.append(element("p", "The accuracy of an inject run is the one without faults (golden).", class_="note"))
    if any(one.limited for one in found):
        parts.append(element("p", "Limited: not all images, or not all steps, were used.", class_="note"))
    trainings = [(number, one) for number, one in enumerate(found) if isinstance(one, Training) and one.epochs]
    if len(trainings) > 1:
        names = dict.fromkeys(one.config.dataset for _, one in trainings)
        groups = [(name, [pair for pair in trainings if pair[1].config.dataset == name]) for name in names]
        drawn = [_curves(name, group) for name, group in groups]
        parts += [element("h3", "Trainings"), element("div", *drawn, class_="charts")]
    return element("section", *parts, id="overview")


def marks(found: Subject) -> Markup:
    """Return what must be said about a run beside its name."""
    said = [] if found.finished else ["unfinished"]
    said += ["limited"] if found.limited else []
    return join([element("span", word, class_="flag") for word in said], " ")


def network(found: Subject) -> str | None:
    """Return the network of a run in a few words; None for a sweep, which may have several."""
    if isinstance(found, Training):
        config = found.config
        bits = f"activations {config.ao_bit}, weights {config.w_bit}, ADC {config.adc_bit}"
        return f"{config.model} width {config.width}, {bits}"
    return found.network if isinstance(found, Injection) else None


def dataset(found: Subject) -> str | None:
    """Return the name of the data of a run; None for a sweep."""
    if isinstance(found, Training):
        return found.config.dataset
    return found.dataset if isinstance(found, Injection) else None


def accuracy(found: Subject) -> Accuracy | None:
    """Return the accuracy on the test images: of a training, and of a campaign without faults."""
    if isinstance(found, Training):
        return found.test
    return found.golden if isinstance(found, Injection) else None


def _table(found: Sequence[Subject]) -> Markup:
    columns = ["run", "command", "network", "dataset", "test, percent", "correct", "95 % interval", "finding"]
    return table(columns, [_row(number, one) for number, one in enumerate(found)], label="all runs")


def _row(number: int, one: Subject) -> list[object]:
    score = accuracy(one)
    name = element("a", one.run.name, href=f"#{anchor(number)}")
    return [
        join([name, marks(one)], " "),
        kind(one.run),
        network(one),
        dataset(one),
        None if score is None else f"{score.value:.2f}",
        None if score is None else score.counted,
        None if score is None else score.interval,
        _finding(one),
    ]


def _finding(one: Subject) -> str | None:
    if isinstance(one, Training):
        last = max((epoch.number for epoch in one.epochs), default=0)
        if one.chosen_epoch is None:
            return f"{last} of {one.config.epochs} epochs so far"
        return f"weights of epoch {one.chosen_epoch} of {last}"
    found = injection.finding(one) if isinstance(one, Injection) else study.finding(one)
    return found or None


def anchor(number: int) -> str:
    """Return where the section of a run begins."""
    return f"run-{number + 1}"


def _curves(name: str, group: Sequence[tuple[int, Training]]) -> Markup:
    lines: list[Line] = []
    tested: list[Mark] = []
    for number, (place, one) in enumerate(group):
        line = accuracy_line(one, number)
        told = one.run.name if line.name == "validation" else f"{one.run.name} (training images)"
        lines.append(Line(told, number, line.points, link=f"#{anchor(place)}"))
        tested += test_mark(one, number, "test, with 95 % interval", listed=not tested)
    known = [y for line in lines for _, y in line.points if y is not None]
    known += [end for mark in tested for end in mark.interval or ()]
    x = epoch_axis([epoch.number for _, one in group for epoch in one.epochs])
    title = f"Validation accuracy on {name}"
    return chart.figure(Chart(title, "epoch", "percent", x, Linear.around(known, 0, 100), lines, tested))
