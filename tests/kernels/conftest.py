"""Kernel tests run every variant that the processor at hand can execute, and leave torch's threads as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bnnkit import ops
from bnnkit.errors import MissingError

try:
    ops.load()
except MissingError as missing:
    reason = str(missing)
    collect_ignore_glob = ["test_*.py"]
else:
    reason = ""


def pytest_report_header() -> str:
    return f"kernels: not tested, {reason}" if reason else f"kernels: {', '.join(ops.usable_variants())}"


@pytest.fixture(autouse=True)
def _one_thread_unless_a_test_says_otherwise() -> Iterator[None]:
    # The references issue thousands of tiny parallel regions, whose spinning barriers cost minutes on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    ops.force_variant(None)
