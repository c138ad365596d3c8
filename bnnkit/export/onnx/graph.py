"""An ONNX graph while it grows: nodes and constants with names by layer, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Numbers of `onnx.TensorProto.DataType`, which are part of the format.
TYPES = {"float32": 1, "int32": 6, "float64": 11}

Value: TypeAlias = str
"""Name of a tensor in the graph."""


@dataclass(frozen=True)
class Node:
    """One operation; its only output has its name."""

    operator: str
    name: str
    inputs: tuple[Value, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Collect nodes in the order in which they run. Names are "<layer>/<part>".

    Attributes:
        layer: the layer whose nodes are being added; empty: none.
        nodes: in order.
        constants: by name.

    >>> graph = Graph()
    >>> graph.layer = "conv1"
    >>> graph.add("Mul", "doubled", "images", graph.number(2.0))
    'conv1/doubled'
    >>> graph.constants
    {'float32.2.0': array(2., dtype=float32)}
    """

    def __init__(self) -> None:
        self.layer = ""
        self.nodes: list[Node] = []
        self.constants: dict[Value, NDArray[Any]] = {}
        self._names: set[str] = set()
        self._tables: dict[tuple[str, bytes], Value] = {}

    def add(self, operator: str, part: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node of the current layer and return its output."""
        name = self._name(part)
        self._claim(name)
        self.nodes.append(Node(operator, name, inputs, attributes))
        return name

    def cast(self, part: str, value: Value, to: DTypeLike) -> Value:
        """Add a conversion to float32, float64 or int32."""
        return self.add("Cast", part, value, to=TYPES[np.dtype(to).name])

    def reshape(self, part: str, value: Value, shape: Sequence[int]) -> Value:
        """Add a change of the shape of every image."""
        return self.add("Reshape", part, value, self.integers(0, *shape))

    def constant(self, part: str, content: NDArray[Any]) -> Value:
        """Return a constant of the current layer."""
        name = self._name(part)
        self._claim(name)
        self.constants[name] = np.ascontiguousarray(content)
        return name

    def per_channel(self, part: str, content: NDArray[Any], dtype: DTypeLike) -> Value:
        """Return numbers [..., channels] that broadcast over the pixels of [N, ..., channels, height, width]."""
        return self.constant(part, content.astype(dtype)[..., None, None])

    def number(self, value: float, dtype: DTypeLike = np.float32) -> Value:
        """Return a scalar, which layers share."""
        content = np.asarray(value, dtype)
        return self._shared(f"{content.dtype}.{content[()]}", content)

    def integers(self, *values: int) -> Value:
        """Return int64 [len(values)]: sizes, axes, positions; layers share them."""
        return self._shared(".".join(["int64", *map(str, values)]), np.asarray(values, np.int64))

    def table(self, name: str, content: NDArray[np.float32]) -> Value:
        """Return a float32 table, called "<name>.0", "<name>.1", ...; layers with the same content share it."""
        same = name, content.tobytes()
        if same not in self._tables:
            count = sum(other == name for other, _ in self._tables)
            self._tables[same] = self._shared(f"{name}.{count}", content)
        return self._tables[same]

    def _name(self, part: str) -> str:
        return f"{self.layer}/{part}" if self.layer else part

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"{name}: used twice")
        self._names.add(name)

    def _shared(self, name: str, content: NDArray[Any]) -> Value:
        self.constants.setdefault(name, content)
        return name
