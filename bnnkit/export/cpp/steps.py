"""Each step of a described network as constants of the runtime's types and the call that runs it."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from bnnkit.deploy.description import (
    ArrayStep,
    DenseStep,
    Description,
    Finish,
    ImageStep,
    MeanStep,
    SignedSumStep,
    Step,
    ThermometerStep,
    WindowStep,
    out_shape,
)
from bnnkit.export.cpp.literals import floating, identifier
from bnnkit.export.cpp.source import Source, shape
from bnnkit.export.cpp.weights import array_words, chunk_channels, dense_weights, sign_words, sizes

Fields = dict[str, str]


def source_of(description: Description) -> Source:
    """Translate all steps of a network.

    Raises:
        UsageError: a number that is not finite.
    """
    source = Source(description)
    for step in description.steps:
        name = identifier(step.name)
        kind, fields = _layer(step, source, name)
        source.layer(kind, name, fields, comment=summary(step), checks=_checks(step, name))
        if isinstance(step, ThermometerStep):
            source.calls.append(f"bnn::run({name}, image, w.bits_{step.finish.out});")
            continue
        finish_kind, finish = _finish(step, source, name)
        source.layer(finish_kind, f"{name}_finish", finish, checks=[f"fits(bnn::needs({name}, {name}_finish))"])
        source.calls.append(f"bnn::run({name}, {_input(step)}, {name}_finish, {_output(step, source)}, scratch);")
    return source


def summary(step: Step) -> str:
    """Return what a step is, in a line.

    >>> from bnnkit.deploy.description import Finish, MeanStep
    >>> summary(MeanStep("pool", 3, (64, 8, 8), 0.0, Finish(out=4)))
    'pool: 64 x 8 x 8 -> 64 x 1 x 1'
    """
    sizes_text = [" x ".join(map(str, sizes)) for sizes in (step.in_shape, out_shape(step))]
    text = f"{step.name}: {sizes_text[0]} -> {sizes_text[1]}"
    if isinstance(step, ArrayStep):
        arrays = sizes(step.weights)[1]
        text += f", {'x'.join(map(str, step.weights.kernel))}, {arrays} array{'s' if arrays > 1 else ''}"
        if step.levels is not None:
            text += f", converters of {len(step.levels)} levels"
    return text + (", in full precision" if isinstance(step, DenseStep) else "")


@singledispatch
def _layer(step: Any, source: Source, name: str) -> tuple[str, Fields]:
    """Return the runtime's type of a step and the fields that differ from its defaults."""
    raise NotImplementedError(type(step).__name__)


@_layer.register
def _(step: ImageStep, source: Source, name: str) -> tuple[str, Fields]:
    return "ImageLayer", {"in": shape(step.in_shape), "values": source.constant(f"{name}_values", step.values)}


@_layer.register
def _(step: ThermometerStep, source: Source, name: str) -> tuple[str, Fields]:
    table = source.constant(f"{name}_set_bits", np.array(step.set_bits, np.int32))
    return "ThermometerLayer", {"in": shape(step.in_shape), "planes": str(step.planes), "set_bits": table}


@_layer.register
def _(step: WindowStep, source: Source, name: str) -> tuple[str, Fields]:
    fields = {"in": shape(step.in_shape), "size": str(step.size), "stride": str(step.stride), "pad": str(step.pad)}
    fields |= {"repeats": str(step.repeats), "maximum": _flag(step.maximum)}
    if step.level_values:
        fields["level_count"] = str(len(step.level_values))
        for part in ("level_thresholds", "level_values"):
            fields[part] = source.constant(f"{name}_{part}", np.array(getattr(step, part), np.float32))
    return "WindowLayer", fields


@_layer.register
def _(step: SignedSumStep, source: Source, name: str) -> tuple[str, Fields]:
    signs = source.constant(f"{name}_weights", sign_words(step))
    fields = {"in": shape(step.in_shape), "outputs": str(len(step.signs)), "drop": str(step.drop), "signs": signs}
    return "SignedSumLayer", fields


@_layer.register
def _(step: DenseStep, source: Source, name: str) -> tuple[str, Fields]:
    fields = {
        "in": shape(step.in_shape),
        "kernel": _kernel(step.weights.shape[2:], step.stride, step.padding),
        "outputs": str(len(step.weights)),
        "weights": source.constant(f"{name}_weights", dense_weights(step)),
    }
    if step.bias is not None:
        fields["bias"] = source.constant(f"{name}_bias", step.bias)
    return "DenseLayer", fields


@_layer.register
def _(step: MeanStep, source: Source, name: str) -> tuple[str, Fields]:
    return "MeanLayer", {"in": shape(step.in_shape), "one": floating(step.one)}


