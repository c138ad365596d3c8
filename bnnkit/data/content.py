"""What a reader hands to the cache: labelled uint8 images, in pieces, so that no reader decides how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`; the unit is images, or bytes while downloading (`total` 0 = unknown)."""


@dataclass(frozen=True)
class Part:
    """One split: `labels` int64 [N] and `chunks`, uint8 arrays [B, C, H, W] that add up to `shape` [N, C, H, W]."""

    labels: Labels
    shape: tuple[int, int, int, int]
    chunks: Iterable[Images]


@dataclass(frozen=True)
class Content:
    """Both splits of a dataset as read from a source, and what a person should know about that source."""

    classes: tuple[str, ...]
    train: Part
    test: Part
    note: str


def whole(images: Images, labels: Labels) -> Part:
    """Return a part whose images, uint8 [N, C, H, W], already lie in memory."""
    count, channels, height, width = images.shape
    return Part(labels, (count, channels, height, width), (images,))
