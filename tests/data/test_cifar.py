from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch

from bnnkit.data import load, prepare
from bnnkit.data.record import CIFAR100_CLASSES
from bnnkit.errors import MismatchError

from .conftest import image_tree, random_bytes, shrink, unpack
from .test_pickled import Call

IMAGES = random_bytes(0, 20, 3072)
LABELS = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7] * 2


def pickled_batches() -> dict[str, bytes]:
    """CIFAR-10 with two images in each of the five training batches and ten in the test batch."""
    sizes = {f"data_batch_{i + 1}": range(2 * i, 2 * i + 2) for i in range(5)} | {"test_batch": range(10, 20)}
    return {
        f"cifar-10-batches-py/{name}": pickle.dumps(
            {b"data": IMAGES[rows.start : rows.stop], b"labels": [LABELS[i] for i in rows]}, protocol=2
        )
        for name, rows in sizes.items()
    } | {"cifar-10-batches-py/readme.html": b"<html>"}


def binary_batches() -> dict[str, bytes]:
    records = [bytes([LABELS[i]]) + IMAGES[i].tobytes() for i in range(20)]
    files = {f"bin/data_batch_{i + 1}.bin": b"".join(records[2 * i : 2 * i + 2]) for i in range(5)}
    return files | {"bin/test_batch.bin": b"".join(records[10:])}


def expect_all_images(dataset) -> None:
    assert torch.equal(dataset.train.images, torch.from_numpy(IMAGES[:10].reshape(-1, 3, 32, 32)))
    assert torch.equal(dataset.test.images, torch.from_numpy(IMAGES[10:].reshape(-1, 3, 32, 32)))
    assert dataset.train.labels.tolist() + dataset.test.labels.tolist() == LABELS
    assert dataset.classes[3] == "cat"
    assert dataset.mean == (0.485, 0.456, 0.406)


def test_pickled_and_binary_versions_hold_the_same(small_cifar10, write_tar):
    prepare("cifar10", write_tar("p.tar.gz", pickled_batches()))
    pickled = load("cifar10")
    expect_all_images(pickled)
    prepare("cifar10", write_tar("b.tar.gz", binary_batches()))
    binary = load("cifar10")
    expect_all_images(binary)
    assert pickled.fingerprint == binary.fingerprint


def test_unpacked_directories(small_cifar10, tmp_path):
    for folder, files in (("p", pickled_batches()), ("b", binary_batches())):
        prepare("cifar10", unpack(files, tmp_path / folder))
        expect_all_images(load("cifar10"))
    assert "no published hash" in load("cifar10").note


def test_cifar100_uses_the_fine_labels(monkeypatch, write_tar):
    shrink(monkeypatch, "cifar100", counts=(2, 2), balanced=False)
    batch = {b"data": IMAGES[:2], b"fine_labels": [99, 0], b"coarse_labels": [1, 2]}
    files = {f"cifar-100-python/{split}": pickle.dumps(batch, protocol=2) for split in ("train", "test")}
    prepare("cifar100", write_tar("p.tar.gz", files))
    assert [load("cifar100").classes[i] for i in load("cifar100").train.labels] == ["worm", "apple"]
    record = b"".join(bytes([7, fine]) + IMAGES[i].tobytes() for i, fine in enumerate((99, 0)))
    fingerprint = load("cifar100").fingerprint
    prepare("cifar100", write_tar("b.tar.gz", {"c/train.bin": record, "c/test.bin": record}))
    assert load("cifar100").fingerprint == fingerprint


CIFAR100_BATCH = {
    b"filenames": [b"worm_s_000012.png", b"apple_s_000003.png"],
    b"batch_label": b"testing batch 1 of 1",
    b"fine_labels": [99, 0],
    b"coarse_labels": [1, 2],
    b"data": IMAGES[:2],
}


def cifar100(**batches: bytes) -> dict[str, bytes]:
    """CIFAR-100 with two images per split and every key of the official batches, but for those given."""
    whole = pickle.dumps(CIFAR100_BATCH, protocol=2)
    batches = {"train": whole, "test": whole, "meta": pickle.dumps({b"fine_label_names": []}, 2), **batches}
    return {f"cifar-100-python/{name}": data for name, data in batches.items() if data}


