"""The compiled kernels as differentiable torch operations.

Importing this package loads the extension if it is there; calling an operation without it raises `MissingError`.
"""

from bnnkit.ops.adc import adc_conv2d, adc_linear
from bnnkit.ops.bit_serial import (
    Cells,
    Converters,
    ReadNoise,
    bit_serial_conv2d,
    bit_serial_histogram,
    grid_cells,
    ideal_cells,
)
from bnnkit.ops.bitplane import merge_slices, slice_weights
from bnnkit.ops.extension import (
    check_device,
    cpu_features,
    cuda_library,
    force_variant,
    last_variant,
    load,
    usable_variants,
    variant,
    variants,
)
from bnnkit.ops.pack import pack_kernels, pack_pixels
from bnnkit.ops.unpack import unpack_bits
from bnnkit.ops.xnor import xnor_conv2d, xnor_linear

__all__ = [
    "Cells",
    "Converters",
    "ReadNoise",
    "adc_conv2d",
    "adc_linear",
    "bit_serial_conv2d",
    "bit_serial_histogram",
    "check_device",
    "cpu_features",
    "cuda_library",
    "force_variant",
    "grid_cells",
    "ideal_cells",
    "last_variant",
    "load",
    "merge_slices",
    "pack_kernels",
    "pack_pixels",
    "slice_weights",
    "unpack_bits",
    "usable_variants",
    "variant",
    "variants",
    "xnor_conv2d",
    "xnor_linear",
]
