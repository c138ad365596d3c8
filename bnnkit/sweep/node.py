"""What a node of a Ray cluster does for a cell.

Only the standard library and Ray are imported: this module travels to the nodes by value, so that one without bnnkit,
or with another release of it, can say so.

On a node, every cell has a folder of its own below the temporary one, removed at its end:

    work/           where the command starts; files with a relative name lie there under that name
    files/          files whose names on the asking machine are absolute, or lead out of its folder
    cell/           the folder of the cell, where its name is of that kind
    lock            held as long as the folder is in use: what a killed worker leaves is removed by the next one
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

Files: TypeAlias = "list[tuple[str, int, bytes]]"
"""Name relative to work/, time of the last change in nanoseconds, and content."""

SECONDS_BETWEEN_REPORTS = 0.5
SECONDS_FOR_AN_ANSWER = 5.0
MISSING = 3
CHECKED = "import bnnkit, bnnkit_cli; print(bnnkit.__version__)"

# The kernel ends the command with its worker, however that ends; the parent may have ended before it is asked to. Where
# there is no prctl (macOS), only Ray ends the command, and not when its worker is killed.
TIED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Parcel(TypedDict):
    """One cell for a node.

    Attributes:
        program: what Python runs, before `words`.
        home: the folder of the cell, relative to work/.
        version: of bnnkit; None: whichever there is.
        environment: variables of the command.
        defaults: variables that a node may have set differently.
        python_path: folders to look for modules, where the node has them.
    """

    key: str
    program: list[str]
    words: list[str]
    home: str
    version: str | None
    environment: dict[str, str]
    defaults: dict[str, str]
    python_path: list[str]


class Outcome(TypedDict):
    """How a command ended: what it printed and said, and the files it has written or changed."""

    code: int
    out: bytes
    log: bytes
    files: Files
    seconds: float


class Board:
    """Where jobs report to and learn that they are to stop; an actor beside the asking process."""

    def __init__(self) -> None:
        self._stopping = False
        self._said: dict[str, str] = {}
        self._workers: dict[str, list[str]] = {}

    def report(self, key: str, worker: str, said: str) -> bool:
        """Note the last words of a job; return whether it is to stop."""
        self._said[key] = said
        known = self._workers.setdefault(key, [])
        if worker not in known:
            known.append(worker)
        return self._stopping

    def look(self, stopping: bool) -> tuple[dict[str, str], dict[str, int]]:
        """Return the last words of all jobs, and how many workers have begun each; tell them to stop."""
        self._stopping = stopping
        return self._said, {key: len(workers) for key, workers in self._workers.items()}


def run_job(parcel: Parcel, board: Any, *inputs: Files) -> Outcome:
    """Run the command of a cell and return what came of it; a task of Ray."""
    began = time.monotonic()
    with own_folder() as folder:
        work = folder / "work"
        work.mkdir()
        write_files(work, [file for some in inputs for file in some])
        (work / parcel["home"]).mkdir(parents=True, exist_ok=True)
        before = _times(folder)
        environment = _environment(parcel)
        refusal = _refusal(parcel["version"], environment)
        if refusal:
            return {"code": MISSING, "out": b"", "log": refusal.encode(), "files": [], "seconds": 0.0}
        out, log = folder / "out.json", folder / "log.txt"
        with out.open("wb") as printed, log.open("wb") as said:
            command = [sys.executable, *parcel["program"], *parcel["words"]]
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", TIED, str(os.getpid()), *command],
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
                start_new_session=True,
            )
            try:
                with _reporting(process, log, board, parcel["key"]):
                    code = process.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return {
            # as a shell does: no exit code is negative
            "code": code if code >= 0 else 128 - code,
            "out": out.read_bytes(),
            "log": log.read_bytes(),
            "files": _changed(folder, before),
            "seconds": time.monotonic() - began,
        }


def write_files(folder: Path, files: Files) -> None:
    """Write files below a folder, with their times."""
    for name, modified, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(modified, modified))


@contextmanager
def own_folder() -> Iterator[Path]:
    """Make a temporary folder for one cell and remove it in the end, and those that killed workers have left."""
    home = Path(tempfile.gettempdir()) / f"bnnkit-sweep-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise PermissionError(f"{home}: belongs to somebody else")
    with (home / "door").open("wb") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        for lock in home.glob("*/lock"):
            _remove_left(lock)
        folder = Path(tempfile.mkdtemp(dir=home))
        held = (folder / "lock").open("wb")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with held:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(lock: Path) -> None:
    with suppress(FileNotFoundError), lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        shutil.rmtree(lock.parent, ignore_errors=True)


def _environment(parcel: Parcel) -> dict[str, str]:
    here = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [path for path in dict.fromkeys([*parcel["python_path"], *here]) if path and Path(path).exists()]
    given = {**parcel["defaults"], **os.environ, **parcel["environment"]}
    return {**given, "PYTHONPATH": os.pathsep.join(paths)}


def _refusal(version: str | None, environment: Mapping[str, str]) -> str:
    """Return why this node cannot compute a cell, "" if it can."""
    if version is None:
        return ""
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, capture_output=True, text=True, check=False)
    found = done.stdout.strip() if done.returncode == 0 else ""
    if found == version:
        return ""
    what = f"bnnkit {found}" if found else f"no bnnkit that can be imported by {sys.executable}"
    return (
        f"error: node {platform.node()}: {what}; bnnkit {version} was needed, as on the machine that sweeps\n"
        f"  hint: on that node: {sys.executable} -m pip install bnnkit=={version}\n"
    )


@contextmanager
def _reporting(process: subprocess.Popen[bytes], log: Path, board: Any, key: str) -> Iterator[None]:
    """Report what a command says while the block runs, and ask it to stop as soon as the answer is that."""
    import ray

    worker: str = ray.get_runtime_context().get_worker_id()
    ended = threading.Event()

    def report() -> None:
        stopping = False
        while not ended.is_set():
            # Without the board the cell can be computed all the same.
            with suppress(ray.exceptions.RayError):
                answer = board.report.remote(key, worker, _tail(log))
                if ray.get(answer, timeout=SECONDS_FOR_AN_ANSWER) and not stopping:
                    stopping = True
                    process.terminate()
            ended.wait(SECONDS_BETWEEN_REPORTS)

    # A task that waits for an answer in its main thread lends its cores to another one.
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1000))
        said = file.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(said) if line.strip()), "")


def _paths(folder: Path) -> Sequence[Path]:
    return [path for part in ("work", "cell") for path in (folder / part).rglob("*") if not path.is_symlink()]


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in _paths(folder) if path.is_file()}


def _changed(folder: Path, before: Mapping[Path, int]) -> Files:
    """Return the files that are new or changed, the last change last; half-written ones are left out."""
    now = _times(folder)
    changed = [path for path, time_ in now.items() if before.get(path) != time_ and not path.name.endswith(".partial")]
    names = {path: os.path.relpath(path, folder / "work") for path in changed}
    return [(names[path], now[path], path.read_bytes()) for path in sorted(changed, key=now.__getitem__)]
