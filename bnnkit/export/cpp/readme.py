"""The README of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bnnkit
from bnnkit.checkpoint import describe
from bnnkit.deploy import PackedNetwork

TEXT = """# {title}

A trained network as C++17 without dependencies, written by bnnkit {version}. Its logits are those of the packed
network, bit for bit: integer sums by construction, floats because every operation is rounded in the same order.

    make check                 # build, run the {images} images in vectors/, compare all logits
    ./classify images.bin      # the class of each image: raw bytes [{channels}][{height}][{width}], one after the other

## In your own program

    #include "model.h"

    static {namespace}::Workspace workspace;          // {workspace_bytes:,} bytes; one per thread
    float logits[{namespace}::classes];
    {namespace}::run(image, 1, logits, workspace);    // image: {channels} x {height} x {width} bytes, as stored
    int found = {namespace}::predicted(logits);

Compile `model.cpp`, `weights.cpp` and `runtime/*.cpp` with it. Nothing is allocated, thrown or kept between calls;
the weights, {weight_bytes:,} bytes, are constants that can stay in read-only memory.

Compile without `-ffast-math`. Where products and sums are fused, results may differ in their last bit: the Makefile
says `-ffp-contract=off`, and `runtime/rounding.h` says the same to gcc and clang whatever the flags, except for
clang's `-ffp-contract=fast`. Counting bits is fast where the processor has an instruction for it and the compiler knows
(`-march=native`, `-mpopcnt`).

## Files

{files}

Images are normalized inside (mean {mean}, standard deviation {std}, of pixel / 255): give the bytes.

## Layout

- A bit is 1 for +1 and 0 for -1. Bit i of a row is bit i % 64 of word i / 64; unused bits are 0.
- Activations lie [plane][row][column][words of the channels]; a code of several bits has a plane per bit.
- Weights lie [16 outputs][plane][array][word][output]; an array is what shares a converter, and its rows are ordered by
  kernel tap, then channel. `runtime/array_layer.h` has the definition.
- A converter is ascending thresholds and their levels: the level of a partial sum is the one after the thresholds it
  reaches. Where nothing but codes leaves a layer, normalization and quantization are thresholds on the sum of levels.

## Where it comes from

{provenance}
"""


def readme(network: PackedNetwork, facts: Mapping[str, Any], files: Mapping[str, str], images: int) -> str:
    """Return the README of an exported network.

    Args:
        facts: "namespace", "weight_bytes", "workspace_bytes".
        files: what each file is.
        images: number of test vectors.
    """
    channels, height, width = network.config["in_shape"]
    origin = {"network": network.config, **network.weights.provenance}
    return TEXT.format(
        title=describe(network.config),
        version=bnnkit.__version__,
        images=images,
        channels=channels,
        height=height,
        width=width,
        files="\n".join(["| file | |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in files.items())]),
        mean=_numbers(network.weights.mean),
        std=_numbers(network.weights.std),
        provenance="\n".join(f"- {key}: {_value(value)}" for key, value in origin.items()),
        **facts,
    )


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in values)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return str(value)
