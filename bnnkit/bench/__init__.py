"""Measuring the kernels: verified first, then timed in turns with their opponents and the machine's own limit."""

from bnnkit.bench import adc, bit_serial, bitplane, campaign, conv, model, train, vgg7, xnor
from bnnkit.bench.machine import describe
from bnnkit.bench.plan import BENCHES, SECONDS, Bench, Plan, resolve
from bnnkit.bench.report import Check, Limit, Report, Row, Work
from bnnkit.bench.run import run

__all__ = [
    "BENCHES",
    "SECONDS",
    "Bench",
    "Check",
    "Limit",
    "Plan",
    "Report",
    "Row",
    "Work",
    "adc",
    "bit_serial",
    "bitplane",
    "campaign",
    "conv",
    "describe",
    "model",
    "resolve",
    "run",
    "train",
    "vgg7",
    "xnor",
]
