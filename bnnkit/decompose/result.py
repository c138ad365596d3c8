"""Decompositions as files and as JSON."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

import bnnkit
from bnnkit.atomic import check_target, write_bytes
from bnnkit.decompose.planes import Decomposition
from bnnkit.errors import UsageError

SUFFIXES = (".npz", ".npy", ".safetensors", ".pt")
METADATA = "__metadata__"


def check_name(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse a file that could not be written, before any work is done.

    Raises:
        UsageError: another suffix, or a folder that does not exist.
    """
    if path.suffix not in suffixes:
        raise UsageError(
            f"{path}: '{path.suffix}' cannot be written; {' or '.join(suffixes)} was needed",
            hint=f"name it {path.with_suffix(suffixes[0]).name}",
        )
    check_target(path)


def save(path: Path, layers: Sequence[Decomposition]) -> None:
    """Write the planes, uint8 [slices, *shape], least significant first; the suffix says how.

    A layer's planes carry its name; differential ones are two, `<name>.plus` and `<name>.minus`. What the dummy column
    of an offset holds is the slices of one number, in the metadata. .npz has the metadata as JSON in "__metadata__",
    .safetensors in its header under "decompose"; .pt (a dictionary) and .npy (one tensor) hold tensors only.

    Raises:
        UsageError: .npy for more than one tensor; see also `check_name`.
        MissingError: no space; the previous file is unchanged.
    """
    check_name(path)
    tensors = _tensors(layers)
    if path.suffix == ".npy":
        if len(tensors) != 1:
            raise UsageError(f"{path}: holds one tensor, there are {len(tensors)}", hint="write a .npz file")
        content = io.BytesIO()
        np.save(content, next(iter(tensors.values())).numpy())
        write_bytes(path, [content.getvalue()])
    elif path.suffix == ".npz":
        write_bytes(path, [_zipped(tensors, _metadata(layers))])
    elif path.suffix == ".pt":
        content = io.BytesIO()
        torch.save(tensors, content)
        write_bytes(path, [content.getvalue()])
    else:
        write_bytes(path, [safetensors.torch.save(tensors, {"decompose": _metadata(layers)})])


def as_json(planes: Decomposition, outputs: int | None = None) -> dict[str, Any]:
    """Return everything about one layer but its planes.

    Args:
        outputs: positions of the kernel in one image, where that is known.
    """
    placement, scheme = planes.placement, planes.scheme
    bits = planes.weight.input_bits
    per_image = placement.conversions * outputs * bits if outputs is not None and bits is not None else None
    return {
        "name": planes.name,
        "weight": list(planes.weight.values.shape),
        **_encoding(planes),
        "slices": scheme.slices,
        "matrix": placement.matrix,
        "groups": placement.groups,
        "rows": placement.layout.rows,
        "cols": placement.cols,
        "mapping": placement.mapping,
        "dummy_columns": placement.dummies,
        "row_blocks": placement.row_blocks,
        "column_blocks": placement.column_blocks,
        "arrays": placement.arrays,
        "row_utilisation": placement.row_utilisation,
        "column_utilisation": placement.column_utilisation,
        "cells_used": placement.cells_used,
        "cells_available": placement.cells_available,
        "adc_conversions": placement.conversions,
        "input_bits": bits,
        "adc_conversions_per_image": per_image,
    }


def totals(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over the entries of `as_json`; a sum is None where one of its terms is not known."""
    keys = ("arrays", "cells_used", "cells_available", "adc_conversions", "adc_conversions_per_image")
    columns = {key: [layer[key] for layer in layers] for key in keys}
    return {key: None if None in column else sum(column) for key, column in columns.items()}


def _tensors(layers: Sequence[Decomposition]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for planes in layers:
        if planes.differential:
            tensors |= {f"{planes.name}.plus": planes.plus, f"{planes.name}.minus": planes.minus}
        else:
            tensors[planes.name] = planes.plus
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _metadata(layers: Sequence[Decomposition]) -> str:
    return json.dumps({"bnnkit": bnnkit.__version__, "layers": {planes.name: _encoding(planes) for planes in layers}})


def _encoding(planes: Decomposition) -> dict[str, Any]:
    scheme = planes.scheme
    return {
        "w_bit": scheme.w_bit,
        "cell_bit": scheme.cell_bit,
        "encoding": scheme.encoding,
        "offset": scheme.offset,
        "slice_bits": scheme.widths,
        "slice_weights": scheme.weights,
    }


def _zipped(tensors: dict[str, Tensor], metadata: str) -> bytes:
    # numpy.savez takes the names as keyword arguments and cannot write one called "file".
    content = io.BytesIO()
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()} | {METADATA: np.array(metadata)}
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return content.getvalue()
