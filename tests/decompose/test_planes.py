"""Planes: every encoding, width and cell gives the weights back, and the cells hold what the encoding says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops
from bnnkit.cim import Array
from bnnkit.cim.slicing import Encoding, Slicing
from bnnkit.decompose import Settings, Unsigned, Weight, decompose, place, verify
from bnnkit.errors import GateError, MismatchError, MissingError, UsageError

ENCODINGS: tuple[Encoding, ...] = ("offset", "differential", "twos")


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """Skip without compiled code, which slices unsigned codes."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))


def weight(values: Tensor, **options: object) -> Weight:
    return Weight("layer", values.int(), **options)  # type: ignore[arg-type]


@given(
    encode=st.sampled_from(ENCODINGS),
    w_bit=st.integers(2, 8),
    cell_bit=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(3,), (5, 4), (2, 3, 3), (4, 3, 3, 2)]),
)
def test_signed_weights_come_back(
    encode: Encoding, w_bit: int, cell_bit: int, seed: int, shape: tuple[int, ...]
) -> None:
    scheme = Slicing(w_bit, cell_bit, encode)
    values = torch.randint(scheme.low, scheme.high + 1, shape, generator=torch.Generator().manual_seed(seed))
    values.view(-1)[:2] = torch.tensor([scheme.low, scheme.high])
    planes = decompose(weight(values), Settings(w_bit=w_bit, cell_bit=cell_bit, encode=encode))
    verify(planes)
    assert planes.plus.dtype == planes.minus.dtype == torch.uint8
    assert planes.plus.shape == (planes.scheme.slices, *shape)
    # In plain Python, without the code that merges.
    for index in range(values.numel()):
        total = 0
        for c, (width, count) in enumerate(zip(planes.scheme.widths, planes.scheme.weights, strict=True)):
            up, down = int(planes.plus[c].view(-1)[index]), int(planes.minus[c].reshape(-1)[index])
            assert up < 2**width and down < 2**width
            total += count * (up - down)
        assert total == values.view(-1)[index]