@_layer.register
def _(step: ArrayStep, source: Source, name: str) -> tuple[str, Fields]:
    w = step.weights
    fields = {"in": shape(step.in_shape)} | ({"flatten": "true"} if w.flatten else {})
    fields |= {"kernel": _kernel(w.kernel, w.stride, w.padding), "outputs": str(w.outputs)}
    fields |= {"channels_per_array": str(chunk_channels(w))} | ({"tap": "true"} if w.tap else {})
    fields |= {"x_planes": str(w.x_planes), "w_planes": str(w.planes)}
    fields |= {flag: "true" for flag in ("x_thermometer", "w_thermometer") if getattr(w, flag)}
    fields["weights"] = source.constant(f"{name}_weights", array_words(w))
    if step.levels is not None and step.thresholds is not None:
        fields["threshold_count"] = str(len(step.thresholds))
        fields["thresholds"] = source.constant(f"{name}_converter", step.thresholds)
        fields["levels"] = source.constant(f"{name}_levels", step.levels)
        if step.offset != 0:
            fields["base"] = floating(step.offset * sizes(w)[1])
    if step.scale != 1:
        fields["scale"] = floating(step.scale)
    for part, values in {"bias": step.bias, "gate": step.gate}.items():
        if values is not None:
            fields[part] = source.constant(f"{name}_{part}", values)
    return "ArrayLayer", fields


def _finish(step: Step, source: Source, name: str) -> tuple[str, Fields]:
    finish = step.finish
    fields = {"out": shape(out_shape(step))}
    if finish.integers is not None:
        return "IntegerFinish", fields | _integer_fields(finish, source, name)
    per_channel = {"scale": finish.scale, "shift": finish.shift}
    if finish.activation is not None:
        a = finish.activation
        inner = {"inner_scale": a.scale, "inner_shift": a.shift}
        per_channel |= inner | {"bias_in": a.bias_in, "slope": a.slope, "bias_out": a.bias_out}
    assert not (finish.pool and (finish.activation is not None or finish.residual >= 0)), step.name
    if finish.sum_thresholds is None:
        fields |= {"pool": "true"} if finish.pool else {}
        for part, values in per_channel.items():
            if values is not None:
                fields[part] = source.constant(f"{name}_{part}", values)
        fields |= {"clamp": "true"} if finish.clamp else {}
    return "Finish", fields | _code_fields(finish, source, name)


def _code_fields(finish: Finish, source: Source, name: str) -> Fields:
    if not finish.planes:
        return {}
    fields = {"codes.planes": str(finish.planes), "codes.count": str(len(finish.thresholds))}
    fields |= {"codes.thermometer": "true"} if finish.thermometer else {}
    if finish.sum_thresholds is not None and finish.flip is not None:
        fields["codes.sum_thresholds"] = source.constant(f"{name}_thresholds", finish.sum_thresholds)
        fields["codes.flip"] = source.constant(f"{name}_flip", finish.flip)
        return fields
    fields |= {} if finish.strict else {"codes.strict": "false"}
    fields["codes.thresholds"] = source.constant(f"{name}_thresholds", np.array(finish.thresholds, np.float32))
    return fields


def _integer_fields(finish: Finish, source: Source, name: str) -> Fields:
    integers = finish.integers
    assert integers is not None
    fields: Fields = {"one": floating(integers.one)} if integers.one else {}
    if integers.shifts is not None:
        fields |= {"digits": str(len(integers.shifts)), "lift": str(integers.lift)}
    for part in ("bound", "shifts", "signs", "bias_in", "right", "left", "bias_out", "thresholds"):
        values = getattr(integers, part)
        if values is not None:
            fields[part] = source.constant(f"{name}_{part}", values)
    return fields


def _checks(step: Step, name: str) -> list[str]:
    if isinstance(step, ArrayStep):
        return [f"bnn::weight_words({name}) == sizeof(weights::{name}_weights) / sizeof(std::uint64_t)"]
    if isinstance(step, DenseStep):
        return [f"bnn::weight_count({name}) == sizeof(weights::{name}_weights) / sizeof(float)"]
    return []


def _input(step: Step) -> str:
    if isinstance(step, ImageStep | ThermometerStep):
        return "image"
    return f"w.{'bits' if isinstance(step, ArrayStep) else 'values'}_{step.in_buffer}"


def _output(step: Step, source: Source) -> str:
    finish = step.finish
    values = f"w.values_{finish.out}" if finish.floats else "nullptr"
    if step is source.description.steps[-1]:
        values = "logits"
    bits = f"w.bits_{finish.out}" if finish.planes else "nullptr"
    residual = f"w.values_{finish.residual}" if finish.residual >= 0 else "nullptr"
    return f"{{{values}, {bits}, {residual}}}"


def _kernel(sizes: Any, stride: tuple[int, int], padding: tuple[int, int]) -> str:
    return "{" + ", ".join(map(str, (*sizes, *stride, *padding))) + "}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
