"""Put a whole low-precision network on a chip, and look at the partial sums it would have to convert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnnkit.cim.chip import Chip
from bnnkit.cim.ranges import Histogram, Ranges
from bnnkit.errors import MismatchError, UsageError
from bnnkit.nn.arrays import ProgrammedLayer, images_from
from bnnkit.nn.bit_serial import BitSerial


def chip_layers(model: nn.Module) -> dict[str, BitSerial]:
    """Return the layers that a chip can compute: low-bit inputs and weights."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, BitSerial)}
    return {name: layer for name, layer in layers.items() if layer.activation is not None}


def program(model: nn.Module, chip: Chip | None, ranges: Ranges | Literal["full", "batch"] = "full") -> None:
    """Compute the layers on a chip from now on, in evaluation mode; with None in software again.

    Args:
        ranges: of the converters: calibrated ones, "full" for everything an array can give, or "batch" for the
            smallest and largest partial sum of each batch (results then depend on the batch).

    Raises:
        UsageError: there is no such layer, or a weight does not fit the encoding.
        MismatchError: the ranges belong to other layers, cells or encodings.

    >>> from bnnkit import create_model
    >>> model = create_model("vgg7", width=1, in_shape=(1, 8, 8)).eval()
    >>> program(model, Chip(adc_bit=6))
    """
    layers = chip_layers(model)
    if not layers:
        raise UsageError("program: no layer with low-bit inputs and weights; a bit-serial network was needed")
    if isinstance(ranges, Ranges) and chip is not None:
        _check(ranges, chip, layers)
    for number, (name, layer) in enumerate(layers.items()):
        if chip is None:
            layer.arrays = None
        else:
            layer.program(chip, ranges.bounds[name] if isinstance(ranges, Ranges) else ranges, number)


@torch.inference_mode()
def observe(
    model: nn.Module, chip: Chip, batches: Iterable[Tensor], *, by_column: bool = False
) -> dict[str, Histogram]:
    """Count the partial sums of every layer in one pass over some images.

    Inputs of the layers are those of the network in software, so that no converter changes what the next layer sees.

    Args:
        batches: normalized images, float32 [N, C, H, W] each.
        by_column: count every column for itself.
    """
    program(model, None)
    arrays: dict[str, ProgrammedLayer] = {}
    for number, (name, layer) in enumerate(chip_layers(model).items()):
        layer.program(chip, "full", number)
        assert layer.arrays is not None
        arrays[name], layer.arrays = layer.arrays, None
    found: dict[str, Histogram] = {}
    first = 0
    with _watched(model, arrays, found, by_column):
        for images in batches:
            with images_from(first):
                model(images)
            first += len(images)
    return found


def conversions_per_image(model: nn.Module, image: Tensor) -> int:
    """Return the conversions that a programmed network does for one image, float32 [1, C, H, W]."""
    total = 0

    def count(layer: Any, inputs: Any, output: Tensor) -> None:
        nonlocal total
        assert layer.arrays is not None
        total += layer.arrays.conversions(output[0, 0].numel())

    hooks = [layer.register_forward_hook(count) for layer in _modules(chip_layers(model))]
    try:
        with torch.inference_mode():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return total


@contextmanager
def _watched(
    model: nn.Module, arrays: dict[str, ProgrammedLayer], found: dict[str, Histogram], by_column: bool
) -> Iterator[None]:
    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            seen = arrays[name].observe(inputs[0], by_column)
            found[name] = found[name] + seen if name in found else seen

        return hook

    layers = chip_layers(model)
    hooks = [
        module.register_forward_pre_hook(note(name)) for name, module in zip(layers, _modules(layers), strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _modules(layers: dict[str, BitSerial]) -> list[nn.Module]:
    return [layer for layer in layers.values() if isinstance(layer, nn.Module)]


def _check(ranges: Ranges, chip: Chip, layers: dict[str, BitSerial]) -> None:
    missing = [name for name in layers if name not in ranges.bounds]
    if missing:
        raise MismatchError(
            f"calibration: no ranges for layer {missing[0]}; all {len(layers)} layers were needed",
            hint="bnnkit calibrate, with this network",
        )
    wanted = arrays_of(chip)
    known = ranges.metadata.get("arrays")
    if known is not None and known != wanted:
        differing = [
            f"{key} {known.get(key)} instead of {value}" for key, value in wanted.items() if known.get(key) != value
        ]
        raise MismatchError(
            f"calibration: made for other arrays ({', '.join(differing)})", hint="bnnkit calibrate, with these arrays"
        )


def arrays_of(chip: Chip) -> dict[str, Any]:
    """Return what decides which partial sums a converter meets, as a calibration file notes it."""
    names = ("rows", "mapping", "channels_per_array", "cell_bit", "encoding")
    return {name: getattr(chip, name) for name in names}
