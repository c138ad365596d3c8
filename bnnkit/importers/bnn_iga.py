"""Parameter names of BNN-IGA (hpic-lab/BNN_IGA): its MLP, VGG9, ResNet-18 and ResNet-20."""

from __future__ import annotations

import re

from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, Origin
from bnnkit.models import Model

_RESNET_LAYERS = {
    "conv1": "stem",
    "bn1": "stem_norm",
    "bn2": "pool_norm",
    "fc": "classifier",
    "bn3": "logit_norm",
}
_RESNET_PARTS = {
    "conv1": "conv1",
    "bn1": "norm1",
    "conv2": "conv2",
    "bn2": "norm2",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.norm",
}
_BLOCK = re.compile(r"layer([1-3])\.(\d+)\.(.+)")

_MLP_LAYERS = {
    "fc1": "hidden.0",
    "bn1": "norms.0",
    "fc2": "hidden.1",
    "bn2": "norms.1",
    "fc3": "hidden.2",
    "bn3": "norms.2",
    "fc6": "classifier",
}

_VGG9_LAYERS = {
    "features.0": "features.0.conv",
    "features.1": "features.0.norm",
    "features.3": "features.1.conv",
    "features.5": "features.1.norm",
    "features.7": "features.2.conv",
    "features.8": "features.2.norm",
    "features.10": "features.3.conv",
    "features.12": "features.3.norm",
    "features.14": "features.4.conv",
    "features.15": "features.4.norm",
    "features.17": "features.5.conv",
    "features.19": "features.5.norm",
    "classifier.0": "hidden.0.linear",
    "classifier.1": "hidden.0.norm",
    "classifier.3": "hidden.1.linear",
    "classifier.4": "hidden.1.norm",
    "classifier.6": "classifier",
    "classifier.7": "norm",
}


_RESIDUAL = ("bn1.weight", "layer3.1.conv1.weight")
_OTHERS = ("conv1.gain", "layer4.0.conv1.weight")
"""Keys of other origins' residual networks."""


@ORIGINS.register("bnn-iga")
class BnnIga(Origin):
    """Names of the repository's `models/` and `main_mnist.py`."""

    layouts = (
        Layout("mlp", "fc1.weight", 128, "fc6.weight", planes=0, flat="fc1.weight"),
        Layout("vgg9", "features.0.weight", 128, "classifier.6.weight", flat="classifier.0.weight"),
        Layout("res18", "conv1.weight", 16, "fc.weight", _RESIDUAL, ("layer3.2.conv1.weight", *_OTHERS)),
        Layout("res20", "conv1.weight", 16, "fc.weight", (*_RESIDUAL, "layer3.2.conv1.weight"), _OTHERS),
    )
    dropped = "a normalization that the origin's last block owns and never uses"

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for `key`; None for the BN the origin's last residual block owns but never uses."""
        layer, _, field = key.rpartition(".")
        network = model.settings.name
        if network == "mlp":
            return f"{_MLP_LAYERS.get(layer, layer)}.{field}"
        if network == "vgg9":
            return f"{_VGG9_LAYERS.get(layer, layer)}.{field}"
        block = _BLOCK.fullmatch(layer)
        if block is None:
            return f"{_RESNET_LAYERS.get(layer, layer)}.{field}"
        stage, index, part = int(block[1]) - 1, block[2], block[3]
        name = f"stages.{stage}.{index}.{_RESNET_PARTS.get(part, part)}.{field}"
        unused = part == "bn2" and stage == 2 and name not in model.state_dict()
        return None if unused else name
