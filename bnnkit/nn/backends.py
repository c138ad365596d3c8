"""Which implementation the layers use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias, get_args

from bnnkit.errors import UsageError

Backend: TypeAlias = Literal["auto", "packed", "torch", "reference"]

_current: ContextVar[Backend] = ContextVar("backend", default="auto")


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Run the layers inside the `with` block on one implementation.

    - "auto": packed kernels where both operands are low-bit and are quantized or converted on them, torch elsewhere.
    - "packed": as "auto", but a quantized layer that has no packed kernel is an error instead of a torch convolution.
    - "torch": the field's usual formulation, a loop of torch convolutions over the arrays; needs no extension.
    - "reference": `bnnkit.reference` in double precision; slow, for checking the others.

    All of them are differentiable and agree exactly in every partial sum and code.

    Raises:
        UsageError: for another name.

    >>> with backend("reference"):
    ...     current_backend()
    'reference'
    """
    if name not in get_args(Backend):
        raise UsageError(
            f"backend: '{name}' is unknown; one of {', '.join(get_args(Backend))} was needed", hint="use auto"
        )
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def current_backend() -> Backend:
    """Return the backend in force; "auto" outside any `backend` block."""
    return _current.get()
