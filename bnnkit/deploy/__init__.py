"""Packed inference: a trained network as bits and thresholds, run by compiled kernels from images to logits.

packed = deploy.compile(model, mean=..., std=...)
logits = packed(images)                       # uint8 [N, C, H, W] -> float32 [N, classes]
deploy.save(packed.weights, "net.bnn.safetensors")
"""

from bnnkit.deploy.file import load, save
from bnnkit.deploy.network import PackedNetwork, compile, run_together
from bnnkit.deploy.weights import PackedWeights, pack_model, unpack_model, why_not

__all__ = [
    "PackedNetwork",
    "PackedWeights",
    "compile",
    "load",
    "pack_model",
    "run_together",
    "save",
    "unpack_model",
    "why_not",
]
