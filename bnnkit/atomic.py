"""Files that are either the old one or the new one, whatever happens while they are written."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnnkit.errors import MissingError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EROFS)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

Chunk = bytes | bytearray | memoryview


def check_target(path: Path) -> None:
    """Refuse a file that could not be written, before any work is done.

    Raises:
        UsageError: a folder, or a file in a folder that does not exist.
    """
    _refuse_folder(path)
    if not path.parent.is_dir():
        hint = f"mkdir -p {path.parent}"
        raise UsageError(f"{path}: its folder does not exist; an existing one was needed", hint=hint)


def write_bytes(path: Path, chunks: Iterable[Chunk]) -> None:
    """Replace the file `path` by the concatenated `chunks`, or leave it exactly as it was.

    The bytes go to a neighbour file, reach the disk (fsync), and only then take the name; a killed process leaves at
    most the neighbour, which the next write replaces. A link stays one: the file it names is replaced. What is no file
    (a device, a pipe) is written to.

    Raises:
        UsageError: `path` is a folder.
        MissingError: the disk, the quota or the file size limit is exhausted (`path` still holds its previous
            contents), or its folder does not exist or may not be written to.
        OSError: any other failure of the file system.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "a.bin", [b"one ", b"file"])
        ...     (Path(folder) / "a.bin").read_bytes()
        b'one file'
    """
    _refuse_folder(path)
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                stream.writelines(chunks)
            return
        with partial.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        sync_directory(target.parent)
    except OSError as failure:
        _discard(partial)
        if failure.errno in NO_FOLDER:
            raise MissingError(
                f"{path}: cannot be written ({failure.strerror})", hint=f"mkdir -p {path.parent}, or name another file"
            ) from failure
        if failure.errno not in DISK_FULL:
            raise
        kept = "the previous one is unchanged" if path.exists() else "nothing was written"
        raise MissingError(
            f"{path}: no space to save it ({failure.strerror}); {kept}", hint="free some space (df -h shows it)"
        ) from failure
    except BaseException:
        _discard(partial)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in UTF-8, like `write_bytes`."""
    write_bytes(path, [text.encode()])


def write_png(path: Path, figure: Figure) -> None:
    """Replace the file `path` by a picture of a figure, like `write_bytes`."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, [content.getvalue()])


def replace_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` (relative to the link's folder), replacing an older one at once."""
    partial = link.with_name(f".{link.name}.{os.getpid()}.partial")
    _discard(partial)
    partial.symlink_to(target)
    partial.replace(link)


def sync_directory(path: Path) -> None:
    """Let the names in a folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; the name of a file was needed", hint=f"ls {path}")


def _discard(path: Path) -> None:
    with suppress(NotADirectoryError):
        path.unlink(missing_ok=True)
