"""`bnnkit sweep` stopped by Ctrl-C, killed, and begun again: processes as a person starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("empty_folder")

EPOCHS = 20
LONG = ("train", "mlp", "--dataset", "digits", "--limit", "600", "--epochs", str(EPOCHS), "--threads", "1")
LONG += ("--grid", "adc-bit=1,2")


def sweep_process(*arguments: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "bnnkit_cli.main", "sweep", *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(happened: Callable[[], Any], patience: float = 120.0) -> None:
    end = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def in_mid_training() -> list[Path]:
    return [path for path in Path("runs").glob("sweep/cells/*/runs/train/mlp-*/metrics.jsonl") if path.read_text()]


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").resolve() == folder.resolve() and int(place.name) != os.getpid():
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
def test_ctrl_c_and_the_same_again(tmp_path: Path) -> None:
    process = sweep_process(*LONG)
    wait_for(in_mid_training)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-2:] == [
        "interrupted: sweep: stopped with 0 of 2 cells finished; they are kept, and trainings are saved",
        "hint: the same command goes on",
    ]
    assert out.count("stopped") == 2 and processes_in(tmp_path) == []
    [begun] = Path("runs").glob("sweep/cells/*/runs/train/mlp-*/last.safetensors")
    if begun.with_name("results.json").exists():
        pytest.skip("the training was faster than the signal")
    epochs = len(begun.with_name("metrics.jsonl").read_text().splitlines())
    assert 0 < epochs < EPOCHS

    # Killed in the second cell: the first is not computed again, and the orphan is waited for.
    process = sweep_process(*LONG)
    wait_for(lambda: len(list(Path("runs").glob("sweep/cells/*/result.json"))) == 1 and len(in_mid_training()) == 2)
    process.kill()
    process.communicate()
    stamp = json.loads(begun.with_name("stamp.json").read_text())
    assert len(stamp["resumed"]) == 1
    [finished] = Path("runs").glob("sweep/cells/*/result.json")
    written = finished.stat().st_mtime_ns

    process = sweep_process(*LONG, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["finished"] and [cell["found"] for cell in found["cells"]] == [True, False]
    assert finished.stat().st_mtime_ns == written and processes_in(tmp_path) == []
    assert len(list(Path("runs").glob("sweep/cells/*/runs/train/mlp*"))) == 2
