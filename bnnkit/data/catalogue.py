"""Which datasets there are, and which of them are ready to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bnnkit.data import cache, digits
from bnnkit.data.build import repair_command
from bnnkit.data.record import DATASETS, EMBEDDED
from bnnkit.errors import MismatchError


@dataclass(frozen=True)
class Entry:
    """One known or prepared dataset; `state` is "embedded", "prepared", "missing" or "damaged"."""

    name: str
    state: str
    classes: int
    train: int
    test: int
    shape: tuple[int, int, int]
    bytes: int
    path: Path | None
    fingerprint: str | None
    note: str


def catalogue(data_dir: Path | str | None = None) -> list[Entry]:
    """Return all known datasets and all others prepared in the data directory, by name.

    Example:
        >>> [entry.state for entry in catalogue() if entry.name == "digits"]
        ['embedded']
    """
    root = cache.data_root(None if data_dir is None else Path(data_dir))
    return [_entry(root, name) for name in sorted({*DATASETS, *cache.names(root)})]


def _entry(root: Path, name: str) -> Entry:
    if name == EMBEDDED:
        return _known(name, "embedded", digits.PATH.stat().st_size, digits.PATH, digits.FINGERPRINT)
    if not cache.exists(root, name):
        return _known(name, "missing", 0, None, None)
    size, path = cache.size(root, name), root / name
    try:
        info = cache.read_info(root, name, repair_command(name))
        for split in ("train", "test"):
            cache.open_split(root, info, split, repair_command(name))
    except MismatchError as error:
        return _known(name, "damaged", size, path, None, error.message)
    return Entry(name, "prepared", len(info.classes), *info.counts, info.shape, size, path, info.fingerprint, info.note)


def _known(
    name: str, state: str, size: int, path: Path | None, fingerprint: str | None, note: str | None = None
) -> Entry:
    if name not in DATASETS:
        return Entry(name, state, 0, 0, 0, (0, 0, 0), size, path, fingerprint, note or "")
    record = DATASETS.get(name)
    told = note if note is not None else record.note or record.description
    return Entry(name, state, len(record.classes), *record.counts, record.shape, size, path, fingerprint, told)
