"""pack: NumPy's packbits is the oracle of the packing law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.cim import Array, Layout
from bnnkit.quantizers import Quantizer, make

from .problems import WIDTHS, every_variant, values


def _planes(x: Tensor, quantizer: Quantizer) -> list[np.ndarray[Any, Any]]:
    """Return each plane's bits as the specification's codes give them."""
    code = reference.value_code(x, quantizer.bits).long().numpy()  # type: ignore[arg-type]
    if quantizer.thermometer:
        return [code > p for p in range(quantizer.planes)]
    return [code >> p & 1 for p in range(quantizer.planes)]


def _words(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pack the last axis little-endian into whole 8-byte words."""
    room = -bits.shape[-1] % 64
    padded = np.pad(bits.astype(np.uint8), [(0, 0)] * (bits.ndim - 1) + [(0, room)])
    return np.packbits(padded, axis=-1, bitorder="little")


def _law(x: Tensor, quantizer: Quantizer, channels_per_array: int, groups: int) -> np.ndarray[Any, Any]:
    """Return [planes, N, H, W, bytes]: each chunk of each group's channels in a slot of whole words."""
    planes = []
    for bits in _planes(x, quantizer):
        pixels = np.moveaxis(bits, 1, -1)  # [N, H, W, C]
        slots = []
        for group in np.split(pixels, groups, axis=-1):
            for c in range(0, group.shape[-1], channels_per_array):
                chunk = group[..., c : c + channels_per_array]
                room = channels_per_array - chunk.shape[-1]
                slots.append(_words(np.pad(chunk, [(0, 0)] * (chunk.ndim - 1) + [(0, room)])))
        planes.append(np.concatenate(slots, axis=-1))
    return np.stack(planes)


@settings(max_examples=80, deadline=None)
@given(
    bits=st.sampled_from(WIDTHS),
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 20)),
    groups=st.integers(1, 3),
    channels=st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 100, 128, 129, 200])),
    cut=st.integers(1, 210),
    seed=st.integers(0, 2**32),
)
def test_pixels_obey_the_packing_law(
    bits: Any, batch: int, size: tuple[int, int], groups: int, channels: int, cut: int, seed: int
) -> None:
    x = values((batch, channels * groups, *size), torch.Generator().manual_seed(seed))
    per_array = 1 + cut % channels
    quantizer = make(bits)
    expected = _law(x, quantizer, per_array, groups)
    for name in every_variant():
        for format in (torch.contiguous_format, torch.channels_last):
            packed = ops.pack_pixels(
                x.contiguous(memory_format=format), quantizer, channels_per_array=per_array, groups=groups
            )
            assert packed.dtype == torch.uint8
            assert np.array_equal(packed.numpy(), expected), (name, format)


def test_two_threads_change_nothing() -> None:
    x = values((5, 70, 9, 11), torch.Generator().manual_seed(1))
    expected = _law(x, make(3), 30, 2)
    for name in every_variant(threads=2):
        for format in (torch.contiguous_format, torch.channels_last):
            packed = ops.pack_pixels(x.contiguous(memory_format=format), make(3), channels_per_array=30, groups=2)
            assert np.array_equal(packed.numpy(), expected), (name, format)


@settings(max_examples=80, deadline=None)
@given(
    bits=st.sampled_from(WIDTHS),
    outputs=st.integers(1, 9),
    channels=st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 128, 129])),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    tap=st.booleans(),
    cut=st.integers(1, 130),
    seed=st.integers(0, 2**32),
)
def test_kernels_obey_the_packing_law(
    bits: Any, outputs: int, channels: int, kernel: tuple[int, int], tap: bool, cut: int, seed: int
) -> None:
    w = values((outputs, channels, *kernel), torch.Generator().manual_seed(seed))
    per_array = 1 + cut % channels
    layout = Layout(channels, *kernel, 1024, per_array, tap)
    quantizer = make(bits)
    planes = []
    for plane in _planes(w, quantizer):
        rows = plane.reshape(outputs, channels, -1)  # [O, C, taps]
        arrays = []
        for s in range(layout.arrays):
            chunk = rows[:, list(layout.channels_of(s))]
            chunk = np.pad(chunk, [(0, 0), (0, per_array - chunk.shape[1]), (0, 0)])
            held = chunk[:, :, s // layout.chunks] if tap else np.moveaxis(chunk, 1, 2).reshape(outputs, -1)
            arrays.append(_words(held))
        planes.append(np.concatenate(arrays, axis=-1))
    expected = np.stack(planes)
    for name in ops.usable_variants():
        with ops.variant(name):
            assert np.array_equal(ops.pack_kernels(w, quantizer, layout=layout).numpy(), expected), name


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), features=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_rows_of_signs_equal_the_reference(rows: int, features: int, seed: int) -> None:
    x = values((rows, features), torch.Generator().manual_seed(seed))
    expected = reference.pack_bits(x)
    layout = Array(1024).layout(features, 1, 1)
    for name in ops.usable_variants():
        with ops.variant(name):
            assert torch.equal(ops.pack_pixels(x, make(1), channels_per_array=features)[0], expected), name
            assert torch.equal(ops.pack_kernels(x, make(1), layout=layout)[0], expected), name


