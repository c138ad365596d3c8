"""The official CIFAR archives: pickled batches ("python version") and fixed-length records ("binary version")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnkit.data.content import Content, Images, Labels, Progress, whole
from bnnkit.data.pickled import read_batch
from bnnkit.data.record import Record
from bnnkit.data.source import Reader, md5, md5_file
from bnnkit.errors import MismatchError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    """Names of the batches, the key of the labels when pickled, and the label bytes before each binary image."""

    train: tuple[str, ...]
    test: str
    key: str
    label_bytes: int
    binary_archive: str

    @property
    def batches(self) -> tuple[str, ...]:
        return (*self.train, self.test)


_LAYOUTS = {
    10: _Layout(tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "labels", 1, "cifar-10-binary.tar.gz"),
    # A CIFAR-100 record is coarse label, fine label, pixels; only the fine label is used.
    100: _Layout(("train",), "test", "fine_labels", 2, "cifar-100-binary.tar.gz"),
}


def matches(files: Mapping[str, Reader], record: Record) -> bool:
    """Return whether `files` hold batches of `record`, pickled or binary."""
    layout = _LAYOUTS.get(len(record.classes))
    names = {_base(name) for name in files}
    return layout is not None and any(batch in names for name in layout.batches for batch in (name, f"{name}.bin"))


def read(files: Mapping[str, Reader], record: Record, progress: Progress, source: Path) -> Content:
    """Return CIFAR-10 or CIFAR-100 in the order of its batches.

    Pickled batches are checked against their published md5 one by one, so unpacked and repacked copies count too;
    for the binary version only the archive's own md5 is published.

    Raises:
        MismatchError: a batch is missing, damaged, refused, or not the published one.
    """
    layout = _LAYOUTS[len(record.classes)]
    by_base = {_base(name): name for name in sorted(files)}
    binary = layout.test not in by_base and layout.train[0] not in by_base
    note = record.note
    if binary and source.is_file():
        _check_md5(source.name, md5_file(source), record.md5.get(layout.binary_archive))
    elif binary:
        note = "; ".join(filter(None, (note, "binary files from a directory: counts checked, no published hash")))
    parts: dict[str, tuple[Images, Labels]] = {}
    for done, batch in enumerate(layout.batches):
        name = by_base.get(f"{batch}.bin" if binary else batch)
        if name is None:
            raise MismatchError(
                f"{record.name}: {batch}{'.bin' if binary else ''} is missing; needed {', '.join(layout.batches)}",
                hint="give the complete official archive",
            )
        data = files[name]()
        if not binary:
            _check_md5(name, md5(data), record.md5.get(batch))
        parts[batch] = _binary(data, name, layout) if binary else _pickled(data, name, layout)
        progress("read", done + 1, len(layout.batches))
    images = np.concatenate([parts[batch][0] for batch in layout.train])
    labels = np.concatenate([parts[batch][1] for batch in layout.train])
    return Content(record.classes, whole(images, labels), whole(*parts[layout.test]), note)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _check_md5(name: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise MismatchError(
            f"{name}: md5 {found}; the published file has {expected}", hint="download the official archive again"
        )


def _pickled(data: bytes, name: str, layout: _Layout) -> tuple[Images, Labels]:
    batch = read_batch(data, name)
    pixels, labels = batch.get("data"), batch.get(layout.key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise MismatchError(f"{name}: no 'data' array of {_PIXELS} values per image", hint="get the archive again")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(label) is int for label in labels):
        raise MismatchError(
            f"{name}: '{layout.key}' is not a list of {len(pixels)} numbers", hint="get the archive again"
        )
    return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _binary(data: bytes, name: str, layout: _Layout) -> tuple[Images, Labels]:
    length = layout.label_bytes + _PIXELS
    if len(data) % length:
        raise MismatchError(
            f"{name}: {len(data)} bytes; needed a multiple of {length} (label and image)", hint="get the archive again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, length)
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    return records[:, layout.label_bytes :].reshape(-1, 3, 32, 32), labels
