"""Turn any torch network into one for compute-in-memory arrays."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from torch import nn

from bnnkit.cim import Array
from bnnkit.cim.adc import AdcBits, AdcGradient
from bnnkit.errors import UsageError
from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.convertible import is_candidate, on_arrays, shared_parameters, why_not
from bnnkit.nn.linear import CimLinear
from bnnkit.nn.pooling import AdaptiveAvgPool2d, AvgPool2d
from bnnkit.quantizers import Bits
from bnnkit.quantizers.base import Gradient

Patterns: TypeAlias = str | Sequence[str]
"""Names of modules as `named_modules` gives them, with the wildcards of `fnmatch`; "*" also matches dots."""

OPTIONS = ("ao_bit", "w_bit", "adc_bit", "array", "adc_sigma", "adc_gradient", "value_gradient")

UNBOUNDED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
"""Activations that Hardtanh takes the place of."""


@dataclass(frozen=True)
class ConvertedLayer:
    """A layer on arrays, as `converted_layers` lists it.

    Attributes:
        arrays: over all groups and outputs that share word lines; None without a converter.
    """

    name: str
    kind: str
    ao_bit: Bits
    w_bit: Bits
    adc_bit: AdcBits | None
    arrays: int | None

    def __str__(self) -> str:
        arrays = "no converter" if self.arrays is None else f"{self.arrays} arrays"
        bits = f"ao {self.ao_bit}, w {self.w_bit}, adc {'table' if self.adc_bit is None else self.adc_bit}"
        return f"{self.name}: {self.kind}, {bits}, {arrays}"


def convert(
    model: nn.Module,
    *,
    ao_bit: Bits = 1,
    w_bit: Bits = 1,
    adc_bit: AdcBits = 1,
    array: Array | None = None,
    adc_sigma: float | None = None,
    adc_gradient: AdcGradient = "iga",
    value_gradient: Gradient = "ste",
    include: Patterns = "*",
    exclude: Patterns = (),
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    keep_first_and_last: bool = True,
    activations: Literal["hardtanh", "keep"] = "hardtanh",
    inplace: bool = False,
) -> nn.Module:
    """Return a copy of a network whose convolutions and linear layers are computed by arrays.

    - Every `Conv2d` and `Linear` (also subclasses with the same forward) that `include` names and `exclude` does not
      becomes a `CimConv2d` or `CimLinear` of the same name. Its latent weights are the weights over three times their
      root mean square (of the layer), clamped to [-1, 1]; so is the bias; full-precision weights stay as they are.
    - ReLU and its relatives (`UNBOUNDED`) become Hardtanh where `include` names them, or beside a converted layer in
      the same module: inputs of arrays are quantized in [-1, 1], and after a ReLU half of the levels have no use.
      Functions that `forward` calls, such as `F.relu`, stay; write modules, or `F.hardtanh`.
    - Average poolings become `bnnkit.nn.AvgPool2d` and `AdaptiveAvgPool2d`, whose evaluation is exactly repeatable.

    The result is trained like any network, with `bnnkit.nn.clamp_latent(net)` after every optimizer step, and runs
    packed with `bnnkit.deploy.compile(net, mean, std, in_shape=...)`; see docs/convert.md.

    Args:
        model: float32 network; it stays as it is unless `inplace`.
        ao_bit, w_bit, adc_bit, array, adc_sigma, adc_gradient, value_gradient: as `bnnkit.nn.CimConv2d`.
        include, exclude: names of layers, with wildcards. What cannot be put on arrays is left alone where only "*"
            includes it, and an error where another pattern does.
        overrides: options by pattern, {"layer4.*": {"adc_bit": 2}}; of several that match, the later wins.
        keep_first_and_last: leave the network's first and last convolution or linear layer (in the order of
            `named_modules`) in full precision, as usual in the field.
        activations: "hardtanh" as above, or "keep".
        inplace: change `model` itself and return it.

    Raises:
        UsageError: a pattern that names nothing, a layer that cannot be put on arrays, impossible options, or nothing
            to convert.

    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32, 10))
    >>> for layer in converted_layers(convert(net, adc_bit=2)):
    ...     print(layer)
    2: conv 3x3 16 -> 32, ao 1, w 1, adc 2, 2 arrays
    """
    if activations not in ("hardtanh", "keep"):
        raise UsageError(f"convert: activations '{activations}'; hardtanh or keep was needed", hint="use hardtanh")
    options = dict(zip(OPTIONS, (ao_bit, w_bit, adc_bit, array, adc_sigma, adc_gradient, value_gradient), strict=True))
    chosen = _choose(model, _tuple(include), _tuple(exclude), keep_first_and_last)
    by_layer = _overridden(chosen, options, overrides or {})
    network = model if inplace else copy.deepcopy(model)
    layers = dict(network.named_modules())
    # The whole is checked and built before anything is replaced.
    taking_over: dict[int, nn.Module] = {
        id(layers[name]): _built(name, layers[name], by_layer[name]) for name in chosen
    }
    for name, module in layers.items():
        if type(module) in (nn.AvgPool2d, nn.AdaptiveAvgPool2d):
            taking_over[id(module)] = _repeatable_pooling(module)
        elif activations == "hardtanh" and type(module) in UNBOUNDED and _bounded(name, chosen, include, exclude):
            taking_over[id(module)] = nn.Hardtanh(inplace=getattr(module, "inplace", False)).train(module.training)
    for module in layers.values():
        for child, old in module._modules.items():
            if id(old) in taking_over:
                module._modules[child] = taking_over[id(old)]
    return taking_over.get(id(network), network)


def converted_layers(network: nn.Module) -> list[ConvertedLayer]:
    """Return the layers on arrays of a network, in the order of `named_modules`.

    >>> net = convert(nn.Sequential(nn.Linear(200, 10)), keep_first_and_last=False)
    >>> converted_layers(net)[0].arrays
    2
    """
    found = []
    for name, layer in network.named_modules():
        if not isinstance(layer, CimConv2d | CimLinear):
            continue
        if isinstance(layer, CimConv2d):
            kernel = "x".join(map(str, layer.kernel_size))
            kind, groups = f"conv {kernel} {layer.in_channels} -> {layer.out_channels}", layer.groups
        else:
            kind, groups = f"linear {layer.in_features} -> {layer.out_features}", 1
        layout = layer.layout()
        arrays = None if layout is None else layout.arrays * groups
        found.append(ConvertedLayer(name, kind, layer.ao_bit, layer.w_bit, layer.adc_bit, arrays))
    return found


def _choose(model: nn.Module, include: tuple[str, ...], exclude: tuple[str, ...], keep: bool) -> list[str]:
    """Return the names of the layers to convert."""
    modules = dict(model.named_modules())
    layers = {name: layer for name, layer in modules.items() if is_candidate(layer)}
    if not layers:
        raise UsageError(
            "convert: the network has no Conv2d or Linear; at least one was needed", hint="pass the network itself"
        )
    replaceable = [*layers, *(name for name, module in modules.items() if type(module) in UNBOUNDED)]
    for what, patterns, names in (("include", include, list(layers)), ("exclude", exclude, replaceable)):
        for pattern in patterns:
            _check_pattern(what, pattern, names, modules)
    usual = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d | nn.Linear)]
    kept = {usual[0], usual[-1]} if keep and usual else set()
    shared, chosen = shared_parameters(model), []
    for name, layer in layers.items():
        if name in kept or not _matches(name, include) or _matches(name, exclude):
            continue
        reason = why_not(layer, shared)
        if reason is None:
            chosen.append(name)
        elif _matches(name, [pattern for pattern in include if pattern != "*"]):
            raise UsageError(f"convert: layer {name} is {reason}", hint=f"exclude='{name}'")
    if not chosen:
        held = f" (its first and last layer, {' and '.join(sorted(kept))}, stay in full precision)" if kept else ""
        raise UsageError(
            f"convert: no layer is left to convert{held}; at least one was needed", hint="keep_first_and_last=False"
        )
    return chosen


def _check_pattern(what: str, pattern: str, names: Sequence[str], modules: Mapping[str, nn.Module]) -> None:
    """Raise `UsageError` where a pattern names nothing, with what was probably meant."""
    if any(fnmatchcase(name, pattern) for name in names):
        return
    near = difflib.get_close_matches(pattern, names, n=1)
    if any(name.startswith(f"{pattern}.") for name in names) and pattern in modules:
        hint = f"did you mean '{pattern}.*'?"
    else:
        hint = f"did you mean '{near[0]}'?" if near else f"layers: {', '.join(names[:6])}"
    needed = "a Conv2d or Linear" if what == "include" else "a Conv2d, Linear or activation"
    raise UsageError(f"convert: {what} '{pattern}' names no layer; the name of {needed} was needed", hint=hint)


def _overridden(
    chosen: Sequence[str], options: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the options of each layer."""
    for pattern, changes in overrides.items():
        if not any(fnmatchcase(name, pattern) for name in chosen):
            near = difflib.get_close_matches(pattern, chosen, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"converted are: {', '.join(chosen[:6])}"
            raise UsageError(f"convert: overrides '{pattern}' names no layer that is converted", hint=hint)
        for option in changes:
            if option not in OPTIONS:
                near = difflib.get_close_matches(option, OPTIONS, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"options: {', '.join(OPTIONS)}"
                raise UsageError(f"convert: overrides '{pattern}': unknown option '{option}'", hint=hint)
    found = {name: dict(options) for name in chosen}
    for pattern, changes in overrides.items():
        for name in chosen:
            if fnmatchcase(name, pattern):
                found[name] |= changes
    return found


def _built(name: str, layer: nn.Module, options: dict[str, Any]) -> CimConv2d | CimLinear:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    try:
        return on_arrays(layer, options)
    except UsageError as failure:
        raise UsageError(f"convert: layer {name}: {failure.message}", hint=failure.hint) from failure


def _bounded(name: str, chosen: Sequence[str], include: Patterns, exclude: Patterns) -> bool:
    """Return whether an activation is in the converted part."""
    if _matches(name, _tuple(exclude)):
        return False
    parent = name.rpartition(".")[0]
    return _matches(name, _tuple(include)) or any(layer.rpartition(".")[0] == parent for layer in chosen)


def _repeatable_pooling(module: nn.Module) -> nn.Module:
    """Return the pooling with the same options whose evaluation is repeatable."""
    pooling = copy.copy(module)
    pooling.__class__ = AvgPool2d if isinstance(module, nn.AvgPool2d) else AdaptiveAvgPool2d
    return pooling


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _tuple(patterns: Patterns) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)
