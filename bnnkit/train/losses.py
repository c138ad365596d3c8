"""What a training makes small: cross-entropy with the labels, distance from a teacher, penalty on gates."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.nn import gate_sum_of_squares
from bnnkit.train.config import Config
from bnnkit.train.teacher import Teacher


class Objective:
    """The loss of one training.

        distill * distribution_loss(student, teacher) + (1 - distill) * cross-entropy
            + gate_penalty / 2 * sum over gates of ||threshold - gate_target||^2

    Without a teacher the cross-entropy counts in full.
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
            loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        else:
            loss = config.distill * distribution_loss(logits, self._teacher(images), config.temperature)
            if config.distill < 1:
                hard = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
                loss = loss + (1 - config.distill) * hard
        if config.gate_penalty:
            squares = gate_sum_of_squares(self._model, config.gate_target)
            loss = loss if squares is None else loss + config.gate_penalty / 2 * squares
        return loss


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