@given(w_bit=st.integers(1, 16), cell_bit=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_unsigned_codes_come_back(w_bit: int, cell_bit: int, seed: int) -> None:
    codes = torch.randint(0, 2**w_bit, (4, 5), generator=torch.Generator().manual_seed(seed))
    codes[0, :2] = torch.tensor([0, 2**w_bit - 1])
    planes = decompose(weight(codes), Settings(w_bit=w_bit, cell_bit=cell_bit))
    verify(planes)
    assert sum(planes.scheme.widths) == w_bit
    for c, plane in enumerate(planes.plus.long()):
        assert torch.equal(plane, (codes >> (cell_bit * c)) & (2**cell_bit - 1))


def test_the_specified_example() -> None:
    values = torch.randint(0, 16, (128, 128, 3, 3))
    values[0, 0, 0, :2] = torch.tensor([7, 8])
    planes = decompose(weight(values), Settings(w_bit=4, cell_bit=1))
    assert planes.plus.shape == (4, 128, 128, 3, 3)
    assert planes.plus[:, 0, 0, 0, :2].T.tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("wrong", [1, 6])
def test_a_wrong_cell_is_found(wrong: int) -> None:
    planes = decompose(weight(torch.tensor([[-3, 5, 0]])))
    plus = planes.plus.clone()
    plus.view(-1)[wrong] ^= 1
    with pytest.raises(GateError, match=r"layer: 1 of 3 weights differ .* \[0, [01]\]"):
        verify(replace(planes, plus=plus))


def test_what_decides_the_encoding() -> None:
    signed, unsigned = torch.tensor([[-1, 1]]), torch.tensor([[0, 1]])
    assert decompose(weight(signed)).scheme == Slicing(4, 1, "offset")
    assert decompose(weight(unsigned)).scheme == Unsigned(4, 1)
    twos = Settings(encode="twos", w_bit=3)
    assert decompose(weight(unsigned), twos).scheme == Slicing(3, 1, "twos")
    assert decompose(weight(unsigned, signed=False), twos).scheme == Unsigned(3, 1)
    assert decompose(weight(unsigned, signed=True, w_bit=2)).scheme == Slicing(2, 1, "offset")


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([[0, 16]], Settings(), "layer: codes 0 to 16; 0 to 15 fit 4 bits"),
        ([[-8, 1]], Settings(), "layer: slicing: weights -8 to 1; -7 to 8 fit 4 bits in encoding offset"),
        ([[0, 15]], Settings(encode="offset"), "layer: slicing: weights 0 to 15; -7 to 8 fit"),
        ([[0, 1]], Settings(w_bit=17), "layer: 17-bit codes; 1 to 16"),
        ([[0, 1]], Settings(w_bit=0), "layer: 0-bit codes; 1 to 16"),
        ([[0, 1]], Settings(cell_bit=9), "layer: 9-bit cells; 1 to 8"),
        ([[-1, 1]], Settings(cell_bit=5), "layer: slicing: 5-bit cells; 1 to 4"),
        ([[-1, 1]], Settings(encode="gray"), "encoding 'gray'; one of offset"),  # type: ignore[arg-type]
        ([[0, 1]], Settings(cols=3), "layer: array: 3 bit lines; one weight needs 4"),
        ([[-1, 1]], Settings(cols=7), "layer: array: 7 bit lines; one weight needs 4 and 4 dummy columns"),
        ([[0, 1]], Settings(rows=0), "layer: array: 0 rows"),
    ],
)
def test_refusals_name_the_layer_and_the_values(values: list[list[int]], settings: Settings, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        decompose(weight(torch.tensor(values)), settings)
    assert refused.value.hint


def test_a_width_that_is_not_the_networks() -> None:
    with pytest.raises(MismatchError, match="layer: weights of 2 bits; --w-bit asks for 4"):
        decompose(weight(torch.tensor([[0, 1]]), signed=False, w_bit=2), Settings(w_bit=4))


def test_the_networks_array_and_what_overrides_it() -> None:
    trained = weight(torch.zeros(4, 40, 3, 3), signed=False, w_bit=1, array=Array(64, "channel", 5))
    own, fewer, taps = (
        decompose(trained, settings).placement.layout
        for settings in (Settings(), Settings(rows=45), Settings(mapping="tap"))
    )
    assert (own.rows, own.tap, own.channels_per_array) == (64, False, 5)
    assert (fewer.rows, fewer.tap, fewer.channels_per_array) == (45, False, 5)
    assert (taps.rows, taps.tap, taps.channels_per_array) == (64, True, 40)


@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 40),
    kernel=st.sampled_from([(), (3,), (2, 3)]),
    rows=st.integers(6, 20),
    cols=st.integers(1, 30),
    cell_bit=st.integers(1, 3),
    encode=st.sampled_from([None, *ENCODINGS]),
    mapping=st.sampled_from(["tap", "channel"]),
)
def test_counted_cells_are_the_cells_of_the_map(
    outputs: int,
    inputs: int,
    kernel: tuple[int, ...],
    rows: int,
    cols: int,
    cell_bit: int,
    encode: Encoding | None,
    mapping: str,
) -> None:
    shape = (outputs, inputs, *kernel)
    scheme = Unsigned(4, cell_bit) if encode is None else Slicing(4, cell_bit, encode)
    dummies = scheme.slices if encode == "offset" else 0
    cells = {"cols": cols, "columns": scheme.columns, "dummies": dummies, "slices": scheme.slices}
    array = Array(rows, mapping)  # type: ignore[arg-type]
    if cols < scheme.columns + dummies:
        with pytest.raises(UsageError, match="bit lines"):
            place(shape, array, **cells)
        return
    placement = place(shape, array, **cells)
    lines = [placement.rows_of(r) for r in range(placement.row_blocks)]
    columns = [placement.columns_of(c) for c in range(placement.column_blocks)]
    taps = torch.Size(kernel).numel()
    assert sum(lines) == inputs * taps == placement.matrix[0] and 0 < min(lines) <= max(lines) <= rows
    assert sum(columns) == outputs * scheme.columns == placement.matrix[1] and min(columns) > 0
    assert max(columns) + dummies <= cols
    assert all(count % scheme.columns == 0 for count in columns), "a weight is torn apart"
    used = [(r, c + dummies) for r in lines for c in columns]
    assert placement.cells_used == sum(r * c for r, c in used)
    assert placement.arrays == len(used)
    assert placement.cells_available == len(used) * rows * cols
    assert placement.row_utilisation == pytest.approx(100 * sum(r for r, _ in used) / (rows * len(used)))
    assert placement.column_utilisation == pytest.approx(100 * sum(c for _, c in used) / (cols * len(used)))
    pairs = 2 if encode == "differential" else 1
    assert placement.conversions == sum(c for _ in lines for c in columns) // pairs


def test_groups_share_no_array() -> None:
    cells = {"cols": 16, "columns": 2, "dummies": 0, "slices": 2}
    one = place((6, 10, 3, 3), Array(10, "tap"), **cells)
    three = place((18, 10, 3, 3), Array(10, "tap"), groups=3, **cells)
    assert (one.arrays, one.row_blocks, one.column_blocks) == (9, 9, 1)
    assert (three.matrix, three.row_blocks, three.column_blocks) == (one.matrix, 9, 1)
    assert three.arrays == 3 * one.arrays
    assert three.cells_used == 3 * one.cells_used
    assert three.conversions == 3 * one.conversions == 3 * 9 * 6 * 2
