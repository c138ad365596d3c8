"""Command lines run inside the test's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bnnkit import ops
from bnnkit.errors import MissingError
from bnnkit_cli import main as cli
from bnnkit_cli import output


@pytest.fixture
def bnnkit(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command line and return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, without datasets; skip without compiled code."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    output.configure()
