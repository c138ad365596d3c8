"""What a person should know who may have meant something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.train.subject import Subject


def of_unfinished(found: Subject) -> None:
    """Warn if a network comes from a training that was stopped, or still runs."""
    if found.is_unfinished:
        output.warn(f"{found.path}: its training is not finished; these are the weights so far")


def of_no_converter(adc_bit: str | None) -> None:
    """Warn of converter widths, one or several separated by commas, that stand for none at all."""
    from bnnkit.cim import parse_adc_bits

    for text in (adc_bit or "").split(","):
        if text.strip() not in ("", "fp") and parse_adc_bits(text.strip()) == "fp":
            output.warn(f"--adc-bit {text.strip()}: no converter, as with fp; converters have 1, 2, 3 or 4 bits")
