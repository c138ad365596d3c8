"""Packed networks run in compiled code: without it there is nothing to test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bnnkit import ops
from bnnkit.errors import MissingError

try:
    ops.load()
except MissingError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread unless a test wants more: layers of small networks take less time than threads take to meet."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
