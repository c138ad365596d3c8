"""Exported folders: they appear whole, and take the place of earlier exports only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bnnkit
from bnnkit.atomic import DISK_FULL, write_text
from bnnkit.errors import MissingError, UsageError

RECORD = "bnnkit-export.json"
"""File that marks an exported folder; what it lists may be replaced."""
SCHEMA = "bnnkit.exported/1"


def check(out: Path, form: str) -> None:
    """Make sure that `out` may become an exported folder of the format `form`: it is new, empty, or one already.

    Raises:
        UsageError: it is a file, or a folder with other things in it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check(Path(folder), "cpp")
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: is a file; a folder was needed", hint="name another with -o")
    if any(out.iterdir()) and _recorded(out).get("format") != form:
        found = _recorded(out).get("format")
        what = f"an export as {found}" if found else "not empty, and no export of bnnkit"
        raise UsageError(
            f"{out}: is {what}; a new folder or an earlier export as {form} was needed", hint="name another with -o"
        )


@contextmanager
def replacing(out: Path, form: str) -> Iterator[Path]:
    """Give the block a path beside `out` to write a folder to, which takes the name `out` when the block succeeds.

    What somebody added to an earlier export at `out` stays; what its record lists is replaced. If the block fails,
    `out` is as it was.

    Raises:
        UsageError: as `check`.
        MissingError: the folder around `out` does not exist or cannot be written to, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "net", "cpp") as partial:
        ...         partial.mkdir()
        ...         _ = (partial / "model.h").write_text("")
        ...     sorted(path.name for path in (Path(folder) / "net").iterdir())
        ['bnnkit-export.json', 'model.h']
    """
    check(out, form)
    out = out.absolute()
    partial, previous = (out.with_name(f".{out.name}.{part}") for part in ("exporting", "previous"))
    try:
        _discard(partial)
        yield partial
        _record(partial, form)
        if out.exists():
            _discard(previous)
            out.rename(previous)
        partial.rename(out)
    except OSError as failure:
        why = "the disk is full" if failure.errno in DISK_FULL else failure.strerror
        raise MissingError(f"{out}: cannot be written ({why})", hint="name another folder with -o") from failure
    finally:
        if previous.exists() and not out.exists():
            previous.rename(out)
        _discard(partial)
    if previous.exists():
        _carry_over(previous, out)
        _discard(previous)


def listed(folder: Path) -> dict[str, int]:
    """Return the size of each file in a folder, by its path within."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _record(folder: Path, form: str) -> None:
    document = {"schema": SCHEMA, "bnnkit": bnnkit.__version__, "format": form, "files": sorted(listed(folder))}
    write_text(folder / RECORD, json.dumps(document, indent=2) + "\n")


def _recorded(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else {}


def _carry_over(previous: Path, out: Path) -> None:
    """Move what somebody added to an earlier export into the new one."""
    ours = {RECORD, *_recorded(previous).get("files", ())}
    for path in list(listed(previous)):
        target = out / path
        if path not in ours and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (previous / path).rename(target)


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
