"""Checkpoints: what comes back is what was stored, and everything else is refused by name."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import bnnkit
from bnnkit import atomic, checkpoint
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.models import Model, create_model


def small(**options: object) -> Model:
    torch.manual_seed(3)
    return create_model("mlp", **{"width": 1, "in_shape": (1, 4, 4), **options})  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    checkpoint.save(
        path, small(adc_bit=2), extra={"optimizer.x": torch.arange(3)}, metadata={"provenance": {"seed": 7}}
    )
    return path


def test_weights_config_and_metadata_come_back(saved: Path) -> None:
    model = bnnkit.load(saved)
    original = small(adc_bit=2)
    assert model.config == original.config
    assert not model.training
    for name, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert checkpoint.read_metadata(saved)["provenance"] == {"seed": 7}
    assert torch.equal(checkpoint.read(saved).part("optimizer.")["x"], torch.arange(3))


def test_any_safetensors_reader_reads_the_weights(saved: Path) -> None:
    with safetensors.safe_open(saved, framework="pt") as file:
        assert "model.classifier.weight" in set(file.keys())
        assert json.loads(file.metadata()["bnnkit"])["format_version"] == checkpoint.FORMAT_VERSION


def test_a_network_may_be_loaded_with_other_converters(saved: Path) -> None:
    model = checkpoint.build(checkpoint.read(saved), adc_bit="fp", rows=64)
    assert (model.config["adc_bit"], model.config["rows"]) == ("fp", 64)


@pytest.mark.parametrize("kept", [0, 5, 100, 2000, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[:kept])
    for read in (bnnkit.load, checkpoint.read_metadata):
        with pytest.raises(MismatchError, match="truncated") as caught:
            read(saved)
        assert str(saved) in caught.value.message
        assert caught.value.hint == "take another checkpoint, or train again"
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("where", [0, 3, 9, 60, 400, -1, -500])
def test_a_single_flipped_bit_is_refused(saved: Path, where: int) -> None:
    content = bytearray(saved.read_bytes())
    content[where] ^= 1
    saved.write_bytes(content)
    with pytest.raises(MismatchError):
        bnnkit.load(saved)


def test_corrupt_tensor_bytes_are_named_as_such(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(MismatchError, match="corrupt: its bytes differ from the digest"):
        bnnkit.load(saved)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(MismatchError, match="not a safetensors file"):
        bnnkit.load(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(MismatchError, match="without bnnkit metadata"):
        bnnkit.load(path)
    with pytest.raises(MissingError, match="does not exist"):
        bnnkit.load(tmp_path / "none.safetensors")
    with pytest.raises(MissingError, match="is a folder"):
        bnnkit.load(tmp_path)


@pytest.mark.parametrize(
    "header", [{"__metadata__": "x"}, {"__metadata__": []}, {"a": {"data_offsets": [0, "0"]}}, [], {"a": 1}]
)
def test_a_header_of_something_else_is_refused(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(MismatchError, match="no readable header"):
        checkpoint.read(path)


def test_a_newer_format_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 2)
    checkpoint.save(saved, small())
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 1)
    with pytest.raises(MismatchError, match=r"format version 2, written by bnnkit .*reads up to 1") as caught:
        bnnkit.load(saved)
    assert caught.value.hint == "pip install --upgrade bnnkit"


def test_another_model_or_other_bits_are_refused(saved: Path) -> None:
    with pytest.raises(MismatchError, match=r"another network \(mlp width 1.*name is mlp, needed res20") as caught:
        checkpoint.load(saved, expect={"name": "res20"})
    assert caught.value.exit_code == 4
    with pytest.raises(MismatchError, match="w_bit is 1, needed 4; adc_bit is 2, needed 1"):
        checkpoint.load(saved, expect={"w_bit": 4, "ao_bit": 1, "adc_bit": 1})
    with pytest.raises(MismatchError, match="width is 1, needed 2"):
        checkpoint.load_weights(checkpoint.read(saved), small(width=2))


def test_weights_that_do_not_fit_are_named(saved: Path) -> None:
    stored = checkpoint.read(saved)
    stored.tensors["model.surplus"] = torch.zeros(1)
    del stored.tensors["model.classifier.bias"]
    stored.tensors["model.classifier.weight"] = torch.zeros(2, 2)
    with pytest.raises(MismatchError) as caught:
        checkpoint.load_weights(stored, small())
    for part in (
        "classifier.bias is missing",
        "surplus is unknown",
        r"classifier.weight is [2, 2] instead of [10, 128]",
    ):
        assert part in caught.value.message


def test_names_of_the_checkpoint_itself_cannot_be_taken(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.x"):
        checkpoint.save(saved, small(), extra={"model.x": torch.zeros(1)})
    with pytest.raises(ValueError, match="digest"):
        checkpoint.save(saved, small(), metadata={"digest": "x"})


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Let no file of this process grow beyond some bytes, which fails like a full disk in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_previous_checkpoint(saved: Path, file_size_limit: Callable[[int], None]) -> None:
    before = saved.read_bytes()
    file_size_limit(len(before) // 2)
    with pytest.raises(MissingError, match=r"no space to save it.*the previous one is unchanged") as caught:
        checkpoint.save(saved, small(adc_bit=4))
    assert caught.value.exit_code == 3
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_failure_after_writing_leaves_the_previous_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MissingError, match="No space left on device"):
        checkpoint.save(saved, small())
    assert saved.read_bytes() == before


def test_an_interruption_while_writing_leaves_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_bytes(path, chunks())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_failures_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name too long"):
        atomic.write_text(tmp_path / ("x" * 300), "text")


def test_a_folder_that_is_not_there_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path in (tmp_path / "missing" / "net.safetensors", file / "net.safetensors"):
        with pytest.raises(MissingError, match="cannot be written") as caught:
            atomic.write_bytes(path, [b"x"])
        assert caught.value.hint is not None


def test_a_link_stays_one_and_a_device_is_written_to(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("real")
    atomic.write_bytes(link, [b"one ", b"file"])
    assert link.is_symlink() and real.read_bytes() == b"one file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_bytes(pipe, [b"flows"])
    assert os.read(reader, 9) == b"flows" and pipe.is_fifo()
    os.close(reader)
    with pytest.raises(UsageError, match="is a folder; the name of a file was needed"):
        atomic.write_bytes(tmp_path, [b""])
