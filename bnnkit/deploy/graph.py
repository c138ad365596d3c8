"""What a torch network computes, as a graph of the few operations that a packed network has, read by `torch.fx`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import fx, nn

from bnnkit.deploy.geometry import Shape
from bnnkit.errors import UsageError

Kind: TypeAlias = Literal["image", "dense", "array", "mean", "window", "norm", "slope", "clamp", "add"]

SUPPORTED = (
    "convolutions, linear layers, BatchNorm, Hardtanh or clamp to [-1, 1], ReLU, LeakyReLU, PReLU, max pooling, "
    "average pooling over all or 2 x 2 pixels, sums of two, flattening, dropout"
)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: unique; of a convolution or linear layer the name of the module.
        kind: what it is.
        sources: what it reads, one but for "image" (none) and "add" (two).
        shape: what it leaves.
        layer: the module with the parameters of "dense", "array" and "norm".
        slope: of negative values, or the module that knows it.
        window: size, stride and padding of "window".
        maximum: of the pixels of a window, not their mean.
    """

    name: str
    kind: Kind
    sources: tuple[Node, ...]
    shape: Shape
    layer: str = ""
    slope: float | str = 1.0
    window: tuple[int, int, int] = (1, 1, 0)
    maximum: bool = False


@dataclass(frozen=True)
class Value:
    """What a node leaves, as pixels [N, C, H, W] or flat [N, C * H * W]."""

    node: Node
    flat: bool = False

    @property
    def features(self) -> int:
        channels, height, width = self.node.shape
        return channels * height * width


class UnsupportedError(Exception):
    """Why an operation cannot be expressed; becomes a `UsageError` that names the operation."""


class Graph:
    """The operations of a network so far, in the order in which they run."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.at = ""  # unique name of the operation at hand

    def add(self, kind: Kind, sources: tuple[Value, ...], shape: Shape, name: str | None = None, **rest: Any) -> Value:
        """Append a node; its value is flat if that of its first source is."""
        node = Node(name or self.at, kind, tuple(source.node for source in sources), shape, **rest)
        self.nodes.append(node)
        return Value(node, bool(sources) and sources[0].flat)

    def calls(self, layer: str) -> bool:
        """Return whether a layer with weights is a node already."""
        return any(node.layer == layer for node in self.nodes if node.kind in ("dense", "array"))


Reader: TypeAlias = Callable[..., Any]
"""(graph, arguments of the torch function) -> a `Value`, a number, or a tuple of numbers."""
ModuleReader: TypeAlias = Callable[[Graph, nn.Module, str, Value], Value]
"""(graph, module, its name, its input) -> its output."""


@dataclass(frozen=True)
class Vocabulary:
    """How torch's operations are read.

    Attributes:
        functions: by function, or by name for methods of tensors.
        modules: the first that a module is an instance of counts.
    """

    functions: dict[Any, Reader]
    modules: tuple[tuple[tuple[type[nn.Module], ...], ModuleReader], ...]


class _Proxy(fx.Proxy):
    """A proxy that does not hide that `x += y` changes x."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_method", "__iadd__", (self, other), {})


