"""Parameter names of AB-BNN (Ruichen0424/AB-BNN): its ReActNet-18, ReActNet-34 and ReActNet-A."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, Origin
from bnnkit.models import Model

_STEM = {"conv1": "stem", "feature.0.conv1": "stem", "fc": "classifier"}
_PARTS = {
    "move0.bias": "offset",
    "conv1.weight": "conv.weight",
    "conv1.gain": "conv.gain",
    "downsample.1.weight": "shortcut_conv.weight",
    "downsample.1.gain": "shortcut_conv.gain",
    "move1.bias": "activation.bias_in",
    "prelu.L_alpha": "activation.log2_slope",
    "move2.bias": "activation.bias_out",
}
_PAIR_PARTS = {
    "move11.bias": "0.offset",
    "binary_3x3.weight": "0.conv.weight",
    "binary_3x3.gain": "0.conv.gain",
    "move12.bias": "0.activation.bias_in",
    "prelu1.L_alpha": "0.activation.log2_slope",
    "move13.bias": "0.activation.bias_out",
    "move21.bias": "1.offset",
    "binary_pw.weight": "1.conv.weight",
    "binary_pw.gain": "1.conv.gain",
    "move22.bias": "1.activation.bias_in",
    "prelu2.L_alpha": "1.activation.log2_slope",
    "move23.bias": "1.activation.bias_out",
}
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(.+)")
_PAIR = re.compile(r"feature\.(\d+)\.(.+)")
_HALF = re.compile(r"(feature\.\d+)\.binary_pw_down1\.(weight|gain)")


_DEEPER = ("layer1.5.move0.bias",)


@ORIGINS.register("ab-bnn")
class AbBnn(Origin):
    """Names of the repository's `Network/ReActNet_*.py`."""

    layouts = (
        Layout("reactnet18", "conv1.weight", 16, "fc.weight", ("conv1.gain", "layer1.3.move0.bias"), _DEEPER),
        Layout("reactnet34", "conv1.weight", 16, "fc.weight", ("conv1.gain", *_DEEPER)),
        Layout("reactnetA", "feature.0.conv1.weight", 8, "fc.weight", ("feature.0.conv1.gain",)),
    )

    @staticmethod
    def prepare(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Join the two 1x1 convolutions whose outputs the origin concatenates where channels double."""
        joined = dict(state_dict)
        for key, value in state_dict.items():
            other = key.replace("binary_pw_down1", "binary_pw_down2")
            if _HALF.search(key) and _fit(value, state_dict.get(other)):
                joined[key.replace("binary_pw_down1", "binary_pw")] = torch.cat([value, state_dict[other]])
                del joined[key], joined[other]  # halves that do not fit stay, and are reported
        return joined

    @staticmethod
    def rename(model: Model, key: str) -> str | None:
        """Return bnnkit's name for `key`."""
        layer, _, field = key.rpartition(".")
        if layer in _STEM:
            return f"{_STEM[layer]}.{field}"
        block, pair = _BLOCK.fullmatch(key), _PAIR.fullmatch(key)
        if block:
            return f"stages.{int(block[1]) - 1}.{block[2]}.{_PARTS.get(block[3], block[3])}"
        if pair:
            return f"stages.{int(pair[1]) - 1}.{_PAIR_PARTS.get(pair[2], pair[2])}"
        return key


def _fit(first: Any, second: Any) -> bool:
    both = isinstance(first, Tensor) and isinstance(second, Tensor)
    return both and first.dim() > 1 and first.shape[1:] == second.shape[1:]
