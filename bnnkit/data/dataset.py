"""Datasets in use: memory-mapped images, their labels, and the few transformations every training needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bnnkit.counter import permutation
from bnnkit.data import cache, digits
from bnnkit.data.build import find_record, is_prepared, prepare, repair_command
from bnnkit.data.content import Images, Labels, Progress
from bnnkit.data.record import DATASETS, EMBEDDED
from bnnkit.errors import MismatchError, MissingError, UsageError

_SPLIT_KEY = 0x5B117


@dataclass(frozen=True)
class Split:
    """Images, uint8 [N, C, H, W], and labels, int64 [N].

    The images are backed by a memory map; writing to them never reaches the file.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """Return the same images and labels on a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A dataset ready for use. `mean` and `std`, per channel, belong to images scaled to 0..1; see `normalize`.

    `fingerprint` (sha256 of classes, shapes, images and labels) identifies the content wherever it was prepared;
    `note` says what must be said beside a result.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    note: str


def load(
    name: str,
    *,
    data_dir: Path | str | None = None,
    download: bool = True,
    verify: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Open a prepared dataset; one that is known but missing is downloaded first, unless `download` is off.

    `verify` also compares the content with its fingerprint (reads every byte).

    Raises:
        UsageError: unknown name.
        MissingError: not prepared, and download is off or the network is.
        MismatchError: the prepared files are damaged; the hint is the command that rebuilds them.

    Example:
        >>> from bnnkit.data import load
        >>> digits = load("digits")
        >>> len(digits.train), tuple(digits.test.images.shape)
        (1437, (360, 1, 8, 8))
    """
    if name == EMBEDDED:
        return _embedded()
    root = cache.data_root(None if data_dir is None else Path(data_dir))
    if not is_prepared(name, data_dir):
        record = find_record(name, custom=False)
        if not download:
            raise MissingError(
                f"dataset '{record.name}' is not prepared in {root}; needed its prepared files",
                hint=repair_command(name, "ARCHIVE", data_dir),
            )
        prepare(name, None, data_dir, progress)
    repair = repair_command(name, data_dir=data_dir)
    info = cache.read_info(root, name, repair)
    if info.source:
        repair = repair_command(name, info.source, data_dir)
    train, test = (cache.open_split(root, info, split, repair) for split in ("train", "test"))
    if verify and cache.fingerprint(info.classes, (train, test)) != info.fingerprint:
        raise MismatchError(
            f"{root / name}: content differs from what was prepared (fingerprint); needed the files unchanged",
            hint=repair,
        )
    return Dataset(
        info.name, info.classes, _split(*train), _split(*test), info.mean, info.std, info.fingerprint, info.note
    )


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (images / 255 - mean) / std as float32 [N, C, H, W], per channel, on the device of the images.

    Args:
        images: uint8 [N, C, H, W].

    Raises:
        ValueError: not one mean and one standard deviation per channel.

    Example:
        >>> normalize(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), (0.5,), (0.25,)).item()
        2.0
    """
    if len(mean) != images.shape[1] or len(std) != images.shape[1]:
        raise ValueError(f"normalize: {images.shape[1]} channels, {len(mean)} means, {len(std)} standard deviations")
    shape = (1, -1, 1, 1)
    centre, spread = (torch.tensor(v, dtype=torch.float32, device=images.device).view(shape) for v in (mean, std))
    return images.to(torch.float32).div_(255).sub_(centre).div_(spread)


def fit_shape(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return uint8 [N, C, H, W] images brought to `shape` = (C, H, W) without losing a pixel.

    Grey becomes colour by repeating the channel; each pixel becomes a block as large as fits; what remains is a
    black border (the odd pixel goes below and right). 8x8 digits fill 32x32 exactly; 28x28 gets a border of 2.

    Raises:
        UsageError: the target is smaller, or has fewer channels (nothing is ever shrunk).

    Example:
        >>> fit_shape(torch.ones(1, 1, 8, 8, dtype=torch.uint8), (3, 32, 32)).sum().item()
        3072
    """
    _, channels, height, width = images.shape
    if (channels, height, width) == shape:
        return images
    if channels not in (1, shape[0]) or height > shape[1] or width > shape[2]:
        raise UsageError(
            f"images of {channels}x{height}x{width} do not fit a network for {'x'.join(map(str, shape))}; "
            "needed the same number of channels (or grey) and no larger size",
            hint="choose another dataset, or build the network for these images",
        )
    factor = min(shape[1] // height, shape[2] // width)
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    down, right = shape[1] - height * factor, shape[2] - width * factor
    border = (right // 2, right - right // 2, down // 2, down - down // 2)
    return torch.nn.functional.pad(images, border).expand(-1, shape[0], -1, -1).contiguous()


def validation_split(count: int, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return int64 (training, validation) indices into `count` images, ascending; `held_out` are for validation.

    Raises:
        UsageError: nothing would be left to train on.

    Example:
        >>> train, val = validation_split(10, 3, seed=0)
        >>> len(train), len(val), sorted(train.tolist() + val.tolist()) == list(range(10))
        (7, 3, True)
    """
    if not 0 <= held_out < count:
        raise UsageError(
            f"--val-split {held_out}: of {count} training images; needed 0 to {count - 1}",
            hint=f"try --val-split {count // 10}",
        )
    order = permutation(count, seed, _SPLIT_KEY)
    return order[held_out:].sort().values, order[:held_out].sort().values


def _split(images: Images, labels: Labels) -> Split:
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _embedded() -> Dataset:
    record = DATASETS.get(EMBEDDED)
    train, test = digits.load()
    mean, std = cache.statistics(cache.histogram_of(train[0]))
    return Dataset(
        record.name, record.classes, _split(*train), _split(*test), mean, std, digits.FINGERPRINT, record.note
    )
