"""Parameter names of the CNV of stevenokm/Tiny-Imagenet-binarized-training, a module list as in brevitas's examples."""

from __future__ import annotations

from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, Origin
from bnnkit.models import Model

_LAYERS = {
    "conv_features.1": "features.0.conv",
    "conv_features.2": "features.0.norm",
    "conv_features.4": "features.1.conv",
    "conv_features.5": "features.1.norm",
    "conv_features.8": "features.2.conv",
    "conv_features.9": "features.2.norm",
    "conv_features.11": "features.3.conv",
    "conv_features.12": "features.3.norm",
    "conv_features.15": "features.4.conv",
    "conv_features.16": "features.4.norm",
    "conv_features.18": "features.5.conv",
    "conv_features.19": "features.5.norm",
    "linear_features.0": "hidden.0.linear",
    "linear_features.1": "hidden.0.norm",
    "linear_features.3": "hidden.1.linear",
    "linear_features.4": "hidden.1.norm",
    "linear_features.6": "classifier",
    "linear_features.7": "norm",
}


@ORIGINS.register("cnv")
class Cnv(Origin):
    """Names of the repository's `training_smaller.py`; what brevitas keeps of its quantizers is dropped."""

    layouts = (
        Layout("cnv", "conv_features.1.weight", 16, "linear_features.6.weight", flat="linear_features.0.weight"),
    )
    dropped = "a quantizer's own; signs need none"

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for `key`; None for a quantizer's own parameters."""
        if "act_quant" in key or "weight_quant" in key:
            return None
        layer, _, field = key.rpartition(".")
        return f"{_LAYERS.get(layer, layer)}.{field}"
