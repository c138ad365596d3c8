"""Read the pickled batches of the CIFAR archives without running anything that a pickle may ask for.

A pickle is a program: it names functions and calls them. Those of the official batches name exactly three things,
numpy's array constructor, its dtype, and (when written by Python 3) a codec. Here each of the three is a stand-in
that understands only uint8 arrays, so not even numpy's own constructors see data that a stranger wrote; every
other name is refused before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from bnnkit.data.content import Images
from bnnkit.errors import MismatchError


class RefusedPickleError(Exception):
    """The pickle asks for something that an image batch does not need."""


class _ByteType:
    """Stands for `numpy.dtype('u1')`, the only element type that is accepted."""

    def __init__(self, code: object, *flags: object) -> None:
        if code not in ("u1", b"u1", "uint8", b"uint8"):
            raise RefusedPickleError(f"array of type {code!r} instead of uint8")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class _ByteArray:
    """Stands for `numpy.ndarray`; its state becomes a uint8 array after every number in it was checked."""

    def __init__(self) -> None:
        self.values: Images | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise RefusedPickleError("array state is not (version, shape, type, order, bytes)")
        _, shape, kind, column_major, data = state
        if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
            raise RefusedPickleError(f"array shape {shape!r}")
        if not isinstance(kind, _ByteType) or not isinstance(data, bytes) or len(data) != math.prod(shape):
            raise RefusedPickleError("array bytes do not fit its shape")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if column_major else "C")


class _ArrayClass:
    """Names `numpy.ndarray` as an argument; it cannot be called."""


def _reconstruct(kind: object, shape: object, code: object) -> _ByteArray:
    if kind is not _ArrayClass:
        raise RefusedPickleError(f"reconstruction of {kind!r}")
    return _ByteArray()


def _encode(text: object, codec: object = None) -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise RefusedPickleError(f"text encoding {codec!r}")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _ByteType,
    ("_codecs", "encode"): _encode,
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[(module, name)]
        except KeyError:
            raise RefusedPickleError(f"it asks for {module}.{name}") from None


def read_batch(data: bytes, where: str) -> dict[str, object]:
    """Return one pickled batch as a dictionary with text keys; its arrays are uint8 and read-only.

    `where` names the file in errors.

    Raises:
        MismatchError: the pickle names anything but uint8 arrays, lists, text and numbers, or is damaged.

    Example:
        >>> import pickle
        >>> read_batch(pickle.dumps({b"labels": [3, 1]}), "data_batch_1")
        {'labels': [3, 1]}
    """
    try:
        loaded = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
    except RefusedPickleError as error:
        raise MismatchError(
            f"{where}: refused pickle: {error}; needed a batch of uint8 images and labels",
            hint="do not use this file; get the official archive",
        ) from error
    except Exception as error:
        # A damaged pickle can make the unpickler raise nearly anything.
        raise MismatchError(
            f"{where}: damaged pickle ({type(error).__name__}: {error}); needed a batch of uint8 images and labels",
            hint="get the official archive again",
        ) from error
    if not isinstance(loaded, dict):
        raise MismatchError(f"{where}: holds a {type(loaded).__name__}; needed a dictionary of images and labels")
    return {_text(key): value.values if isinstance(value, _ByteArray) else value for key, value in loaded.items()}


def _text(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
