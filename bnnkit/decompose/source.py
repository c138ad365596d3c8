"""Where integer weights come from: arrays and tensors in files, or the layers of a network.

Nothing that a file contains is run: NumPy reads without pickle, torch with `weights_only`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor, nn

from bnnkit.cim import Array
from bnnkit.errors import MismatchError, MissingError
from bnnkit.nn import Operands

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
NOT_INTEGERS = "give integer weights, or a checkpoint of a network with low-bit layers"


@dataclass(frozen=True)
class Weight:
    """The integer weights of one layer.

    Attributes:
        values: int32 [out, in, ...]; a vector holds the weights of one output.
        signed: whether they need an encoding; None where only the values can tell.
        w_bit: their width, None where the file does not say.
        array: the array they were trained for, None where there is none.
        groups: groups of a convolution; `in` counts the inputs of one.
        input_bits: bits of the layer's input that are applied one after the other, None where they are not known.
    """

    name: str
    values: Tensor
    signed: bool | None = None
    w_bit: int | None = None
    array: Array | None = None
    groups: int = 1
    input_bits: int | None = None


@dataclass(frozen=True)
class Found:
    """What can be decomposed, and why the rest cannot: name and reason."""

    weights: list[Weight]
    skipped: dict[str, str]


def holds_tensors(path: Path) -> bool:
    """Return whether `path` names a file of plain tensors, by its suffix; a checkpoint of bnnkit is not one.

    Raises:
        MismatchError: an existing file of another kind.

    >>> holds_tensors(Path("weights.npy")), holds_tensors(Path("res20"))
    (True, False)
    """
    if path.suffix not in SUFFIXES:
        if path.is_file():
            raise MismatchError(
                f"{path}: '{path.suffix}' is no kind of tensor file; one of {', '.join(SUFFIXES)} was needed",
                hint="save the weights with numpy.save",
            )
        return False
    return path.suffix != ".safetensors" or (path.is_file() and not _is_checkpoint(path))


def read(path: Path) -> Found:
    """Read every integer tensor of a .npy, .npz, .pt, .pth or .safetensors file.

    A file of one tensor must hold integers, of an integer type or as floats. Of a file of several, those with at
    least two dimensions that hold integers are taken. A dictionary under "state_dict" stands for its contents.

    Raises:
        MissingError: there is no such file.
        MismatchError: it cannot be read, wants to run code, or holds no integer weights.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/w.npy", np.array([[7.0, 8.0]]))
    ...     read(Path(folder) / "w.npy").weights[0]
    Weight(name='w', values=tensor([[7, 8]], dtype=torch.int32), signed=None, w_bit=None, array=None, groups=1, \
input_bits=None)
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingError(f"{path}: {what}; a file of tensors was needed", hint=f"ls {path.parent}")
    # A file that may not be read is not a damaged one.
    path.open("rb").close()
    try:
        contents = _READERS[path.suffix](path)
    except Exception as failure:
        # For bytes they did not write, the readers of NumPy and torch raise whatever their parsers do.
        raise MismatchError(
            f"{path}: corrupt, or not a {path.suffix} file of plain tensors (Python objects are never loaded)",
            hint="save tensors only, for example with numpy.save; -vv shows what the reader said",
        ) from failure
    if not isinstance(contents, Mapping):
        values = _integers(contents)
        if isinstance(values, str):
            raise MismatchError(f"{path}: {values}", hint=NOT_INTEGERS)
        return Found([Weight(path.stem, values)], {})
    return _of_mapping(path, contents)


def of_model(model: nn.Module, where: Path, array: Array | None = None) -> Found:
    """Return the weights of a network's low-bit layers as they are stored on arrays.

    Layers with `integer_weight()` give signed integers of `w_bit` bits. The other low-bit layers give level indices
    0 .. 2^w_bit - 1 (ternary weights: 0, 1, 2, in two bits), which are sliced as they are.

    Args:
        where: the file of the network, for messages.
        array: the array of layers that do not bring their own.

    Raises:
        MismatchError: no layer has low-bit weights.
    """
    weights, skipped = [], {}
    for name, layer in model.named_modules():
        weight = _of_layer(name, layer, array)
        if weight is not None:
            weights.append(weight)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            skipped[name] = "in full precision"
    if not weights:
        raise MismatchError(f"{where}: no layer has low-bit weights; at least one was needed", hint=NOT_INTEGERS)
    return Found(weights, skipped)


