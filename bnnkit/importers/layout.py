"""How the networks of an origin are told apart by their keys, and where their sizes show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One network of an origin.

    Attributes:
        model: bnnkit's name.
        stem: key of the first weight, which has `unit` * width outputs.
        unit: outputs of the stem for width 1.
        classifier: key of the last weight, which has an output per class.
        present, absent: further keys that it has, and that others have and it has not.
        planes: inputs of the stem per colour; 0 where they do not show the colours.
        flat: key of the first linear weight after convolutions, whose inputs show the size of images.
    """

    model: str
    stem: str
    unit: int
    classifier: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    planes: int = 1
    flat: str | None = None

    def describes(self, keys: Collection[str]) -> bool:
        """Return whether a state dictionary with these keys is of this network.

        >>> Layout("mlp", "fc1.weight", 128, "fc6.weight").describes({"fc1.weight", "fc1.bias", "fc6.weight"})
        True
        """
        needed = (self.stem, self.classifier, *self.present)
        return all(key in keys for key in needed) and not any(key in keys for key in self.absent)
