"""One network, evaluated without faults and with those of several maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnnkit.data import Split
from bnnkit.faults.images import ImageFault, read
from bnnkit.faults.network import Network
from bnnkit.faults.repairs import Repair
from bnnkit.train.evaluation import Score


@dataclass(frozen=True)
class Setting:
    """One row of a table: a fault, and what the memory makes of it."""

    fault: ImageFault
    repair: Repair

    @property
    def varies(self) -> bool:
        """Whether two fault maps can differ in what is read."""
        return self.fault.varies(self.repair)


@dataclass(frozen=True)
class Trial:
    """What a network made of all images with the faults of one map.

    Attributes:
        setting: None without faults.
        number: of the map.
        changed: predictions that differ from those without faults.
        faulty, wrong: bits, as in `bnnkit.faults.images.Read`.
        seconds: it took, `fault_seconds` of them for the faults.
    """

    setting: Setting | None
    number: int
    score: Score
    changed: int
    faulty: int
    wrong: int
    seconds: float
    fault_seconds: float


def plan(settings: Sequence[Setting], maps: int) -> list[tuple[Setting, int]]:
    """Return (setting, number of the map) of every evaluation, map by map.

    An interrupted campaign then has something for every setting. One that is the same for all maps is evaluated once.
    """
    return [(setting, number) for number in range(maps) for setting in settings if setting.varies or number == 0]


def measure(
    network: Network,
    split: Split,
    indices: Tensor,
    settings: Sequence[Setting],
    maps: int,
    *,
    seed: int = 0,
    batch: int = 256,
    each: Callable[[int], None] = lambda done: None,
    stop: Callable[[], object] = lambda: False,
) -> Iterator[Trial]:
    """Evaluate a network without faults, then as `plan` says; yield every evaluation when it is finished.

    Faults are put into one batch at a time; they depend on the images' indices, not on the batches.

    Args:
        split: uint8 images, as stored, and labels.
        indices: int64 [N], the images to use.
        each: called after each batch with the number of images done, all evaluations together.
        stop: asked before each batch; when it says yes, the evaluation in progress is dropped and the iterator ends.
    """
    golden, done = None, 0
    labels = split.labels[indices]
    evaluations: list[tuple[Setting | None, int]] = [(None, 0), *plan(settings, maps)]
    for setting, number in evaluations:
        begun, fault_seconds, faulty, wrong = time.perf_counter(), 0.0, 0, 0
        parts = []
        for chosen in indices.split(batch):
            if stop():
                return
            images = split.images[chosen]
            if setting is not None:
                start = time.perf_counter()
                found = read(images, setting.fault, (seed, number, chosen), setting.repair)
                images, faulty, wrong = found.images, faulty + found.faulty, wrong + found.wrong
                fault_seconds += time.perf_counter() - start
            parts.append(network.predict(images))
            done += len(chosen)
            each(done)
        predictions = torch.cat(parts)
        golden = predictions if golden is None else golden
        yield Trial(
            setting,
            number,
            Score(int((predictions == labels).sum()), len(labels)),
            int((predictions != golden).sum()),
            faulty,
            wrong,
            time.perf_counter() - begun,
            fault_seconds,
        )
