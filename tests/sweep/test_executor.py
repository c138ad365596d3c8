"""Processes on this machine: how they end, what they are given, and that none is left."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from bnnkit.errors import MissingError
from bnnkit.sweep import LocalExecutor, local_slots
from bnnkit.sweep import executor as module
from bnnkit.sweep.executor import BUSY, INTERRUPTED, Executor, Finished, Job, hold, last_words

PATIENCE = 30.0
Started = Callable[..., LocalExecutor]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Run short Python programs by name, in folders of their names, on slots."""
    made: list[LocalExecutor] = []

    def start(programs: Mapping[str, str], slots: Sequence[Mapping[str, str]] = ({}, {}, {})) -> LocalExecutor:
        monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c"))
        executor = LocalExecutor(slots)
        made.append(executor)
        for name, program in programs.items():
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            executor.start(Job(name, (program, "word"), folder))
        return executor

    yield start
    for executor in made:
        executor.close()


def all_of(executor: Executor, count: int) -> dict[str, Finished]:
    found: dict[str, Finished] = {}
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, f"only {found} ended"
        found |= {each.key: each for each in executor.finished()}
        time.sleep(0.01)
    return found


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_how_jobs_end(started: Started) -> None:
    said = "import sys; sys.stderr.write('first\\n\\nsecond\\n');"
    executor = started(
        {
            "good": said + "print('{\"a\": [1]}')",
            "failed": said + "print('{}'); sys.exit(4)",
            "text": said + "print('no document')",
            "list": "print('[1, 2]')",
            "nothing": "pass",
            "killed": said + "import os; sys.stderr.flush(); os.kill(os.getpid(), 9)",
            "hung-up": "import os, signal; signal.signal(1, signal.SIG_DFL); os.kill(os.getpid(), 1)",
            "words": "import sys, json; print(json.dumps({'words': sys.argv[1:]}))",
        },
        [{}] * 8,
    )
    assert executor.free == 0
    found = all_of(executor, 8)
    assert executor.free == 8 and executor.finished() == []
    assert found["good"].document == {"a": [1]} and found["good"].seconds > 0
    assert found["words"].document == {"words": ["word"]}
    codes = {name: each.code for name, each in found.items()}
    assert codes == {
        "good": 0, "words": 0, "failed": 4, "text": 1, "list": 1, "nothing": 1, "killed": -9, "hung-up": -1,
    }  # fmt: skip
    assert BUSY not in codes.values()
    assert all(each.document is None for name, each in found.items() if name not in ("good", "words"))
    assert found["failed"].said == "first\nsecond"
    assert found["text"].said.startswith("its output is no JSON document (")
    assert found["killed"].said == "first\nsecond\nended by signal 9 (Killed)"


def test_slots_are_environments_and_are_given_back(started: Started) -> None:
    program = "import os, json; print(json.dumps({'slot': os.environ['SLOT'], 'path': os.environ['PATH']}))"
    executor = started({"a": program, "b": program}, [{"SLOT": "1"}, {"SLOT": "2"}])
    assert executor.free == 0
    documents = [each.document for each in all_of(executor, 2).values()]
    assert sorted(str(each["slot"]) for each in documents if each) == ["1", "2"]
    assert all(each and each["path"] == os.environ["PATH"] for each in documents)
    assert executor.free == 2


def test_they_run_at_the_same_time(started: Started, tmp_path: Path) -> None:
    meet = (
        "import pathlib, time, sys; here = pathlib.Path({here!r}); here.touch()\n"
        "while not pathlib.Path({there!r}).exists(): time.sleep(0.01)\n"
        "print('{{}}')"
    )
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    executor = started({"a": meet.format(here=first, there=second), "b": meet.format(here=second, there=first)})
    assert [each.code for each in all_of(executor, 2).values()] == [0, 0]


def test_what_a_job_says(started: Started, tmp_path: Path) -> None:
    executor = started({"a": "import sys, time; sys.stderr.write('epoch 1\\n\\n'); sys.stderr.flush(); time.sleep(60)"})
    wait_for(lambda: executor.saying("a") == "epoch 1")
    assert executor.saying("unknown") == ""
    executor.close()
    started({"a": "print('{}')"})
    wait_for(lambda: (tmp_path / "a" / "log.txt").read_text() == "")


def test_a_cell_that_another_process_computes(started: Started, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "out.json").write_text("theirs")
    with (tmp_path / "a" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        executor = started({"a": "print('{}')", "b": "print('{}')"})
        assert executor.free == 2
        found = all_of(executor, 2)
    assert (found["a"].code, found["a"].document) == (BUSY, None)
    assert found["a"].said == "another process is computing this cell"
    assert (tmp_path / "a" / "out.json").read_text() == "theirs"
    assert found["b"].code == 0 and executor.free == 3


def test_a_disk_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(MissingError, match="cells cannot be locked here"):
        hold(Job("a", (), tmp_path))


def test_a_job_holds_its_cell_until_it_ends(started: Started) -> None:
    executor = started({"a": "import time; time.sleep(60)"})
    assert all_of(started({"a": "print('{}')"}), 1)["a"].code == BUSY
    executor.close()
    assert all_of(started({"a": "print('{}')"}), 1)["a"].code == 0


def test_stop_asks_and_close_ends(started: Started, tmp_path: Path) -> None:
    polite = (
        "import signal, sys, time, pathlib; signal.signal(15, lambda *a: sys.exit(130))\n"
        "pathlib.Path({0!r}).touch(); time.sleep(60)"
    )
    stubborn = (
        "import signal, subprocess, sys, time, pathlib; signal.signal(15, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path({0!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    places = tmp_path / "polite.pid", tmp_path / "stubborn.pid"
    executor = started({"polite": polite.format(str(places[0])), "stubborn": stubborn.format(str(places[1]))})
    wait_for(lambda: places[0].exists() and places[1].exists() and places[1].read_text() != "")
    executor.stop()
    assert all_of(executor, 1)["polite"].code == INTERRUPTED
    child = int(places[1].read_text())
    os.kill(child, 0)
    executor.close()
    assert executor.finished() == []
    wait_for(lambda: not is_running(child))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_job_is_out_of_reach_of_the_terminal(started: Started) -> None:
    executor = started({"a": "import os, json; print(json.dumps({'session': os.getsid(0)}))"})
    found = all_of(executor, 1)["a"].document
    assert found is not None and found["session"] != os.getsid(0)


def test_slots_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert local_slots(None, "cpu") == [{"OMP_NUM_THREADS": "8"}]
    assert local_slots(3, "cpu") == [{"OMP_NUM_THREADS": "2"}] * 3
    assert local_slots(20, "cpu") == [{"OMP_NUM_THREADS": "1"}] * 20


def test_slots_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_slots(None, "cuda") == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local_slots(3, "cuda")] == ["0", "1", "0"]
    # Those that this process may use are the only ones its children may use, by the same names.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-77")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local_slots(3, "cuda")] == ["5", "GPU-77", "5"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MissingError, match="torch sees no GPU"):
        local_slots(None, "cuda")


def test_last_words(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert last_words(path, 3) == ""
    path.write_bytes(b"x" * 10_000 + b"\n\n a \n\xff\nb\n  \n")
    assert last_words(path, 3) == " a \n�\nb"
    assert last_words(path, 1) == "b"
    path.write_text(json.dumps("no newline"))
    assert last_words(path, 1) == '"no newline"'


def test_the_program_is_bnnkit_itself() -> None:
    assert list(module.PROGRAM) == [sys.executable, "-m", "bnnkit_cli.main"]
