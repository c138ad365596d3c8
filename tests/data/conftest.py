"""Small stand-ins for the published datasets: the same layouts, eight images."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bnnkit.data.record import DATASETS, Record

Bytes = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory, so that no test sees or touches the user's."""
    path = tmp_path / "prepared"
    monkeypatch.setenv("BNNKIT_DATA", str(path))
    return path


def shrink(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> Record:
    """Replace a record by a smaller one, without published hashes unless given, for one test."""
    record = dataclasses.replace(DATASETS.get(name), **{"md5": {}, **changes})  # type: ignore[arg-type]
    monkeypatch.setitem(DATASETS._entries, name, record)
    return record


@pytest.fixture
def small_cifar10(monkeypatch: pytest.MonkeyPatch) -> Record:
    return shrink(monkeypatch, "cifar10", counts=(10, 10))


@pytest.fixture
def write_tar(tmp_path: Path) -> Callable[[str, Mapping[str, bytes]], Path]:
    """Function that writes files into tmp_path/<name>, compressed as its suffix says, and returns the path."""

    def write(name: str, files: Mapping[str, bytes]) -> Path:
        path = tmp_path / name
        suffix = path.suffix.lstrip(".")
        mode = {"tar": "w", "gz": "w:gz", "xz": "w:xz", "tgz": "w:gz"}[suffix]
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member, data in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return write


def unpack(files: Mapping[str, bytes], root: Path) -> Path:
    """Write files below `root`, and return it."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(files: Mapping[str, bytes], path: Path) -> Path:
    """Write files into a zip at `path`, and return it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def random_bytes(seed: int, *shape: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(pixels: Bytes) -> bytes:
    """Encode uint8 [H, W] or [H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def image_tree(classes: tuple[str, ...], per_split: int = 1, size: int = 32) -> dict[str, bytes]:
    """Return <split>/<class>/<n>.png files with random colour pixels, different for each image."""
    seeds = iter(range(10_000))
    return {
        f"{split}/{label}/{number:04}.png": png(random_bytes(next(seeds), size, size, 3))
        for split in ("train", "test")
        for label in classes
        for number in range(per_split)
    }