def test_cifar100_unpacked(monkeypatch, tmp_path):
    shrink(monkeypatch, "cifar100", counts=(2, 2), balanced=False)
    record = b"".join(bytes([7, fine]) + IMAGES[i].tobytes() for i, fine in enumerate((99, 0)))
    binary = {f"cifar-100-binary/{name}": record for name in ("train.bin", "test.bin")}
    seen = {}
    for folder, files in (("p", cifar100()), ("b", binary)):
        prepare("cifar100", unpack(files, tmp_path / folder))
        seen[folder] = load("cifar100")
    assert seen["p"].fingerprint == seen["b"].fingerprint
    assert torch.equal(seen["p"].test.images, torch.from_numpy(IMAGES[:2].reshape(-1, 3, 32, 32)))
    assert seen["p"].mean == (0.485, 0.456, 0.406)
    assert (seen["p"].note, "no published hash" in seen["b"].note) == ("", True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (cifar100(test=b""), "test is missing; needed train, test"),
        (cifar100(train=pickle.dumps({b"data": IMAGES[:2], b"coarse_labels": [1, 2]}, 2)), "train: 'fine_labels' is"),
        (cifar100(train=pickle.dumps({**CIFAR100_BATCH, b"fine_labels": [100, 0]}, 2)), "labels outside 0..99"),
        ({"train.bin": bytes(3074), "test.bin": bytes(3073)}, "test.bin: 3073 bytes; needed a multiple of 3074"),
        (pickled_batches(), "needed <split>/<class>.*or the official files of cifar100"),
    ],
    ids=["missing", "coarse labels only", "label range", "bin", "cifar10"],
)
def test_what_is_not_cifar100(monkeypatch, write_tar, files, message):
    shrink(monkeypatch, "cifar100", counts=(2, 2), balanced=False)
    with pytest.raises(MismatchError, match=message):
        prepare("cifar100", write_tar("p.tar.gz", files))


def test_cifar100_as_image_folders(monkeypatch, tmp_path):
    shrink(monkeypatch, "cifar100", counts=(100, 100))
    prepare("cifar100", unpack(image_tree(CIFAR100_CLASSES), tmp_path / "d"))
    assert load("cifar100").test.labels.tolist() == list(range(100))


def test_published_hashes_are_checked(monkeypatch, write_tar):
    files = pickled_batches()
    known = {name.split("/")[1]: hashlib.md5(data).hexdigest() for name, data in files.items()}
    shrink(monkeypatch, "cifar10", counts=(10, 10), md5=known)
    prepare("cifar10", write_tar("good.tar.gz", files))
    shrink(monkeypatch, "cifar10", counts=(10, 10), md5={**known, "data_batch_4": "0" * 32})
    with pytest.raises(MismatchError, match=r"data_batch_4: md5 \w+; the published file has 0000"):
        prepare("cifar10", write_tar("bad.tar.gz", files))
    shrink(monkeypatch, "cifar10", counts=(10, 10), md5={"cifar-10-binary.tar.gz": "0" * 32})
    with pytest.raises(MismatchError, match=r"other\.tar\.gz: md5"):
        prepare("cifar10", write_tar("other.tar.gz", binary_batches()))


def test_malicious_batch_in_an_archive_is_refused(small_cifar10, write_tar, tmp_path, data_dir):
    files = pickled_batches()
    attack = {b"data": IMAGES[:2], b"labels": Call(os.system, f"touch {tmp_path / 'trap'}")}
    files["cifar-10-batches-py/data_batch_2"] = pickle.dumps(attack, protocol=2)
    with pytest.raises(MismatchError, match=r"data_batch_2: refused pickle: it asks for posix\.system"):
        prepare("cifar10", write_tar("p.tar.gz", files))
    assert not (tmp_path / "trap").exists()
    assert not (data_dir / "cifar10/dataset.json").exists()


def replaced(name: str, data: bytes) -> dict[str, bytes]:
    return pickled_batches() | {f"cifar-10-batches-py/{name}": data}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({k: v for k, v in pickled_batches().items() if "batch_3" not in k}, "data_batch_3 is missing"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:3], b"labels": [1, 2, 3]})[:-9]), "damaged pickle"),
        (replaced("test_batch", pickle.dumps({b"labels": [1]})), "no 'data' array"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:1], b"labels": ["x"]}, 2)), "not a list of 1 numbers"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:1], b"labels": [1, 2]}, 2)), "not a list of 1 numbers"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:1], b"labels": [1]}, 2)), "test has 1 images"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:10], b"labels": [10] * 10}, 2)), "labels outside 0..9"),
        (replaced("test_batch", pickle.dumps({b"data": IMAGES[:10], b"labels": [1] * 10}, 2)), "0 to 10 images per"),
        (binary_batches() | {"bin/test_batch.bin": bytes(3072)}, "needed a multiple of 3073"),
        ({"notes.txt": b""}, "needed <split>/<class>"),
    ],
    ids=[
        "missing",
        "damaged",
        "no data",
        "labels",
        "fewer labels",
        "count",
        "label range",
        "unbalanced",
        "bin",
        "none",
    ],
)
def test_wrong_content_names_what_is_wrong(small_cifar10, write_tar, data_dir, files, message):
    with pytest.raises(MismatchError, match=message):
        prepare("cifar10", write_tar("p.tar.gz", files))
    assert not (data_dir / "cifar10/dataset.json").exists()
    assert not list(data_dir.glob("cifar10/data-*"))


def test_array_layouts_do_not_matter(small_cifar10, write_tar):
    files = pickled_batches()
    files["cifar-10-batches-py/data_batch_1"] = pickle.dumps(
        {"data": np.asfortranarray(IMAGES[:2]), "labels": LABELS[:2]}, protocol=2
    )
    prepare("cifar10", write_tar("p.tar.gz", files))
    expect_all_images(load("cifar10"))
