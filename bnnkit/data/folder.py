"""Plain image folders, `<split>/<class>/*.png|jpg|jpeg`, whatever lies above them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from bnnkit.data.content import Content, Images, Part, Progress
from bnnkit.data.record import Record
from bnnkit.data.source import Reader
from bnnkit.errors import MismatchError

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_SPLITS = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
_CHUNK = 512


@dataclass(frozen=True)
class _File:
    label: str
    name: str
    read: Reader


def matches(files: Mapping[str, Reader]) -> bool:
    """Return whether at least one image lies in a `<split>/<class>/` folder."""
    return any(_place(name) for name in files)


def read(files: Mapping[str, Reader], record: Record, progress: Progress) -> Content:
    """Return the images of a folder tree: classes in alphabetical order, images by name within their class.

    A record without classes takes them, and the image size, from the training folders and their first image.

    Raises:
        MismatchError: other classes than the record's, a class without training images, an unreadable image, or
            one of another size.
    """
    splits: dict[str, list[_File]] = {"train": [], "test": []}
    for name in sorted(files):
        if place := _place(name):
            split, label = place
            splits[split].append(_File(label, name, files[name]))
    for split, part in splits.items():
        if not part:
            raise MismatchError(
                f"{record.name}: no images in {split}/<class>/; needed both train/ and test/ (or val/)",
                hint="arrange the images as <split>/<class>/<image>.png or .jpg",
            )
        # A split found twice (test/ and val/) would mix two sets under one name.
        roots = {PurePosixPath(file.name).parents[1] for file in part}
        if len(roots) > 1:
            raise MismatchError(
                f"{record.name}: {split} images in several places ({', '.join(sorted(map(str, roots)))}); needed one",
                hint="keep one of them in the source",
            )
    trained, tested = ({file.label for file in splits[split]} for split in ("train", "test"))
    expected = record.classes or tuple(sorted(trained))
    absent, strange = sorted(set(expected) - trained), sorted((trained | tested) - set(expected))
    if absent or strange:
        raise MismatchError(
            f"{record.name}: classes without training images: {_some(absent)}; unknown classes: {_some(strange)}; "
            f"needed the {len(expected)} classes of the dataset",
            hint="check the folder names, or give the dataset another name",
        )
    shape = record.shape if record.classes else _shape_of(splits["train"][0])
    total = sum(map(len, splits.values()))
    train = _part(splits["train"], expected, shape, progress, 0, total)
    test = _part(splits["test"], expected, shape, progress, len(splits["train"]), total)
    return Content(expected, train, test, _note(record, [file.name for part in splits.values() for file in part]))


def _some(names: Sequence[str]) -> str:
    return (", ".join(names[:5]) or "none") + ("..." if len(names) > 5 else "")


def _place(name: str) -> tuple[str, str] | None:
    parts = name.split("/")
    hidden = parts[-1].startswith(".") or "__MACOSX" in parts
    if len(parts) < 3 or hidden or PurePosixPath(name).suffix.lower() not in _SUFFIXES or parts[-3] not in _SPLITS:
        return None
    return _SPLITS[parts[-3]], parts[-2]


def _note(record: Record, names: Sequence[str]) -> str:
    lossy = any(not name.lower().endswith(".png") for name in names)
    if not record.classes:
        return "image folder" + (", JPEG" if lossy else "")
    told = "JPEG re-encoded images, not the lossless original: accuracies can sit slightly lower" if lossy else ""
    return "; ".join(filter(None, (record.note, told)))


def _part(
    files: Sequence[_File],
    classes: Sequence[str],
    shape: tuple[int, int, int],
    progress: Progress,
    start: int,
    total: int,
) -> Part:
    index = {label: number for number, label in enumerate(classes)}
    ordered = sorted(files, key=lambda file: (index[file.label], file.name))
    labels = np.array([index[file.label] for file in ordered], np.int64)
    return Part(labels, (len(ordered), *shape), _chunks(ordered, shape, progress, start, total))


def _chunks(
    files: Sequence[_File], shape: tuple[int, int, int], progress: Progress, start: int, total: int
) -> Iterator[Images]:
    for first in range(0, len(files), _CHUNK):
        chunk = np.stack([_decode(file, shape) for file in files[first : first + _CHUNK]])
        progress("decode", start + first + len(chunk), total)
        yield np.ascontiguousarray(chunk.transpose(0, 3, 1, 2))


def _open(file: _File) -> Image.Image:
    return Image.open(io.BytesIO(file.read()), formats=("PNG", "JPEG"))


def _unreadable(file: _File, error: Exception) -> MismatchError:
    return MismatchError(
        f"{file.name}: unreadable image ({error}); needed a complete PNG or JPEG",
        hint="replace or remove this image",
    )


def _shape_of(file: _File) -> tuple[int, int, int]:
    try:
        with _open(file) as image:
            return (1 if image.mode in {"1", "L"} else 3, image.height, image.width)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _decode(file: _File, shape: tuple[int, int, int]) -> Images:
    """Return the image as uint8 [H, W, C]."""
    channels, height, width = shape
    mode: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    try:
        with _open(file) as image:
            if image.size != (width, height):
                raise MismatchError(
                    f"{file.name}: {image.width}x{image.height} pixels; needed {width}x{height} like the others",
                    hint="resize the images to one size first",
                )
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error
    return pixels.reshape(height, width, channels)
