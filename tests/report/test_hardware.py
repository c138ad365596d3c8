"""Arrays, conversions and parameters of trained networks, beside those of `bnnkit models show` and `decompose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnnkit import checkpoint
from bnnkit.models import create_model
from bnnkit.report import arrays, hardware
from bnnkit.train.subject import find
from bnnkit_cli.commands.models_layers import layers_of, totals_of


def _read(folder: Path, name: str, **options: Any) -> tuple[hardware.Hardware, dict[str, Any]]:
    model = create_model(name, width=1, in_shape=(1, 8, 8) if name == "mlp" else (3, 32, 32), **options)
    checkpoint.save(folder / "net.safetensors", model)
    return hardware.of(find(str(folder / "net.safetensors"))), totals_of(model, layers_of(model))


@pytest.mark.parametrize(
    ("name", "options"),
    [("res20", {}), ("mlp", {"ao_bit": 2, "w_bit": 2, "adc_bit": 3}), ("fracbnn20", {"adc_bit": 3})],
)
def test_counts_are_those_of_the_model(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    found, totals = _read(tmp_path, name, **options)
    assert found.conversions == totals["adc_conversions"] > 0
    assert sum(found.parameters.values()) == totals["parameters"]
    assert found.parameters == totals["parameters_by_bits"]
    assert found.stored == totals["bytes"]
    # No layer of res20 and fracbnn20 at width 1 has more outputs than an array has bit lines.
    assert found.arrays == totals["arrays"] * (2 if options.get("w_bit") == 2 else 1)
    assert [layers for _, layers in found.converters] == [len(found.layers)]


def test_low_precision_weights_are_cut_into_cells(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, "resnet20")
    first = next(layer for layer in found.layers if layer.name == "stages.0.0.conv1")
    # 16 outputs of 4 one-bit cells and 4 dummy columns; 9 taps with 16 of 128 rows; 4 bits of input, 32 x 32 positions.
    assert first.placement.matrix == (144, 64) and first.placement.dummies == 4
    assert first.conversions == 9 * 16 * 4 * 4 * 32 * 32
    assert "dummy columns" in arrays.section(found, "net") and not found.converters


def test_a_network_in_full_precision_is_on_no_array(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, "mlp", ao_bit="fp", w_bit="fp", adc_bit="fp")
    assert (found.layers, found.arrays, found.parameters.keys()) == ((), 0, {"fp"})
    drawn = arrays.section(found, "net")
    assert "<figure" not in drawn and "On no array: hidden.0 (in full precision)" in drawn


def test_layers_without_converters_say_so(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, "cnv")
    drawn = arrays.section(found, "net")
    assert "Trained without converters" in drawn and "features.0.conv (its inputs are in full precision)" in drawn