def test_minus_zero_is_zero() -> None:
    x = torch.tensor([[0.0, -0.0, 1e-45, -1e-45]])
    for name in ops.usable_variants():
        with ops.variant(name):
            assert ops.pack_pixels(x, make(1), channels_per_array=4)[0, 0, 0].item() == 0b0100, name


def test_infinities_are_numbers() -> None:
    x = torch.tensor([[math.inf, -math.inf]])
    for name in ops.usable_variants():
        with ops.variant(name):
            packed = ops.pack_pixels(x, make(2), channels_per_array=2)
        assert packed[:, 0, 0].tolist() == [1, 1], name


def test_views_are_packed_as_what_they_show() -> None:
    x = values((4, 6, 8, 10), torch.Generator().manual_seed(1))
    for view in (x[::2], x[:, ::3], x[:, :, 1:, 2:], x.transpose(2, 3), x[:1].expand(3, -1, -1, -1), x[:, 2:3]):
        expected = _law(view, make(3), 4, 1)
        assert np.array_equal(ops.pack_pixels(view, make(3), channels_per_array=4).numpy(), expected)


def test_nothing_to_pack() -> None:
    for name in ops.usable_variants():
        with ops.variant(name):
            assert ops.pack_pixels(torch.ones(0, 5, 2, 2), make(2), channels_per_array=3).shape == (2, 0, 2, 2, 16)


@pytest.mark.parametrize("place", [0, 7, 63, 64, 4099])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_a_single_nan_is_refused(place: int, format: torch.memory_format) -> None:
    x = torch.ones(2, 41, 5, 10)
    x.view(-1)[place] = math.nan
    for name in every_variant():
        with pytest.raises(RuntimeError, match="x: contains NaN"):
            ops.pack_pixels(x.contiguous(memory_format=format), make(1), channels_per_array=9)
        with pytest.raises(RuntimeError, match="w: contains NaN"):
            ops.pack_kernels(x, make(1), layout=Array(2048).layout(41, 5, 10)), name


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.ones(1, 4).double(), {}, "x: .*float32"),
        (torch.ones(1, 4).half(), {}, "x: .*float32"),
        (torch.ones(4), {}, r"x: needed \[batch, channels"),
        (torch.ones(1, 4, 2), {}, r"x: needed \[batch, channels"),
        (torch.ones(1, 4), {"groups": 3}, "groups: must divide"),
        (torch.ones(1, 4), {"groups": 0}, "groups: must divide"),
        (torch.ones(1, 4), {"channels_per_array": 0}, "channels_per_array: must be positive"),
    ],
)
def test_bad_pixels_are_refused(x: Tensor, options: dict[str, int], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ops.pack_pixels(x, make(1), **{"channels_per_array": 4, **options})


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (torch.ones(2, 4, 1, 1).double(), "w: .*float32"),
        (torch.ones(2, 4, 1), r"w: needed \[out, in"),
        (torch.ones(1, 1, 33, 32), "w: more than 1024 taps"),
    ],
)
def test_bad_kernels_are_refused(w: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ops.pack_kernels(w, make(1), layout=Layout(4, 1, 1, 128, 4, False))


@pytest.mark.parametrize(
    ("thresholds", "planes", "thermometer", "message"),
    [
        ([0.0], 9, False, "planes: 9; needed 1 to 8"),
        ([0.0], 0, False, "planes: 0"),
        ([0.0, 0.1], 1, False, "thresholds: 2 do not fit 1 planes"),
        ([0.0, 0.1, 0.2], 2, True, "thresholds: 3 do not fit 2 planes"),
        ([], 1, False, "thresholds: 0"),
        ([0.5, 0.1], 2, True, "thresholds: must ascend"),
    ],
)
def test_impossible_quantizers_are_refused(
    thresholds: list[float], planes: int, thermometer: bool, message: str
) -> None:
    ops.load()
    with pytest.raises(RuntimeError, match=message):
        torch.ops.bnnkit.pack_pixels(torch.ones(1, 4), thresholds, True, planes, thermometer, 1, 4)
