"""Campaigns: which evaluations there are, what is counted, and what an interrupted one leaves."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from bnnkit.data import Split
from bnnkit.faults import Campaign, ImageFault, Network, Repeats, Setting, Trial, mean_interval, of_images, read
from bnnkit.faults.network import Faulty, Hits
from bnnkit.faults.picture import IMAGES, panels, samples
from bnnkit.faults.result import record, row, tables, trial_of

FAULT = ImageFault(6)
NONE, MSB = of_images([6], "random", [1.0], ["msb"])
RARE = of_images([6], "random", [0.25], ["msb"])[1]


class Parity:
    """A network that says how often bit 6 is set in an image, from 0 to 3."""

    golden = torch.nn.Identity()
    is_packed = False

    def faulty(self, setting: Setting, key: object, recorded: object) -> Faulty:
        return Faulty(self.golden)

    def take_hits(self, network: Faulty, faults: object) -> Hits:
        return Hits()

    def predict(self, networks: list[Faulty], images: Tensor, indices: Tensor) -> list[Tensor]:
        return [classes(images) for _ in networks]


def classes(images: Tensor) -> Tensor:
    return ((images >> 6) & 1).flatten(1).sum(1) % 4


def split(count: int = 50, channels: int = 1) -> Split:
    generator = torch.Generator().manual_seed(2)
    stored = torch.randint(0, 256, (count, channels, 3, 5), dtype=torch.uint8, generator=generator)
    return Split(stored, classes(stored))


def campaign(settings: list[Setting], maps: int = 3, **options: Any) -> Campaign:
    return Campaign(cast(Network, Parity()), split(), torch.arange(50), settings, Repeats(maps), **options)


def finished(settings: list[Setting], maps: int = 3, **options: Any) -> Campaign:
    found = campaign(settings, maps, **options)
    assert list(found.run()) == found.trials
    return found


def trials(settings: list[Setting], maps: int = 3, **options: Any) -> list[Trial]:
    return finished(settings, maps, **options).trials


def test_a_campaign_goes_map_by_map_and_repeats_nothing() -> None:
    found = campaign([NONE, MSB, RARE], 2)
    order = [(None, 0), (NONE, 0), (MSB, 0), (RARE, 0), (NONE, 1), (RARE, 1)]
    assert found.evaluations == len(order)
    assert [(trial.setting, trial.number) for trial in found.run()] == order


@pytest.mark.parametrize("before", range(6))
def test_a_resumed_campaign_does_what_is_left(before: int) -> None:
    whole = finished([NONE, MSB, RARE], 2)
    settings = {(s.table, s.row): s for s in (NONE, MSB, RARE)}
    rest = campaign([NONE, MSB, RARE], 2, golden=whole.golden if before else None)
    rest.trials = [trial_of(record(trial), dict(settings)) for trial in whole.trials[:before]]
    evaluated = [trial.number for trial in rest.run()]
    assert len(evaluated) == 6 - before
    counts = [[(t.setting, t.number, t.score, t.changed, t.hits) for t in c.trials] for c in (whole, rest)]
    assert counts[0] == counts[1]


def test_repeats_until_the_interval_is_narrow() -> None:
    wide, narrow = (Campaign(**{**vars(campaign([NONE, MSB])), "repeats": Repeats(ci=ci)}) for ci in (0.001, 50.0))
    assert (wide.planned(NONE), wide.planned(MSB), wide.evaluations) == (8, 1, 10)
    assert [len(list(some.run())) for some in (wide, narrow)] == [1 + 128 + 1, 1 + 8 + 1]
    assert narrow.trials[:3] != [] and narrow.evaluations == 10


def test_accuracy_changes_and_bits_are_counted() -> None:
    images, found = split(), trials([NONE, MSB], seed=4)
    assert [(trial.setting, trial.number) for trial in found] == [(None, 0), (NONE, 0), (MSB, 0), (NONE, 1), (NONE, 2)]
    golden = found[0]
    assert (golden.score.correct, golden.score.total, golden.changed, golden.hits.faulty) == (50, 50, 0, 0)
    for trial in found[1:]:
        assert trial.setting is not None
        expected = read(images.images, FAULT, (4, trial.number, torch.arange(50)), trial.setting.repair)
        right = int((classes(expected.images) == images.labels).sum())
        assert (trial.score.correct, trial.changed) == (right, 50 - right)
        assert (trial.hits.faulty, trial.hits.wrong, trial.hits.expected) == (50 * 15, expected.wrong, 50 * 15)


def test_batches_change_nothing() -> None:
    def counts(batch: int) -> list[tuple[int, ...]]:
        found = trials([NONE, MSB, RARE], batch=batch)
        return [(t.number, t.score.correct, t.changed, t.hits.faulty, t.hits.wrong) for t in found]

    assert counts(7) == counts(50) == counts(256)


def test_a_stopped_campaign_keeps_what_is_finished() -> None:
    done: list[int] = []
    found = campaign([NONE, MSB], batch=10)
    yielded = list(found.run(done.append, lambda: bool(done) and done[-1] >= 120))
    assert [trial.setting for trial in yielded] == [None, NONE] and found.trials == yielded
    assert done == list(range(10, 121, 10))
    assert not list(campaign([NONE]).run(stop=lambda: True))


def test_rows() -> None:
    found = finished([NONE, MSB])
    golden, faulty, repaired = (row(found, setting) for setting in (None, NONE, MSB))
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
    low, high = faulty["changed_interval95"]
    assert low <= faulty["changed_percent"] <= high
    assert (faulty["yield"]["maps"], faulty["yield"]["of"], repaired["yield"]["of"]) == (0, 3, 1)


def test_tables_leave_out_what_is_not_evaluated() -> None:
    found = campaign([RARE, NONE, MSB])
    found.trials = trials([NONE, MSB, RARE])[:2]
    rare, every = tables(found)
    assert (rare["table"], rare["rows"]) == ("bit 6 of 25 % of all pixels replaced by a random bit", [])
    assert [entry["row"] for entry in every["rows"]] == ["faulty"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_a_column_per_setting_and_a_row_per_image(channels: int) -> None:
    images = split(channels=channels)
    settings = of_images([5, 6], "random", [1.0], ["msb"])
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
    repaired = read(first[None], ImageFault(5), (0, 0, shown[:1]), settings[1].repair).images[0]
    drawn = torch.from_numpy(figure.subfigs[1].axes[1].images[0].get_array().data)
    assert torch.equal(drawn, repaired[0] if channels == 1 else repaired.permute(1, 2, 0))


def test_samples_are_of_different_classes() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2])
    images = Split(torch.zeros(61, 1, 2, 2, dtype=torch.uint8), labels)
    assert samples(images, torch.arange(61)).tolist() == [0, 30, 60, 1]
    assert samples(images, torch.tensor([40, 3])).tolist() == [40, 3]
