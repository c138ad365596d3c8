"""The compiled kernels as differentiable torch operations.

Importing this package loads the extension if it is there; calling an operation without it raises `MissingError`.
"""

from bnnkit.ops.adc import adc_conv2d, adc_linear
from bnnkit.ops.bitplane import merge_slices, slice_weights
from bnnkit.ops.extension import cpu_features, force_variant, last_variant, load, usable_variants, variant, variants
from bnnkit.ops.pack import pack_kernels, pack_pixels
from bnnkit.ops.xnor import xnor_conv2d, xnor_linear

__all__ = [
    "adc_conv2d",
    "adc_linear",
    "cpu_features",
    "force_variant",
    "last_variant",
    "load",
    "merge_slices",
    "pack_kernels",
    "pack_pixels",
    "slice_weights",
    "usable_variants",
    "variant",
    "variants",
    "xnor_conv2d",
    "xnor_linear",
]
