"""A packed network as an ONNX file, to look at it and to check it with other people's runtimes."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import bnnkit
from bnnkit.atomic import write_bytes
from bnnkit.checkpoint import describe
from bnnkit.deploy import PackedNetwork
from bnnkit.deploy.description import Description
from bnnkit.errors import MissingError
from bnnkit.export.onnx.steps import INPUT, OUTPUT, graph_of

OPSET, IR = 17, 8
"""Versions of the operators and of the file, those of ONNX 1.12 (2022): runtimes since then read it."""


def write(network: PackedNetwork, path: Path) -> dict[str, object]:
    """Write a packed network as one ONNX file, atomically, after ONNX's own checks and shape inference.

    Standard operators only; input "images", uint8 [batch, *in_shape], images as stored; output "logits", float32
    [batch, classes]. onnxruntime gives the logits of `network`, also with its default optimizations. Tensors are named
    "<layer>/<part>", so viewers show the network layer by layer: the bits between layers, the partial sums of every
    array, and what the converters make of them.

        import onnxruntime
        session = onnxruntime.InferenceSession("net.onnx")
        [logits] = session.run(None, {"images": images})

    Returns:
        What was written: nodes, nodes by operator, opset, ir_version, bytes, inputs and outputs with their shapes.

    Raises:
        MissingError: the package onnx is not installed, or `path` cannot be written.
        UsageError: a network with faults in activations or converters.
    """
    description = network.describe()
    model = model_of(description, _metadata(network))
    content = model.SerializeToString(deterministic=True)
    write_bytes(path, [content])
    return {
        "nodes": len(model.graph.node),
        "operators": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        "opset": OPSET,
        "ir_version": IR,
        "bytes": len(content),
        "inputs": {INPUT: ["uint8", "batch", *description.in_shape]},
        "outputs": {OUTPUT: ["float32", "batch", description.classes]},
    }


def model_of(description: Description, metadata: dict[str, str]) -> Any:
    """Return a network as a checked `onnx.ModelProto` with the shapes of all tensors; see `write`.

    Raises:
        MissingError: the package onnx is not installed.
    """
    onnx, graph = _onnx(), graph_of(description)
    helper, types = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info(
        INPUT, types.UINT8, ["batch", *description.in_shape], "pixels as stored, 0 to 255"
    )
    logits = helper.make_tensor_value_info(OUTPUT, types.FLOAT, ["batch", description.classes])
    content = helper.make_graph(
        [helper.make_node(n.operator, n.inputs, [n.name], name=n.name, **n.attributes) for n in graph.nodes],
        str(description.config["name"]),
        [images],
        [logits],
        [onnx.numpy_helper.from_array(constant, name) for name, constant in graph.constants.items()],
        describe(description.config),
    )
    model = helper.make_model(
        content,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="bnnkit",
        producer_version=bnnkit.__version__,
        doc_string="Bits between layers are -1 and 1 (codes of several bits 2 * code - (levels - 1)), padding is 0.",
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _onnx() -> ModuleType:
    try:
        for name in ("checker", "helper", "numpy_helper", "shape_inference"):
            importlib.import_module(f"onnx.{name}")
        return importlib.import_module("onnx")
    except ImportError as failure:
        raise MissingError(
            f"onnx: cannot be imported ({failure}); the Python package was needed", hint="pip install 'bnnkit[onnx]'"
        ) from failure


def _metadata(network: PackedNetwork) -> dict[str, str]:
    weights = network.weights
    content = {
        "config": network.config,
        "preparation": {"mean": list(weights.mean), "std": list(weights.std)},
        "provenance": weights.provenance,
    }
    return {key: json.dumps(value) for key, value in content.items()}
