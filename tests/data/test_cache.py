from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from bnnkit.data import cache, is_prepared, load, prepare
from bnnkit.data.content import Content, Part
from bnnkit.data.record import CIFAR10_CLASSES
from bnnkit.errors import MismatchError, MissingError

from .conftest import image_tree, random_bytes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, data in image_tree(("ant", "bee"), per_split=2, size=8).items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "images"


@pytest.fixture
def home(source: Path, data_dir: Path) -> Path:
    """Folder of a prepared dataset called insects."""
    return prepare("insects", source)


def files(home: Path) -> Path:
    (folder,) = home.glob("data-*")
    return folder


def test_images_are_mapped_and_writing_to_them_never_reaches_the_file(home):
    before = (files(home) / "train-images.npy").read_bytes()
    images = load("insects").train.images
    images.zero_()
    assert (files(home) / "train-images.npy").read_bytes() == before
    assert load("insects").train.images.any()


def test_where_datasets_live(monkeypatch, tmp_path):
    assert cache.data_root() == tmp_path / "prepared"
    assert cache.data_root(Path("given")) == Path("given")
    monkeypatch.delenv("BNNKIT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.data_root() == Path("/x/bnnkit/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.data_root() == Path.home() / ".cache/bnnkit/data"


def test_data_dir_argument_wins_over_the_environment(source, tmp_path):
    prepare("insects", source, tmp_path / "elsewhere")
    assert is_prepared("insects", tmp_path / "elsewhere")
    assert not is_prepared("insects")
    assert len(load("insects", data_dir=tmp_path / "elsewhere").train) == 4


@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "test-images.npy", "test-labels.npy"])
@pytest.mark.parametrize("damage", ["truncate", "empty", "remove", "garbage"])
def test_damaged_file_names_the_command_that_rebuilds(home, source, name, damage):
    path = files(home) / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes({"truncate": data[:-5], "empty": b"", "garbage": b"x" * len(data)}[damage])
    with pytest.raises(MismatchError, match="of 'insects' are damaged") as caught:
        load("insects")
    assert caught.value.hint == f"bnnkit data prepare insects --source {source}"
    prepare("insects", source)
    assert len(load("insects").test) == 4


def test_file_of_another_dataset(home):
    np.save(files(home) / "train-images.npy", np.zeros((4, 1, 8, 8), np.uint8))
    with pytest.raises(MismatchError, match=r"uint8 \(4, 1, 8, 8\).*needed uint8 \(4, 3, 8, 8\)"):
        load("insects")
    np.save(files(home) / "train-images.npy", np.zeros((4, 3, 8, 8), np.uint8))
    np.save(files(home) / "train-labels.npy", np.array([0, 1, 2, 0]))
    with pytest.raises(MismatchError, match="labels reach from 0 to 2; needed 0 to 1"):
        load("insects")


def test_pickled_array_in_the_cache_is_not_loaded(home):
    np.save(files(home) / "train-labels.npy", np.array([0, None], dtype=object), allow_pickle=True)
    with pytest.raises(MismatchError, match="damaged"):
        load("insects")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "bnnkit.dataset/1"}', '{"format": "bnnkit.dataset/1", "shape": "abc"}']
)
def test_damaged_record(home, text):
    (home / "dataset.json").write_text(text)
    with pytest.raises(MismatchError, match="damaged record") as caught:
        load("insects")
    assert caught.value.hint == "bnnkit data prepare insects"


@pytest.mark.parametrize("change", [{"folder": "../../x"}, {"counts": [4]}, {"folder": None}])
def test_record_with_impossible_values(home, change):
    info = json.loads((home / "dataset.json").read_text())
    (home / "dataset.json").write_text(json.dumps({**info, **change}))
    with pytest.raises(MismatchError, match="damaged record"):
        load("insects")


def test_newer_format_is_refused(home):
    text = (home / "dataset.json").read_text()
    (home / "dataset.json").write_text(text.replace("bnnkit.dataset/1", "bnnkit.dataset/2"))
    with pytest.raises(MismatchError, match=r"format 'bnnkit.dataset/2'; this bnnkit reads 'bnnkit.dataset/1'"):
        load("insects")


def test_flipped_bit_is_found_by_verification_and_by_preparing_again(small_cifar10, write_tar):
    archive = write_tar("c.tar", image_tree(CIFAR10_CLASSES))
    home = prepare("cifar10", archive)
    assert prepare("cifar10") == home
    path = files(home) / "train-images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    load("cifar10")
    with pytest.raises(MismatchError, match="fingerprint") as caught:
        load("cifar10", verify=True)
    assert caught.value.hint == f"bnnkit data prepare cifar10 --source {archive}"
    prepare("cifar10", archive)
    load("cifar10", verify=True)


def failing(error: BaseException) -> Content:
    def chunks():
        yield random_bytes(0, 1, 1, 4, 4)
        raise error

    part = Part(np.zeros(2, np.int64), (2, 1, 4, 4), chunks())
    return Content(("a",), part, part, "")


def test_stopped_preparation_keeps_the_old_dataset(home, data_dir):
    before = load("insects").fingerprint
    with pytest.raises(KeyboardInterrupt), cache.session(data_dir, "insects") as path:
        cache.write(path, failing(KeyboardInterrupt()), mean=None, std=None, source="")
    assert load("insects", verify=True).fingerprint == before
    assert len(list(home.glob("data-*"))) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(data_dir, code):
    with (
        pytest.raises(MissingError, match="no space left") as caught,
        cache.session(data_dir, "x") as path,
    ):
        cache.write(path, failing(OSError(code, "No space left on device")), mean=None, std=None, source="")
    assert caught.value.hint == "free some space, or set BNNKIT_DATA to a directory on another disk"
    assert sorted(entry.name for entry in (data_dir / "x").iterdir()) == ["lock"]


def test_too_little_space_is_noticed_before_anything_is_written(source, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(MissingError, match=r"no space left on the disk .*free"):
        prepare("insects", source)


def test_directory_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="needed a writable directory") as caught:
        prepare("insects", source, tmp_path / "file")
    assert caught.value.hint == "set BNNKIT_DATA to a directory you can write to"


def _prepare_slowly(source: Path, started: Path) -> None:
    def wait(stage: str, done: int, total: int) -> None:
        if stage == "decode":
            started.touch()
            time.sleep(60)

    prepare("insects", source, progress=wait)


def test_killed_preparation_leaves_no_half_dataset_and_its_rest_is_swept(source, tmp_path, data_dir):
    started = tmp_path / "started"
    process = multiprocessing.get_context("spawn").Process(target=_prepare_slowly, args=(source, started))
    process.start()
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(data_dir.glob("insects/data-*"))
    assert not is_prepared("insects")
    prepare("insects", source)
    assert len(list(data_dir.glob("insects/data-*"))) == 1
    load("insects", verify=True)


def test_training_keeps_its_images_while_they_are_prepared_anew(home, source):
    images = load("insects").train.images
    before = images.clone()
    prepare("insects", source)
    assert torch.equal(images, before)


def test_fingerprint_depends_on_classes_shapes_images_and_labels():
    images, labels = random_bytes(0, 2, 1, 4, 4), np.array([0, 1])

    def of(classes=("a", "b"), images=images, labels=labels):
        return cache.fingerprint(classes, [(images, labels)])

    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    different = {of(), of(("a", "c")), of(images=other), of(labels=labels[::-1]), of(images=images.reshape(2, 1, 2, 8))}
    assert len(different) == 5
    assert of() == of(images=np.asfortranarray(images))
