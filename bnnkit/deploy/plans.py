"""How the networks of the registry run packed: which layer reads what, and what it leaves for the next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TypeAlias

from torch import nn

from bnnkit.deploy.builder import Builder
from bnnkit.models import Model
from bnnkit.models.mlp import Mlp
from bnnkit.models.resnet import Block, ResNet
from bnnkit.models.vgg9 import Vgg9
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.registry import Registry

Plan: TypeAlias = Callable[[Model, Builder], None]

PLANS: Registry[Plan] = Registry("packed network")


@PLANS.register("mlp")
def mlp(model: Model, build: Builder) -> None:
    """The pixels are quantized too; the last hidden layer leaves values for the classifier."""
    assert isinstance(model, Mlp)
    layers = [layer for layer in model.hidden if isinstance(layer, CimLinear)]
    build.image("pixels", flatten=True, levels=layers[0].activation)
    src = "pixels"
    for i, layer in enumerate(layers):
        following = layers[i + 1].activation if i + 1 < len(layers) else None
        dst = f"hidden.{i}"
        build.array(dst, layer, src, dst, norm=f"norms.{i}", clamp=True, floats=following is None, levels=following)
        src = dst
    build.dense("classifier", model.classifier, src, "logits")


@PLANS.register("vgg9")
def vgg9(model: Model, build: Builder) -> None:
    """Bits between all layers but the first and the last."""
    assert isinstance(model, Vgg9)
    stages = list(model.features)
    hidden = [stage.linear for stage in model.hidden]
    readers = [stage.conv.activation for stage in stages[1:]] + [linear.activation for linear in hidden]
    build.image("pixels")
    src = "pixels"
    for i, stage in enumerate(stages):
        dst, norm = f"features.{i}", f"features.{i}.norm"
        pool = isinstance(stage.pool, nn.MaxPool2d)
        if isinstance(stage.conv, CimConv2d):
            build.array(f"{dst}.conv", stage.conv, src, dst, norm=norm, clamp=True, pool=pool, levels=readers[i])
        else:
            build.dense(
                f"{dst}.conv", stage.conv, src, dst, norm=norm, clamp=True, pool=pool, floats=False, levels=readers[i]
            )
        src = dst
    for i, linear in enumerate(hidden):
        dst, last = f"hidden.{i}", i + 1 == len(hidden)
        levels = None if last else hidden[i + 1].activation
        build.array(f"{dst}.linear", linear, src, dst, norm=f"{dst}.norm", clamp=True, floats=last, levels=levels)
        src = dst
    build.dense("classifier", model.classifier, src, "logits", norm="norm")


@PLANS.register("res18")
@PLANS.register("res20")
def resnet(model: Model, build: Builder) -> None:
    """The shortcut carries values; each block reads them both as values and as bits."""
    assert isinstance(model, ResNet)
    blocks = [(f"stages.{s}.{b}", block) for s, stage in enumerate(model.stages) for b, block in enumerate(stage)]
    build.image("pixels")
    src = "stem"
    build.dense("stem", model.stem, "pixels", src, norm="stem_norm", clamp=True, levels=_reads(blocks[0][1]))
    turns = cycle("ab")  # values of a stage live in two buffers by turns
    for i, (name, block) in enumerate(blocks):
        stage = name.split(".")[1]
        following = _reads(blocks[i + 1][1]) if i + 1 < len(blocks) else None
        middle, dst = f"{stage}.middle", f"{stage}.{next(turns)}"
        shortcut = src
        if not isinstance(block.shortcut, nn.Identity):
            shortcut = f"{stage}.shortcut"
            build.dense(f"{name}.shortcut.conv", block.shortcut.conv, src, shortcut, norm=f"{name}.shortcut.norm")
        build.array(
            f"{name}.conv1", block.conv1, src, middle, norm=f"{name}.norm1", clamp=True, levels=block.conv2.activation
        )
        finishes = {} if block.norm2 is None else {"norm": f"{name}.norm2", "clamp": True}
        build.array(
            f"{name}.conv2", block.conv2, middle, dst, residual=shortcut, floats=True, levels=following, **finishes
        )
        src = dst
    build.mean("pool", src, "pooled", norm="pool_norm", clamp=True)
    build.dense("classifier", model.classifier, "pooled", "logits", norm="logit_norm")


def _reads(block: Block):  # type: ignore[no-untyped-def]
    return block.conv1.activation
