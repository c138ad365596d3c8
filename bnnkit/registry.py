"""Named things: one dictionary per kind, with an error that suggests the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from bnnkit.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to classes or functions of one kind.

    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("round")
    ... class Round: ...
    >>> shapes.get("round").__name__
    'Round'
    >>> shapes.get("rund")
    Traceback (most recent call last):
    ...
    bnnkit.errors.UsageError: unknown shape 'rund'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its argument under `name`; a name can be taken only once."""

        def file(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return file

    def get(self, name: str) -> T:
        """Return the entry called `name`, or raise `UsageError` with the nearest names."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(self)}"
        raise UsageError(f"unknown {self.kind} '{name}'", hint=hint)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries
