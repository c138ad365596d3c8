"""The exported network's own sources: its layers as constants, the calls that run them, and their weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import Description
from bnnkit.deploy.geometry import Shape
from bnnkit.export.cpp.buffers import Buffer, buffers_of, scratch_of
from bnnkit.export.cpp.literals import TYPES, lines, literals

RUNTIME = ("array_layer", "dense_layer", "value_layers")


@dataclass(frozen=True)
class Constant:
    """An array of weights.h and weights.cpp."""

    name: str
    values: NDArray[Any]

    @property
    def declaration(self) -> str:
        """What weights.h says."""
        return f"extern {self._type};"

    @property
    def definition(self) -> str:
        """What weights.cpp says."""
        return "\n".join([f"{self._type} = {{", *lines(literals(self.values)), "};"])

    @property
    def _type(self) -> str:
        return f"const {TYPES[str(self.values.dtype)]} {self.name}[{self.values.size}]"


@dataclass
class Source:
    """What the steps of a network contribute, in their order.

    Attributes:
        constants: arrays, by name.
        layers: definitions of constants of the runtime's types.
        calls: statements.
        buffers: by number.
    """

    description: Description
    constants: dict[str, Constant] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    buffers: dict[int, Buffer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.buffers = buffers_of(self.description)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an array and return the expression that names it."""
        assert name not in self.constants, f"two arrays {name}"
        kind = np.uint64 if values.dtype.kind == "u" else np.float32 if values.dtype.kind == "f" else np.int32
        assert values.dtype.kind != "f" or values.dtype == np.float32, f"{name}: {values.dtype}"
        self.constants[name] = Constant(name, values.astype(kind))
        return f"weights::{name}"

    def layer(self, kind: str, name: str, fields: dict[str, str], *, comment: str = "", checks: list[str]) -> None:
        """Define a constant of a type of the runtime; `checks` must hold when it is compiled."""
        text = [f"// {comment}"] if comment else []
        made = "finish" if kind.endswith("Finish") else "layer"
        text += [f"constexpr bnn::{kind} {name} = [] {{", f"    bnn::{kind} {made};"]
        text += [f"    {made}.{key} = {value};" for key, value in fields.items()]
        text += [f"    return {made};", "}();", *(f"static_assert({check});" for check in checks), ""]
        self.layers += text

    @property
    def weight_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(constant.values.nbytes for constant in self.constants.values())

    @property
    def workspace_bytes(self) -> int:
        """Bytes that a thread works in."""
        scratch = scratch_of(self.description)
        kept = sum(4 * buffer.value_count + 8 * buffer.word_count for buffer in self.buffers.values())
        return kept + 8 * scratch.words + 4 * scratch.integers + 4 * scratch.floats


def shape(sizes: Shape) -> str:
    """Return a shape as C++ initializes one."""
    return "{" + ", ".join(map(str, sizes)) + "}"


def weights_header(source: Source, namespace: str) -> str:
    """Return weights.h."""
    declarations = [constant.declaration for constant in source.constants.values()]
    return "\n".join([
        "// Weights, thresholds and tables; what they mean is said where model.cpp and runtime/ use them.",
        "#pragma once", "", "#include <cstdint>", "", f"namespace {namespace}::weights {{", "",
        *declarations, "", f"}}  // namespace {namespace}::weights", "",
    ])  # fmt: skip


def weights_source(source: Source, namespace: str) -> str:
    """Return weights.cpp: floats are written such that they are read back to the last bit."""
    definitions = [text for constant in source.constants.values() for text in (constant.definition, "")]
    return "\n".join([
        '#include "weights.h"', "", f"namespace {namespace}::weights {{", "",
        *definitions, f"}}  // namespace {namespace}::weights", "",
    ])  # fmt: skip


def model_header(source: Source, namespace: str, title: str) -> str:
    """Return model.h."""
    (channels, height, width), classes = source.description.in_shape, source.description.classes
    scratch = scratch_of(source.description)
    members = [line for number, buffer in source.buffers.items() for line in _members(number, buffer)]
    return "\n".join([
        f"// {title}: from images to logits.",
        "//",
        "// Nothing is allocated, thrown or kept between calls; a thread needs a workspace of its own.",
        "#pragma once", "", "#include <cstddef>", "#include <cstdint>", "", f"namespace {namespace} {{", "",
        f"constexpr int channels = {channels}, height = {height}, width = {width};  // of an image",
        f"constexpr int classes = {classes};", "",
        "// What run() works in; its contents before and after a call do not matter.",
        "struct Workspace {",
        *(f"    {member}" for member in members),
        f"    std::uint64_t scratch_words[{scratch.words}];",
        f"    std::int32_t scratch_integers[{scratch.integers}];",
        f"    float scratch_floats[{scratch.floats}];",
        "};", "",
        "// Computes the logits, [count][classes], of images as stored: bytes [count][channels][height][width].",
        "void run(const std::uint8_t* images, std::size_t count, float* logits, Workspace& workspace);", "",
        "// The class of the largest of an image's logits; of several, the first.",
        "int predicted(const float* logits);", "",
        f"}}  // namespace {namespace}", "",
    ])  # fmt: skip


def _members(number: int, buffer: Buffer) -> list[str]:
    kind = "std::int32_t" if buffer.integers else "float"
    writers = ", ".join(buffer.writers[:3]) + (", ..." if len(buffer.writers) > 3 else "")
    comment = f"  // {' x '.join(map(str, buffer.shape))}: {writers}"
    members = [f"{kind} values_{number}[{buffer.value_count}];"] if buffer.value_count else []
    members += [f"std::uint64_t bits_{number}[{buffer.word_count}];"] if buffer.word_count else []
    return [member + (comment if i == 0 else "") for i, member in enumerate(members)]


def model_source(source: Source, namespace: str) -> str:
    """Return model.cpp."""
    return "\n".join([
        '#include "model.h"', "",
        *(f'#include "runtime/{name}.h"' for name in RUNTIME), '#include "weights.h"', "",
        f"namespace {namespace} {{", "namespace {", "",
        "// Whether the workspace has the room a layer needs.",
        "constexpr bool fits(const bnn::Needs& needs) {",
        "    return needs.words * sizeof(std::uint64_t) <= sizeof(Workspace::scratch_words) &&",
        "           needs.integers * sizeof(std::int32_t) <= sizeof(Workspace::scratch_integers) &&",
        "           needs.floats * sizeof(float) <= sizeof(Workspace::scratch_floats);",
        "}", "",
        *source.layers,
        "void run_image(const std::uint8_t* image, float* logits, Workspace& w) {",
        "    const bnn::Scratch scratch{w.scratch_words, w.scratch_integers, w.scratch_floats};",
        *(f"    {call}" for call in source.calls),
        "}", "", "}  // namespace", "",
        "void run(const std::uint8_t* images, std::size_t count, float* logits, Workspace& workspace) {",
        "    for (std::size_t i = 0; i < count; ++i)",
        "        run_image(images + i * channels * height * width, logits + i * classes, workspace);",
        "}", "",
        "int predicted(const float* logits) {",
        "    int best = 0;",
        "    for (int c = 1; c < classes; ++c)",
        "        if (logits[c] > logits[best]) best = c;",
        "    return best;",
        "}", "", f"}}  // namespace {namespace}", "",
    ])  # fmt: skip
