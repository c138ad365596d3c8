"""What computes cells: an interface, and the one that starts processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from bnnkit.errors import MissingError
from bnnkit.locks import try_lock

PROGRAM = (sys.executable, "-m", "bnnkit_cli.main")
INTERRUPTED = 130
BUSY = 1000
"""In place of an exit code, which it cannot be: another process is computing the cell."""
LAST_LINES = 12


@dataclass(frozen=True)
class Job:
    """One command line to run, and the folder of its cell.

    Attributes:
        inputs: the words with which the cell was begun, which name the files it reads; `words` may continue it.
        data: fingerprint of the dataset the cell is about, where that is known.
    """

    key: str
    words: Sequence[str]
    folder: Path
    inputs: Sequence[str] = ()
    data: str | None = None


@dataclass(frozen=True)
class Finished:
    """How a job ended; `document` is what it printed, None unless it ended well, `said` its last words."""

    key: str
    code: int
    document: Mapping[str, Any] | None
    said: str
    seconds: float


class Executor(Protocol):
    """Runs jobs somewhere, several at a time."""

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""

    def start(self, job: Job) -> None:
        """Begin a job."""

    def finished(self) -> list[Finished]:
        """Return the jobs that have ended since the last call."""

    def saying(self, key: str) -> str:
        """Return the last line a running job has said."""

    def stop(self) -> None:
        """Ask all running jobs to save what they have and end."""

    def close(self) -> None:
        """Give back what the executor holds; running jobs are ended."""


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    slot: Mapping[str, str]
    out: IO[bytes]
    log: IO[bytes]
    started: float = field(default_factory=time.monotonic)


class LocalExecutor:
    """Start a process per job, at most one per slot.

    Args:
        slots: environment variables of each place where a process can run, see `local_slots`.

    A job's process has a session of its own, so that Ctrl-C reaches it only through `stop`, and holds the lock of its
    cell: should this process be killed, the cell stays locked until the job has ended too.
    """

    def __init__(self, slots: Sequence[Mapping[str, str]]) -> None:
        self._slots = list(slots)
        self._running: dict[str, _Running] = {}
        self._refused: list[Finished] = []

    @property
    def free(self) -> int:
        return len(self._slots)

    def start(self, job: Job) -> None:
        lock = hold(job)
        if lock is None:
            self._refused.append(refused(job))
            return
        slot = self._slots.pop()
        out, log = (job.folder / "out.json").open("wb"), (job.folder / "log.txt").open("wb")
        with lock:
            process = subprocess.Popen(
                [*PROGRAM, *job.words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**os.environ, **slot},
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )
        self._running[job.key] = _Running(job, process, slot, out, log)

    def finished(self) -> list[Finished]:
        ended, self._refused = self._refused, []
        for key, running in list(self._running.items()):
            code = running.process.poll()
            if code is None:
                continue
            del self._running[key]
            self._slots.append(running.slot)
            running.out.close()
            running.log.close()
            ended.append(ending(running.job, code, time.monotonic() - running.started))
        return ended

    def saying(self, key: str) -> str:
        return last_words(self._running[key].job.folder / "log.txt", 1) if key in self._running else ""

    def stop(self) -> None:
        for running in self._running.values():
            with suppress(ProcessLookupError):
                running.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for running in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
            running.out.close()
            running.log.close()
        self._running.clear()


def local_slots(jobs: int | None, device: str) -> list[dict[str, str]]:
    """Return the environment of every process that may run at a time.

    Args:
        jobs: processes; None: one on the processor, or one per GPU.
        device: "cpu": each process gets its share of the cores; "cuda": they take the GPUs by turns.

    Raises:
        MissingError: "cuda" without a GPU.
    """
    if device == "cpu":
        count = jobs or 1
        threads = max(1, (os.cpu_count() or 1) // count)
        return [{"OMP_NUM_THREADS": str(threads)} for _ in range(count)]
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        raise MissingError("sweep: --device cuda, but torch sees no GPU", hint="--device cpu")
    # Torch counts the GPUs it may see; a process must be given their names.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible or [str(place) for place in range(gpus)]
    return [{"CUDA_VISIBLE_DEVICES": names[place % gpus]} for place in range(jobs or gpus)]


def hold(job: Job) -> IO[bytes] | None:
    """Take the cell of a job for as long as the returned file is open somewhere; None if another process has it.

    Raises:
        MissingError: the file system has no locks.
    """
    lock = (job.folder / "lock").open("wb")
    try:
        if try_lock(lock):
            return lock
    except OSError as failure:
        lock.close()
        raise MissingError(
            f"{job.folder}: cells cannot be locked here ({failure.strerror}); two processes could compute the same one",
            hint="--runs-dir on a disk of this machine",
        ) from failure
    lock.close()
    return None


def refused(job: Job) -> Finished:
    """Return how a job ends whose cell another process has."""
    return Finished(job.key, BUSY, None, "another process is computing this cell", 0.0)


def ending(job: Job, code: int, seconds: float) -> Finished:
    """Return how a job ended, from what it left in its folder."""
    document, said = None, last_words(job.folder / "log.txt", LAST_LINES)
    if code == 0:
        try:
            document = dict(json.loads((job.folder / "out.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as failure:
            code, said = 1, f"its output is no JSON document ({failure})"
    elif code < 0:
        said = f"{said}\nended by signal {-code} ({signal.strsignal(-code)})".strip()
    return Finished(job.key, code, document, said, seconds)


def last_words(path: Path, count: int) -> str:
    """Return the last `count` lines of a file that may still grow, joined by newlines; "" if there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])
