"""The picture of a training: always a picture, whatever the training was like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bnnkit.runs import Run
from bnnkit.train import Plan
from bnnkit.train.curve import Earlier, draw, title

RESULT = {
    "test": {"accuracy": 91.0, "correct": 910, "total": 1000, "wilson95": [89.1, 92.6]},
    "chosen": "best-val",
    "best_epoch": 1,
    "epochs": 1,
}


def records(epochs: int, validation: float | None = 80.0) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "loss": 2 / epoch, "train_accuracy": 90 - 50 / epoch, "val_accuracy": validation}
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(
    ("epochs", "validation", "result"),
    [(1, 80.0, None), (1, None, {**RESULT, "chosen": "last"}), (12, 80.0, RESULT), (300, 80.0, RESULT)],
)
def test_a_curve_is_a_png(
    tiny: Callable[..., Plan], tmp_path: Path, epochs: int, validation: float | None, result: dict[str, Any] | None
) -> None:
    path = tmp_path / "curve.png"
    draw(path, tiny().config, records(epochs, validation), result)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1200, 825))
        # More than an empty frame: the lines, in their colours.
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50


def test_the_step_before_is_drawn_with_it(tiny: Callable[..., Plan], tmp_path: Path) -> None:
    config, pixels = tiny().config, []
    for earlier in (None, Earlier(records(5), RESULT)):
        draw(tmp_path / "curve.png", config, records(12), RESULT, earlier)
        with Image.open(tmp_path / "curve.png") as picture:
            pixels.append(picture.convert("RGB").tobytes())
    assert pixels[0] != pixels[1]


def test_only_a_second_step_has_one_before(tiny: Callable[..., Plan], tmp_path: Path) -> None:
    first, second = Run(tmp_path / "first"), Run(tmp_path / "second")
    for run, step in ((first, 1), (second, 2)):
        run.path.mkdir()
        run.write_json("stamp.json", {"step": step})
    config = replace(tiny().config, init=str(first.last))
    assert Earlier.of(second, config) is None, "the first is not finished"
    first.write_metrics(records(3))
    first.write_json("results.json", RESULT)
    found = Earlier.of(second, config)
    assert found is not None
    assert [record["epoch"] for record in found.records] == [1, 2, 3]
    assert Earlier.of(first, config) is None
    assert Earlier.of(second, replace(config, init=None)) is None


def test_the_title_names_the_configuration_and_its_limits(tiny: Callable[..., Plan]) -> None:
    text = title(tiny(max_steps=7, adc_bit=2, w_bit="fp", ao_bit="1.5").config)
    assert text == (
        "mlp (width 1) on digits: activations 1.5 bit, weights fp, ADC 2 bit, 128 rows\n"
        "adam 0.001 cosine, batch 64, seed 1; limited to 200 images; stopped after 7 steps"
    )
