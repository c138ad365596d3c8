"""How the networks of the registry run packed: which layer reads what, and what it leaves for the next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise, zip_longest
from typing import Any, TypeAlias

from torch import nn

from bnnkit.deploy.builder import Builder
from bnnkit.models import Model
from bnnkit.models.cnv import Cnv, ConvStage
from bnnkit.models.fracbnn import RESOLUTION, Shortcut
from bnnkit.models.integer_network import IntegerNetwork
from bnnkit.models.reactnet import ReactNet
from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import CimConv2d
from bnnkit.nn.evaluation import MaxPool
from bnnkit.registry import Registry

Plan: TypeAlias = Callable[[Any, Builder], None]

PLANS: Registry[Plan] = Registry("packed network")


@PLANS.register("mlp")
def mlp(model: Model, build: Builder) -> None:
    """The pixels are quantized too; the last hidden layer leaves values for the classifier."""
    names = _children(model, "hidden")
    build.image("pixels", flatten=True, reader=names[0])
    for i, (src, name) in enumerate(pairwise(["pixels", *names])):
        reader = names[i + 1] if i + 1 < len(names) else None
        build.array(name, src, name, norm=f"norms.{i}", clamp=True, floats=reader is None, reader=reader)
    build.dense("classifier", names[-1], "logits")


@PLANS.register("vgg9")
def vgg9(model: Model, build: Builder) -> None:
    """Bits between all layers but the first and the last."""
    features = _children(model, "features")
    layers = [f"{name}.conv" for name in features] + [f"{name}.linear" for name in _children(model, "hidden")]
    build.image("pixels")
    for i, (src, layer) in enumerate(pairwise(["pixels", *layers])):
        stage = layer.rpartition(".")[0]
        reader = layers[i + 1] if i + 1 < len(layers) else None
        pool = stage in features and isinstance(model.get_submodule(f"{stage}.pool"), nn.MaxPool2d)
        add = build.array if isinstance(model.get_submodule(layer), CimConv2d) or stage not in features else build.dense
        add(layer, src, layer, norm=f"{stage}.norm", clamp=True, pool=pool, floats=reader is None, reader=reader)
    build.dense("classifier", layers[-1], "logits", norm="norm")


@PLANS.register("cnv")
def cnv(model: Model, build: Builder) -> None:
    """Bits between all layers; where pixels are pooled, normalized values are, and their signs are taken after it."""
    assert isinstance(model, Cnv)
    stages = [f"{name}.conv" for name in _children(model, "features")]
    stages += [f"{name}.linear" for name in _children(model, "hidden")] + ["classifier"]
    build.image("pixels", encode=model.encoder)
    for src, layer, reader in zip(["pixels", *stages[:-2]], stages[:-1], stages[1:], strict=True):
        stage = layer.rpartition(".")[0]
        pools = isinstance(model.get_submodule(stage), ConvStage) and isinstance(
            model.get_submodule(f"{stage}.pool"), MaxPool
        )
        norm, values = f"{stage}.norm", f"{layer}.values"
        if src == "pixels":
            build.dense(layer, src, layer, norm=norm, floats=False, reader=reader)
        elif pools:
            build.array(layer, src, values, norm=norm, floats=True)
            build.window(f"{stage}.pool", values, layer, size=2, stride=2, maximum=True, floats=False, reader=reader)
        else:
            build.array(layer, src, layer, norm=norm, clamp=True, reader=reader)
    build.array("classifier", stages[-2], "logits", norm="norm", floats=True)


@PLANS.register("res18")
@PLANS.register("res20")
def resnet(model: Model, build: Builder) -> None:
    """The shortcut carries values; each block reads them both as values and as bits."""
    blocks = [block for stage in _children(model, "stages") for block in _children(model, stage)]
    build.image("pixels")
    build.dense("stem", "pixels", "stem", norm="stem_norm", clamp=True, reader=f"{blocks[0]}.conv1")
    src = "stem"
    for i, block in enumerate(blocks):
        # The values of a stage live in one buffer, to which blocks add: they are most of a network's memory. Those of
        # the stem stay: networks that differ in their arrays share them.
        stage = block.rpartition(".")[0]
        reader = f"{blocks[i + 1]}.conv1" if i + 1 < len(blocks) else None
        shortcut, dst = src, f"{stage}.values"
        if not isinstance(model.get_submodule(f"{block}.shortcut"), nn.Identity):
            shortcut = dst
            build.dense(f"{block}.shortcut.conv", src, shortcut, norm=f"{block}.shortcut.norm")
        build.array(
            f"{block}.conv1", src, f"{stage}.middle", norm=f"{block}.norm1", clamp=True, reader=f"{block}.conv2"
        )
        norm = f"{block}.norm2" if reader else None  # the last block ends with the sum
        build.array(
            f"{block}.conv2",
            f"{stage}.middle",
            dst,
            residual=shortcut,
            norm=norm,
            clamp=norm is not None,
            floats=True,
            reader=reader,
        )
        src = dst
    build.mean("pool", src, "pooled", norm="pool_norm", clamp=True)
    build.dense("classifier", "pooled", "logits", norm="logit_norm")


@PLANS.register("reactnet18")
@PLANS.register("reactnet34")
@PLANS.register("reactnetA")
def reactnet(model: Model, build: Builder) -> None:
    """Integers from the stem to the average pool."""
    assert isinstance(model, ReactNet)
    network = IntegerNetwork(model, build.weights.tensors)
    blocks, one = list(network.blocks.items()), 2.0**network.fraction_bits
    first = {"thresholds": blocks[0][1].threshold.numpy()}
    stem = {"one": one, "bound": network.stem_limits().int().numpy()}
    build.image("pixels")
    src, turns, stride = "stem", cycle("ab"), 1
    if isinstance(model.stem_pool, nn.MaxPool2d):
        build.dense("stem", "pixels", "stem", integers=stem)
        build.window("stem_pool", "stem", "pooled_stem", size=3, stride=2, pad=1, maximum=True, integers=first)
        src = "pooled_stem"
    else:
        build.dense("stem", "pixels", "stem", integers=stem | first)
    for i, (name, integers) in enumerate(blocks):
        block = model.get_submodule(name)
        assert isinstance(block, SignBlock)
        stride *= block.conv.stride[0]
        at, shortcut = f"{block.conv.out_channels}/{stride}", src  # buffers are shared by what has the same shape
        if block.shortcut.startswith("pool"):
            shortcut = f"{block.conv.in_channels}/{stride}.pooled"
            build.window(f"{name}.pool", src, shortcut, size=2, stride=2, integers={})
        if block.shortcut == "duplicate":
            shortcut = f"{at}.doubled"
            build.window(f"{name}.double", src, shortcut, repeats=2, integers={})
        if integers.shortcut is not None:
            pooled, shortcut = shortcut, f"{at}.shortcut"
            scale = integers.shortcut.scale.arguments()
            build.signed_sum(f"{name}.shortcut_conv", pooled, shortcut, drop=integers.shortcut.drop, integers=scale)
        end = integers.scale.arguments() | integers.activation.arguments()
        if i + 1 < len(blocks):
            end |= {"thresholds": blocks[i + 1][1].threshold.numpy()}
        dst = f"{at}.{next(turns)}"
        build.array(f"{name}.conv", src, dst, residual=shortcut, integers=end)
        src = dst
    build.mean("pool", src, "pooled", one=one)
    build.dense("classifier", "pooled", "logits")


@PLANS.register("fracbnn20")
@PLANS.register("fracbnn_imagenet")
def fracbnn(model: Model, build: Builder) -> None:
    """Bits from the pixels on; the shortcut carries values, and each block reads them also as 2-bit codes."""
    blocks = [block for stage in _children(model, "stages") for block in _children(model, stage)]
    build.thermometer("code", RESOLUTION)
    build.array("stem", "code", "stem", norm="stem_norm", floats=True, reader=f"{blocks[0]}.conv")
    src, turns, stride = "stem", cycle("ab"), 1
    for block, following in zip_longest(blocks, blocks[1:]):
        rule, shortcut = model.get_submodule(f"{block}.shortcut"), src
        assert isinstance(rule, Shortcut)
        stride *= rule.stride
        at = f"{model.get_submodule(f'{block}.conv').out_channels}/{stride}"  # buffers of one shape are shared
        if rule.stride > 1 or rule.repeats > 1 or rule.quantizer is not None:
            shortcut = f"{at}.shortcut"
            build.window(
                f"{block}.shortcut",
                src,
                shortcut,
                size=rule.stride,
                stride=rule.stride,
                repeats=rule.repeats,
                quantizer=rule.quantizer,
            )
        dst = f"{at}.{next(turns)}"
        build.array(
            f"{block}.conv",
            src,
            dst,
            activation=(f"{block}.norm", f"{block}.activation"),
            residual=shortcut,
            norm=f"{block}.shift_norm",
            floats=True,
            reader=f"{following}.conv" if following else None,
        )
        src = dst
    build.mean("pool", src, "pooled")
    build.dense("classifier", "pooled", "logits")


def _children(model: Model, name: str) -> list[str]:
    return [f"{name}.{child}" for child, _ in model.get_submodule(name).named_children()]
