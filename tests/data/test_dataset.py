from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from bnnkit.data import DATASETS, digits, fit_shape, is_prepared, load, normalize, prepare, validation_split
from bnnkit.data.catalogue import catalogue
from bnnkit.errors import MismatchError, UsageError

from .conftest import image_tree, random_bytes


def test_digits_need_neither_a_directory_nor_a_network(data_dir):
    dataset = load("digits")
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert dataset.train.images.shape == (1437, 1, 8, 8)
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (torch.uint8, torch.int64)
    assert dataset.train.images.max() == 255
    assert is_prepared("digits")
    assert prepare("digits") == digits.PATH
    assert not data_dir.exists()


def test_digits_are_stratified_and_disjoint():
    dataset = load("digits")
    train, test = (split.labels.bincount().double() for split in (dataset.train, dataset.test))
    assert ((test / (train + test) - 360 / 1797).abs() < 0.005).all()
    unique = torch.cat([dataset.train.images, dataset.test.images]).flatten(1).unique(dim=0)
    assert len(unique) == 1797


def test_statistics_of_digits_are_those_of_the_training_images():
    dataset = load("digits")
    normal = normalize(dataset.train.images, dataset.mean, dataset.std).double()
    assert normal.mean().item() == pytest.approx(0, abs=1e-6)
    assert normal.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_digits_take_no_source(tmp_path):
    with pytest.raises(UsageError, match="takes no --source"):
        prepare("digits", tmp_path)


@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_damaged_package_file(monkeypatch, tmp_path, damage):
    monkeypatch.setattr(digits, "PATH", tmp_path / "digits.npz")
    digits.PATH.write_bytes(damage)
    with pytest.raises(MismatchError, match="damaged") as caught:
        load("digits")
    assert caught.value.hint == "install bnnkit again"
    np.savez(digits.PATH, **{f"{s}_{k}": np.zeros((1, 8, 8)) for s in ("train", "test") for k in ("images", "labels")})
    with pytest.raises(MismatchError, match="other content"):
        load("digits")


def test_unknown_name():
    for attempt in (load, prepare):
        with pytest.raises(UsageError, match="unknown dataset 'minst'") as caught:
            attempt("minst")
        assert caught.value.hint == "did you mean 'mnist'?"


def test_normalize_per_channel_in_float32():
    images = torch.from_numpy(random_bytes(0, 2, 3, 4, 4))
    mean, std = DATASETS.get("cifar10").mean, DATASETS.get("cifar10").std
    got = normalize(images, mean, std)
    assert got.dtype == torch.float32
    expected = (images.double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="3 channels, 1 means"):
        normalize(images, (0.5,), (0.5,))


def test_fit_shape_repeats_pixels_and_pads_with_black():
    images = torch.from_numpy(random_bytes(0, 2, 1, 8, 8))
    colour = fit_shape(images, (3, 32, 32))
    assert torch.equal(colour, torch.from_numpy(np.kron(images.numpy(), np.ones((1, 3, 4, 4), np.uint8))))
    grey = fit_shape(images, (1, 28, 28))
    assert torch.equal(grey[:, :, 2:26:3, 2:26:3], images)
    assert grey.sum() == 9 * images.sum()
    odd = fit_shape(torch.ones(1, 1, 2, 2, dtype=torch.uint8), (1, 5, 3))
    assert odd[0, 0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert fit_shape(images, (1, 8, 8)) is images


@pytest.mark.parametrize(
    ("have", "need"), [((3, 32, 32), (1, 28, 28)), ((3, 32, 32), (1, 32, 32)), ((1, 9, 8), (1, 8, 8))]
)
def test_fit_shape_never_shrinks(have, need):
    with pytest.raises(UsageError, match="do not fit a network for"):
        fit_shape(torch.zeros(1, *have, dtype=torch.uint8), need)


def test_validation_split():
    train, val = validation_split(1000, 100, seed=3)
    assert (len(train), len(val)) == (900, 100)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(1000))
    assert torch.equal(val, validation_split(1000, 100, seed=3)[1])
    assert not torch.equal(val, validation_split(1000, 100, seed=4)[1])
    assert len(validation_split(10, 0, seed=0)[1]) == 0
    for impossible in (10, -1):
        with pytest.raises(UsageError, match="of 10 training images; needed 0 to 9"):
            validation_split(10, impossible, seed=0)


def test_catalogue_tells_what_is_there(tmp_path, write_tar, data_dir):
    assert {entry.name: entry.state for entry in catalogue()} == {
        "cifar10": "missing",
        "cifar100": "missing",
        "digits": "embedded",
        "mnist": "missing",
        "tiny-imagenet": "missing",
    }
    prepare("insects", write_tar("i.tar", image_tree(("ant", "bee"), size=8)))
    entry = next(entry for entry in catalogue() if entry.name == "insects")
    assert (entry.state, entry.classes, entry.train, entry.test, entry.shape) == ("prepared", 2, 2, 2, (3, 8, 8))
    assert entry.bytes > 4 * 192
    next(data_dir.glob("insects/data-*/train-images.npy")).write_bytes(b"")
    entry = next(entry for entry in catalogue() if entry.name == "insects")
    assert entry.state == "damaged"
    assert "damaged" in entry.note


def test_records_are_consistent():
    for name in DATASETS:
        record = DATASETS.get(name)
        assert record.name == name
        assert len(set(record.classes)) == len(record.classes)
        assert record.classes == tuple(sorted(record.classes))
        assert record.mean is None or len(record.mean) == record.shape[0]
    assert len(DATASETS.get("cifar100").classes) == 100
    assert len(DATASETS.get("tiny-imagenet").classes) == 200


def test_listing_and_preparing_import_no_torch():
    code = "import sys; from bnnkit.data import prepare, catalogue; prepare('digits'); catalogue.catalogue()"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)
