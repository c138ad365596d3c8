"""Labelled PNG and JPEG files, wherever a reader found them, and how they become the images of a dataset."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from bnnkit.data.content import Content, Images, Part, Progress
from bnnkit.data.record import Record
from bnnkit.data.source import Reader
from bnnkit.errors import MismatchError

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_GREY = {"1", "L", "LA"}
_DEEP = {"I", "F"}
_CHUNK = 512


@dataclass(frozen=True)
class ImageFile:
    """One encoded image: its class, its name in the source (for errors and the order), and its bytes when asked."""

    label: str
    name: str
    read: Reader


def is_image(name: str) -> bool:
    """Return whether `name` ends like a PNG or JPEG and is none of the hidden files that systems leave in archives.

    Example:
        >>> is_image("val/images/val_0.JPEG"), is_image("__MACOSX/val/images/._val_0.JPEG")
        (True, False)
    """
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def decoded(
    record: Record, classes: tuple[str, ...], splits: Mapping[str, Sequence[ImageFile]], progress: Progress, note: str
) -> Content:
    """Return the images of `splits` ("train" and "test", neither empty), by name within their class.

    Labels are positions in `classes`. A record without classes takes the size from the first training image, and is
    grey if every image is. Files are opened when the parts of the result are read, in pieces uint8 [B, C, H, W].

    Raises:
        MismatchError: a class without training images or a label that is no class; while the parts are read, an
            unreadable image or one of another size.
    """
    trained, tested = ({file.label for file in splits[split]} for split in ("train", "test"))
    absent, strange = sorted(set(classes) - trained), sorted((trained | tested) - set(classes))
    if absent or strange:
        raise MismatchError(
            f"{record.name}: classes without training images: {listed(absent)}; unknown classes: {listed(strange)}; "
            f"needed the {len(classes)} classes of the dataset",
            hint="check the folder names, or give the dataset another name",
        )
    train, test = splits["train"], splits["test"]
    shape = record.shape if record.classes else _shape_of(train, test)
    total = len(train) + len(test)
    return Content(
        classes,
        _part(train, classes, shape, progress, 0, total),
        _part(test, classes, shape, progress, len(train), total),
        note,
    )


def listed(names: Sequence[str]) -> str:
    """Return the first five names for an error message.

    Example:
        >>> listed([]), listed("abcdef")
        ('none', 'a, b, c, d, e...')
    """
    return (", ".join(names[:5]) or "none") + ("..." if len(names) > 5 else "")


def _part(
    files: Sequence[ImageFile],
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
    files: Sequence[ImageFile], shape: tuple[int, int, int], progress: Progress, start: int, total: int
) -> Iterator[Images]:
    for first in range(0, len(files), _CHUNK):
        chunk = np.stack([_decode(file, shape) for file in files[first : first + _CHUNK]])
        progress("decode", start + first + len(chunk), total)
        yield np.ascontiguousarray(chunk.transpose(0, 3, 1, 2))


def _open(file: ImageFile) -> Image.Image:
    return Image.open(io.BytesIO(file.read()), formats=("PNG", "JPEG"))


def _unreadable(file: ImageFile, error: Exception) -> MismatchError:
    return MismatchError(
        f"{file.name}: unreadable image ({error}); needed a complete PNG or JPEG",
        hint="replace or remove this image",
    )


def _header(file: ImageFile) -> tuple[str, int, int]:
    try:
        with _open(file) as image:
            return image.mode, image.height, image.width
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _shape_of(train: Sequence[ImageFile], test: Sequence[ImageFile]) -> tuple[int, int, int]:
    _, height, width = _header(train[0])
    # The first colour image decides, so only grey datasets are looked through to their end.
    colour = any(_header(file)[0] not in _GREY for file in chain(train, test))
    return (3 if colour else 1, height, width)


def _decode(file: ImageFile, shape: tuple[int, int, int]) -> Images:
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
            # Pillow would clip these to 255 rather than scale them.
            if image.mode.partition(";")[0] in _DEEP:
                raise MismatchError(
                    f"{file.name}: more than 8 bits per grey pixel ({image.mode}); needed 8",
                    hint="convert the images to 8 bits first",
                )
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error
    return pixels.reshape(height, width, channels)
