"""Integers and bits as lines for $readmemh: fields of whole hexadecimal digits, field 0 the last of its line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def bits_for(*values: NDArray[Any] | int) -> int:
    """Return how wide a signed field for these integers is: a multiple of 4 bits.

    >>> bits_for(7, -8), bits_for(8), bits_for(np.array([-129, 3]))
    (4, 8, 12)
    """
    found = [np.asarray(value) for value in values if np.size(value)]
    lowest, highest = min(int(value.min()) for value in found), max(int(value.max()) for value in found)
    return -(-(max(highest, -lowest - 1).bit_length() + 1) // 4) * 4


def fields(values: NDArray[Any], bits: int) -> bytes:
    """Return one line per row of integers [lines, fields], in two's complement.

    Args:
        bits: of a field, a multiple of 4 that holds every integer. Digits of several fields are separated by "_".

    >>> fields(np.array([[1, -2], [3, 4]]), 8)
    b'fe_01\\n04_03\\n'
    """
    digits = np.arange(bits // 4)[::-1] * 4
    return _lines(DIGITS[(values.astype(np.int64)[..., None] >> digits) & 15])


def words(bits: NDArray[np.uint8]) -> bytes:
    """Return one line per row of words of bits [lines, words, bits]; bit 0 is the lowest of the last digit of its word.

    >>> words(np.array([[[1, 0, 0, 0, 0, 0, 0, 1]]], np.uint8))
    b'81\\n'
    """
    nibbles = np.tensordot(bits.reshape(*bits.shape[:-1], -1, 4), [1, 2, 4, 8], 1)
    return _lines(DIGITS[nibbles[..., ::-1]])


def _lines(characters: NDArray[np.uint8]) -> bytes:
    """Join uint8 [lines, fields, digits]."""
    separated = characters.shape[2] > 1
    spaced = np.pad(characters, [(0, 0), (0, 0), (0, int(separated))], constant_values=ord("_"))[:, ::-1]
    flat = spaced.reshape(len(spaced), -1)
    ended = flat[:, :-1] if separated else flat
    return np.pad(ended, [(0, 0), (0, 1)], constant_values=ord("\n")).tobytes()
