"""Accuracy of a network on a set of images: every image counted once, with the interval it is known to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.data import Split
from bnnkit.deploy import DeviceNetwork, PackedNetwork, run_packed
from bnnkit.errors import GateError
from bnnkit.nn import Gates, images_from, take_gates
from bnnkit.train.images import Preparation
from bnnkit.train.nonfinite import first_non_finite
from bnnkit.train.precision import repeatable

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Score:
    """`correct` of `total` images.

    >>> str(Score(975, 1000))
    '97.50 % (975/1,000; 95 % interval 96.34 to 98.30)'
    """

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """Share of correct images, 0 to 1; NaN without images."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy, 0 to 1."""
        return wilson(self.correct, self.total)

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, accuracy and interval in percent."""
        low, high = self.interval
        return {
            "accuracy": 100 * self.accuracy,
            "correct": self.correct,
            "total": self.total,
            "wilson95": [100 * low, 100 * high],
        }

    def __str__(self) -> str:
        low, high = self.interval
        count = f"{self.correct:,}/{self.total:,}"
        return f"{100 * self.accuracy:.2f} % ({count}; 95 % interval {100 * low:.2f} to {100 * high:.2f})"


def wilson(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion; it stays inside 0..1 and is right near both ends.

    Paper: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> [round(bound, 4) for bound in wilson(0, 10)]
    [0.0, 0.2775]
    """
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True)
class Evaluation:
    """What a network said about some images.

    Attributes:
        loss: mean cross-entropy.
        logits: float32 [N, classes], on the CPU.
        predictions: int64 [N]; -1 where a logit is not finite, which counts as wrong.
        seconds: time it took.
        gates: what the precision gates did for these images; None for a network without.
    """

    score: Score
    loss: float
    logits: Tensor
    predictions: Tensor
    seconds: float
    gates: Gates | None = None

    @property
    def non_finite(self) -> int:
        """Images with a logit that is not finite."""
        return int((self.predictions < 0).sum())

    @property
    def images_per_second(self) -> float:
        return len(self.predictions) / self.seconds if self.seconds else math.nan


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    indices: Tensor,
    preparation: Preparation,
    *,
    batch: int = 256,
    each: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Run a network, in evaluation mode, over the images `indices` of a split.

    The logits of a network on arrays do not depend on `batch` or on the number of threads, see
    `bnnkit.train.precision.repeatable`.

    Args:
        split: uint8 images and labels, on the network's device.
        indices: int64 [N], which images, in which order.
        batch: images per forward pass; the last one takes what remains.
        each: called after each pass with the number of images done; may raise to stop.

    Raises:
        GateError: a packed kernel met NaN; the layer it comes from is named.

    Example:
        >>> from bnnkit import create_model, data
        >>> digits = data.load("digits")
        >>> model = create_model("mlp", ao_bit="fp", w_bit="fp", adc_bit="fp", in_shape=(1, 8, 8))
        >>> preparation = Preparation.of(digits, (1, 8, 8))
        >>> evaluate(model, digits.test, torch.arange(360), preparation).score.total
        360
    """
    was_training = model.training
    model.eval()
    take_gates(model)
    try:
        with repeatable(model):
            [found] = _evaluate(lambda x: _forward(model, preparation(x))[None], split, indices, batch, each)
    finally:
        model.train(was_training)
    return replace(found, gates=take_gates(model))


@torch.inference_mode()
def evaluate_packed(
    networks: Sequence[PackedNetwork | DeviceNetwork],
    split: Split,
    indices: Tensor,
    preparation: Preparation,
    *,
    batch: int = 256,
    each: Callable[[int], None] = lambda done: None,
) -> list[Evaluation]:
    """Run packed networks over the same images; what they have in common is computed once. See `evaluate`.

    Returns:
        One evaluation per network; `seconds` is the same share of the whole for each.
    """
    if not networks:
        return []
    for network in networks:
        network.take_gates()
    every = _evaluate(lambda x: run_packed(networks, preparation.fit(x)), split, indices, batch, each)
    return [replace(found, gates=network.take_gates()) for found, network in zip(every, networks, strict=True)]


def _evaluate(
    logits_of: Callable[[Tensor], Tensor], split: Split, indices: Tensor, batch: int, each: Callable[[int], None]
) -> list[Evaluation]:
    """Evaluate functions from stored images to logits [networks, N, classes]."""
    start = time.perf_counter()
    parts: list[Tensor] = []
    done = 0
    for chosen in indices.split(batch):
        with images_from(done):
            parts.append(logits_of(split.images[chosen.to(split.images.device)]).cpu())
        done += len(chosen)
        each(done)
    every, labels = torch.cat(parts, 1), split.labels[indices.to(split.labels.device)].cpu()
    seconds = (time.perf_counter() - start) / len(every)
    evaluations = []
    for found in every:
        predictions = torch.where(found.isfinite().all(1), found.argmax(1), -1)
        # All images at once: the sum does not depend on the batches either.
        loss = nn.functional.cross_entropy(found.double(), labels).item()
        score = Score(int((predictions == labels).sum()), len(indices))
        evaluations.append(Evaluation(score, loss, found, predictions, seconds))
    return evaluations


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    try:
        logits: Tensor = model(images)
    except RuntimeError as failure:
        # The packed kernels refuse NaN.
        layer = first_non_finite(model, images)
        if layer is None:
            raise
        raise GateError(f"evaluation: {layer}; finite numbers were needed", hint="train with a lower --lr") from failure
    return logits.float()
