"""Tiny ImageNet as it is shipped: training images in one folder per class, validation images listed in a text file.

    wnids.txt                               the classes, one WordNet id (wnid) per line, in no particular order
    words.txt                               wnid <tab> names, of many more wnids than there are classes (not read)
    train/<wnid>/images/<wnid>_<n>.JPEG     beside <wnid>_boxes.txt (not read)
    val/images/val_<n>.JPEG                 the test split here
    val/val_annotations.txt                 file <tab> wnid <tab> bounding box
    test/images/                            without published labels (not read)

A class is called by its wnid: the names in words.txt are lists of synonyms, and not unique. Classes are in sorted
order, as they are when the same images lie in `<split>/<wnid>/` folders, so that both layouts give one dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bnnkit.data.content import Content, Progress
from bnnkit.data.image_files import ImageFile, decoded, is_image, listed
from bnnkit.data.record import Record
from bnnkit.data.source import Reader
from bnnkit.errors import MismatchError

_TRAINING = re.compile(r"(?P<root>(?:.*/)?)train/(?P<wnid>[^/]+)/images/[^/]+")
_WNIDS = "wnids.txt"
_ANNOTATIONS = "val/val_annotations.txt"
_IMAGES = "val/images/"
_HINT = "give the complete original archive, or folders train/<wnid>/*.JPEG and val/<wnid>/*.JPEG"


def matches(files: Mapping[str, Reader]) -> bool:
    """Return whether at least one image lies in a `train/<class>/images/` folder.

    Example:
        >>> matches({"tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG": bytes})
        True
    """
    return any(_training(name) for name in files)


def read(files: Mapping[str, Reader], record: Record, progress: Progress) -> Content:
    """Return Tiny ImageNet: classes in the order of their sorted wnids, images by name within their class.

    Grey images among them become colour, uint8 [B, 3, H, W]. A record without classes takes them from wnids.txt.

    Raises:
        MismatchError: wnids.txt or val_annotations.txt is missing or names unknown classes, a class has no training
            images, the validation images and their annotations differ, or an image is unreadable or of another size.
    """
    root = _root(files, record)
    tree = {name[len(root) :]: reader for name, reader in files.items() if name.startswith(root)}
    wnids = tuple(sorted({line.strip() for _, line in _lines(tree, root, _WNIDS)}))
    classes = record.classes or wnids
    if strange := sorted(set(wnids) - set(classes)):
        raise MismatchError(
            f"{root}{_WNIDS}: unknown classes: {listed(strange)}; needed the {len(classes)} classes of the dataset",
            hint="give the dataset another name",
        )
    train = [ImageFile(match["wnid"], root + name, tree[name]) for name in sorted(tree) if (match := _training(name))]
    test = _validation(tree, root, classes)
    return decoded(record, classes, {"train": train, "test": test}, progress, record.note)


def _training(name: str) -> re.Match[str] | None:
    return _TRAINING.fullmatch(name) if is_image(name) else None


def _root(files: Mapping[str, Reader], record: Record) -> str:
    roots = sorted({match["root"] for name in files if (match := _training(name))})
    if len(roots) > 1:
        raise MismatchError(
            f"{record.name}: train images in several places ({listed([f'{root}train' for root in roots])}); needed one",
            hint="keep one of them in the source",
        )
    return roots[0]


def _lines(tree: Mapping[str, Reader], root: str, name: str) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers."""
    if name not in tree:
        raise MismatchError(f"{root}{name} is missing; needed it beside the images", hint=_HINT)
    text = tree[name]().decode("utf-8", "replace")
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _validation(tree: Mapping[str, Reader], root: str, classes: tuple[str, ...]) -> list[ImageFile]:
    labels = _annotations(tree, root, set(classes))
    images = {name.removeprefix(_IMAGES) for name in tree if name.startswith(_IMAGES) and is_image(name)}
    for wrong, names in (
        ("annotated but missing", set(labels) - images),
        ("not in val_annotations.txt", images - set(labels)),
    ):
        if names:
            raise MismatchError(
                f"{root}{_IMAGES}: {wrong}: {listed(sorted(names))} ({len(names)} of {len(images | set(labels))}); "
                "needed one line for each image",
                hint=_HINT,
            )
    if not labels:
        raise MismatchError(f"{root}{_ANNOTATIONS}: no annotations; needed one line for each image", hint=_HINT)
    return [ImageFile(labels[name], f"{root}{_IMAGES}{name}", tree[_IMAGES + name]) for name in sorted(labels)]


def _annotations(tree: Mapping[str, Reader], root: str, classes: set[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, line in _lines(tree, root, _ANNOTATIONS):
        where = f"{root}{_ANNOTATIONS}: line {number}"
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 2:
            raise MismatchError(f"{where}: {line[:40]!r}; needed <file> <tab> <wnid>", hint=_HINT)
        image, wnid = fields[:2]
        if wnid not in classes:
            raise MismatchError(f"{where}: unknown class {wnid[:40]!r}; needed one of wnids.txt", hint=_HINT)
        if labels.setdefault(image, wnid) != wnid:
            raise MismatchError(f"{where}: {image} is {wnid}, and {labels[image]} before; needed one class", hint=_HINT)
    return labels
