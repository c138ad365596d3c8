from __future__ import annotations

import gzip
import hashlib

import pytest
import torch

from bnnkit.data import load, prepare
from bnnkit.data.idx import parse
from bnnkit.errors import MismatchError

from .conftest import random_bytes, shrink


def idx(values) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return b"\0\0\x08" + bytes([values.ndim]) + sizes + values.tobytes()


IMAGES = random_bytes(1, 7, 28, 28)
LABELS = random_bytes(2, 7) % 10
FILES = {
    "train-images-idx3-ubyte": idx(IMAGES[:5]),
    "train-labels-idx1-ubyte": idx(LABELS[:5]),
    "t10k-images-idx3-ubyte": idx(IMAGES[5:]),
    "t10k-labels-idx1-ubyte": idx(LABELS[5:]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shrink(monkeypatch, "mnist", counts=(5, 2))
    path = tmp_path / "mnist"
    path.mkdir()
    for name, data in FILES.items():
        (path / f"{name}.gz").write_bytes(gzip.compress(data))
    return path


def test_gzipped_plain_and_archived_files_give_the_same(folder, write_tar):
    prepare("mnist", folder)
    mnist = load("mnist")
    assert torch.equal(mnist.train.images, torch.from_numpy(IMAGES[:5, None]))
    assert mnist.test.labels.tolist() == LABELS[5:].tolist()
    assert (mnist.mean, mnist.std) == ((0.1307,), (0.3081,))
    plain = {f"raw/{name.replace('-idx', '.idx')}": data for name, data in FILES.items()}
    prepare("mnist", write_tar("m.tar.xz", plain))
    assert load("mnist").fingerprint == mnist.fingerprint


def test_hash_is_that_of_the_unpacked_file(folder, monkeypatch):
    known = {name: hashlib.md5(data).hexdigest() for name, data in FILES.items()}
    shrink(monkeypatch, "mnist", counts=(5, 2), md5=known)
    prepare("mnist", folder)
    shrink(monkeypatch, "mnist", counts=(5, 2), md5={**known, "t10k-labels-idx1-ubyte": "f" * 32})
    with pytest.raises(MismatchError, match=r"t10k-labels-idx1-ubyte\.gz: md5"):
        prepare("mnist", folder)


def test_missing_truncated_and_wrong_files(folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(MismatchError, match="corrupt or truncated gzip"):
        prepare("mnist", folder)
    path.write_bytes(gzip.compress(idx(LABELS[:4])))
    with pytest.raises(MismatchError, match="4 labels for 5 images"):
        prepare("mnist", folder)
    path.unlink()
    with pytest.raises(MismatchError, match=r"train-labels-idx1-ubyte\[\.gz\] is missing"):
        prepare("mnist", folder)


def test_wrong_count(folder, monkeypatch):
    shrink(monkeypatch, "mnist", counts=(60000, 2))
    with pytest.raises(MismatchError, match=r"train has 5 images of .*; needed 60000"):
        prepare("mnist", folder)


@pytest.mark.parametrize("data", [b"", b"\0\0\x08", b"\0\0\x0d\x01\0\0\0\0", b"\0\0\x08\x03\0\0", b"GIF89a"])
def test_no_header(data):
    with pytest.raises(MismatchError, match="no idx header"):
        parse(data, "x")


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0"])
def test_size_differs_from_header(change):
    with pytest.raises(MismatchError, match="bytes after the header"):
        parse(change(FILES["train-images-idx3-ubyte"]), "x")


def test_real_mnist(shared_data):
    prepare("mnist", shared_data / "mnist")
    mnist = load("mnist")
    assert mnist.train.images.shape == (60000, 1, 28, 28)
    assert mnist.train.labels[:6].tolist() == [5, 0, 4, 1, 9, 2]
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    scaled = mnist.train.images.double() / 255
    assert scaled.mean().item() == pytest.approx(mnist.mean[0], abs=5e-5)
    assert scaled.std().item() == pytest.approx(mnist.std[0], abs=5e-5)
