"""What a faulty bit reads as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnnkit.draws import Bits
from bnnkit.registry import Registry


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        read: from the bits as stored and random ones to the bits that are read.
        random: whether `read` looks at the random ones.
    """

    read: Callable[[Bits, Bits], Bits]
    random: bool = False


KINDS: Registry[Kind] = Registry("kind of fault")

KINDS.register("random")(Kind(lambda stored, drawn: drawn, random=True))
KINDS.register("stuck0")(Kind(lambda stored, drawn: np.zeros_like(stored)))
KINDS.register("stuck1")(Kind(lambda stored, drawn: np.ones_like(stored)))
KINDS.register("flip")(Kind(lambda stored, drawn: stored ^ np.uint8(1)))
