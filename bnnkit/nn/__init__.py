"""Layers for compute-in-memory chips: drop-in replacements for `torch.nn.Conv2d` and `torch.nn.Linear`."""

from bnnkit.nn.arrays import ProgrammedLayer, images_from
from bnnkit.nn.backends import Backend, backend, current_backend
from bnnkit.nn.bit_serial import BitSerial, BitSerialConv2d, BitSerialLinear
from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.convert import ConvertedLayer, convert, converted_layers
from bnnkit.nn.gated import GatedConv2d
from bnnkit.nn.gates import Gates, gate_sum_of_squares, gated_layers, take_gates
from bnnkit.nn.latent import clamp_latent, perturb, set_adc, set_progress, set_step, standardize_weights
from bnnkit.nn.linear import CimLinear
from bnnkit.nn.operands import Operands
from bnnkit.nn.perturbation import TRAINED, Perturbation, check_trained
from bnnkit.nn.pooling import AdaptiveAvgPool2d, AvgPool2d
from bnnkit.nn.program import arrays_of, chip_layers, conversions_per_image, observe, program
from bnnkit.nn.scaled import ScaledCimConv2d, ScaledConv2d
from bnnkit.nn.standardized import Standardized

__all__ = [
    "TRAINED",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Backend",
    "BitSerial",
    "BitSerialConv2d",
    "BitSerialLinear",
    "CimConv2d",
    "CimLinear",
    "ConvertedLayer",
    "GatedConv2d",
    "Gates",
    "Operands",
    "Perturbation",
    "ProgrammedLayer",
    "ScaledCimConv2d",
    "ScaledConv2d",
    "Standardized",
    "arrays_of",
    "backend",
    "check_trained",
    "chip_layers",
    "clamp_latent",
    "conversions_per_image",
    "convert",
    "converted_layers",
    "current_backend",
    "gate_sum_of_squares",
    "gated_layers",
    "images_from",
    "observe",
    "perturb",
    "program",
    "set_adc",
    "set_progress",
    "set_step",
    "standardize_weights",
    "take_gates",
]