class _Tracer(fx.Tracer):
    """Trace down to the modules of torch and bnnkit; what a subclass computes with its own `forward` is traced."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        defined = type(m).forward.__module__
        return not isinstance(m, nn.Sequential) and defined.startswith(("torch.nn", "bnnkit.nn"))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def read_graph(model: nn.Module, shape: Shape, vocabulary: Vocabulary) -> list[Node]:
    """Return the nodes of a network in evaluation mode, the last one being its logits; unused ones are left out.

    Args:
        shape: of an image.

    Raises:
        UsageError: `forward` cannot be traced, or does something that no node can express; it is named.
    """
    graph, known = Graph(), dict[str, Any]()
    traced = list(_traced(model).nodes)
    in_place = [node for node in traced if _changes_its_input(model, node)]
    needed = _reached([traced[-1], *in_place], lambda node: node.all_input_nodes)
    for node in traced:
        if node not in needed and node.op != "placeholder":
            continue
        graph.at = node.name
        if node.op == "placeholder":
            known[node.name] = None if known else graph.add("image", (), shape, "images")
            continue
        try:
            args, kwargs = _arguments(node, known)
            if node.op == "output":
                living = _reached([_logits(args[0], shape)], lambda living: living.sources)
                return _checked([node for node in graph.nodes if node in living])
            known[node.name] = _read(graph, model, node, args, kwargs, vocabulary)
            if node in in_place:
                _rename(known, (*args, *kwargs.values())[0], known[node.name])
        except UnsupportedError as failure:
            raise UsageError(
                f"deploy: {_described(model, node)} cannot run packed: {failure}",
                hint="change the network, or evaluate it in torch; docs/convert.md lists what runs packed",
            ) from failure
    raise AssertionError("a traced network has an output")


def _traced(model: nn.Module) -> fx.Graph:
    arguments = list(inspect.signature(model.forward).parameters.values())
    usual = {a.name: a.default for a in arguments[1:] if a.default is not a.empty}
    try:
        return _Tracer().trace(model, concrete_args=usual or None)
    except Exception as failure:
        # What the network's own code raises when it meets something that is no tensor.
        raise UsageError(
            f"deploy: {type(model).__name__} cannot be traced: {failure}; a forward without branches that depend on "
            "values was needed",
            hint="see torch.fx.symbolic_trace",
        ) from failure


def _arguments(node: fx.Node, known: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: known[source.name])
    return args, kwargs


def _rename(known: dict[str, Any], changed: Any, new: Any) -> None:
    """Let all names of a value that was changed in place, and of its views, mean what it became."""
    if not isinstance(changed, Value) or not isinstance(new, Value):
        raise UnsupportedError("it changes something else than a value of the network in place")
    for name, value in known.items():
        if isinstance(value, Value) and value.node is changed.node:
            known[name] = Value(new.node, value.flat)


def _read(
    graph: Graph, model: nn.Module, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], words: Vocabulary
) -> Any:
    if node.op == "call_module":
        assert isinstance(node.target, str)
        module = model.get_submodule(node.target)
        for types, reader in words.modules:
            if isinstance(module, types):
                values = [value for value in (*args, *kwargs.values()) if isinstance(value, Value)]
                if len(values) != 1 or len(args) + len(kwargs) != 1:
                    raise UnsupportedError("one input was needed")
                return reader(graph, module, node.target, values[0])
        raise UnsupportedError(f"supported are {SUPPORTED}")
    read = words.functions.get(node.target) if node.op in ("call_function", "call_method") else None
    if read is None:
        raise UnsupportedError(f"supported are {SUPPORTED}")
    try:
        inspect.signature(read).bind(graph, *args, **kwargs)
    except TypeError as failure:
        raise UnsupportedError(f"arguments {failure}") from failure
    return read(graph, *args, **kwargs)


def _changes_its_input(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    # torch's convention; of Python's own names only += is recorded.
    by_name = name == "__iadd__" or (name.endswith("_") and not name.endswith("__"))
    return by_name or node.kwargs.get("inplace") is True


def _logits(value: Any, shape: Shape) -> Node:
    if not isinstance(value, Value):
        raise UnsupportedError("it returns something else than one tensor; logits [N, classes] were needed")
    if value.node.shape[1:] != (1, 1) or not value.flat:
        left = "x".join(map(str, value.node.shape))
        raise UnsupportedError(f"images of {'x'.join(map(str, shape))} leave {left}; logits [N, classes] were needed")
    return value.node


def _checked(nodes: list[Node]) -> list[Node]:
    images = [node for node in nodes if node.kind == "image"]
    if len(images) != 1:
        raise UnsupportedError("it reads the images both as pixels and flat" if images else "it ignores the images")
    return nodes


def _reached(nodes: list[Any], sources: Callable[[Any], Iterable[Any]]) -> set[Any]:
    """Return nodes and everything they depend on."""
    found, pending = set(nodes), list(nodes)
    while pending:
        for source in sources(pending.pop()):
            if source not in found:
                found.add(source)
                pending.append(source)
    return found


def _described(model: nn.Module, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(model.get_submodule(str(node.target))).__name__})"
    if node.op == "output":
        return f"the output of {type(model).__name__}"
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    # torch's own dispatchers are all called fn.
    return f"{node.name} ({target if target != 'fn' else node.name})"
