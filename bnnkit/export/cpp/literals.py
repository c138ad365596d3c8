"""Numbers and names as C++ writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnkit.errors import UsageError

WIDTH = 120

TYPES = {"uint64": "std::uint64_t", "int32": "std::int32_t", "float32": "float"}
"""C++ types by NumPy's names."""


def identifier(name: str) -> str:
    """Return a layer's name as one that C++ allows.

    >>> identifier("stages.0.1.conv2"), identifier("3")
    ('stages_0_1_conv2', 'layer_3')
    """
    found = re.sub(r"\W", "_", name)
    return f"layer_{found}" if found[:1].isdigit() else found


def floating(value: float, suffix: str = "") -> str:
    """Return a number that C++ reads back to the last bit.

    Args:
        suffix: "f" for float32.

    Raises:
        UsageError: infinities and NaN, which have no literal.

    >>> floating(0.75), floating(-3.0, "f"), floating(0.1), floating(0.0)
    ('0x1.8p-1', '-0x1.8p+1f', '0x1.999999999999ap-4', '0.0')
    """
    if not math.isfinite(value):
        raise UsageError(
            f"export: {value} is among the network's numbers; finite ones were needed", hint="train it anew"
        )
    if value == 0:
        return f"{value}{suffix}"
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}{suffix}"


def integer(value: int) -> str:
    """Return an int32; its least number is no literal.

    >>> integer(-5), integer(-2**31)
    ('-5', '-2147483647 - 1')
    """
    return str(value) if value > -(2**31) else f"{-(2**31) + 1} - 1"


def literals(values: NDArray[Any]) -> list[str]:
    """Return the elements of an array of one of `TYPES`, in C order.

    >>> literals(np.array([3, 2**63], np.uint64)), literals(np.array([0.5], np.float32))
    (['0x3', '0x8000000000000000'], ['0x1p-1f'])
    """
    flat = values.reshape(-1).tolist()
    if values.dtype == np.uint64:
        return [f"{value:#x}" for value in flat]
    if values.dtype == np.float32:
        return [floating(value, "f") for value in flat]
    assert values.dtype == np.int32, f"{values.dtype} has no C++ type here"
    return [integer(value) for value in flat]


def lines(words: Iterable[str], indent: str = "    ") -> Iterator[str]:
    """Yield the words with commas between them, in indented lines of at most `WIDTH` characters.

    >>> list(lines(["1", "2", "3"]))
    ['    1, 2, 3,']
    """
    line = indent
    for word in words:
        if len(line) + len(word) + 1 > WIDTH:
            yield line.rstrip()
            line = indent
        line += f"{word}, "
    if line.strip():
        yield line.rstrip()
