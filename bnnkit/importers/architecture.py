"""From the keys and shapes of an origin's checkpoint to the network it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnnkit.errors import MismatchError, UsageError
from bnnkit.importers.images import Images, published
from bnnkit.importers.layout import Layout
from bnnkit.importers.origin import ORIGINS, first_few, without_prefix
from bnnkit.models import MODELS, create_model
from bnnkit.models.base import Shape

SIDES = (8, 16, 28, 32, 48, 64, 96, 128, 224)
"""Sizes of images that are tried where neither a dataset nor the usual size fits."""


@dataclass(frozen=True)
class Architecture:
    """What `create_model` needs, and where each of it comes from.

    Attributes:
        options: of `create_model`.
        images: what it was trained on; None where nothing known fits.
        inferred: options that the checkpoint and the dataset tell.
        assumed: what neither tells, with the usual values: bits, the dataset, the size of its images where no weight
            depends on it.
    """

    options: dict[str, Any]
    images: Images | None
    inferred: dict[str, Any]
    assumed: dict[str, Any]


def infer(origin: str, state: Mapping[Any, Any], given: Mapping[str, Any], images: Images | None) -> Architecture:
    """Find the architecture of a checkpoint.

    Args:
        state: the parameters by the origin's names, as `unwrap` returns them.
        given: options of `create_model` that are known; they are not questioned here.
        images: the dataset it was trained on, None: the usual one for such a network that fits.

    Raises:
        UsageError: impossible options, another origin's model, or images that do not fit the network.
        MismatchError: the keys or shapes are those of no network of this origin.
    """
    tensors = {without_prefix(key): value for key, value in state.items() if isinstance(value, Tensor)}
    layout = _layout(origin, tensors, given.get("name"))
    inferred: dict[str, Any] = {} if "name" in given else {"name": layout.model}
    options: dict[str, Any] = {**given, "name": layout.model}
    if "width" not in given and layout.stem in tensors:
        options["width"] = inferred["width"] = _width(layout, tensors[layout.stem])
    if "classes" not in given and _is_weight(tensors.get(layout.classifier)):
        options["classes"] = inferred["classes"] = len(tensors[layout.classifier])
    _check_classes(images, options.get("classes", 10))
    chosen, shape = _images(origin, layout, tensors, options, images)
    assumed: dict[str, Any] = {}
    if shape != given.get("in_shape"):
        options["in_shape"] = shape
        (assumed if images is None and layout.flat is None else inferred)["in_shape"] = shape
    if images is None and chosen is not None:
        assumed["dataset"] = chosen.name
    return Architecture(options, chosen, inferred, {**assumed, **_unstored(options)})


def _layout(origin: str, tensors: Mapping[str, Tensor], name: str | None) -> Layout:
    layouts = {layout.model: layout for layout in ORIGINS.get(origin).layouts}
    if name is not None:
        MODELS.get(name)
        if name not in layouts:
            raise UsageError(
                f"model {name}: is none of {origin}; it has {', '.join(layouts)}", hint="leave --model out"
            )
        return layouts[name]
    found = [layout for layout in layouts.values() if layout.describes(tensors)]
    if found:
        return found[0]
    others = [other for other in ORIGINS if any(layout.describes(tensors) for layout in ORIGINS.get(other).layouts)]
    keys = first_few(list(tensors)) if tensors else "no tensors at all"
    raise MismatchError(
        f"{origin} checkpoint: its keys are those of none of {', '.join(layouts)}: {keys}",
        hint=f"its keys look like --from {others[0]}" if others else "give --model to see which keys differ",
    )


def _width(layout: Layout, stem: Tensor) -> int:
    outputs = len(stem) if stem.dim() else 0
    if outputs == 0 or outputs % layout.unit:
        raise MismatchError(
            f"{layout.stem} {list(stem.shape)}: {outputs} outputs; a multiple of {layout.unit} was needed for "
            f"{layout.model}",
            hint="only widths that bnnkit builds can be imported: bnnkit models show " + layout.model,
        )
    return outputs // layout.unit


def _is_weight(value: Tensor | None) -> bool:
    return value is not None and value.dim() == 2 and len(value) >= 2


def _check_classes(images: Images | None, classes: int) -> None:
    if images is not None and images.classes > classes:
        raise UsageError(
            f"--dataset {images.name}: has {images.classes} classes, the checkpoint {classes}",
            hint="give the dataset it was trained on",
        )


def _images(
    origin: str, layout: Layout, tensors: Mapping[str, Tensor], options: Mapping[str, Any], images: Images | None
) -> tuple[Images | None, Shape]:
    entry = MODELS.get(layout.model)
    classes = options.get("classes", 10)
    # The usual dataset first; the others are as many classes and pixels as the checkpoint shows.
    known = sorted(published(origin), key=lambda candidate: candidate.name != entry.dataset)
    candidates = [candidate for candidate in known if candidate.classes == classes] if images is None else [images]
    shape = options.get("in_shape")
    if shape is None:
        wanted = [candidate.shape for candidate in candidates]
        shapes = [*wanted, entry.in_shape, *_squares(layout, tensors)]
        shape = next((shape for shape in shapes if _fits(origin, layout, tensors, options, shape)), entry.in_shape)
    chosen = next((candidate for candidate in candidates if candidate.shape == shape), None)
    chosen = chosen or next((candidate for candidate in candidates if candidate.fit(shape)), None)
    if images is not None and chosen is None:
        raise UsageError(
            f"--dataset {images.name}: images of {_times(images.shape)} do not fit a network for {_times(shape)}",
            hint="give the dataset it was trained on",
        )
    return chosen, shape


def _squares(layout: Layout, tensors: Mapping[str, Tensor]) -> Iterator[Shape]:
    stem = tensors.get(layout.stem)
    told = layout.planes and stem is not None and stem.dim() > 1
    colours = (max(1, stem.shape[1] // layout.planes),) if told and stem is not None else (1, 3)
    yield from ((colour, side, side) for side in SIDES for colour in colours)


def _fits(origin: str, layout: Layout, tensors: Mapping[str, Tensor], options: Mapping[str, Any], shape: Shape) -> bool:
    """Return whether a network for images of this shape has weights as the checkpoint has them where it shows."""
    try:
        with torch.device("meta"):
            twin = create_model(**{**options, "in_shape": shape})
    except UsageError:
        return False
    own = twin.state_dict()
    scheme = ORIGINS.get(origin)
    for key in (layout.stem, layout.flat):
        name = None if key is None or key not in tensors else scheme.rename(twin, key)
        if name in own and key is not None and own[name].shape != tensors[key].shape:
            return False
    return True


def _unstored(options: Mapping[str, Any]) -> dict[str, Any]:
    family = MODELS.get(options["name"]).family
    names = ["ao_bit", "w_bit"]
    names += ["adc_bit"] if family.through_converters else []
    names += ["weight_quant"] if family.weight_quants else []
    return {name: family.usual[name] for name in names if name not in options}


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))