def _of_layer(name: str, layer: Any, array: Array | None) -> Weight | None:
    if hasattr(layer, "integer_weight"):
        bits = getattr(layer, "ao_bit", None)
        return Weight(
            name,
            layer.integer_weight().detach().int(),
            signed=True,
            w_bit=int(layer.w_bit),
            array=getattr(layer, "array", array),
            groups=getattr(layer, "groups", 1),
            input_bits=bits if isinstance(bits, int) else None,
        )
    if not isinstance(layer, Operands) or not layer.weight_quantizer.planes:
        return None
    return Weight(
        name,
        layer.weight_quantizer.code(layer.weight),  # type: ignore[attr-defined]
        signed=False,
        w_bit=layer.weight_quantizer.planes,
        array=layer.array,
        groups=getattr(layer, "groups", 1),
        input_bits=layer.activation.planes or None,
    )


def _of_mapping(path: Path, contents: Mapping[Any, Any]) -> Found:
    inner = contents.get("state_dict")
    contents = inner if isinstance(inner, Mapping) else contents
    weights, skipped = [], {}
    for name, entry in contents.items():
        values = _integers(entry)
        if isinstance(values, str):
            skipped[str(name)] = values
        elif values.dim() < 2:
            skipped[str(name)] = f"shape {list(values.shape)}; a layer's weight has at least 2 dimensions"
        else:
            weights.append(Weight(str(name), values))
    if not weights:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        raise MismatchError(f"{path}: holds no integer weights ({reasons or 'it is empty'}{more})", hint=NOT_INTEGERS)
    return Found(weights, skipped)


def _integers(entry: Any) -> Tensor | str:
    """Return the entry as int32, or why that is impossible."""
    tensor = _from_numpy(entry) if isinstance(entry, np.ndarray) else entry
    if isinstance(tensor, str):
        return tensor
    if not isinstance(tensor, Tensor):
        return f"a {type(entry).__name__}; a tensor was needed"
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        return f"{kind}, {str(tensor.layout).removeprefix('torch.')}; plain integers were needed"
    if not tensor.numel():
        return f"{kind} of shape {list(tensor.shape)} is empty; weights were needed"
    # Every float type and every integer that fits 32 bits is exact in float64.
    values = tensor.detach().double()
    bad = ~(values == values.round()) | (values.abs() >= 2**31)
    if bad.any():
        index = [int(i) for i in bad.nonzero()[0]]
        value = tensor[tuple(index)].item()
        text = f"{value:.7g}" if isinstance(value, float) else value
        where = f" at {index}" if index else ""
        return f"{kind}, value {text}{where}; integers of 32 bits were needed"
    return values.to(torch.int32).contiguous()


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor | str:
    if array.dtype.kind not in "iufb":
        return f"{array.dtype}; integers were needed"
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # torch has no tensors in the other byte order.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _read_numpy(path: Path) -> Any:
    contents = np.load(path, allow_pickle=False)
    if isinstance(contents, np.ndarray):
        return contents
    with contents:
        return {name: contents[name] for name in contents.files}


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings():
        # A file that is refused a moment later need not be commented.
        warnings.simplefilter("ignore")
        contents = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(contents, Tensor | Mapping):
        raise TypeError(f"it holds a {type(contents).__name__}")
    return contents


def _read_safetensors(path: Path) -> Any:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)


_READERS = {
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".safetensors": _read_safetensors,
}


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= path.stat().st_size else b""
    try:
        return "bnnkit" in json.loads(header).get("__metadata__", {})
    except (ValueError, AttributeError, TypeError):
        return False
