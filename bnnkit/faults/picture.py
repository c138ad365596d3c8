"""A few images as they are stored, as they are read, and as they are repaired."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnnkit.atomic import write_png
from bnnkit.data import Split
from bnnkit.faults.pixels import read_all
from bnnkit.faults.settings import Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#404040"
IMAGES = 4
"""Images that are shown, of different classes as far as there are."""
SIDE = 1.5
"""Of a panel, in inches."""
LETTERS = 22
"""That fit above a panel."""


def draw(
    path: Path,
    title: str,
    split: Split,
    indices: Tensor,
    settings: Sequence[Setting],
    seed: int,
    accuracies: Mapping[Setting | None, float],
) -> None:
    """Write a PNG; see `panels`.

    Raises:
        MissingError: no space, or no folder.
    """
    write_png(path, panels(title, split, indices, settings, seed, accuracies))


def panels(
    title: str,
    split: Split,
    indices: Tensor,
    settings: Sequence[Setting],
    seed: int,
    accuracies: Mapping[Setting | None, float],
) -> Figure:
    """Return a figure with a row per image and a column per setting, under a heading per table; clean images first.

    Args:
        indices: the images in use; some of them are shown, with the faults of map 0.
        accuracies: in percent, written above the columns they are known for.
    """
    # The figure is made without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    shown = samples(split, indices)
    stored = split.images[shown]
    groups = {name: [s for s in settings if s.table == name] for name in dict.fromkeys(s.table for s in settings)}
    widths = [1, *(len(group) for group in groups.values())]
    figure = Figure(figsize=(SIDE * sum(widths) + 0.4, SIDE * len(shown) + 1.2), dpi=150, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10)
    parts = figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
    _column(parts[0].subplots(len(shown), 1, squeeze=False)[:, 0], stored, "clean", accuracies.get(None))
    headings = {name: textwrap.fill(name, LETTERS * len(group)) for name, group in groups.items()}
    lines = max(heading.count("\n") for heading in headings.values())
    parts[0].suptitle("as stored" + "\n " * lines, color=INK, fontsize=9)
    for part, (name, group) in zip(parts[1:], groups.items(), strict=True):
        part.suptitle(headings[name], color=INK, fontsize=9)
        axes = part.subplots(len(shown), len(group), squeeze=False)
        for column, setting in zip(axes.T, group, strict=True):
            found = read_all(stored, setting.image_faults, (seed, 0, shown), setting.repair).images
            label = setting.row.removeprefix("repair ")
            _column(column, found, label, accuracies.get(setting))
    return figure


def samples(split: Split, indices: Tensor) -> Tensor:
    """Return up to IMAGES of the indices: the first image of each class, as they come, then the first of the others."""
    seen: set[int] = set()
    first: list[int] = []
    others: list[int] = []
    for place, label in enumerate(split.labels[indices].tolist()):
        (others if label in seen else first).append(place)
        seen.add(label)
    return indices[torch.tensor((first + others)[:IMAGES])]


def _column(axes: Sequence[Axes], images: Tensor, label: str, accuracy: float | None) -> None:
    for place, (axis, image) in enumerate(zip(axes, images, strict=True)):
        grey = image.shape[0] == 1
        axis.imshow((image[0] if grey else image.permute(1, 2, 0)).numpy(), cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
        if place == 0:
            known = "" if accuracy is None else f"\n{accuracy:.2f} %"
            axis.set_title(f"{label}{known}", color=INK, fontsize=9)
