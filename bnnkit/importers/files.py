"""Checkpoint files that other programs wrote with torch.save, read without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bnnkit.errors import MismatchError, MissingError

ZIP = b"PK\x03\x04"
PLAIN = "where the network was trained: torch.save(net.state_dict(), 'weights.pt'); import that file"
AGAIN = "copy the file again and compare its size"

_GLOBAL = re.compile(r"GLOBAL (\S+)")


def read(path: Path | str) -> Mapping[Any, Any]:
    """Return the dictionary in a file of torch.save, its tensors on the CPU.

    Only tensors and plain containers are read (`weights_only`); the extension of the name says nothing.

    Raises:
        MissingError: there is no such file.
        MismatchError: no such file of torch.save, truncated, or with objects that only running code could restore.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise MissingError(f"{file}: {what}; a checkpoint file was needed", hint=f"ls {file.parent}")
    with file.open("rb") as stream:
        is_zip = stream.read(len(ZIP)) == ZIP
    if tarfile.is_tarfile(file):
        raise MismatchError(
            f"{file}: is a tar archive; a file written by torch.save was needed",
            hint=f"tar -xf {file}, and import the checkpoint in it",
        )
    if is_zip and not zipfile.is_zipfile(file):
        raise MismatchError(f"{file}: truncated: its end is missing ({file.stat().st_size:,} bytes)", hint=AGAIN)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    # Damaged files fail wherever their bytes lead the reader to, with errors of any kind.
    except Exception as failure:
        raise _explained(file, is_zip, failure) from failure
    if not isinstance(content, Mapping):
        raise MismatchError(
            f"{file}: holds a {type(content).__name__}; a dictionary of parameters was needed", hint=PLAIN
        )
    return content


def _explained(file: Path, is_zip: bool, failure: Exception) -> MismatchError:
    text = str(failure)
    needed = _GLOBAL.search(text)
    if "TorchScript" in text:
        return MismatchError(f"{file}: is a TorchScript program; a dictionary of parameters was needed", hint=PLAIN)
    if needed is not None or (is_zip and isinstance(failure, pickle.UnpicklingError)):
        what = f" ({needed[1].rstrip('.')})" if needed is not None else ""
        return MismatchError(
            f"{file}: holds objects that can run code when they are restored{what}, which bnnkit never does; only "
            "tensors and plain containers were needed",
            hint=PLAIN,
        )
    if isinstance(failure, EOFError) or "unexpected EOF" in text:
        return MismatchError(f"{file}: truncated: {file.stat().st_size:,} bytes", hint=AGAIN)
    return MismatchError(f"{file}: corrupt, or not a file written by torch.save", hint=PLAIN)
