"""Fetch the official archives; what arrives is checked against its published hash before anything reads it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from bnnkit.data.content import Progress
from bnnkit.data.record import Record
from bnnkit.data.source import md5_file
from bnnkit.errors import MismatchError, MissingError

TIMEOUT = 30.0
"""Seconds without an answer, or without a further byte, after which a site counts as unreachable."""

_PIECE = 1 << 18


def fetch(record: Record, folder: Path, progress: Progress, repair: str) -> Path:
    """Download every file of `record` into `folder` and return the archive, or the folder when there are several.

    Raises:
        MissingError: no address answers; the hint is `repair`, the command that reads a local copy.
        MismatchError: a complete download does not have its published md5.
    """
    paths = [_fetch_any(record, urls, folder, progress, repair) for urls in record.urls]
    return paths[0] if len(paths) == 1 else folder


def _fetch_any(record: Record, urls: tuple[str, ...], folder: Path, progress: Progress, repair: str) -> Path:
    failures: list[str] = []
    for url in urls:
        path = folder / url.rpartition("/")[2]
        try:
            _fetch_one(url, path, progress)
        except _UnreachableError as error:
            failures.append(f"{url}: {error}")
            continue
        expected = record.md5.get(path.name)
        if expected is not None and md5_file(path) != expected:
            raise MismatchError(
                f"{url}: md5 {md5_file(path)} of the download; the published file has {expected}",
                hint="try again, or get the file elsewhere and run: " + repair,
            )
        return path
    raise MissingError(
        f"dataset '{record.name}' is not prepared and cannot be downloaded ({'; '.join(failures)})", hint=repair
    )


class _UnreachableError(Exception):
    """The site did not deliver the whole file."""


def _fetch_one(url: str, path: Path, progress: Progress) -> None:
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise _UnreachableError(_reason(error)) from error
    with response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        done = 0
        while True:
            # Only the network is guarded here: a full disk is another error, with another remedy.
            try:
                piece = response.read(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _UnreachableError(f"stopped after {done} bytes, {_reason(error)}") from error
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            progress(f"download {path.name}", done, total)
    if done < total:
        raise _UnreachableError(f"stopped after {done} of {total} bytes")


def _reason(error: Exception) -> str:
    return str(error.reason) if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
