from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bnnkit.data import load, prepare
from bnnkit.data.cache import histogram_of, statistics
from bnnkit.data.record import CIFAR10_CLASSES
from bnnkit.errors import MismatchError, UsageError

from .conftest import image_tree, png, random_bytes, unpack, zipped


def test_directory_tar_and_zip_give_the_same_dataset_in_any_order(small_cifar10, tmp_path, write_tar):
    files = image_tree(CIFAR10_CLASSES)
    backwards = {f"./deep/cifar10/{name}": files[name] for name in reversed(files)}
    sources = [
        unpack(files, tmp_path / "d"),
        write_tar("a.tar.xz", backwards),
        write_tar("a.tar", files | {"README": b"", "train/cat/._0000.png": b"resource fork", "train/list.txt": b""}),
        zipped(backwards, tmp_path / "a.zip"),
    ]
    seen = set()
    for source in sources:
        prepare("cifar10", source)
        seen.add(load("cifar10").fingerprint)
    assert len(seen) == 1
    dataset = load("cifar10")
    assert dataset.train.labels.tolist() == list(range(10))
    pixels = np.asarray(Image.open(io.BytesIO(files["test/frog/0000.png"])))
    assert torch.equal(dataset.test.images[6], torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    assert dataset.note == ""


def test_jpeg_is_told(small_cifar10, tmp_path):
    files = image_tree(CIFAR10_CLASSES)
    stream = io.BytesIO()
    Image.fromarray(random_bytes(0, 32, 32, 3)).save(stream, "JPEG")
    del files["train/cat/0000.png"]
    files["train/cat/0000.jpg"] = stream.getvalue()
    prepare("cifar10", unpack(files, tmp_path / "d"))
    assert "JPEG re-encoded" in load("cifar10").note


def test_new_name_takes_classes_size_and_statistics_from_the_images(tmp_path):
    files = image_tree(("ant", "bee"), per_split=3, size=12)
    files = {name.replace("test/", "val/"): data for name, data in files.items()}
    prepare("insects", unpack(files, tmp_path / "d"))
    dataset = load("insects")
    assert dataset.classes == ("ant", "bee")
    assert dataset.train.images.shape == (6, 3, 12, 12)
    scaled = dataset.train.images.double() / 255
    assert dataset.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert dataset.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())


def test_grey_images_stay_grey(tmp_path):
    files = {f"{split}/a/0.png": png(random_bytes(0, 5, 7)) for split in ("train", "test")}
    prepare("grey", unpack(files, tmp_path / "d"))
    assert load("grey").train.images.shape == (1, 1, 5, 7)
    assert load("grey").train.images[0, 0].tolist() == random_bytes(0, 5, 7).tolist()


def test_one_colour_image_makes_the_dataset_colour(tmp_path):
    grey = random_bytes(0, 5, 7)
    files = {f"{split}/a/{n}.png": png(grey) for split in ("train", "validation") for n in range(2)}
    files["validation/a/1.png"] = png(random_bytes(1, 5, 7, 3))
    prepare("mixed", unpack(files, tmp_path / "d"))
    dataset = load("mixed")
    assert dataset.train.images[0].tolist() == [grey.tolist()] * 3
    assert torch.equal(dataset.test.images[1], torch.from_numpy(random_bytes(1, 5, 7, 3).transpose(2, 0, 1).copy()))


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_palettes_transparency_and_capital_suffixes(tmp_path):
    red = Image.new("RGB", (4, 4), (254, 0, 0))
    files = {
        "train/red/palette.PNG": encoded(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "train/red/transparent.png": encoded(red.convert("RGBA"), "PNG"),
        "test/red/0.JPG": encoded(red, "JPEG"),
    }
    prepare("reds", unpack(files, tmp_path / "d"))
    dataset = load("reds")
    assert dataset.train.images.flatten(2).unique(dim=2).tolist() == [[[254], [0], [0]]] * 2
    assert dataset.note == "image folder, JPEG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test/a/0.png": png(random_bytes(0, 4, 5))}, r"test/a/0\.png: 5x4 pixels; needed 7x5"),
        ({"train/a/0.png": png(random_bytes(0, 5, 7))[:40]}, r"train/a/0\.png: unreadable image"),
        ({"test/b/0.png": png(random_bytes(0, 5, 7))}, "unknown classes: b; needed the 1 classes"),
        ({"train/a/0.png": encoded(Image.new("I;16", (7, 5), 999), "PNG")}, r"0\.png: more than 8 bits per grey pixel"),
    ],
    ids=["size", "header", "class only in test", "16 bits"],
)
def test_wrong_trees_under_a_new_name(tmp_path, data_dir, change, message):
    files = {f"{split}/a/0.png": png(random_bytes(0, 5, 7)) for split in ("train", "test")} | change
    with pytest.raises(MismatchError, match=message):
        prepare("mine", unpack(files, tmp_path / "d"))
    assert not list(data_dir.glob("mine/data*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("train/cat/0000.png"), "without training images: cat;"),
        (lambda files: files.update({"test/zebra/0.png": b""}), "unknown classes: zebra"),
        (lambda files: files.update({"train/cat/0001.png": files["train/cat/0000.png"]}), "train has 11 images"),
        (lambda files: files.update({"train/cat/0000.png": png(random_bytes(0, 9, 9, 3))}), "9x9 pixels; needed 32x32"),
        (lambda files: files.update({"train/cat/0000.png": b"GIF89a"}), "train/cat/0000.png: unreadable image"),
        (lambda files: files.update({"train/cat/0000.png": files["train/cat/0000.png"][:-2000]}), "unreadable image"),
        (lambda files: [files.pop(name) for name in list(files) if "test" in name], "no images in test/<class>/"),
        (lambda files: files.update({"val/cat/0.png": files["test/cat/0000.png"]}), "several places"),
    ],
    ids=["no class", "extra class", "count", "size", "format", "truncated", "no split", "two splits"],
)
def test_wrong_trees(small_cifar10, write_tar, data_dir, change, message):
    files = image_tree(CIFAR10_CLASSES)
    change(files)
    with pytest.raises(MismatchError, match=message):
        prepare("cifar10", write_tar("a.tar", files))
    assert not list(data_dir.glob("cifar10/data*"))


def test_names_for_new_datasets(tmp_path):
    source = unpack(image_tree(("ant",)), tmp_path / "d")
    with pytest.raises(UsageError, match="unknown dataset 'cifar1O'") as caught:
        prepare("cifar1O", source)
    assert caught.value.hint == "did you mean 'cifar10'?"
    for name in ("../up", "Upper", "", ".hidden", "a/b"):
        with pytest.raises(UsageError, match="dataset name"):
            prepare(name, source)
    with pytest.raises(UsageError, match="unknown dataset 'ants'"):
        prepare("ants")


def test_real_cifar10_as_jpeg(shared_data):
    prepare("cifar10", shared_data / "cifar10-jpeg.tar.xz")
    cifar = load("cifar10")
    assert cifar.train.labels.bincount().tolist() == [5000] * 10
    assert cifar.test.labels.bincount().tolist() == [1000] * 10
    assert cifar.classes == CIFAR10_CLASSES
    # The published channel statistics of the training images; re-encoding moves them by far less.
    mean, std = statistics(histogram_of(cifar.train.images.numpy()))
    assert mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-3)
    assert std == pytest.approx([0.2470, 0.2435, 0.2616], abs=3e-3)
    assert "JPEG" in cifar.note
