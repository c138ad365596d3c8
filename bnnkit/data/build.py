"""Turn a source into a prepared dataset: find the reader, check what it found, write the cache."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bnnkit.data import cache, cifar, digits, folder, idx, tiny_imagenet
from bnnkit.data.content import Content, Progress
from bnnkit.data.download import fetch
from bnnkit.data.record import DATASETS, EMBEDDED, Record
from bnnkit.data.source import Reader, open_source
from bnnkit.errors import MismatchError, UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_prepared(name: str, data_dir: Path | str | None = None) -> bool:
    """Return whether `load(name)` needs neither a source nor a download; `digits`, in the package, always is."""
    return name == EMBEDDED or (_NAME.fullmatch(name) is not None and cache.exists(_root(data_dir), name))


def prepare(
    name: str,
    source: Path | str | None = None,
    data_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Read a dataset from an archive, a directory or its official site, check it and store it; return its folder.

    `source` is an official archive, image folders `<split>/<class>/*.png|jpg`, or an archive (.tar, .tar.gz, .tar.xz,
    .zip) of such folders. Without it, a dataset that is already stored and intact is kept, else it is downloaded.
    A name that is not in `DATASETS` needs a `source` of image folders, and becomes a dataset of that name.

    Raises:
        UsageError: unknown name without a source, or a source that is not there.
        MismatchError: the source is damaged, malicious, or not this dataset (classes, counts, sizes, hashes).
        MissingError: no network, no disk space, or no permission to write.

    Example:
        >>> from bnnkit.data import prepare
        >>> prepare("digits").name
        'digits.npz'
    """
    if name == EMBEDDED:
        if source is not None:
            raise UsageError("digits ships in the package and takes no --source", hint="leave --source out")
        digits.load()
        return digits.PATH
    given = None if source is None else Path(source).expanduser().resolve()
    record = find_record(name, custom=given is not None)
    report = progress or (lambda stage, done, total: None)
    root = _root(data_dir)
    with cache.session(root, name) as home:
        if given is None and _intact(root, name):
            return home
        if given is not None:
            build(record, given, home, report)
            return home
        with TemporaryDirectory(prefix="download-", dir=home) as downloads:
            repair = repair_command(name, "ARCHIVE", data_dir)
            build(record, fetch(record, Path(downloads), report, repair), home, report)
    return home


def build(record: Record, source: Path, home: Path, progress: Progress) -> cache.CacheInfo:
    """Read `source` as the dataset `record` and store it in `home`, the folder of a `cache.session`."""
    content = read_content(record, source, progress)
    kept = "" if source.is_relative_to(home) else str(source)
    return cache.write(home, content, mean=record.mean, std=record.std, source=kept)


def read_content(record: Record, source: Path, progress: Progress) -> Content:
    """Return what `source` holds, recognised by its file names and checked against `record`.

    Raises:
        UsageError: `source` does not exist or is no archive.
        MismatchError: nothing recognisable, or not this dataset.
    """
    stage = f"open {source.name}"
    progress(stage, 0, 1)
    files = open_source(source)
    progress(stage, 1, 1)
    if record.classes and cifar.matches(files, record):
        content = cifar.read(files, record, progress, source)
    elif record.classes and idx.matches(files):
        content = idx.read(files, record, progress)
    elif tiny_imagenet.matches(files):
        content = tiny_imagenet.read(files, record, progress)
    elif folder.matches(files):
        content = folder.read(files, record, progress)
    else:
        raise _unrecognised(record, source, files)
    check(record, content, source)
    told = _subset(record, content.train.shape[0])
    return replace(content, note="; ".join(filter(None, (content.note, told))))


def check(record: Record, content: Content, source: Path) -> None:
    """Compare image size, counts and labels with what is known of the dataset.

    Raises:
        MismatchError: they differ.
    """
    where = f"{source}: not '{record.name}'"
    hint = "give the complete dataset, or another name"
    for split, part, count in zip(("train", "test"), (content.train, content.test), record.counts, strict=True):
        subset = split == "train" and bool(_subset(record, part.shape[0]))
        if record.classes and part.shape != (part.shape[0] if subset else count, *record.shape):
            raise MismatchError(
                f"{where}: {split} has {part.shape[0]} images of {part.shape[1:]}; needed {count} of {record.shape}",
                hint=hint,
            )
        if len(part.labels) != part.shape[0]:
            raise MismatchError(f"{where}: {split} has {len(part.labels)} labels for {part.shape[0]} images", hint=hint)
        per_class = np.bincount(np.clip(part.labels, -1, len(content.classes)) + 1, minlength=len(content.classes) + 2)
        if per_class[0] or per_class[len(content.classes) + 1 :].any():
            raise MismatchError(f"{where}: {split} has labels outside 0..{len(content.classes) - 1}", hint=hint)
        if record.balanced and len(set(per_class[1:-1].tolist())) != 1:
            low, high = per_class[1:-1].min(), per_class[1:-1].max()
            needed = f"{count // len(record.classes)} each" + (", or equally many" if subset else "")
            raise MismatchError(
                f"{where}: {split} has {low} to {high} images per class; needed {needed}",
                hint=hint,
            )


def find_record(name: str, *, custom: bool) -> Record:
    """Return the record of a known dataset, or with `custom` an open one for a folder of images under a new name.

    Raises:
        UsageError: unknown name; or, with `custom`, one so near a known name that it is likely a slip.
    """
    if name in DATASETS or not custom or difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.85):
        return DATASETS.get(name)
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"dataset name {name!r}; needed a-z, 0-9, '.', '_' or '-', starting with a letter or digit",
            hint="choose another name",
        )
    return Record(name=name, classes=(), shape=(0, 0, 0), counts=(0, 0), description="image folders")


def repair_command(name: str, source: str = "", data_dir: Path | str | None = None) -> str:
    """Return the command line that builds the dataset, to be shown in hints."""
    words = ["bnnkit", "data", "prepare", name]
    words += ["--source", source] if source else []
    words += ["--data-dir", str(data_dir)] if data_dir is not None else []
    return shlex.join(words)


def _root(data_dir: Path | str | None) -> Path:
    return cache.data_root(None if data_dir is None else Path(data_dir))


def _intact(root: Path, name: str) -> bool:
    if not cache.exists(root, name):
        return False
    try:
        info = cache.read_info(root, name, "")
        parts = [cache.open_split(root, info, split, "") for split in ("train", "test")]
    except MismatchError:
        return False
    return cache.fingerprint(info.classes, parts) == info.fingerprint


def _subset(record: Record, count: int) -> str:
    """Return what to tell about a source with an accepted part of the training images, or nothing."""
    if not record.train_subsets or count >= record.counts[0]:
        return ""
    found, known = (number // len(record.classes) for number in (count, record.counts[0]))
    return f"{found} of {known} training images per class"


def _unrecognised(record: Record, source: Path, files: Mapping[str, Reader]) -> MismatchError:
    seen = ", ".join(sorted(files)[:3]) or "no files"
    wanted = "<split>/<class>/*.png|jpg" + (f", or the official files of {record.name}" if record.urls else "")
    return MismatchError(
        f"{source}: holds {len(files)} files ({seen}...); needed {wanted}", hint="check what the archive contains"
    )
