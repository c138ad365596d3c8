"""Files and networks that integer weights come from, and files that must be refused."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnnkit import checkpoint
from bnnkit.cim import Array
from bnnkit.decompose import holds_tensors, of_model, read
from bnnkit.errors import MismatchError, MissingError
from bnnkit.models import create_model
from bnnkit.nn import CimConv2d, CimLinear

VALUES = [[[-3, 0, 7], [1, 2, -8]]]


def _numpy(dtype: str) -> np.ndarray[Any, Any]:
    return np.array(VALUES, dtype=dtype)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", ">i4", ">f8", "f2", "f4", "f8", "longdouble"])
def test_numpy_types(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "w.npy", _numpy(dtype))
    (weight,) = read(tmp_path / "w.npy").weights
    assert (weight.name, weight.values.dtype, weight.values.tolist()) == ("w", torch.int32, VALUES)
    assert (weight.signed, weight.w_bit, weight.array) == (None, None, None)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool])
def test_unsigned_torch_types(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(torch.tensor([[0, 1]]).to(dtype), tmp_path / "w.pt")
    assert read(tmp_path / "w.pt").weights[0].values.tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.int8])
def test_signed_torch_types(tmp_path: Path, dtype: torch.dtype) -> None:
    safetensors.torch.save_file({"a.weight": torch.tensor(VALUES).to(dtype)}, tmp_path / "w.safetensors")
    assert read(tmp_path / "w.safetensors").weights[0].values.tolist() == VALUES


def test_column_major_arrays_keep_their_order(tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4)
    np.save(tmp_path / "w.npy", np.asfortranarray(values))
    assert np.array_equal(read(tmp_path / "w.npy").weights[0].values.numpy(), values)


def test_a_vector_alone_is_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", [7, 8])
    assert read(tmp_path / "w.npy").weights[0].values.tolist() == [7, 8]


def test_of_several_tensors_the_integer_matrices_are_taken(tmp_path: Path) -> None:
    state = {
        "module.conv.weight": torch.ones(2, 3, 1, 1),
        "module.conv.bias": torch.ones(2),
        "module.stem.weight": torch.tensor([[1.0, 0.5]]),
        "epoch": 3,
        "module.sparse": torch.eye(2).to_sparse(),
        "module.empty": torch.zeros(0, 4),
    }
    torch.save({"state_dict": state, "optimizer": {"lr": 1}}, tmp_path / "w.pth")
    found = read(tmp_path / "w.pth")
    assert [weight.name for weight in found.weights] == ["module.conv.weight"]
    assert found.skipped == {
        "module.conv.bias": "shape [2]; a layer's weight has at least 2 dimensions",
        "module.stem.weight": "float32, value 0.5 at [0, 1]; integers of 32 bits were needed",
        "epoch": "a int; a tensor was needed",
        "module.sparse": "float32, sparse_coo; plain integers were needed",
        "module.empty": "float32 of shape [0, 4] is empty; weights were needed",
    }


def test_npz_members(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones((2, 2)), text=np.array("hello"))
    found = read(tmp_path / "w.npz")
    assert [weight.name for weight in found.weights] == ["a"]
    assert "integers were needed" in found.skipped["text"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, 2.5]], "f4"), r"float32, value 2.5 at \[0, 1\]; integers"),
        (np.array([[1.0, np.nan]]), r"float64, value nan at \[0, 1\]"),
        (np.array([[-np.inf]]), r"float64, value -inf at \[0, 0\]"),
        (np.array([[1, 2**31]]), r"int64, value 2147483648 at \[0, 1\]"),
        (np.array([[2**64 - 1]], "u8"), r"uint64, value 18446744073709551615 at \[0, 0\]"),
        (np.array([[1j]]), "complex128; integers"),
        (np.array([["a"]]), "<U1; integers"),
        (np.zeros((0, 3), int), r"int64 of shape \[0, 3\] is empty"),
    ],
)
def test_values_that_are_no_integers(tmp_path: Path, values: np.ndarray[Any, Any], message: str) -> None:
    np.save(tmp_path / "w.npy", values)
    with pytest.raises(MismatchError, match=message):
        read(tmp_path / "w.npy")
    np.savez(tmp_path / "w.npz", the_weight=values)
    with pytest.raises(MismatchError, match=f"holds no integer weights \\(the_weight: {message}"):
        read(tmp_path / "w.npz")


class Program:
    """Unpickling it would create a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", ["text", "nothing", "pickle", "torch", "object array"])
