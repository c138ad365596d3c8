"""Weights in cells: nothing is lost, every level fits its cell, and what does not fit is refused."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit.cim import Slicing
from bnnkit.cim.slicing import Encoding
from bnnkit.errors import UsageError

ENCODINGS = get_args(Encoding)

SLICINGS = st.builds(Slicing, st.integers(2, 8), st.integers(1, 4), st.sampled_from(ENCODINGS))


@settings(deadline=None)
@given(SLICINGS)
def test_every_weight_comes_back(slicing: Slicing) -> None:
    w = torch.arange(slicing.low, slicing.high + 1)
    plus, minus = slicing.cells(w)
    assert plus.shape == minus.shape == (slicing.slices, len(w))
    assert plus.dtype == minus.dtype == torch.uint8
    assert torch.equal(slicing.merge(plus, minus), w)


@settings(deadline=None)
@given(SLICINGS)
def test_the_ranges_hold_every_weight_of_a_symmetric_quantizer(slicing: Slicing) -> None:
    half = 2 ** (slicing.w_bit - 1)
    assert slicing.low <= 1 - half and slicing.high >= half - 1
    assert slicing.high - slicing.low + 1 == 2**slicing.w_bit - (slicing.encoding == "differential")


@settings(deadline=None)
@given(SLICINGS)
def test_levels_fit_the_bits_of_their_cells(slicing: Slicing) -> None:
    w = torch.arange(slicing.low, slicing.high + 1)
    assert sum(slicing.widths) == slicing.w_bit - (slicing.encoding == "differential")
    assert max(slicing.widths) <= slicing.cell_bit and min(slicing.widths) >= 1
    for levels in slicing.cells(w):
        for c, width in enumerate(slicing.widths):
            assert int(levels[c].max()) < 2**width
    plus, _ = slicing.cells(w)
    # The last slice is narrower where needed, never padded: each uses its highest level.
    assert [int(levels.max()) for levels in plus] == [2**width - 1 for width in slicing.widths]


@settings(deadline=None)
@given(SLICINGS, st.data())
def test_shapes_are_those_of_the_weights(slicing: Slicing, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(), (0,), (3,), (2, 5), (4, 3, 2, 2)]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    w = torch.randint(slicing.low, slicing.high + 1, shape, generator=generator, dtype=torch.int32)
    plus, minus = slicing.cells(w)
    assert plus.shape == minus.shape == (slicing.slices, *shape)
    assert torch.equal(slicing.merge(plus, minus), w.long())


@settings(deadline=None)
@given(SLICINGS, st.sampled_from([-1, 1]))
def test_weights_out_of_range_are_refused(slicing: Slicing, side: int) -> None:
    far = slicing.high + 1 if side > 0 else slicing.low - 1
    least, most = min(far, 0), max(far, 0)
    with pytest.raises(UsageError) as error:
        slicing.cells(torch.tensor([0, far]))
    assert error.value.message == (
        f"slicing: weights {least} to {most}; {slicing.low} to {slicing.high} fit {slicing.w_bit} bits in encoding "
        f"{slicing.encoding}"
    )
    assert error.value.hint == "give the right --w-bit"


def test_the_codes_7_and_8_by_hand() -> None:
    # Offset 7 is added to a 4-bit weight, so code 7 is weight 0 and code 8 is weight 1.
    plus, minus = Slicing(4, 1).cells(torch.tensor([0, 1]))
    assert plus[:, 0].tolist() == [1, 1, 1, 0]
    assert plus[:, 1].tolist() == [0, 0, 0, 1]
    assert minus.T.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    assert (Slicing(4, 1).offset, Slicing(4, 1, "twos").offset, Slicing(4, 1, "differential").offset) == (7, 0, 0)


def test_a_layer_of_four_bits_by_hand() -> None:
    w = torch.zeros(8, 6, 3, 3, dtype=torch.int64)
    assert Slicing(4, 1).cells(w)[0].shape == (4, 8, 6, 3, 3)
    assert Slicing(4, 2).cells(w)[0].shape == (2, 8, 6, 3, 3)


@pytest.mark.parametrize(
    ("slicing", "widths", "weights", "columns", "ends"),
    [
        (Slicing(4, 1), (1, 1, 1, 1), (1, 2, 4, 8), 4, (-7, 8)),
        (Slicing(4, 2), (2, 2), (1, 4), 2, (-7, 8)),
        (Slicing(4, 3), (3, 1), (1, 8), 2, (-7, 8)),
        (Slicing(5, 2), (2, 2, 1), (1, 4, 16), 3, (-15, 16)),
        (Slicing(8, 3), (3, 3, 2), (1, 8, 64), 3, (-127, 128)),
        (Slicing(2, 4), (2,), (1,), 1, (-1, 2)),
        (Slicing(4, 1, "differential"), (1, 1, 1), (1, 2, 4), 6, (-7, 7)),
        (Slicing(4, 2, "differential"), (2, 1), (1, 4), 4, (-7, 7)),
        (Slicing(2, 1, "differential"), (1,), (1,), 2, (-1, 1)),
        (Slicing(4, 1, "twos"), (1, 1, 1, 1), (1, 2, 4, -8), 4, (-8, 7)),
        (Slicing(4, 2, "twos"), (2, 1, 1), (1, 4, -8), 3, (-8, 7)),
        (Slicing(8, 4, "twos"), (4, 3, 1), (1, 16, -128), 3, (-128, 127)),
    ],
    ids=str,
)
def test_examples_by_hand(
    slicing: Slicing, widths: tuple[int, ...], weights: tuple[int, ...], columns: int, ends: tuple[int, int]
) -> None:
    assert (slicing.widths, slicing.weights, slicing.columns) == (widths, weights, columns)
    assert slicing.slices == len(widths)
    assert (slicing.low, slicing.high) == ends


def test_the_encodings_of_one_weight() -> None:
    w = torch.tensor([-5])

    def stored(encoding: Encoding) -> tuple[list[int], list[int]]:
        plus, minus = Slicing(4, 2, encoding).cells(w)
        return plus.flatten().tolist(), minus.flatten().tolist()

    assert stored("offset") == ([2, 0], [3, 1])  # 2 - 7
    assert stored("differential") == ([0, 0], [1, 1])  # 0 - 5
    assert stored("twos") == ([3, 0, 1], [0, 0, 0])  # 3 - 8


@pytest.mark.parametrize(
    ("arguments", "text", "hint"),
    [
        ((1, 1), "1-bit weights; 2 to 8 bits were needed", "--w-bit 4"),
        ((9, 1), "9-bit weights; 2 to 8 bits were needed", "--w-bit 4"),
        ((4, 0), "0-bit cells; 1 to 4 bits were needed", "--cell-bit 1"),
        ((4, 5), "5-bit cells; 1 to 4 bits were needed", "--cell-bit 1"),
        ((4, 1, "ofset"), "encoding 'ofset'; one of offset, differential, twos was needed", "--encode offset"),
    ],
)
def test_impossible_slicings_are_refused(arguments: tuple[object, ...], text: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        Slicing(*arguments)  # type: ignore[arg-type]
    assert error.value.message == f"slicing: {text}"
    assert error.value.hint == hint
