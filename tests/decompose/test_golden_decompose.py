"""The origin of the RRAM networks sliced these tensors; bnnkit must slice them the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bnnkit import ops
from bnnkit.decompose import Settings, decompose, read, verify
from bnnkit.errors import MissingError


@pytest.mark.parametrize(("w_bit", "cell_bit"), [(4, 1), (4, 2), (8, 1), (8, 2), (8, 4)])
def test_slices_of_the_origin(shared_golden: Path, tmp_path: Path, w_bit: int, cell_bit: int) -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))
    golden = np.load(shared_golden / "rram_quantizers.npz")
    np.save(tmp_path / "w.npy", golden[f"decompose_int{w_bit}"])
    (weight,) = read(tmp_path / "w.npy").weights
    planes = decompose(weight, Settings(w_bit=w_bit, cell_bit=cell_bit))
    expected = torch.from_numpy(golden[f"decompose_int{w_bit}_cell{cell_bit}"])
    assert planes.plus.shape == expected.shape
    assert torch.equal(planes.plus.int(), expected.int())
    verify(planes)


@pytest.mark.parametrize("encode", ["offset", "differential", "twos"])
@pytest.mark.parametrize("w_bit", [4, 8])
def test_quantized_weights_of_the_origin_fit_every_encoding(shared_golden: Path, encode: str, w_bit: int) -> None:
    found = read(shared_golden / "rram_quantizers.npz")
    (weight,) = (weight for weight in found.weights if weight.name == f"sawb_{w_bit}bit_int")
    for cell_bit in range(1, 5):
        verify(decompose(weight, Settings(w_bit=w_bit, cell_bit=cell_bit, encode=encode)))  # type: ignore[arg-type]
