"""Files of planes, and the picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

import bnnkit
from bnnkit import ops
from bnnkit.decompose import (
    Decomposition,
    Settings,
    Weight,
    as_json,
    check_name,
    decompose,
    draw,
    largest,
    read,
    save,
    totals,
)
from bnnkit.errors import MissingError, UsageError

SIGNED = Weight("conv.weight", torch.randint(-7, 8, (6, 5, 3, 3), dtype=torch.int32), signed=True)
CODES = Weight("file", torch.randint(0, 16, (4, 9), dtype=torch.int32))


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """Skip without compiled code, which slices unsigned codes."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))


def _layers(**options: object) -> list[Decomposition]:
    settings = Settings(cell_bit=2, **options)  # type: ignore[arg-type]
    return [decompose(SIGNED, settings), decompose(CODES, Settings(cell_bit=2))]


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_planes_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"planes{suffix}"
    layers = _layers(encode="differential")
    save(path, layers)
    weights = {weight.name: weight.values for weight in read(path).weights}
    assert weights.keys() == {"conv.weight.plus", "conv.weight.minus", "file"}
    assert torch.equal(weights["conv.weight.plus"], layers[0].plus.int())
    assert torch.equal(weights["conv.weight.minus"], layers[0].minus.int())
    assert torch.equal(weights["file"], layers[1].plus.int())


def test_metadata_and_types(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", _layers())
    save(tmp_path / "p.safetensors", _layers())
    save(tmp_path / "p.pt", _layers())
    with np.load(tmp_path / "p.npz") as archive:
        metadata = json.loads(str(archive["__metadata__"]))
        assert archive["conv.weight"].dtype == np.uint8
        assert archive["conv.weight"].shape == (2, 6, 5, 3, 3)
    with safetensors.safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["decompose"]) == metadata
        assert file.get_slice("file").get_dtype() == "U8"
    assert metadata["bnnkit"] == bnnkit.__version__
    assert metadata["layers"]["conv.weight"] == {
        "w_bit": 4,
        "cell_bit": 2,
        "encoding": "offset",
        "offset": 7,
        "slice_bits": [2, 2],
        "slice_weights": [1, 4],
    }
    assert metadata["layers"]["file"]["encoding"] == "unsigned"
    tensors = torch.load(tmp_path / "p.pt", weights_only=True)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {"conv.weight": torch.uint8, "file": torch.uint8}


def test_an_offset_file_and_its_metadata_are_enough_to_get_the_weights_back(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", _layers())
    with np.load(tmp_path / "p.npz") as archive:
        entry = json.loads(str(archive["__metadata__"]))["layers"]["conv.weight"]
        weights = np.tensordot(entry["slice_weights"], archive["conv.weight"].astype(int), 1) - entry["offset"]
    assert np.array_equal(weights, SIGNED.values.numpy())


def test_one_tensor_as_npy(tmp_path: Path) -> None:
    planes = decompose(CODES)
    save(tmp_path / "p.npy", [planes])
    assert np.array_equal(np.load(tmp_path / "p.npy"), planes.plus.numpy())
    for layers in (_layers(), [decompose(SIGNED, Settings(encode="differential"))]):
        with pytest.raises(UsageError, match=r"p\.npy: holds one tensor, there are 2"):
            save(tmp_path / "p.npy", layers)


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for name, message in (("a.txt", "cannot be written"), ("no/a.npz", "folder"), ("folder.npz", "is a folder")):
        with pytest.raises(UsageError, match=message):
            check_name(tmp_path / name)
    check_name(tmp_path / "a.npz")


def test_conversions_per_image_need_positions_and_input_bits() -> None:
    planes = decompose(Weight("w", torch.zeros(4, 3, 2, 2, dtype=torch.int32), input_bits=3))
    known, unknown = as_json(planes, 25), as_json(planes)
    assert known["adc_conversions"] == 4 * 4 * 4
    assert known["adc_conversions_per_image"] == 4 * 4 * 4 * 25 * 3
    assert unknown["adc_conversions_per_image"] is None
    assert totals([known, known])["adc_conversions_per_image"] == 2 * 4 * 4 * 4 * 25 * 3
    assert totals([known, unknown])["adc_conversions_per_image"] is None
    assert totals([known, unknown])["arrays"] == 8


def test_the_largest_layer() -> None:
    assert largest(_layers()).name == "conv.weight"


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2,), {}),
        ((), {}),
        ((300, 200), {"encode": "offset", "w_bit": 8}),
        ((40, 64, 3, 3), {"encode": "differential", "cell_bit": 4, "w_bit": 8}),
        ((8, 300, 5, 5), {"encode": "twos", "rows": 32, "mapping": "channel"}),
        ((4, 4, 3), {"w_bit": 16, "cell_bit": 8}),
    ],
)
def test_pictures_of_all_shapes(tmp_path: Path, shape: tuple[int, ...], options: dict[str, object]) -> None:
    values = torch.randint(0, 8, shape, dtype=torch.int32)
    if "encode" in options:
        values -= 3
    path = tmp_path / "p.png"
    planes = decompose(Weight("w", values), Settings(**options))  # type: ignore[arg-type]
    draw(path, planes)
    with Image.open(path) as image:
        width, height = image.size
        assert width == 2025 and 800 < height < 600 * math.ceil((planes.scheme.slices + 4) / 3)
        assert len(image.convert("RGB").getcolors(maxcolors=2**20) or ()) > 20


def test_only_png(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png was needed"):
        draw(tmp_path / "p.jpg", decompose(CODES))