def test_files_that_hold_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"w{suffix}")
    if content == "torch":
        torch.save({"w": Program()}, path)
    elif content == "object array":
        stream = io.BytesIO()
        np.save(stream, np.array([Program()], dtype=object), allow_pickle=True)
        path.write_bytes(stream.getvalue())
    else:
        path.write_bytes({"text": b"1 2 3\n", "nothing": b"", "pickle": pickle.dumps([Program()])}[content])
    with pytest.raises(MismatchError, match=f"w{suffix}: "):
        read(path)
    assert not Path("ran").exists()


def _written(suffix: str) -> bytes:
    stream = io.BytesIO()
    values = torch.arange(24).view(4, 6)
    if suffix == ".npy":
        np.save(stream, values.numpy())
    elif suffix == ".npz":
        np.savez(stream, w=values.numpy())
    elif suffix == ".pt":
        torch.save({"w": values}, stream)
    else:
        stream.write(safetensors.torch.save({"w": values}))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_damaged_files_give_errors_and_no_tracebacks(tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    whole = _written(suffix)
    path = tmp_path_factory.mktemp("damaged") / f"w{suffix}"

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        content = bytearray(whole)
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            # The first bytes describe the rest; damage there is the most interesting.
            position = data.draw(st.one_of(st.integers(0, 160), st.integers(0, len(content) - 1)))
            content[min(position, len(content) - 1)] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        with contextlib.suppress(MismatchError):
            read(path)

    damage()


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no\.npy: does not exist"):
        read(tmp_path / "no.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(MissingError, match="is a folder"):
        read(tmp_path / "folder.npy")


def test_which_names_are_tensor_files(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2, 2)}, tmp_path / "plain.safetensors")
    checkpoint.save(tmp_path / "net.safetensors", create_model("mlp", width=1, in_shape=(1, 8, 8)))
    (tmp_path / "notes.txt").write_text("hello")
    assert holds_tensors(tmp_path / "plain.safetensors")
    assert not holds_tensors(tmp_path / "net.safetensors")
    assert not holds_tensors(Path("latest"))
    with pytest.raises(MismatchError, match=r"'\.txt' is no kind of tensor file"):
        holds_tensors(tmp_path / "notes.txt")


def test_layers_of_a_network() -> None:
    torch.manual_seed(2)
    array = Array(32, "tap")
    conv = CimConv2d(6, 8, 3, groups=2, ao_bit=2, w_bit=1.5, adc_bit=1, array=array)
    linear = CimLinear(8, 4, ao_bit="fp", w_bit=3, adc_bit="fp")
    model = nn.Sequential(nn.Conv2d(3, 6, 1), conv, nn.ReLU(), linear, CimLinear(4, 2, ao_bit=1, w_bit="fp", adc_bit=1))
    found = of_model(model, Path("net"))
    first, second = found.weights
    assert (first.name, first.w_bit, first.groups, first.array, first.input_bits) == ("1", 2, 2, array, 2)
    assert torch.equal(first.values, torch.sign(conv.weight_quantizer(conv.weight)).int() + 1)
    assert (second.name, second.w_bit, second.groups, second.input_bits) == ("3", 3, 1, None)
    assert torch.equal(2 * second.values - 7, linear.weight_quantizer.integers(linear.weight))
    assert first.signed is second.signed is False
    assert found.skipped == {"0": "in full precision", "4": "in full precision"}
    with pytest.raises(MismatchError, match="net: no layer has low-bit weights"):
        of_model(nn.Linear(2, 2), Path("net"))


def test_layers_that_give_signed_integers() -> None:
    class Signed(nn.Linear):
        w_bit, ao_bit = 4, 3

        def integer_weight(self) -> torch.Tensor:
            return self.weight.detach().round().int() - 7

    (weight,) = of_model(nn.Sequential(Signed(3, 2)), Path("net")).weights
    assert (weight.signed, weight.w_bit, weight.input_bits, weight.array) == (True, 4, 3, None)
    (weight,) = of_model(nn.Sequential(Signed(3, 2)), Path("net"), Array(64, "tap")).weights
    assert weight.array == Array(64, "tap")
    assert int(weight.values.max()) <= -6
