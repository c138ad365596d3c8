"""Compute-in-memory arrays: how a layer is cut into arrays, and what their converters do to each partial sum."""

from bnnkit.cim.adc import DEFAULT_SIGMA, Adc, make_adc, parse_adc_bits
from bnnkit.cim.cells import CELLS, Cell, parse_cell
from bnnkit.cim.chip import Chip, parse_chip_adc_bits, read_curve
from bnnkit.cim.curves import CURVES, Curve, SenseAmplifier, TableCurve, UniformCurve
from bnnkit.cim.fault import SITES, Fault, parse_fault
from bnnkit.cim.mapping import Array, Layout, Mapping
from bnnkit.cim.ranges import Histogram, Method, Ranges
from bnnkit.cim.slicing import Slicing

__all__ = [
    "CELLS",
    "CURVES",
    "DEFAULT_SIGMA",
    "SITES",
    "Adc",
    "Array",
    "Cell",
    "Chip",
    "Curve",
    "Fault",
    "Histogram",
    "Layout",
    "Mapping",
    "Method",
    "Ranges",
    "SenseAmplifier",
    "Slicing",
    "TableCurve",
    "UniformCurve",
    "make_adc",
    "parse_adc_bits",
    "parse_cell",
    "parse_chip_adc_bits",
    "parse_fault",
    "read_curve",
]
