"""One network, evaluated without faults and with those of several maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

import torch
from torch import Tensor

from bnnkit.data import Split
from bnnkit.faults.network import Faulty, Hits, Network
from bnnkit.faults.pixels import expected_faulty, read_all
from bnnkit.faults.recorded import RecordedSites
from bnnkit.faults.repeats import maps_needed
from bnnkit.faults.settings import Setting
from bnnkit.train.evaluation import Score

TOGETHER = 8
"""Packed networks that run over a batch before the next: what is before their first faulty layer is computed once."""


@dataclass(frozen=True)
class Trial:
    """What a network made of all images with the faults of one map.

    Attributes:
        setting: None without faults.
        number: of the map.
        changed: predictions that differ from those without faults.
        hits: bits, see `bnnkit.faults.network.Hits`.
        seconds: it took, `fault_seconds` of them for the faults.
    """

    setting: Setting | None
    number: int
    score: Score
    changed: int
    hits: Hits
    seconds: float
    fault_seconds: float


@dataclass(frozen=True)
class Repeats:
    """How many maps there are: `fixed`, or as many as it takes for an interval of +- `ci` points.

    >>> Repeats(3).needed([]), Repeats(ci=0.25).needed([])
    (3, 8)
    """

    fixed: int | None = None
    ci: float = 0.25

    def needed(self, accuracies: Sequence[float]) -> int:
        """Return how many maps to evaluate, as far as the accuracies of those so far, in percent, tell."""
        return maps_needed(accuracies, self.ci) if self.fixed is None else self.fixed


@dataclass
class _Progress:
    each: Callable[[int], None]
    stop: Callable[[], object]
    done: int = 0

    def add(self, images: int) -> None:
        self.done += images
        self.each(self.done)


@dataclass
class Campaign:
    """Evaluate a network without faults, then every setting with the faults of map 0, of map 1, and so on.

    An interrupted campaign then has something for every setting. One that is the same for all maps is evaluated once.
    Faults of images are put into one batch at a time; they depend on the images' indices, not on the batches.

    Args:
        split: uint8 images, as stored, and labels, on the network's device.
        indices: int64 [N], the images to use.
        recorded: sites of the network's memory, instead of those of the settings.

    Attributes:
        trials: those that are finished; may be filled with those of an interrupted campaign, the golden one first.
        golden: int64 [N], predictions without faults, once they are known.
    """

    network: Network
    split: Split
    indices: Tensor
    settings: Sequence[Setting]
    repeats: Repeats
    seed: int = 0
    batch: int = 256
    recorded: RecordedSites | None = None
    trials: list[Trial] = field(default_factory=list)
    golden: Tensor | None = None

    def of(self, setting: Setting | None) -> list[Trial]:
        """Return the finished trials of a setting."""
        return [trial for trial in self.trials if trial.setting == setting]

    def planned(self, setting: Setting) -> int:
        """Return how many maps a setting needs, as far as is known by now."""
        if not setting.varies and self.recorded is None:
            return 1
        return self.repeats.needed([100 * trial.score.accuracy for trial in self.of(setting)])

    @property
    def evaluations(self) -> int:
        """How many evaluations there are, as far as is known by now."""
        return 1 + sum(map(self.planned, self.settings))

    def run(
        self, each: Callable[[int], None] = lambda done: None, stop: Callable[[], object] = lambda: False
    ) -> Iterator[Trial]:
        """Evaluate what is not finished; add every evaluation to `trials` and yield it.

        Args:
            each: called after each batch with the number of images done by this call, all evaluations together.
            stop: asked before each batch; when it says yes, evaluations in progress are dropped and the iterator ends.
        """
        progress = _Progress(each, stop)
        while not stop() and (todo := self._next()):
            found = self._evaluate(todo, progress)
            if found is None:
                return
            for trial in found:
                self.trials.append(trial)
                yield trial

    def _next(self) -> list[tuple[Setting | None, int]]:
        """Return what to evaluate together now; nothing at the end."""
        if self.golden is None:
            return [(None, 0)]
        ranges = {setting: (len(self.of(setting)), self.planned(setting)) for setting in self.settings}
        numbers = range(min(done for done, _ in ranges.values()), max(planned for _, planned in ranges.values()))
        waiting = ((s, n) for n in numbers for s, (done, planned) in ranges.items() if done <= n < planned)
        found = list(islice(waiting, TOGETHER))
        together = list(takewhile(lambda pair: self._shares(pair[0]), found))
        return list(together or found[:1])

    def _shares(self, setting: Setting) -> bool:
        """Whether a setting reads the images as they are and runs packed."""
        return not setting.image_faults and self.network.is_packed

    def _evaluate(self, todo: Sequence[tuple[Setting | None, int]], progress: _Progress) -> list[Trial] | None:
        begun = time.perf_counter()
        networks = [self._faulty(setting, number) for setting, number in todo]
        fault_seconds = time.perf_counter() - begun
        parts: list[list[Tensor]] = [[] for _ in todo]
        for chosen in self.indices.split(self.batch):
            if progress.stop():
                return None
            images = self.split.images[chosen]
            setting, number = todo[0]
            if setting is not None and setting.image_faults:
                start = time.perf_counter()
                images = self._read(images, setting, number, chosen, networks[0].hits)
                fault_seconds += time.perf_counter() - start
            for part, found in zip(parts, self.network.predict(networks, images, chosen), strict=True):
                part.append(found)
            progress.add(len(chosen) * len(todo))
        for network, (setting, _) in zip(networks, todo, strict=True):
            if setting is not None:
                network.hits.add(self.network.take_hits(network, setting.layer_faults))
        labels, predictions = self.split.labels.cpu()[self.indices], [torch.cat(part) for part in parts]
        golden = self.golden = predictions[0] if self.golden is None else self.golden
        seconds = time.perf_counter() - begun
        return [
            Trial(
                setting,
                number,
                Score(int((found == labels).sum()), len(labels)),
                int((found != golden).sum()),
                network.hits,
                seconds / len(todo),
                fault_seconds / len(todo),
            )
            for (setting, number), found, network in zip(todo, predictions, networks, strict=True)
        ]

    def _faulty(self, setting: Setting | None, number: int) -> Faulty:
        if setting is None:
            return Faulty(self.network.golden)
        recorded = None if self.recorded is None else self.recorded.of(number)
        return self.network.faulty(setting, (self.seed, number), recorded)

    def _read(self, images: Tensor, setting: Setting, number: int, chosen: Tensor, hits: Hits) -> Tensor:
        found = read_all(images, setting.image_faults, (self.seed, number, chosen), setting.repair)
        expected = [expected_faulty(fault, images.numel()) for fault in setting.image_faults]
        counted = sum(found.faulty if some is None else some for some in expected)
        hits.add(Hits(found.faulty, found.wrong, counted))
        return found.images
