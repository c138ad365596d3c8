"""What a chip would do, counted by the steps and once more from the layers of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnnkit.deploy.operations import Operations
from bnnkit.models import Model
from bnnkit.models.fracbnn import FractionalBlock
from bnnkit.models.integer_network import IntegerNetwork
from bnnkit.models.reactnet import ReactNet
from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import CimConv2d, CimLinear, GatedConv2d

from .networks import network, packed

Counts = Iterator[tuple[str, Operations]]


def _shapes(model: Model) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return (channels, height, width) read and left by every module, seen while one image passes in training."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            found[name] = tuple(inputs[0].shape[1:]), tuple(output.shape[1:])

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    model.train()(torch.rand(2, *model.settings.in_shape))
    model.eval()
    for hook in hooks:
        hook.remove()
    return found


def _sum_of(terms: int, outputs: int, bias: bool = False) -> Operations:
    """Products with weights in full precision, added up."""
    return Operations(multiplications=terms * outputs, additions=(terms - 1 + bias) * outputs)


def _array(conv: CimConv2d | CimLinear, outputs: int) -> Operations:
    """An array layer up to its sums: partial sums of one plane, converted and added; planes added with a shift."""
    planes = 2 if isinstance(conv, GatedConv2d) else 1
    layout, macs = conv.layout(), conv.weight[0].numel() * outputs * planes
    count = Operations(binary_macs=macs, additions=(planes - 1) * outputs, shifts=(planes - 1) * outputs)
    if layout is None:
        return count
    converted = planes * layout.arrays * outputs
    return count + Operations(conversions=converted, additions=converted - planes * outputs)


def _digits(signs: Tensor, outputs: int) -> Operations:
    """A constant factor per channel: a shift per power of two, and their sum."""
    digits = signs.ne(0).sum(0)
    each = outputs // len(digits)
    return Operations(shifts=each * int(digits.sum()), additions=each * int((digits - 1).clamp_min(0).sum()))


def _reactnet(model: ReactNet) -> Counts:
    shapes, integers = _shapes(model), IntegerNetwork.of(model).blocks
    blocks = [(name, block) for name, block in model.named_modules() if isinstance(block, SignBlock)]
    stem, pooled = math.prod(shapes["stem"][1]), math.prod(shapes["stem_pool"][1])
    yield "images", Operations()
    # Rounding floats to integers multiplies them; the first block's signs are a comparison.
    to_integers, signs = Operations(multiplications=stem), Operations(comparisons=pooled)
    is_pooled = isinstance(model.stem_pool, nn.MaxPool2d)
    yield "stem", _sum_of(model.stem.weight[0].numel(), stem) + to_integers + (Operations() if is_pooled else signs)
    if is_pooled:
        yield "stem_pool", Operations(comparisons=8 * pooled) + signs
    for index, (name, block) in enumerate(blocks):
        (channels, height, width), out_shape = shapes[name]
        outputs = math.prod(out_shape)
        if block.shortcut.startswith("pool"):
            values = channels * (height // 2) * (width // 2)
            yield f"{name}.pool", Operations(additions=3 * values, shifts=values)
        if block.shortcut == "duplicate":
            yield f"{name}.double", Operations()
        shortcut = integers[name].shortcut
        if shortcut is not None:
            values = channels * (height // 2) * (width // 2)
            count = Operations(additions=(channels - 1) * outputs, shifts=values if shortcut.drop else 0)
            yield f"{name}.shortcut_conv", count + _digits(shortcut.scale.signs, outputs)
        end = Operations(additions=1 * outputs)  # the shortcut
        end += Operations(additions=2 * outputs, comparisons=outputs, shifts=outputs)  # the activation
        end += Operations(comparisons=outputs if index + 1 < len(blocks) else 0)  # the next block's signs
        yield f"{name}.conv", _array(block.conv, outputs) + _digits(integers[name].scale.signs, outputs) + end
    yield from _classified(model, shapes)


def _fracbnn(model: Model) -> Counts:
    shapes = _shapes(model)
    blocks = [(name, block) for name, block in model.named_modules() if isinstance(block, FractionalBlock)]
    yield "images", Operations()
    stem, outputs = model.get_submodule("stem"), math.prod(shapes["stem"][1])
    assert isinstance(stem, CimConv2d)
    of_steps = Operations(multiplications=outputs if stem.adc is not None else 0)  # levels of a converter to values
    normalized = Operations(multiplications=outputs, additions=outputs)
    yield "stem", _array(stem, outputs) + of_steps + normalized + Operations(comparisons=3 * outputs)
    for index, (name, block) in enumerate(blocks):
        read, outputs = math.prod(shapes[name][0]), math.prod(shapes[name][1])
        halves, levels = block.shortcut.stride == 2, block.shortcut.quantizer is not None
        if halves or levels or block.shortcut.repeats > 1:
            means = read // 4 if halves else 0
            yield (
                f"{name}.shortcut",
                Operations(additions=3 * means, multiplications=means, comparisons=15 * read if levels else 0),
            )
        assert isinstance(block.conv, GatedConv2d)
        end = Operations(comparisons=outputs)  # the gate
        end += Operations(multiplications=outputs)  # of sums to values
        end += Operations(multiplications=2 * outputs, additions=2 * outputs)  # both normalizations
        end += Operations(multiplications=outputs, additions=2 * outputs, comparisons=outputs)  # the activation
        end += Operations(additions=outputs)  # the shortcut
        end += Operations(comparisons=3 * outputs if index + 1 < len(blocks) else 0)  # the next block's 2-bit codes
        yield f"{name}.conv", _array(block.conv, outputs) + end
    yield from _classified(model, shapes)


def _mlp(model: Model) -> Counts:
    yield "images", Operations(comparisons=math.prod(model.settings.in_shape))
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, CimLinear)}
    for index, (name, layer) in enumerate(layers.items()):
        outputs = layer.out_features
        end = Operations(comparisons=outputs)  # bias, normalization and Hardtanh are in the threshold
        if index + 1 == len(layers):
            of_steps = Operations(multiplications=outputs, additions=outputs)  # levels of a converter, and the bias
            end = of_steps + Operations(multiplications=outputs, additions=outputs, comparisons=2 * outputs)
        yield name, _array(layer, outputs) + end
    yield "classifier", _sum_of(layers["hidden.2"].out_features, model.settings.classes, bias=True)


def _classified(model: Model, shapes: dict[str, Any]) -> Counts:
    channels, height, width = shapes["pool"][0]
    yield "pool", Operations(additions=channels * (height * width - 1), multiplications=channels)
    yield "classifier", _sum_of(channels, model.settings.classes, bias=True)


def _expected(model: Model) -> dict[str, Operations]:
    if isinstance(model, ReactNet):
        return dict(_reactnet(model))
    return dict(_mlp(model) if model.settings.name == "mlp" else _fracbnn(model))


def _assert_counted(model: Model) -> None:
    counted, expected = packed(model).operations(), _expected(model)
    assert list(counted) == list(expected)
    assert {step: (counted[step], expected[step]) for step in expected if counted[step] != expected[step]} == {}


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("reactnet18", {"in_shape": (3, 16, 16)}),
    ("reactnet18", {"in_shape": (3, 8, 16), "adc_bit": 2, "rows": 64}),
    ("reactnet18", {"in_shape": (3, 128, 128), "adc_bit": 1, "mapping": "tap"}),
    ("reactnetA", {"in_shape": (3, 16, 16)}),
    ("fracbnn20", {"in_shape": (3, 8, 12)}),
    ("fracbnn20", {"in_shape": (3, 8, 8), "adc_bit": 1}),
    ("fracbnn20", {"in_shape": (3, 8, 8), "adc_bit": 2, "mapping": "tap", "rows": 32}),
    ("mlp", {"in_shape": (1, 8, 8)}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_steps_count_what_the_layers_need(name: str, options: dict[str, Any]) -> None:
    _assert_counted(network(name, width=1, **options))


def test_a_factor_of_zero_needs_no_digits() -> None:
    model = network("reactnet18", width=1, in_shape=(3, 8, 8))
    for block in model.modules():
        if isinstance(block, SignBlock):
            block.conv.gain[::2] = 0
    assert all((block.scale.signs != 0).sum(0)[::2].max() == 0 for block in IntegerNetwork.of(model).blocks.values())
    _assert_counted(model)


@pytest.mark.parametrize("adc_bit", ["fp", 1, 3])
@pytest.mark.parametrize("name", ["reactnet18", "reactnetA"])
def test_the_body_of_a_network_of_additions_and_bit_operations_does_not_multiply(name: str, adc_bit: Any) -> None:
    model = network(name, width=1, in_shape=(3, 16, 16), adc_bit=adc_bit)
    counted = packed(model).operations()
    body = [step for step in counted if step.startswith("stages.")]
    assert [step for step in counted if step not in body] == ["images", "stem", "pool", "classifier"]
    assert sum((counted[step] for step in body), Operations()).multiplications == 0
    assert all(counted[step].multiplications > 0 for step in ("stem", "pool", "classifier"))
    assert all(counted[step].binary_macs > 0 for step in body if step.endswith(".conv"))


@pytest.mark.parametrize("name", ["reactnet18", "fracbnn20"])
def test_only_converters_convert(name: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8))
    exact = packed(model)
    assert sum(exact.operations().values(), Operations()).conversions == 0
    converted = exact.with_options(adc_bit=2, rows=18).operations()
    layers, shapes, found = dict(model.named_modules()), _shapes(model), 0
    for step, counted in converted.items():
        layer = layers.get(step)
        if isinstance(layer, CimConv2d) and counted.binary_macs:
            arrays = math.ceil(layer.in_channels / (18 // math.prod(layer.kernel_size)))
            planes = 2 if isinstance(layer, GatedConv2d) else 1
            assert counted.conversions == planes * arrays * math.prod(shapes[step][1])
            found += 1
        else:
            assert counted.conversions == 0
    assert found > 15
