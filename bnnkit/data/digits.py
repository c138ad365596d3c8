"""The embedded dataset: 1,797 handwritten digits, real, 8x8, small enough to ship (origin in digits.txt)."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from bnnkit.data.cache import fingerprint
from bnnkit.data.content import Images, Labels
from bnnkit.errors import MismatchError

PATH = Path(__file__).with_name("digits.npz")
FINGERPRINT = "ece2f023e0733f93aa2ba8d9803666c9691f577781ae90db8a43a9638bf47f90"


def load() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Return (images, labels) of the training and test digits: uint8 [N, 1, 8, 8] in 0..255 and int64 [N].

    Stored are the original values 0..16; they are scaled to the full range of a byte, round(v * 255 / 16).

    Raises:
        MismatchError: the file of the package was damaged.
    """
    try:
        with np.load(PATH, allow_pickle=False) as stored:
            train, test = (
                (np.rint(stored[f"{split}_images"][:, None] * (255 / 16)).astype(np.uint8), stored[f"{split}_labels"])
                for split in ("train", "test")
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise MismatchError(f"{PATH}: damaged ({error})", hint="install bnnkit again") from error
    parts = tuple((images, labels.astype(np.int64)) for images, labels in (train, test))
    if fingerprint(tuple("0123456789"), parts) != FINGERPRINT:
        raise MismatchError(f"{PATH}: other content than was shipped", hint="install bnnkit again")
    return parts[0], parts[1]
