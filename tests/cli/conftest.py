"""Command lines run inside the test's process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bnnkit_cli import main as cli


@pytest.fixture
def bnnkit(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command line and return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run
