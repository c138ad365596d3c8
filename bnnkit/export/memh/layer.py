"""The files of one layer on arrays: weight images, thresholds, golden vectors, and the parameters of its Verilog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import ArrayStep, ArrayWeights
from bnnkit.export import wiring
from bnnkit.export.memh.words import bits_for, fields, words
from bnnkit.export.trace import LayerTrace
from bnnkit.export.wiring import Bits, Ints

VECTORS = 64
"""Most golden vectors of a layer."""
DIGIT = 4
"""Bits of a hexadecimal digit: a field for the code or the gate of an output."""


@dataclass(frozen=True)
class Sizes:
    """Widths in bits of the fields of a layer's words, and its word lines, rounded up to whole hexadecimal digits."""

    rows: int
    sum_bits: int
    code_bits: int
    total_bits: int

    @classmethod
    def of(cls, step: ArrayStep) -> Sizes:
        """Return widths that hold whatever an input can cause, and every threshold."""
        weights, layout = step.weights, step.weights.layout
        rows = layout.rows_of(0)
        planes = wiring.plane_weights(weights.x_planes, weights.x_thermometer)
        x = max(int(planes[list(read)].sum()) for read in wiring.passes(step)) if step.gate is None else 1
        largest = rows * x * int(wiring.plane_weights(weights.planes, weights.w_thermometer).sum())
        thresholds: Any = () if step.thresholds is None else step.thresholds
        sum_bits = code_bits = bits_for(largest, -largest, thresholds)
        if step.levels is not None:
            largest = int(np.abs(step.levels.astype(np.int64)).max())
            code_bits = -(-max(len(step.levels) - 1, 1).bit_length() // 4) * 4
        total = largest * layout.arrays * (1 if step.gate is None else 3)
        folded: Any = () if step.finish.sum_thresholds is None else step.finish.sum_thresholds
        gate: Any = () if step.gate is None else step.gate
        return cls(-(-rows // 4) * 4, sum_bits, code_bits, bits_for(total, -total, folded, gate))


def sample(weights: ArrayWeights, images: int, most: int = VECTORS) -> Ints:
    """Return the output pixels that become golden vectors: int64 [vectors, 3] of image, row, column.

    All where there are at most `most` in all images. Else the first pixel of each kind of border (each set of taps
    that are inside the image), kind after kind in another image, and others evenly spaced over all pixels of all
    images.

    >>> sample(wiring._example(), 2).shape, sample(wiring._example(), 2, 1).tolist()      # 4 x 4 pixels
    ((32, 3), [[0, 0, 0]])
    """
    height, width = wiring.out_size(weights)
    pixels = height * width
    chosen = np.arange(images * pixels)
    if len(chosen) > most:
        taps = np.array([(0, ky, kx) for ky in range(weights.kernel[0]) for kx in range(weights.kernel[1])])
        inside = wiring.enabled(weights, taps).reshape(len(taps), pixels)
        kinds = np.sort(np.unique(inside, axis=1, return_index=True)[1])[:most]
        kinds += np.arange(len(kinds)) % images * pixels
        spaced = np.linspace(0, images * pixels - 1, most - len(kinds)).astype(np.int64)
        chosen = np.unique(np.concatenate([kinds, spaced]))
    image, pixel = np.divmod(chosen, pixels)
    return np.stack([image, pixel // width, pixel % width], axis=1)


def layer_files(layer: LayerTrace, folder: str, most: int = VECTORS) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the content of a layer's files by name, and what the manifest says about them.

    Args:
        folder: of these files, relative to the one that is exported, as Verilog names it.
        most: golden vectors at most.
    """
    step, sizes = layer.step, Sizes.of(layer.step)
    weights = step.weights
    pixels = sample(weights, layer.bits.shape[1], most)
    lines = [wiring.word_lines(weights, s) for s in range(weights.layout.arrays)]
    held = wiring.cells(weights)
    found = {f"array_{s:04d}.memh": _image(held, rows, sizes.rows) for s, rows in enumerate(lines)}
    found |= _tables(step, sizes)
    found |= _inputs(layer, lines, pixels, sizes.rows)
    found |= _answers(layer, pixels, sizes)
    found["parameters.vh"] = _parameters(step, folder, sizes, len(lines), len(pixels)).encode()
    found["word_lines.csv"] = _csv("array,word_line,channel,kernel_row,kernel_column", _numbered(lines))
    found["vectors.csv"] = _csv("image,row,column", pixels)
    facts = {
        "folder": folder,
        "word_lines": sizes.rows,
        "bit_lines": weights.outputs * weights.planes,
        "bits": {"sum": sizes.sum_bits, "code": sizes.code_bits, "total": sizes.total_bits},
        "vectors": len(pixels),
    }
    return found, facts


def _image(held: Bits, lines: Ints, rows: int) -> bytes:
    channel, ky, kx = lines.T
    bits = held[:, :, channel, ky, kx].transpose(1, 0, 2)  # [outputs, planes, rows]
    return words(_to_rows(bits.reshape(-1, 1, len(lines)), rows))


def _tables(step: ArrayStep, sizes: Sizes) -> dict[str, bytes]:
    found = {}
    if step.thresholds is not None and step.levels is not None:
        found["adc_thresholds.memh"] = fields(step.thresholds[:, None], sizes.sum_bits)
        found["adc_levels.memh"] = fields(step.levels[:, None], sizes.total_bits)
    if step.gate is not None:
        found["gate.memh"] = fields(step.gate[:, None], sizes.total_bits)
    if step.finish.sum_thresholds is not None and step.finish.flip is not None:
        found["sum_thresholds.memh"] = fields(step.finish.sum_thresholds.reshape(-1, 1), sizes.total_bits)
        found["flip.memh"] = fields((step.finish.flip != 0)[:, None], DIGIT)
    return found


def _inputs(layer: LayerTrace, lines: list[Ints], pixels: Ints, rows: int) -> dict[str, bytes]:
    """Return what the word lines of each array carry, vector after vector; a disabled word line carries 0."""
    weights = layer.step.weights
    image, y, x = pixels.T
    bits, enables = [], []
    for of_array in lines:
        seen = wiring.gather(layer.bits, weights, of_array)[:, image, :, y, x]  # [vectors, planes, rows]
        bits.append(_to_rows(seen, rows))
        enables.append(_to_rows(wiring.enabled(weights, of_array)[:, y, x].T[:, None], rows))
    return {
        "inputs.memh": words(np.stack(bits, axis=1).reshape(-1, weights.x_planes, rows)),
        "enables.memh": words(np.stack(enables, axis=1).reshape(-1, 1, rows)),
    }


def _answers(layer: LayerTrace, pixels: Ints, sizes: Sizes) -> dict[str, bytes]:
    """Return golden partial sums, codes, totals, gates and outputs of the vectors."""
    step, (image, y, x) = layer.step, pixels.T

    def per_read(values: Ints) -> NDArray[Any]:  # [conversions, arrays, N, outputs, height, width]
        return values[:, :, image, :, y, x].reshape(-1, values.shape[3])

    def per_vector(values: NDArray[Any]) -> NDArray[Any]:
        return values[image, :, y, x]

    found = {
        "sums.memh": fields(per_read(layer.sums), sizes.sum_bits),
        "totals.memh": fields(per_vector(layer.total), sizes.total_bits),
    }
    if layer.codes is not None:
        found["codes.memh"] = fields(per_read(layer.codes), sizes.code_bits)
    if layer.opens is not None:
        found["opens.memh"] = fields(per_vector(layer.opens), DIGIT)
    if step.finish.pool:  # what follows belongs to other pixels
        return found
    if layer.residual is not None:
        found["residuals.memh"] = _values(per_vector(layer.residual))
    if layer.out.values is not None:
        found["values.memh"] = _values(per_vector(layer.out.values))
    if layer.out.bits is not None:
        thermometer = step.finish.planes > 1 and step.finish.thermometer
        codes = np.tensordot(wiring.plane_weights(step.finish.planes, thermometer), layer.out.bits.astype(np.int64), 1)
        found["outputs.memh"] = fields(per_vector(codes), DIGIT)
    return found


def _values(values: NDArray[Any]) -> bytes:
    """Return integers of 32 bits, or the bits of float32."""
    integers = values.view(np.int32) if values.dtype == np.float32 else values
    return fields(integers, 32)


def _parameters(step: ArrayStep, folder: str, sizes: Sizes, arrays: int, vectors: int) -> str:
    weights, folds = step.weights, step.finish.sum_thresholds
    values: dict[str, str | int] = {
        "LAYER": f'"{step.name}"',
        "FOLDER": f'"{folder}"',
        "VECTORS": vectors,
        "ARRAYS": arrays,
        "ROWS": sizes.rows,
        "OUTPUTS": weights.outputs,
        "X_PLANES": weights.x_planes,
        "W_PLANES": weights.planes,
        "X_THERMOMETER": int(weights.x_thermometer),
        "W_THERMOMETER": int(weights.w_thermometer),
        "SUM_BITS": sizes.sum_bits,
        "THRESHOLDS": 0 if step.thresholds is None else len(step.thresholds),
        "CODE_BITS": sizes.code_bits,
        "TOTAL_BITS": sizes.total_bits,
        "GATED": int(step.gate is not None),
        "FOLDS": 0 if folds is None else len(folds),
    }
    return "".join(f"localparam {name} = {value};\n" for name, value in values.items())


def _to_rows(bits: Bits, rows: int) -> Bits:
    """Add word lines that nothing uses."""
    return np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, rows - bits.shape[-1])])


def _numbered(lines: list[Ints]) -> Ints:
    return np.concatenate(
        [np.column_stack([np.full(len(rows), s), np.arange(len(rows)), rows]) for s, rows in enumerate(lines)]
    )


def _csv(header: str, rows: Ints) -> bytes:
    return (header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())).encode()
