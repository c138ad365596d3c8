"""Packed inference: a trained network as bits and thresholds, run by compiled kernels from images to logits.

packed = deploy.compile(model, mean=..., std=...)
logits = packed(images)                       # uint8 [N, C, H, W] -> float32 [N, classes]
deploy.save(packed.weights, "net.bnn.safetensors")

`model` is one of bnnkit's, or any network made by `bnnkit.convert`.
"""

from pathlib import Path

from bnnkit.deploy.device import DeviceNetwork, run_packed
from bnnkit.deploy.faulty import ConverterFaults, InputFaults, LayerFaults
from bnnkit.deploy.file import is_packed, load, of_checkpoint, save
from bnnkit.deploy.network import PackedNetwork, compile, run_together, why_not
from bnnkit.deploy.weights import PackedWeights, pack_model, skeleton, unpack_model

SAMPLE = Path(__file__).with_name("sample.safetensors")
"""A small network trained on the packaged digits, for commands that are given none."""

__all__ = [
    "SAMPLE",
    "ConverterFaults",
    "DeviceNetwork",
    "InputFaults",
    "LayerFaults",
    "PackedNetwork",
    "PackedWeights",
    "compile",
    "is_packed",
    "load",
    "of_checkpoint",
    "pack_model",
    "run_packed",
    "run_together",
    "save",
    "skeleton",
    "unpack_model",
    "why_not",
]
