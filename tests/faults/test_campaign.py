"""Campaigns: which evaluations there are, what is counted, and what an interrupted one leaves."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from bnnkit.data import Split
from bnnkit.faults import ImageFault, Network, Setting, Trial, mean_interval, measure, parse_repair, plan, read
from bnnkit.faults.picture import IMAGES, panels, samples
from bnnkit.faults.result import row, tables

FAULT = ImageFault(6)
NONE, MSB = (Setting(FAULT, parse_repair(name, 6)) for name in ("none", "msb"))
RARE = Setting(ImageFault(6, rate=0.25), parse_repair("msb", 6))


class Parity:
    """A network that says how often bit 6 is set in an image, from 0 to 3."""

    def __init__(self) -> None:
        self.images = 0

    def predict(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return ((images >> 6) & 1).flatten(1).sum(1) % 4


def split(count: int = 50, channels: int = 1) -> Split:
    generator = torch.Generator().manual_seed(2)
    stored = torch.randint(0, 256, (count, channels, 3, 5), dtype=torch.uint8, generator=generator)
    return Split(stored, Parity().predict(stored))


def trials(settings: list[Setting], maps: int = 3, **options: object) -> list[Trial]:
    images = split()
    return list(measure(cast(Network, Parity()), images, torch.arange(50), settings, maps, **options))  # type: ignore[arg-type]


def test_a_plan_goes_map_by_map_and_repeats_nothing() -> None:
    assert plan([NONE, MSB, RARE], 2) == [(NONE, 0), (MSB, 0), (RARE, 0), (NONE, 1), (RARE, 1)]


def test_accuracy_changes_and_bits_are_counted() -> None:
    images, found = split(), trials([NONE, MSB], seed=4)
    assert [(trial.setting, trial.number) for trial in found] == [(None, 0), (NONE, 0), (MSB, 0), (NONE, 1), (NONE, 2)]
    golden = found[0]
    assert (golden.score.correct, golden.score.total, golden.changed, golden.faulty, golden.wrong) == (50, 50, 0, 0, 0)
    for trial in found[1:]:
        assert trial.setting is not None
        expected = read(images.images, FAULT, (4, trial.number, torch.arange(50)), trial.setting.repair)
        right = int((Parity().predict(expected.images) == images.labels).sum())
        assert (trial.score.correct, trial.changed) == (right, 50 - right)
        assert (trial.faulty, trial.wrong) == (50 * 15, expected.wrong)


def test_batches_change_nothing() -> None:
    def counts(batch: int) -> list[tuple[int, ...]]:
        found = trials([NONE, MSB, RARE], batch=batch)
        return [(t.number, t.score.correct, t.changed, t.faulty, t.wrong) for t in found]

    assert counts(7) == counts(50) == counts(256)


def test_a_stopped_campaign_keeps_what_is_finished() -> None:
    done: list[int] = []
    found = trials([NONE, MSB], batch=10, each=done.append, stop=lambda: bool(done) and done[-1] >= 120)
    assert [trial.setting for trial in found] == [None, NONE]
    assert done == list(range(10, 121, 10))
    assert not trials([NONE], stop=lambda: True)


def test_rows() -> None:
    found = trials([NONE, MSB])
    golden, faulty, repaired = (row(setting, found, 3) for setting in (None, NONE, MSB))
    assert (golden["row"], golden["interval_over"], golden["accuracy"], golden["correct"]) == (
        "golden",
        "images",
        100,
        50,
    )
    accuracies = [trial["accuracy"] for trial in faulty["maps"]]
    assert len(accuracies) == 3 and len(set(accuracies)) > 1
    assert faulty["accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert faulty["interval95"] == pytest.approx(list(mean_interval(accuracies)))
    assert (faulty["interval_over"], faulty["total"], faulty["same_for_all_maps"]) == ("maps", 150, False)
    assert faulty["change"] == pytest.approx(faulty["accuracy"] - 100)
    assert faulty["changed_percent"] == pytest.approx(100 * faulty["changed_predictions"] / 150)
    assert (repaired["interval_over"], repaired["total"], repaired["same_for_all_maps"]) == ("images", 50, True)
    assert repaired["interval95"] == repaired["maps"][0]["wilson95"]
    assert (repaired["copied_bit"], repaired["maps_planned"]) == (7, 1)


def test_tables_leave_out_what_is_not_evaluated() -> None:
    found = trials([NONE, MSB, RARE])[:2]
    rare, every = tables(found, [RARE, NONE, MSB], 3, 750)
    assert (rare["rate"], rare["expected_faulty_bits"], rare["rows"]) == (0.25, 187.5, [])
    assert [entry["row"] for entry in every["rows"]] == ["faulty"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_a_column_per_setting_and_a_row_per_image(channels: int) -> None:
    images = split(channels=channels)
    settings = [Setting(ImageFault(bit), parse_repair(name, bit)) for bit in (5, 6) for name in ("none", "msb")]
    figure = panels("mlp on digits", images, torch.arange(50), settings, 0, {None: 91.5, settings[2]: 50.0})
    headings = [
        "as stored",
        "bit 5 of every pixel replaced by a random bit",
        "bit 6 of every pixel replaced by a random bit",
    ]
    assert figure.get_suptitle() == "mlp on digits"
    assert [part.get_suptitle().replace("\n", " ").strip() for part in figure.subfigs] == headings
    assert [len(part.axes) for part in figure.subfigs] == [IMAGES, 2 * IMAGES, 2 * IMAGES]
    titles = [[axes.get_title() for axes in part.axes if axes.get_title()] for part in figure.subfigs]
    assert titles == [["clean\n91.50 %"], ["faulty", "msb"], ["faulty\n50.00 %", "msb"]]
    shown = samples(images, torch.arange(50))
    first = images.images[shown[0]]
    drawn = torch.from_numpy(figure.subfigs[0].axes[0].images[0].get_array().data)
    assert torch.equal(drawn, first[0] if channels == 1 else first.permute(1, 2, 0))
    repaired = read(first[None], settings[1].fault, (0, 0, shown[:1]), settings[1].repair).images[0]
    drawn = torch.from_numpy(figure.subfigs[1].axes[1].images[0].get_array().data)
    assert torch.equal(drawn, repaired[0] if channels == 1 else repaired.permute(1, 2, 0))


def test_samples_are_of_different_classes() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2])
    images = Split(torch.zeros(61, 1, 2, 2, dtype=torch.uint8), labels)
    assert samples(images, torch.arange(61)).tolist() == [0, 30, 60, 1]
    assert samples(images, torch.tensor([40, 3])).tolist() == [40, 3]
