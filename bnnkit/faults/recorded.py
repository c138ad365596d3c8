"""Fault sites on disk: which bits of a network's memory are faulty in every map, to be put into another network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnnkit import checkpoint
from bnnkit.errors import MismatchError
from bnnkit.faults.sites import FLIPPED, Memory, Sites

VERSION = 1
_MAKE = "bnnkit inject --fault weight:flip@0.01 --save-sites FILE"


@dataclass
class RecordedSites:
    """Sites by map and layer.

    Attributes:
        faults: what they were drawn for, as a person writes it.
        sizes: bits of each layer's memory.
        maps: by number of the map, then by layer, in the order they act.
    """

    faults: str
    sizes: dict[str, int]
    maps: dict[int, dict[str, list[Sites]]]

    def of(self, number: int) -> Mapping[str, Sequence[Sites]]:
        """Return the sites of one map."""
        return self.maps[number]

    def check(self, memories: Mapping[str, Memory]) -> None:
        """Refuse a network whose memory is another one.

        Raises:
            MismatchError: a layer is missing, or has more or fewer bits.
        """
        for name, size in self.sizes.items():
            has = memories[name].size if name in memories else None
            if has != size:
                found = "the network has no such layer" if has is None else f"it has {has:,} bits in the network"
                raise MismatchError(
                    f"fault sites: layer {name} with {size:,} bits; {found}",
                    hint="replay them on the same architecture",
                )

    def save(self, path: Path, config: Mapping[str, Any]) -> None:
        """Write them in the container of checkpoints.

        Args:
            config: of the network they were drawn for.

        Raises:
            MissingError: no space, or no folder.
        """
        tensors = {}
        for number, layers in self.maps.items():
            for name, every in layers.items():
                for turn, sites in enumerate(every):
                    tensors[f"{number}/{name}/{turn}/places"] = torch.from_numpy(sites.places)
                    tensors[f"{number}/{name}/{turn}/reads"] = torch.from_numpy(sites.reads)
        document = {"version": VERSION, "faults": self.faults, "sizes": self.sizes, "maps": sorted(self.maps)}
        checkpoint.write(path, tensors, dict(config), {"fault_sites": document})


def load(path: Path) -> RecordedSites:
    """Read fault sites.

    Raises:
        MissingError: there is no such file.
        MismatchError: damaged, of a newer version, or something else.
    """
    found = checkpoint.read(path)
    document = found.metadata.get("fault_sites")
    if not isinstance(document, dict):
        raise MismatchError(f"{path}: holds no fault sites", hint=_MAKE)
    if document.get("version") != VERSION:
        raise MismatchError(
            f"{path}: fault sites of version {document.get('version')}; {VERSION} was needed",
            hint="pip install --upgrade bnnkit",
        )
    sizes = {str(name): int(size) for name, size in document["sizes"].items()}
    maps: dict[int, dict[str, list[Sites]]] = {int(number): {} for number in document["maps"]}
    for key in sorted(key for key in found.tensors if key.endswith("/places")):
        number, name, _turn, _ = key.split("/")
        places = found.tensors[key].numpy().astype(np.int64)
        reads = found.tensors[key.removesuffix("places") + "reads"].numpy()
        if not _fits(places, reads, sizes[name]):
            raise MismatchError(f"{path}: sites of map {number}, layer {name}, are impossible", hint=_MAKE)
        maps[int(number)].setdefault(name, []).append(Sites(places, reads))
    return RecordedSites(str(document["faults"]), sizes, maps)


def _fits(places: np.ndarray[Any, Any], reads: np.ndarray[Any, Any], size: int) -> bool:
    inside = not len(places) or (places[0] >= 0 and places[-1] < size)
    return bool(len(places) == len(reads) and (np.diff(places) > 0).all() and inside and (reads <= FLIPPED).all())
