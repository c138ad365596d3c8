"""Read the files of a directory, a tar or a zip archive without unpacking anything to disk.

No name found in an archive ever becomes a path that is written to; names that try to leave the archive are refused
all the same, because an archive that contains them is not what it claims to be.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from bnnkit.errors import MismatchError, UsageError

Reader = Callable[[], bytes]

MEMBER_LIMIT = 1 << 29
"""Largest file accepted inside an archive, in bytes; the largest official one (CIFAR-100 training) has 155 MB."""
ARCHIVE_LIMIT = 1 << 33
"""Most bytes of a tar kept in memory (a tar can only be read front to back, and splits are sorted afterwards)."""

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)


def open_source(path: Path) -> Mapping[str, Reader]:
    """Return every regular file of `path` as name -> function that returns its bytes.

    Names use `/` and are relative to the directory or archive. Directories and zips are read lazily; the files of
    a tar are held in memory as they are stored.

    Raises:
        UsageError: `path` does not exist, or is neither a directory nor an archive.
        MismatchError: the archive is corrupt, truncated, too large for memory, or has names that leave it.
    """
    if path.is_dir():
        return dict(_walk(path))
    if not path.is_file():
        raise UsageError(
            f"--source {path}: no such file or directory; needed an archive or a directory of the dataset",
            hint="check the path",
        )
    try:
        if _starts_with(path, b"PK"):
            return _open_zip(path)
        return dict(_read_tar(path))
    except tarfile.ReadError as error:
        if path.suffix in {".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".zip"}:
            raise _corrupt(path, error) from error
        raise UsageError(
            f"--source {path}: not an archive bnnkit can read; needed a directory, .tar, .tar.gz, .tar.xz or .zip",
            hint="unpack it and give the directory",
        ) from error
    except _BROKEN as error:
        raise _corrupt(path, error) from error


def md5(data: bytes) -> str:
    """Return the md5 of `data` in hexadecimal; it identifies published files, it does not protect anything."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_file(path: Path) -> str:
    """Return the md5 of the file at `path` in hexadecimal, read in pieces."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _starts_with(path: Path, magic: bytes) -> bool:
    # zipfile.is_zipfile looks at the end of the file, where a tar may hold a zip.
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _corrupt(path: Path, error: Exception) -> MismatchError:
    return MismatchError(
        f"{path}: corrupt or truncated archive ({str(error) or type(error).__name__}); needed a complete one",
        hint="download or copy the archive again",
    )


def _checked_name(path: Path, name: str) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise MismatchError(
            f"{path}: member {name!r} points outside the archive; needed plain relative names",
            hint="do not use this archive; get the original again",
        )
    return str(pure)


def _checked_size(path: Path, name: str, size: int) -> None:
    if size > MEMBER_LIMIT:
        raise MismatchError(
            f"{path}: member {name!r} has {size} bytes; at most {MEMBER_LIMIT} are accepted inside an archive",
            hint="unpack the archive yourself and give the directory",
        )


def _walk(root: Path) -> Iterator[tuple[str, Reader]]:
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        for file in files:
            path = Path(folder, file)
            yield path.relative_to(root).as_posix(), path.read_bytes


def _open_zip(path: Path) -> dict[str, Reader]:
    archive = zipfile.ZipFile(path)
    readers: dict[str, Reader] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        name = _checked_name(path, info.filename)
        _checked_size(path, name, info.file_size)
        readers[name] = lambda info=info: _read_member(path, archive, info)  # type: ignore[misc]
    return readers


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (*_BROKEN, RuntimeError) as error:
        raise _corrupt(path, error) from error


def _read_tar(path: Path) -> Iterator[tuple[str, Reader]]:
    held = 0
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            name = _checked_name(path, member.name)
            if member.isdir():
                continue
            if not member.isreg():
                raise MismatchError(
                    f"{path}: member {name!r} is a link or a device; needed regular files only",
                    hint="unpack the archive yourself and give the directory",
                )
            _checked_size(path, name, member.size)
            held += member.size
            if held > ARCHIVE_LIMIT:
                raise MismatchError(
                    f"{path}: holds more than {ARCHIVE_LIMIT} bytes, too much to sort in memory",
                    hint="unpack the archive and give the directory",
                )
            file = archive.extractfile(member)
            data = file.read() if file is not None else b""
            if len(data) != member.size:
                raise tarfile.ReadError(f"member {name!r} ends early")
            yield name, lambda data=data: data  # type: ignore[misc]
        # The checksum of a compressed stream stands behind the last member, where tarfile stops reading.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass
