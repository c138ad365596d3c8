"""Prepared datasets on disk: one folder per dataset, committed by replacing one small file.

    <root>/<name>/dataset.json            names the folder in use; replacing it is the only commit
    <root>/<name>/data-<random>/          {train,test}-images.npy uint8 [N, C, H, W], {train,test}-labels.npy int64 [N]

A run that is stopped at any moment leaves either the old dataset or none, never half of one; what it left over is
removed by the next. Files in use by a running training stay valid, because they are never written twice.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from bnnkit.atomic import DISK_FULL, sync_directory, write_text
from bnnkit.data.content import Content, Images, Labels, Part
from bnnkit.errors import MismatchError, MissingError

FORMAT = "bnnkit.dataset/1"
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class CacheInfo:
    """Contents of `dataset.json`. `fingerprint` is the sha256 over classes, shapes, images and labels."""

    format: str
    name: str
    folder: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    note: str
    source: str


def data_root(data_dir: Path | None = None) -> Path:
    """Return where prepared datasets live: `data_dir`, else `$BNNKIT_DATA`, else the user's cache directory."""
    if data_dir is not None:
        return data_dir.expanduser()
    if chosen := os.environ.get("BNNKIT_DATA"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "bnnkit" / "data"


def exists(root: Path, name: str) -> bool:
    """Return whether a dataset called `name` was committed under `root` (its files are not read)."""
    return (root / name / "dataset.json").is_file()


def names(root: Path) -> list[str]:
    """Return the names of the datasets committed under `root`."""
    return sorted(file.parent.name for file in root.glob("*/dataset.json"))


def size(root: Path, name: str) -> int:
    """Return the bytes that the dataset occupies on disk."""
    return sum(file.stat().st_size for file in (root / name).rglob("*") if file.is_file())


@contextmanager
def session(root: Path, name: str) -> Iterator[Path]:
    """Hold the dataset's folder for writing, without what an interrupted run left there; a second process waits.

    Raises:
        MissingError: no space left, or the directory cannot be written; nothing half-written stays behind.
    """
    home = root / name
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sweep(home, keep=_in_use(home))
            yield home
    except OSError as error:
        if error.errno in DISK_FULL:
            raise MissingError(
                f"{home}: no space left on the disk ({error.strerror}); the dataset was not stored",
                hint="free some space, or set BNNKIT_DATA to a directory on another disk",
            ) from error
        raise MissingError(
            f"{home}: cannot store the dataset ({error}); needed a writable directory",
            hint="set BNNKIT_DATA to a directory you can write to",
        ) from error


def write(
    home: Path,
    content: Content,
    *,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    source: str,
) -> CacheInfo:
    """Store `content` in the folder of a `session` and return what was recorded; mean and std are computed where None.

    Raises:
        OSError: as the system reports it; `session` translates.
        MismatchError: from the reader that `content` streams from.
    """
    _require_space(home, content)
    folder = home / f"data-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        info = _write_files(folder, home.name, content, mean, std, source)
        write_text(home / "dataset.json", json.dumps(asdict(info), indent=1) + "\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _sweep(home, keep=folder.name)
    return info


def read_info(root: Path, name: str, repair: str) -> CacheInfo:
    """Return the record of a prepared dataset; `repair` is the command named by errors.

    Raises:
        MismatchError: `dataset.json` is damaged or was written by another version of bnnkit.
    """
    path = root / name / "dataset.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise MismatchError(f"{path}: format {raw['format']!r}; this bnnkit reads {FORMAT!r}", hint=repair)
        channels, height, width = (int(v) for v in raw["shape"])
        train, test = (int(v) for v in raw["counts"])
        return CacheInfo(
            format=FORMAT,
            name=name,
            folder=_checked_folder(raw["folder"]),
            classes=tuple(map(str, raw["classes"])),
            shape=(channels, height, width),
            counts=(train, test),
            mean=tuple(map(float, raw["mean"])),
            std=tuple(map(float, raw["std"])),
            fingerprint=str(raw["fingerprint"]),
            note=str(raw["note"]),
            source=str(raw["source"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MismatchError(
            f"{path}: damaged record of a prepared dataset ({type(error).__name__}: {error})", hint=repair
        ) from error


def open_split(root: Path, info: CacheInfo, split: str, repair: str) -> tuple[Images, Labels]:
    """Return images (memory-mapped, copy on write, so the file cannot be changed) and labels of one split.

    Raises:
        MismatchError: a file is missing, truncated, or not what `dataset.json` says.
    """
    folder = root / info.name / info.folder
    count = info.counts[_SPLITS.index(split)]
    try:
        images = np.load(folder / f"{split}-images.npy", mmap_mode="c", allow_pickle=False)
        labels = np.load(folder / f"{split}-labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MismatchError(
            f"{folder}: {split} files of '{info.name}' are damaged ({error}); needed {count} images",
            hint=repair,
        ) from error
    fits = images.dtype == np.uint8 and images.shape == (count, *info.shape)
    if not fits or labels.dtype != np.int64 or labels.shape != (count,):
        raise MismatchError(
            f"{folder}: {split} holds {images.dtype} {images.shape} and {labels.dtype} {labels.shape}; "
            f"needed uint8 {(count, *info.shape)} and int64 ({count},)",
            hint=repair,
        )
    _check_labels(labels, info.classes, f"{folder}: {split}", repair)
    return images, labels


def fingerprint(classes: Sequence[str], parts: Sequence[tuple[Images, Labels]]) -> str:
    """Return the sha256 of a dataset that is open or in memory, equal to the one recorded when it was written."""
    digest = hashlib.sha256(_heading(classes, [images.shape for images, _ in parts]))
    for images, labels in parts:
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def statistics(histogram: Labels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, for images scaled to 0..1, from counts int64 [C, 256]."""
    values = np.arange(256) / 255
    total = histogram.sum(1)
    mean = histogram @ values / total
    std = np.sqrt(np.maximum(histogram @ values**2 / total - mean**2, 1e-12))
    return tuple(mean.tolist()), tuple(std.tolist())


def histogram_of(images: Images) -> Labels:
    """Return how often each byte occurs in each channel of uint8 [N, C, H, W], as int64 [C, 256]."""
    channels = images.shape[1]
    return np.stack([np.bincount(images[:, c].ravel(), minlength=256) for c in range(channels)]).astype(np.int64)


def _checked_folder(folder: object) -> str:
    if not isinstance(folder, str) or re.fullmatch(r"data-[0-9a-f]+", folder) is None:
        raise ValueError(f"folder {folder!r}")
    return folder


def _heading(classes: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> bytes:
    return json.dumps([list(classes), [list(shape) for shape in shapes]]).encode()


def _check_labels(labels: Labels, classes: Sequence[str], where: str, repair: str) -> None:
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise MismatchError(
            f"{where}: labels reach from {labels.min()} to {labels.max()}; needed 0 to {len(classes) - 1}",
            hint=repair,
        )


def _write_files(
    folder: Path,
    name: str,
    content: Content,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    source: str,
) -> CacheInfo:
    parts = (content.train, content.test)
    digest = hashlib.sha256(_heading(content.classes, [part.shape for part in parts]))
    histogram = np.zeros((content.train.shape[1], 256), np.int64)

    def count(images: Images) -> None:
        if mean is None:
            histogram[...] += histogram_of(images)

    _write_part(folder, "train", content.train, digest.update, count)
    _write_part(folder, "test", content.test, digest.update, lambda images: None)
    sync_directory(folder)
    computed = statistics(histogram) if mean is None else (mean, std or mean)
    return CacheInfo(
        format=FORMAT,
        name=name,
        folder=folder.name,
        classes=content.classes,
        shape=content.train.shape[1:],
        counts=(content.train.shape[0], content.test.shape[0]),
        mean=computed[0],
        std=computed[1],
        fingerprint=digest.hexdigest(),
        note=content.note,
        source=source,
    )


def _write_part(
    folder: Path,
    split: str,
    part: Part,
    hash_bytes: Callable[[bytes | memoryview], None],
    see: Callable[[Images], None],
) -> None:
    # Plain writes: a full disk is then an error here and not a SIGBUS from a memory map.
    with (folder / f"{split}-images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": part.shape})
        for chunk in part.chunks:
            data = np.ascontiguousarray(chunk)
            see(data)
            hash_bytes(data.data)
            file.write(data.data)
        _sync(file)
    labels = part.labels.astype("<i8")
    hash_bytes(labels.tobytes())
    with (folder / f"{split}-labels.npy").open("wb") as file:
        np.save(file, labels)
        _sync(file)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _in_use(home: Path) -> str | None:
    try:
        folder = json.loads((home / "dataset.json").read_text(encoding="utf-8"))["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(folder)


def _sweep(home: Path, keep: str | None) -> None:
    for entry in (*home.glob("data-*"), *home.glob("download-*")):
        if entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)


def _require_space(home: Path, content: Content) -> None:
    needed = sum(int(np.prod(part.shape)) + 8 * part.shape[0] for part in (content.train, content.test))
    free = shutil.disk_usage(home).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free")
