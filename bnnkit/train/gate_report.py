"""What precision gates did while images were evaluated, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnkit.nn import Gates


def gates_json(gates: Gates | None, images: int, of_images: int) -> dict[str, Any] | None:
    """Return the effective bits of activations and what they were counted on; None without gates.

    Args:
        images: that were evaluated, of the `of_images` there are.

    >>> gates_json(Gates(1, 4), 2, 10)
    {'activation_bits': 1.25, 'open': 1, 'outputs': 4, 'images': 2, 'of_images': 10}
    """
    if gates is None:
        return None
    counts = {"open": gates.open, "outputs": gates.outputs, "images": images, "of_images": of_images}
    return {"activation_bits": gates.activation_bits, **counts}


def gates_text(found: Mapping[str, Any]) -> str:
    """Return what `gates_json` returned as a sentence.

    >>> gates_text({"activation_bits": 1.25, "open": 1, "outputs": 4, "images": 2, "of_images": 10})
    '1.25 bits of activations: 25.0 % of 4 outputs at 2 bits, 2/10 images'
    """
    share = 100 * found["open"] / max(1, found["outputs"])
    counted = f"{share:.1f} % of {found['outputs']:,} outputs at 2 bits"
    images = f"{found['images']:,}/{found['of_images']:,} images"
    return f"{found['activation_bits']:.2f} bits of activations: {counted}, {images}"
