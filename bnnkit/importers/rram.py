"""Parameter names of TorchInference_RRAM (mengjian0502/TorchInference_RRAM): its VGG7, ResNet-20 and ResNet-18."""

from __future__ import annotations

import re
from typing import ClassVar

from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, Origin
from bnnkit.models import Model

_VGG7_LAYERS = {
    "features.0": "features.0.conv",
    "features.1": "features.0.norm",
    "features.3": "features.1.conv",
    "features.4": "features.1.norm",
    "features.7": "features.2.conv",
    "features.8": "features.2.norm",
    "features.10": "features.3.conv",
    "features.11": "features.3.norm",
    "features.14": "features.4.conv",
    "features.15": "features.4.norm",
    "features.17": "features.5.conv",
    "features.18": "features.5.norm",
    "classifier.0": "hidden",
    "classifier.1": "hidden_norm",
    "classifier.3": "classifier",
}

_RESNET20_LAYERS = {"conv_1_3x3": "stem", "bn_1": "stem_norm"}
_RESNET18_LAYERS = {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier"}
_RESNET_PARTS = {
    "conv_a": "conv1",
    "bn_a": "norm1",
    "conv_b": "conv2",
    "bn_b": "norm2",
    "bn1": "norm1",
    "bn2": "norm2",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}
_BLOCK = re.compile(r"(?:stage_|layer)([1-4])\.(\d+)\.(.+)")
_ALPHA = ".act_quant.act_alpha"


_VGG9 = ("classifier.6.weight",)
_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


@ORIGINS.register("rram")
class Rram(Origin):
    """Names of the repository's `models/*_quant.py`, in which a layer owns the quantizer of its input."""

    layouts = (
        Layout("vgg7", "features.0.weight", 32, "classifier.3.weight", absent=_VGG9, flat="classifier.0.weight"),
        Layout("resnet20", "conv_1_3x3.weight", 16, "classifier.weight"),
        Layout("resnet18", "conv1.weight", 16, "linear.weight", ("layer4.0.conv1.weight",)),
    )
    dropped = "the range of a layer whose inputs stay in full precision"
    statistics: ClassVar = {"cifar10": (_MEAN, _STD)}

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for `key`; None for the range of a layer whose inputs stay in full precision."""
        if not key.endswith(_ALPHA):
            layer, _, field = key.rpartition(".")
            return f"{_layer(model.settings.name, layer)}.{field}"
        layer = _layer(model.settings.name, key.removesuffix(_ALPHA))
        name, own = f"{layer}.activation.alpha", model.state_dict()
        return name if name in own or f"{layer}.weight" not in own else None


def _layer(network: str, layer: str) -> str:
    if network == "vgg7":
        return _VGG7_LAYERS.get(layer, layer)
    block = _BLOCK.fullmatch(layer)
    if block is None:
        return (_RESNET20_LAYERS if network == "resnet20" else _RESNET18_LAYERS).get(layer, layer)
    stage, index, part = int(block[1]) - 1, block[2], block[3]
    return f"stages.{stage}.{index}.{_RESNET_PARTS.get(part, part)}"
