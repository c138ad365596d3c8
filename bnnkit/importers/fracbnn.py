"""Parameter names of FracBNN (cornell-zhang/FracBNN): its CIFAR-10 ResNet-20 and its ImageNet network."""

from __future__ import annotations

import re

from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, Origin
from bnnkit.models import Model
from bnnkit.models.fracbnn import PLANES

_LAYERS = {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier", "fc": "classifier"}
_LAYERS |= {"model.0.0": "stem", "model.0.1": "stem_norm"}
_PAIR_PARTS = {
    "conv3x3.0": "0.conv",
    "conv3x3.1": "0.norm",
    "rprelu1": "0.activation",
    "shiftbn1": "0.shift_norm",
    "pointwise.0": "1.conv",
    "pointwise.1": "1.norm",
    "rprelu2": "1.activation",
    "shiftbn2": "1.shift_norm",
}
_FIELDS = {"shift_x.bias": "bias_in", "prelu.weight": "slope", "shift_y.bias": "bias_out"}
_RESIDUAL = {
    "conv1": (0, "conv"),
    "bn1": (0, "norm"),
    "rprelu1": (0, "activation"),
    "bn3": (0, "shift_norm"),
    "conv2": (1, "conv"),
    "bn2": (1, "norm"),
    "rprelu2": (1, "activation"),
    "bn4": (1, "shift_norm"),
}
_BLOCK = re.compile(r"layer([1-3])\.(\d+)\.([a-z0-9]+)\.(.+)")
_PAIR = re.compile(r"model\.(\d+)\.((?:conv3x3|pointwise)\.[01]|rprelu[12]|shiftbn[12])\.(.+)")


@ORIGINS.register("fracbnn")
class FracBnn(Origin):
    """Names of the repository's `model/fracbnn_*.py`; its buffers of the input code and its teacher are dropped."""

    layouts = (
        Layout("fracbnn20", "conv1.weight", 16, "linear.weight", ("layer1.0.rprelu1.shift_x.bias",), planes=PLANES),
        Layout("fracbnn_imagenet", "model.0.0.weight", 32, "fc.weight", planes=PLANES),
    )
    dropped = "a buffer of the input code or of the normalization, or of the teacher"

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for `key`; None for what is no parameter of the network."""
        if key.startswith(("encoder.", "teacher.")) or key in ("img_mean", "img_std"):
            return None
        layer, _, field = key.rpartition(".")
        if layer in _LAYERS:
            return f"{_LAYERS[layer]}.{field}"
        block, pair = _BLOCK.fullmatch(key), _PAIR.fullmatch(key)
        if block and block[3] in _RESIDUAL:
            half, part = _RESIDUAL[block[3]]
            return f"stages.{int(block[1]) - 1}.{2 * int(block[2]) + half}.{part}.{_FIELDS.get(block[4], block[4])}"
        if pair:
            return f"stages.{int(pair[1]) - 1}.{_PAIR_PARTS[pair[2]]}.{_FIELDS.get(pair[3], pair[3])}"
        return key
