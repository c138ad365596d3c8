"""Plain image folders, `<split>/<class>/*.png|jpg|jpeg`, whatever lies above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from bnnkit.data.content import Content, Progress
from bnnkit.data.image_files import ImageFile, decoded, is_image
from bnnkit.data.record import Record
from bnnkit.data.source import Reader
from bnnkit.errors import MismatchError

_SPLITS = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}


def matches(files: Mapping[str, Reader]) -> bool:
    """Return whether at least one image lies in a `<split>/<class>/` folder."""
    return any(_place(name) for name in files)


def read(files: Mapping[str, Reader], record: Record, progress: Progress) -> Content:
    """Return the images of a folder tree: classes in alphabetical order, images by name within their class.

    A record without classes takes them from the training folders, the image size from their first image, and is
    grey if every image is.

    Raises:
        MismatchError: other classes than the record's, a class without training images, an unreadable image, or
            one of another size.
    """
    splits: dict[str, list[ImageFile]] = {"train": [], "test": []}
    for name in sorted(files):
        if place := _place(name):
            split, label = place
            splits[split].append(ImageFile(label, name, files[name]))
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
    classes = record.classes or tuple(sorted({file.label for file in splits["train"]}))
    note = _note(record, [file.name for part in splits.values() for file in part])
    return decoded(record, classes, splits, progress, note)


def _place(name: str) -> tuple[str, str] | None:
    parts = name.split("/")
    if len(parts) < 3 or parts[-3] not in _SPLITS or not is_image(name):
        return None
    return _SPLITS[parts[-3]], parts[-2]


def _note(record: Record, names: Sequence[str]) -> str:
    lossy = any(not name.lower().endswith(".png") for name in names)
    if not record.classes:
        return "image folder" + (", JPEG" if lossy else "")
    recoded = lossy and not record.jpeg
    told = "JPEG re-encoded images, not the lossless original: accuracies can sit slightly lower" if recoded else ""
    return "; ".join(filter(None, (record.note, told)))
