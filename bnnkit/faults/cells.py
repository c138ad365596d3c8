"""Faults of bit-serial networks: in the cells of their arrays, and in the columns' converters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from bnnkit.cim import Chip, Fault, Method, Ranges, parse_chip_adc_bits
from bnnkit.counter import hash32
from bnnkit.data import Dataset
from bnnkit.errors import UsageError
from bnnkit.faults.sites import Map
from bnnkit.models import BIT_SERIAL, MODELS
from bnnkit.nn import arrays_of, chip_layers, program
from bnnkit.train.calibration import IMAGES, calibration_images, histograms
from bnnkit.train.subject import Subject

FIELDS = {
    ("cell", "stuck0"): "stuck_off",
    ("cell", "stuck1"): "stuck_on",
    ("cell", "gauss"): "sigma",
    ("cell", "lognormal"): "lognormal",
    ("adc", "offset"): "adc_offset",
    ("partial-sum", "gain"): "adc_gain",
}
"""What a fault is called in `bnnkit.cim.Cell` or `bnnkit.cim.Chip`."""


def is_bit_serial(subject: Subject) -> bool:
    """Return whether the network's layers are computed by cells with several levels, one input bit at a time."""
    return MODELS.get(subject.checkpoint.config["name"]).family == BIT_SERIAL


class CellChips:
    """A bit-serial network on chips with one-bit cells that differ by their faults.

    Args:
        changes: `adc_bit`, 1 to 8; without, partial sums are exact.
        dataset: training images of it decide the converters' ranges.

    Attributes:
        model: without arrays, for the golden row: on a perfect chip with exact sums the results are the same.
    """

    def __init__(self, subject: Subject, changes: Mapping[str, Any], dataset: Dataset | None) -> None:
        bits = changes.get("adc_bit", "fp")
        self._chip = Chip(adc_bit=parse_chip_adc_bits(bits))
        self._subject = subject
        self._ranges: Any = "full"
        self.model: nn.Module = subject.model({})
        self.layers = tuple(chip_layers(self.model))
        self.computed = "chips with 1-bit cells, " + ("exact sums" if bits == "fp" else f"{bits}-bit converters")
        if self._chip.adc_bit != "fp":
            assert dataset is not None, "converters are calibrated with images"
            seen = histograms(self.model, self._chip, calibration_images(dataset, IMAGES), subject.preparation)
            arrays = {"arrays": arrays_of(self._chip)}
            self._ranges = Ranges.from_histograms(seen, Method.parse("mse"), "slice", self._chip.adc_bit, arrays)
            program(self.model, self._chip, self._ranges)
        self._faulty = subject.model({})

    def check(self, fault: Fault, layers: Sequence[str]) -> None:
        """Refuse what such chips do not have.

        Raises:
            UsageError: another kind of fault, or faults in some layers only.
        """
        if (fault.site, fault.kind) not in FIELDS:
            known = ", ".join(f"{site}:{kind}" for site, kind in FIELDS)
            raise UsageError(
                f"fault '{fault}': a bit-serial network has {known}, and faults of its images",
                hint="--fault cell:stuck0@0.01",
            )
        if len(layers) < len(self.layers):
            raise UsageError(
                f"fault '{fault}': bit-serial networks have their faults in all layers", hint="leave --layers out"
            )
        if fault.site != "cell" and self._chip.adc_bit == "fp":
            raise UsageError(f"fault '{fault}': there are no converters", hint="--adc-bit 6")

    def programmed(self, faults: Sequence[Fault], key: Map) -> nn.Module:
        """Return the network on a chip with these faults; the next call programs it anew."""
        chip = replace(self._chip, seed=int(hash32(*key)))
        for fault in faults:
            name = FIELDS[fault.site, fault.kind]
            changed: dict[str, Any] = {name: fault.amount}
            if fault.site == "cell":
                chip = replace(chip, cell=replace(chip.cell, **changed))
            else:
                chip = replace(chip, **changed)
        program(self._faulty, chip, self._ranges)
        return self._faulty
