"""The network that a training imitates."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnnkit import checkpoint, runs
from bnnkit.errors import MismatchError
from bnnkit.models import Model
from bnnkit.train.images import Shape
from bnnkit.train.subject import Subject


class Teacher:
    """A trained network of any architecture, in evaluation mode; it normalizes images as it was trained.

    Args:
        path: its checkpoint.
        shape: of the images it will be shown, (C, H, W).
        classes: outputs it must have.

    Raises:
        MissingError: there is no such file.
        MismatchError: the file is damaged, or the network has other classes.
        UsageError: the images do not fit into its own.
    """

    def __init__(self, path: Path, shape: Shape, classes: int, device: torch.device) -> None:
        subject = Subject(checkpoint.read(path))
        found = subject.checkpoint.config["classes"]
        if found != classes:
            raise MismatchError(
                f"--teacher {path}: {found} classes; {classes}, those of the dataset, were needed",
                hint="train the teacher on the same dataset",
            )
        self.path, self.digest = path, runs.file_digest(path)
        self._preparation = subject.preparation
        self._model: Model = subject.model({}).to(device)
        self._preparation.fit(torch.zeros(1, *shape, dtype=torch.uint8))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits, float32 [B, classes], of images, uint8 [B, C, H, W]."""
        logits: Tensor = self._model(self._preparation(images))
        return logits.float()
