"""Compute-in-memory arrays: how a layer is cut into arrays, and what their converters do to each partial sum."""

from bnnkit.cim.adc import DEFAULT_SIGMA, Adc, make_adc, parse_adc_bits
from bnnkit.cim.curves import CURVES, Curve, SenseAmplifier, TableCurve, UniformCurve
from bnnkit.cim.mapping import Array, Layout, Mapping

__all__ = [
    "CURVES",
    "DEFAULT_SIGMA",
    "Adc",
    "Array",
    "Curve",
    "Layout",
    "Mapping",
    "SenseAmplifier",
    "TableCurve",
    "UniformCurve",
    "make_adc",
    "parse_adc_bits",
]
