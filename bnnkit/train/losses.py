"""What a training makes small: distance from the labels and from a teacher, penalty on gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.nn import gate_sum_of_squares
from bnnkit.registry import Registry
from bnnkit.train.config import Config
from bnnkit.train.teacher import Teacher

Loss: TypeAlias = Callable[[Tensor, Tensor, Config], Tensor]
"""From logits, float32 [B, classes], labels, int64 [B], and its options to a mean over images."""

LOSSES: Registry[Loss] = Registry("loss")


@LOSSES.register("cross-entropy")
def cross_entropy(logits: Tensor, labels: Tensor, config: Config) -> Tensor:
    """Return -sum over c of wanted_c * log_softmax(logits)_c, `label_smoothing` of wanted spread over all classes."""
    return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)


@LOSSES.register("margin")
def margin(logits: Tensor, labels: Tensor, config: Config) -> Tensor:
    """Return `margin_loss` with the margin `margin`."""
    return margin_loss(logits, labels, config.margin)


class Objective:
    """The loss of one training.

        distill * distribution_loss(student, teacher) + (1 - distill) * loss
            + gate_penalty / 2 * sum over gates of ||threshold - gate_target||^2

    with a loss of `LOSSES`. Without a teacher it counts in full.
    """

    def __init__(self, config: Config, model: nn.Module, teacher: Teacher | None) -> None:
        self._config, self._model, self._teacher = config, model, teacher

    def __call__(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, float32 [].

        Args:
            logits: float32 [B, classes], with their graph.
            images: uint8 [B, C, H, W], what they were computed from.
            labels: int64 [B].
        """
        config = self._config
        if self._teacher is None:
            loss = LOSSES.get(config.loss)(logits, labels, config)
        else:
            loss = config.distill * distribution_loss(logits, self._teacher(images), config.temperature)
            if config.distill < 1:
                loss = loss + (1 - config.distill) * LOSSES.get(config.loss)(logits, labels, config)
        if config.gate_penalty:
            squares = gate_sum_of_squares(self._model, config.gate_target)
            loss = loss if squares is None else loss + config.gate_penalty / 2 * squares
        return loss


def margin_loss(logits: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the modified hinge loss, mean over images and classes: the outputs of all classes keep a distance from 0.

        max(0, margin - y_c * logit_c)      y_c = 1 for the image's class, -1 for the others

    A class that is beyond the margin has no gradient, all others have the same. An output that faults move by less
    than the margin keeps its sign, and so the prediction stays: hence few faults in the layer before it do no harm.

    The margin is in units of the logits. Where they are sums of +-1 themselves, a wrong bit moves them by 2, and
    margins are of the size of the sums, for example 128. Where sums are normalized, as in cnv, a margin of b is one of
    b * std / gamma in the sums:

        logit = gamma * (sum - mean) / std + beta

    At gamma = 1 margins up to 5/3 can be met for ten classes: perfect outputs of unit variance are 3 and -1/3, and
    beta = -4/3 centres them. gamma and beta are learned, so that larger margins are met by a larger gamma; that takes
    it time, and until then nearly all outputs are asked for more.

    Paper: Buschjäger et al., "Margin-maximization in binarized neural networks for optimizing bit error tolerance",
    DATE 2021.

    Args:
        logits: float32 [B, classes].
        labels: int64 [B].

    >>> import torch
    >>> margin_loss(torch.tensor([[3.0, -0.5, 1.0]]), torch.tensor([0]), 2.0)      # (0 + 1.5 + 3) / 3
    tensor(1.5000)
    """
    wanted = 2 * F.one_hot(labels, logits.shape[1]).to(logits.dtype) - 1
    return (margin - wanted * logits).clamp_min(0).mean()


def distribution_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the cross-entropy between two networks' distributions, mean over images, times temperature squared.

        -T^2 * mean over images of sum over c of softmax(teacher / T)_c * log_softmax(student / T)_c

    The factor keeps the gradient's size. Paper: Hinton et al., "Distilling the knowledge in a neural network", 2015; at
    temperature 1 the loss of ReActNet and A&B BNN.

    Args:
        student, teacher: logits, float32 [B, classes]; no gradient flows to the teacher's.

    >>> import torch
    >>> round(distribution_loss(torch.zeros(3, 4), torch.zeros(3, 4)).item(), 4)
    1.3863
    """
    wanted = F.softmax(teacher.detach() / temperature, 1)
    return -(wanted * F.log_softmax(student / temperature, 1)).sum(1).mean() * temperature**2
