"""What manifest.json says about a network whose arrays were exported: everything that is no image and no vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from bnnkit.deploy.description import (
    ArrayStep,
    Description,
    Finish,
    ImageStep,
    Step,
    ThermometerStep,
    out_shape,
)
from bnnkit.export import wiring

VERSION = 1


def manifest_of(network: Description, layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the manifest of a network.

    Args:
        layers: what is known of each layer on arrays besides its description: sizes, files, vectors.

    >>> from bnnkit import create_model, deploy
    >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> [(step["name"], step["kind"]) for step in manifest_of(packed.describe(), {})["steps"]][:2]
    [('images', 'image'), ('hidden.0', 'array')]
    """
    writers: dict[int, str] = {}
    steps = []
    for step in network.steps:
        steps.append(_step(step, writers) | plain(layers.get(step.name, {})))
        writers[step.finish.out] = step.name
    return {
        "format": "bnnkit memh",
        "version": VERSION,
        "model": plain(network.config),
        "in_shape": list(network.in_shape),
        "classes": network.classes,
        "steps": steps,
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays and tuples as lists, data classes as objects.

    >>> plain({"levels": np.array([-1, 1]), "kernel": (3, 3)})
    {'levels': [-1, 1], 'kernel': [3, 3]}
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    return value


def _step(step: Step, writers: Mapping[int, str]) -> dict[str, Any]:
    kind = type(step).__name__.removesuffix("Step").lower()
    reads = None if isinstance(step, ImageStep | ThermometerStep) else writers[step.in_buffer]
    shapes = {"in_shape": list(step.in_shape), "out_shape": list(out_shape(step))}
    found: dict[str, Any] = {"name": step.name, "kind": kind, "reads": reads, **shapes}
    if isinstance(step, ArrayStep):
        found |= _layer(step)
    return found | {"finish": _finish(step.finish, writers)}


def _finish(finish: Finish, writers: Mapping[int, str]) -> dict[str, Any]:
    """Return what happens after the sums, without what does not happen; a residual by the step that leaves it."""
    found = {key: value for key, value in plain(finish).items() if key not in ("out", "residual")}
    if finish.integers is not None:
        found = {"integers": {k: v for k, v in found["integers"].items() if v is not None}, "planes": finish.planes}
    residual = None if finish.residual < 0 else writers[finish.residual]
    return {"residual": residual, **{key: value for key, value in found.items() if value is not None}}


def _layer(step: ArrayStep) -> dict[str, Any]:
    weights = step.weights
    layout = weights.layout
    taps = [(ky, kx) for ky in range(layout.kernel_h) for kx in range(layout.kernel_w)]
    converter = None
    if step.thresholds is not None and step.levels is not None:
        converter = {"thresholds": plain(step.thresholds), "levels": plain(step.levels)}
    return {
        "kernel": list(weights.kernel),
        "stride": list(weights.stride),
        "padding": list(weights.padding),
        "flatten": weights.flatten,
        "outputs": weights.outputs,
        "input_planes": plain(wiring.plane_weights(weights.x_planes, weights.x_thermometer)),
        "weight_planes": plain(wiring.plane_weights(weights.planes, weights.w_thermometer)),
        "conversions": [list(planes) for planes in wiring.passes(step)],
        "mapping": "tap" if weights.tap else "channel",
        "arrays": [
            {
                "weights": f"array_{s:04d}.memh",
                "rows": layout.rows_of(s),
                "first_channel": layout.channels_of(s).start,
                "channels": len(layout.channels_of(s)),
                "taps": [list(tap) for tap in ([taps[s // layout.chunks]] if weights.tap else taps)],
            }
            for s in range(layout.arrays)
        ],
        "converter": converter,
        "value": {"scale": step.scale, "offset": step.offset, "bias": plain(step.bias)},
        "gate": plain(step.gate),
    }
