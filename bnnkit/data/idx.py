"""The idx files of MNIST: a big-endian header (type, rank, sizes) and then raw bytes, usually inside gzip."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping

import numpy as np

from bnnkit.data.content import Content, Images, Progress, whole
from bnnkit.data.record import Record
from bnnkit.data.source import Reader, md5
from bnnkit.errors import MismatchError

_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_FILES = {
    (split, kind): f"{split}-{kind}-idx{rank}-ubyte"
    for split in ("train", "t10k")
    for kind, rank in (("images", 3), ("labels", 1))
}


def matches(files: Mapping[str, Reader]) -> bool:
    """Return whether `files` hold idx files by name."""
    return any(_NAME.fullmatch(name.rpartition("/")[2]) for name in files)


def read(files: Mapping[str, Reader], record: Record, progress: Progress) -> Content:
    """Return MNIST from its four idx files, in their order.

    Raises:
        MismatchError: a file is missing, damaged, of another size, or not the published one (md5).
    """
    found: dict[tuple[str, str], str] = {}
    for name in sorted(files):
        if match := _NAME.fullmatch(name.rpartition("/")[2]):
            found[match[1], match[2]] = name
    arrays: dict[tuple[str, str], Images] = {}
    for key, plain in _FILES.items():
        if key not in found:
            raise MismatchError(
                f"{record.name}: {plain}[.gz] is missing; needed the four idx files",
                hint=f"put {', '.join(f'{file}.gz' for file in _FILES.values())} side by side",
            )
        data = _plain(files[found[key]](), found[key])
        expected = record.md5.get(plain)
        if expected is not None and md5(data) != expected:
            raise MismatchError(
                f"{found[key]}: md5 {md5(data)} of the unpacked file; the published one has {expected}",
                hint="download the file again",
            )
        arrays[key] = parse(data, found[key])
        progress("read", len(arrays), len(_FILES))
    train, test = (
        whole(arrays[split, "images"][:, None], arrays[split, "labels"].astype(np.int64)) for split in ("train", "t10k")
    )
    return Content(record.classes, train, test, record.note)


def parse(data: bytes, where: str) -> Images:
    """Return the uint8 array stored in idx format in `data`; `where` names the file in errors.

    Raises:
        MismatchError: wrong magic number, or fewer or more bytes than the header announces.

    Example:
        >>> parse(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "labels")
        array([7, 9], dtype=uint8)
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise MismatchError(f"{where}: no idx header of unsigned bytes", hint="get the original file again")
    rank = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank))
    start = 4 + 4 * rank
    if len(data) - start != math.prod(shape):
        raise MismatchError(
            f"{where}: {len(data) - start} bytes after the header; its sizes {shape} need {math.prod(shape)}",
            hint="get the original file again",
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _plain(data: bytes, where: str) -> bytes:
    if not where.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise MismatchError(
            f"{where}: corrupt or truncated gzip ({error})", hint="download or copy the file again"
        ) from error
