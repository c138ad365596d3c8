"""Steps of a packed network from a graph of operations: what can follow a layer in the same step does."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from bnnkit.deploy.builder import Activation, Builder
from bnnkit.deploy.geometry import Shape
from bnnkit.deploy.graph import Node
from bnnkit.quantizers import Quantizer

ACTIVATION, RESIDUAL, POOL, NORM, CLAMP = 1, 2, 3, 4, 5
"""The order of what a step does to its values."""


@dataclass(eq=False)
class Stage:
    """A step to be: a node that starts it, and the nodes after it that it takes along.

    Attributes:
        first: the node it starts with; of another kind than "image", "dense", "array", "mean" and "window" it is what
            `source` leaves, finished.
        source: the node whose value, or bits, it reads; None for the images.
        last: the node whose value it leaves.
        reached: the latest of `ACTIVATION` ... `CLAMP` that it has.
    """

    first: Node
    source: Node | None
    last: Node
    activation: Activation | None = None
    residual: Node | None = None
    pool: bool = False
    norm: str | None = None
    clamp: bool = False
    reached: int = 0

    def takes(self, node: Node, other: Node | None = None) -> bool:
        """Take a node along if the order allows; `other` is the second operand of a sum."""
        taken = getattr(self, f"_take_{node.kind}", self._take_nothing)(node, other)
        if taken:
            self.last = node
        return bool(taken)

    @property
    def _is_general(self) -> bool:
        """Whether it can have activations and shortcuts."""
        return self.first.kind not in ("image", "mean")

    def _take_nothing(self, node: Node, other: Node | None) -> bool:
        return False

    def _take_norm(self, node: Node, other: Node | None) -> bool:
        if self.reached >= NORM or self.first.kind == "image":
            return False
        self.norm, self.reached = node.layer, NORM
        return True

    def _take_clamp(self, node: Node, other: Node | None) -> bool:
        if self.first.kind == "image":
            return False
        self.clamp, self.reached = True, CLAMP
        return True

    def _take_slope(self, node: Node, other: Node | None) -> bool:
        if not self._is_general or not self._make_room():
            return False
        norm = None if self.activation is None else self.activation[0]
        self.activation, self.reached = (norm, node.slope), ACTIVATION
        return True

    def _take_add(self, node: Node, other: Node | None) -> bool:
        if not self._is_general or other is None or (self.reached != ACTIVATION and not self._make_room()):
            return False
        self.residual, self.reached = other, RESIDUAL
        return True

    def _take_window(self, node: Node, other: Node | None) -> bool:
        # A step pools before all else; the largest value can be found before clamping as well as after it.
        first_of_all = not (self.pool or self.activation or self.residual or self.norm)
        can_pool = self.first.kind in ("dense", "array") and node.maximum and node.window == (2, 2, 0)
        if not (first_of_all and can_pool):
            return False
        self.pool, self.reached = True, max(self.reached, POOL)
        return True

    def _make_room(self) -> bool:
        """Return whether an activation can come next, after moving a normalization before it."""
        if self.reached == NORM and self.activation is None and self.residual is None and not self.pool:
            self.activation, self.norm, self.reached = (self.norm, 1.0), None, 0
        return self.reached == 0


def plan(nodes: list[Node]) -> list[Stage]:
    """Return the stages of a graph, in the order in which they run; the last one leaves the last node."""
    users = Counter(source for node in nodes for source in node.sources)
    stages: list[Stage] = []
    leaves: dict[Node, int] = {}  # by node, the number of the stage that leaves it
    for node in nodes:
        # A sum goes with its operand that is computed last: the other one lies ready then.
        before = max((leaves[source] for source in node.sources), default=-1)
        follows = node.kind not in ("image", "dense", "array", "mean") and users[stages[before].last] == 1
        if not (follows and stages[before].takes(node, _other(node, stages[before].last))):
            before = len(stages)
            stages.append(_own_stage(node))
        leaves[node] = before
    return stages


def _own_stage(node: Node) -> Stage:
    stage = Stage(node, node.sources[0] if node.sources else None, node)
    if node.kind in ("norm", "slope", "clamp", "add"):
        taken = stage.takes(node, node.sources[-1])
        assert taken, f"a step of its own can do a {node.kind}"
    return stage


def _other(node: Node, operand: Node) -> Node | None:
    return next((source for source in node.sources if source is not operand), None)


@dataclass
class _Run:
    """A stage with the buffers it reads and writes."""

    stage: Stage
    out: str = ""
    floats: bool = False
    reader: str | None = None
    copies: list[tuple[str, str]] = field(default_factory=list)  # (buffer, reader) of bits by other quantizers


def emit(stages: list[Stage], build: Builder) -> None:
    """Add the steps of the stages to a builder.

    Buffers are named by their shape and numbered; one whose value is not needed any more is written again. What lies
    before the first layer on arrays stays: networks that differ in their arrays only, and run together, compute it
    once.
    """
    numbers = {stage.last: i for i, stage in enumerate(stages)}
    runs = [_Run(stage) for stage in stages]
    last_use, bits = _uses(stages, runs, numbers, build)
    first_array = next((i for i, stage in enumerate(stages) if stage.first.kind == "array"), 0)
    last_use[:first_array] = [len(stages)] * first_array
    free: dict[Shape, list[str]] = defaultdict(list)
    made: dict[Shape, int] = defaultdict(int)

    def buffer(shape: Shape) -> str:
        if free[shape]:
            return free[shape].pop()
        made[shape] += 1
        return f"{'x'.join(map(str, shape))}.{made[shape]}"

    held: dict[int, list[str]] = defaultdict(list)
    for i, run in enumerate(runs):
        shape = run.stage.last.shape
        run.out = buffer(shape)
        held[last_use[i]].append(run.out)
        run.copies = [(buffer(shape), reader) for _, reader in run.copies]
        held[last_use[i]] += [out for out, _ in run.copies]
        for out in held.pop(i, []):
            free[shape_of(out)].append(out)
    for run in runs:
        _emit(run, runs, numbers, bits, build)


def shape_of(buffer: str) -> Shape:
    """Return the shape in the name of a buffer."""
    channels, height, width = map(int, buffer.partition(".")[0].split("x"))
    return channels, height, width


def _uses(
    stages: list[Stage], runs: list[_Run], numbers: dict[Node, int], build: Builder
) -> tuple[list[int], dict[str, int]]:
    """Note who reads what; return the last reader of each stage, and which copy of bits each layer on arrays reads."""
    last_use, bits = list(range(len(stages))), dict[str, int]()
    codes: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    runs[-1].floats = True
    for i, stage in enumerate(stages):
        for node in (stage.source, stage.residual):
            if node is not None:
                last_use[numbers[node]] = i
        if stage.residual is not None:
            runs[numbers[stage.residual]].floats = True
        if stage.source is None:
            continue
        source = numbers[stage.source]
        if stage.first.kind != "array":
            runs[source].floats = True
            continue
        code = _code(build.reading(stage.first.layer))
        if code not in codes[source]:
            codes[source].append(code)
            if runs[source].reader is None:
                runs[source].reader = stage.first.layer
            else:
                runs[source].copies.append(("", stage.first.layer))
        bits[stage.first.layer] = codes[source].index(code)
    for run in runs:
        # Copies are made from values.
        run.floats |= bool(run.copies)
    return last_use, bits


def _code(quantizer: Quantizer) -> tuple[object, ...]:
    return quantizer.planes, quantizer.thermometer, quantizer.strict, quantizer.thresholds


def _emit(run: _Run, runs: list[_Run], numbers: dict[Node, int], bits: dict[str, int], build: Builder) -> None:
    stage, first = run.stage, run.stage.first
    residual = None if stage.residual is None else runs[numbers[stage.residual]].out
    # Where only bits are kept, values beyond the last thresholds do not matter.
    clamp = stage.clamp or not run.floats
    if first.kind == "image":
        build.image(run.out, flatten=stage.last.shape[1:] == (1, 1), floats=run.floats, reader=run.reader)
    else:
        assert stage.source is not None
        source = runs[numbers[stage.source]]
        ends: dict[str, Any] = {"norm": stage.norm, "clamp": clamp, "floats": run.floats, "reader": run.reader}
        more: dict[str, Any] = {"activation": stage.activation, "residual": residual}
        if first.kind == "array":
            inputs = [source.out, *(out for out, _ in source.copies)]
            build.array(first.name, inputs[bits[first.layer]], run.out, pool=stage.pool, **ends, **more)
        elif first.kind == "dense":
            build.dense(first.name, source.out, run.out, pool=stage.pool, **ends, **more)
        elif first.kind == "mean":
            build.mean(first.name, source.out, run.out, **ends)
        else:
            size, stride, pad = first.window
            window: dict[str, Any] = {"size": size, "stride": stride, "pad": pad, "maximum": first.maximum}
            build.window(first.name, source.out, run.out, **window, **ends, **more)
    for number, (out, reader) in enumerate(run.copies, 1):
        build.window(f"{first.name}.code{number}", run.out, out, floats=False, reader=reader)
