"""Packed networks run in compiled code: without it there is nothing to test here."""

from __future__ import annotations

from bnnkit import ops
from bnnkit.errors import MissingError

try:
    ops.load()
except MissingError:
    collect_ignore_glob = ["test_*.py"]
