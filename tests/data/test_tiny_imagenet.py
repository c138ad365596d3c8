from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bnnkit.data import load, prepare
from bnnkit.data.catalogue import catalogue
from bnnkit.data.record import TINY_IMAGENET_CLASSES
from bnnkit.data.source import open_source
from bnnkit.errors import MismatchError, UsageError

from .conftest import image_tree, random_bytes, shrink, unpack, zipped

WNIDS = ("n01", "n02", "n03")
VALIDATION = ("n03", "n01", "n02", "n01", "n03", "n02")
ROOT = "tiny-imagenet-200/"
ANNOTATIONS = f"{ROOT}val/val_annotations.txt"


def jpeg(seed: int, *shape: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_bytes(seed, *shape)).save(file, "JPEG")
    return file.getvalue()


def decode(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1).copy())


def shipped(per_class: int = 2, size: int = 64) -> dict[str, bytes]:
    """The layout of the official archive, with unsorted classes, two labelled validation images of each, and a test."""
    files = {
        f"{ROOT}train/{wnid}/images/{wnid}_{n}.JPEG": jpeg(100 * label + n, size, size, 3)
        for label, wnid in enumerate(WNIDS)
        for n in range(per_class)
    }
    files |= {f"{ROOT}train/{wnid}/{wnid}_boxes.txt": b"x_0.JPEG\t0\t0\t1\t1\n" for wnid in WNIDS}
    files |= {f"{ROOT}val/images/val_{n}.JPEG": jpeg(1000 + n, size, size, 3) for n in range(len(VALIDATION))}
    lines = [f"val_{n}.JPEG\t{wnid}\t0\t32\t44\t62\n" for n, wnid in enumerate(VALIDATION)]
    return files | {
        ANNOTATIONS: "".join(lines).encode(),
        f"{ROOT}wnids.txt": b"n02\nn03\nn01\n",
        f"{ROOT}words.txt": b"n00\tentity\nn01\tgoldfish, Carassius auratus\n",
        f"{ROOT}test/images/test_0.JPEG": jpeg(2000, size, size, 3),
    }


def rearranged(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same images as `<split>/<class>/<name>`."""
    moved = {name.replace("/images/", "/"): data for name, data in files.items() if "/train/" in name}
    moved = {name: data for name, data in moved.items() if name.endswith(".JPEG")}
    validation = enumerate(VALIDATION)
    return moved | {f"{ROOT}val/{wnid}/val_{n}.JPEG": files[f"{ROOT}val/images/val_{n}.JPEG"] for n, wnid in validation}


@pytest.fixture
def small(monkeypatch):
    """A Tiny ImageNet of three classes with two training images each."""
    return shrink(monkeypatch, "tiny-imagenet", classes=WNIDS, counts=(6, 6))


def test_every_image_has_its_label_and_place(small, write_tar):
    files = shipped()
    prepare("tiny-imagenet", write_tar("t.tar.xz", files))
    dataset = load("tiny-imagenet", verify=True)
    assert dataset.classes == WNIDS
    assert dataset.train.images.shape == (6, 3, 64, 64)
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(dataset.train.images[3], decode(files[f"{ROOT}train/n02/images/n02_1.JPEG"]))
    order = [1, 3, 2, 5, 0, 4]
    assert [WNIDS.index(VALIDATION[n]) for n in order] == dataset.test.labels.tolist()
    for image, n in zip(dataset.test.images, order, strict=True):
        assert torch.equal(image, decode(files[f"{ROOT}val/images/val_{n}.JPEG"]))
    assert dataset.mean == (0.485, 0.456, 0.406)
    assert dataset.note == small.note


def test_all_sources_and_layouts_give_the_same_dataset(small, write_tar, tmp_path):
    files = shipped()
    hidden = {"__MACOSX/val/images/._val_0.JPEG": b"", f"{ROOT}val/images/._val_0.JPEG": b""}
    folders = {name.removeprefix(ROOT): data for name, data in rearranged(files).items()}
    sources = [
        write_tar("t.tar", files | hidden),
        zipped({f"deep/{name}": files[name] for name in reversed(files)}, tmp_path / "tiny.zip"),
        unpack(files, tmp_path / "parent"),
        tmp_path / "parent" / ROOT,
        unpack({**files, ANNOTATIONS: files[ANNOTATIONS].replace(b"\n", b"\r\n")}, tmp_path / "edited"),
        unpack(folders, tmp_path / "folders"),
        unpack(folders | {"wnids.txt": b"n02\n", "val/val_annotations.txt": b""}, tmp_path / "rest of the original"),
    ]
    seen = set()
    for source in sources:
        prepare("tiny-imagenet", source)
        seen.add((load("tiny-imagenet").fingerprint, load("tiny-imagenet").note))
    assert len(seen) == 1


def test_grey_images_become_colour(small, write_tar):
    files = shipped()
    train, val = f"{ROOT}train/n01/images/n01_0.JPEG", f"{ROOT}val/images/val_1.JPEG"
    files |= {train: jpeg(0, 64, 64), val: jpeg(1, 64, 64)}
    prepare("tiny-imagenet", write_tar("t.tar", files))
    dataset = load("tiny-imagenet")
    for image, name in ((dataset.train.images[0], train), (dataset.test.images[0], val)):
        assert torch.equal(image, decode(files[name]))
        assert torch.equal(image[0], image[2])


def test_fewer_training_images_are_told(small, write_tar):
    for source in (shipped(per_class=1), rearranged(shipped(per_class=1))):
        prepare("tiny-imagenet", write_tar("part.tar", source))
        dataset = load("tiny-imagenet")
        assert (len(dataset.train), len(dataset.test)) == (3, 6)
        assert dataset.note == f"{small.note}; 1 of 2 training images per class"
        assert dataset.note in [entry.note for entry in catalogue()]


def test_only_records_that_say_so_accept_fewer(monkeypatch, write_tar):
    shrink(monkeypatch, "tiny-imagenet", classes=WNIDS, counts=(6, 6), train_subsets=False)
    with pytest.raises(MismatchError, match=r"train has 3 images of \(3, 64, 64\); needed 6"):
        prepare("tiny-imagenet", write_tar("part.tar", shipped(per_class=1)))


def drop(name):
    return lambda files: files.pop(ROOT + name)


def put(name, data):
    return lambda files: files.update({ROOT + name: data})


def annotate(old, new):
    return lambda files: files.update({ANNOTATIONS: files[ANNOTATIONS].replace(old, new)})


def without_training_images(files):
    for n in range(2):
        del files[f"{ROOT}train/n02/images/n02_{n}.JPEG"]


WHOLE = jpeg(7, 64, 64, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("val/val_annotations.txt"), r"-200/val/val_annotations\.txt is missing"),
        (put("val/val_annotations.txt", b"\n"), r"not in val_annotations\.txt: val_0\.JPEG, .*\.{3} \(6 of 6\)"),
        (drop("wnids.txt"), r"-200/wnids\.txt is missing"),
        (drop("val/images/val_4.JPEG"), r"annotated but missing: val_4\.JPEG \(1 of 6\); needed"),
        (put("val/images/val_9.JPEG", WHOLE), r"not in val_annotations\.txt: val_9\.JPEG \(1 of 7\)"),
        (annotate(b"n02", b"n77"), r"val_annotations\.txt: line 3: unknown class 'n77'"),
        (
            annotate(b"val_2.JPEG\tn02\t0\t32\t44\t62", b"val_2.JPEG n02"),
            r"line 3: 'val_2\.JPEG n02.*needed <file> <tab> <wnid>",
        ),
        (annotate(b"val_2", b"val_0"), r"line 3: val_0\.JPEG is n02, and n03 before"),
        (without_training_images, "classes without training images: n02; unknown classes: none"),
        (put("train/n04/images/n04_0.JPEG", WHOLE), "unknown classes: n04"),
        (put("wnids.txt", b"n01\nn02\nn03\nn05"), r"wnids\.txt: unknown classes: n05; needed the 3 classes"),
        (drop("train/n01/images/n01_0.JPEG"), "train has 1 to 2 images per class; needed 2 each, or equally many"),
        (put("train/n01/images/n01_7.JPEG", WHOLE), "train has 7 images"),
        (put("train/n01/images/n01_0.JPEG", b"GIF89a"), r"-200/train/n01/images/n01_0\.JPEG: unreadable image"),
        (put("val/images/val_3.JPEG", WHOLE[:-500]), r"-200/val/images/val_3\.JPEG: unreadable image"),
        (put("val/images/val_3.JPEG", jpeg(0, 32, 64, 3)), "64x32 pixels; needed 64x64"),
        (
            put("copy/train/n01/images/n01_0.JPEG", WHOLE),
            r"several places \(tiny-imagenet-200/train, tiny.*200/copy/train\)",
        ),
    ],
    ids=[
        "annotations",
        "empty annotations",
        "wnids",
        "image missing",
        "image not annotated",
        "wnid",
        "line",
        "two classes",
        "no training images",
        "extra class",
        "extra wnid",
        "unbalanced",
        "too many",
        "corrupt",
        "truncated",
        "size",
        "two roots",
    ],
)
def test_wrong_content_names_what_is_wrong(small, write_tar, data_dir, change, message):
    files = shipped()
    change(files)
    with pytest.raises(MismatchError, match=message) as caught:
        prepare("tiny-imagenet", write_tar("t.tar", files))
    assert caught.value.hint
    assert not list(data_dir.glob("tiny-imagenet/data*"))


def test_neither_images_nor_annotations_of_the_validation(small, write_tar):
    files = {name: data for name, data in shipped().items() if "/val/images/" not in name} | {ANNOTATIONS: b""}
    with pytest.raises(MismatchError, match=r"val_annotations\.txt: no annotations"):
        prepare("tiny-imagenet", write_tar("t.tar", files))


def test_validation_images_must_be_complete(small, write_tar):
    files = shipped()
    del files[f"{ROOT}val/images/val_5.JPEG"]
    files[ANNOTATIONS] = b"".join(files[ANNOTATIONS].splitlines(keepends=True)[:5])
    with pytest.raises(MismatchError, match=r"test has 5 images of .*; needed 6"):
        prepare("tiny-imagenet", write_tar("t.tar", files))


def test_half_rearranged_folders_are_explained(small, write_tar):
    files = {name: data for name, data in shipped().items() if "/val/" not in name}
    files |= {name: data for name, data in rearranged(shipped()).items() if "/val/" in name}
    with pytest.raises(MismatchError, match=r"val_annotations\.txt is missing") as caught:
        prepare("tiny-imagenet", write_tar("t.tar", files))
    assert "or folders train/<wnid>/*.JPEG and val/<wnid>/*.JPEG" in caught.value.hint


def test_folders_of_other_classes_are_not_tiny_imagenet(tmp_path):
    with pytest.raises(MismatchError, match=r"without training images: n01443537, .*unknown classes: ant, bee"):
        prepare("tiny-imagenet", unpack(image_tree(("ant", "bee"), size=64), tmp_path / "d"))


def test_another_name_takes_classes_and_size_from_the_source(write_tar):
    archive = write_tar("t.tar", shipped(size=24))
    prepare("three-kinds", archive)
    dataset = load("three-kinds")
    assert dataset.classes == WNIDS
    assert dataset.test.images.shape == (6, 3, 24, 24)
    with pytest.raises(MismatchError, match=r"wnids\.txt: unknown classes: n01"):
        prepare("cifar10", archive)
    with pytest.raises(UsageError) as caught:
        prepare("tinyimagenet", archive)
    assert caught.value.hint == "did you mean 'tiny-imagenet'?"


def test_real_part_of_tiny_imagenet(shared_data):
    source = shared_data / "tiny-imagenet-100per.tar.xz"
    if not source.is_file():
        pytest.skip(f"{source.name} is not present (looked in {shared_data}; set BNNKIT_SHARED)")
    prepare("tiny-imagenet", source)
    tiny = load("tiny-imagenet")
    assert tiny.classes == TINY_IMAGENET_CLASSES
    assert tiny.train.labels.bincount().tolist() == [100] * 200
    assert tiny.test.labels.bincount().tolist() == [50] * 200
    assert tiny.train.images.shape == (20000, 3, 64, 64)
    assert tiny.note.endswith("100 of 500 training images per class")
    files = open_source(source)
    for line in files[ANNOTATIONS]().decode().splitlines()[::2500]:
        name, wnid = line.split("\t")[:2]
        image = decode(files[f"{ROOT}val/images/{name}"]())
        found = (tiny.test.images == image).flatten(1).all(1).nonzero().flatten()
        assert [tiny.classes[tiny.test.labels[i]] for i in found] == [wnid]
