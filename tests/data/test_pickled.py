from __future__ import annotations

import builtins
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from bnnkit.data.pickled import read_batch
from bnnkit.errors import MismatchError


def python2_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Write a batch opcode by opcode as Python 2 and numpy 1 did: protocol 2, texts as raw bytes."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + integer(-1) * 2
    dtype += b"K\x00tb"
    raw = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R("
    array += b"K\x01" + integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86" + dtype
    array += b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def test_batch_as_the_official_archives_hold_it():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    data = python2_batch(pixels, [2, 0, 1])
    oracle = pickle.loads(data, encoding="bytes")
    np.testing.assert_array_equal(oracle[b"data"], pixels)
    batch = read_batch(data, "data_batch_1")
    np.testing.assert_array_equal(batch["data"], pixels)
    assert batch["labels"] == [2, 0, 1]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batch_written_by_this_numpy(protocol, order):
    pixels = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    batch = read_batch(pickle.dumps({b"data": pixels, "labels": [1]}, protocol=protocol), "batch")
    np.testing.assert_array_equal(batch["data"], pixels)


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self._reduced = (function, arguments)

    def __reduce__(self):
        return self._reduced


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int):
    trap = tmp_path / "trap"
    for attack in (
        Call(os.system, f"touch {trap}"),
        Call(builtins.eval, f"open({str(trap)!r}, 'w')"),
        Call(builtins.open, str(trap), "w"),
    ):
        with pytest.raises(MismatchError, match="refused pickle: it asks for") as caught:
            read_batch(pickle.dumps({"data": attack}, protocol=protocol), "data_batch_1")
        assert caught.value.hint == "do not use this file; get the official archive"
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()], dtype=object),
        np.arange(3, dtype=np.float64),
        np.datetime64("2020-01-01"),
        {1, 2},
        Exception("x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused(value):
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = np.array([None], dtype=object)
    with pytest.raises(MismatchError, match="refused pickle"):
        read_batch(pickle.dumps({"data": value}, protocol=2), "batch")


def test_array_whose_bytes_do_not_fit_its_shape_is_refused():
    data = python2_batch(np.zeros((3, 4), np.uint8), [])
    with pytest.raises(MismatchError, match="bytes do not fit its shape"):
        read_batch(data.replace(struct.pack("<i", 3), struct.pack("<i", 300), 1), "batch")


def test_damaged_pickle_and_other_content():
    data = python2_batch(np.zeros((3, 4), np.uint8), [1])
    with pytest.raises(MismatchError, match="batch: damaged pickle"):
        read_batch(data[:40], "batch")
    with pytest.raises(MismatchError, match="holds a list"):
        read_batch(pickle.dumps([1]), "batch")
