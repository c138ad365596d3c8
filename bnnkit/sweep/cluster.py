"""Cells on a cluster of Ray: tasks that run the command of a cell on whichever node has room.

Nodes share no files with this machine: travel.py says what is sent and what comes back, node.py is the other side.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import bnnkit
from bnnkit.errors import BnnkitError, MissingError
from bnnkit.sweep import node
from bnnkit.sweep.executor import INTERRUPTED, PROGRAM, Finished, Job, ending, hold, refused
from bnnkit.sweep.travel import Names, content_of, land, read_by

RETRIES = 3
"""How often a cell is begun again after its worker or node has died."""
SECONDS_TO_END = 5.0
SECONDS_FOR_AN_ANSWER = 5.0
DATA = "BNNKIT_DATA"


@dataclass(frozen=True)
class Share:
    """What of the cluster one cell takes.

    Attributes:
        cells_per_gpu: 0: it needs none.
        jobs: the most cells at a time; None: as many as fit.
    """

    cpus: int
    cells_per_gpu: int
    jobs: int | None

    @property
    def gpus(self) -> float:
        """The GPUs of one cell, rounded down to the four decimals that Ray counts."""
        return 10_000 // self.cells_per_gpu / 10_000 if self.cells_per_gpu else 0.0

    def fitting(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return how many cells fit on nodes at a time.

        >>> Share(2, 0, None).fitting([{"CPU": 8}, {"CPU": 3}])
        5
        >>> Share(2, 1, None).fitting([{"CPU": 8, "GPU": 1}, {"CPU": 3}])
        1
        """
        found = 0
        for resources in nodes:
            by_cores = int(resources.get("CPU", 0)) // self.cpus
            by_gpus = int(resources.get("GPU", 0)) * self.cells_per_gpu
            found += min(by_cores, by_gpus) if self.cells_per_gpu else by_cores
        return found if self.jobs is None else min(found, self.jobs)


def share_of(nodes: Sequence[Mapping[str, float]], jobs: int | None, device: str) -> Share:
    """Return what a cell may take, so that `jobs` of them fit.

    Args:
        nodes: resources of every node, as Ray names them.
        jobs: cells at a time; None: one per core, or one per GPU.
        device: "cpu" or "cuda".

    Raises:
        MissingError: the cluster has no core, or for "cuda" no GPU.

    >>> share_of([{"CPU": 8}, {"CPU": 4}], 3, "cpu")
    Share(cpus=4, cells_per_gpu=0, jobs=3)
    >>> share_of([{"CPU": 8, "GPU": 2}], None, "cuda")
    Share(cpus=4, cells_per_gpu=1, jobs=None)
    """
    cores = [int(resources.get("CPU", 0)) for resources in nodes]
    gpus = [int(resources.get("GPU", 0)) for resources in nodes]
    if not any(cores):
        raise MissingError("sweep: the Ray cluster offers no processor; one core was needed", hint="ray status")
    if device == "cuda":
        if not any(gpus):
            raise MissingError("sweep: --device cuda, but no node of the Ray cluster has a GPU", hint="--device cpu")
        each = max(1, math.ceil((jobs or 1) / sum(gpus)))
        per_cell = [own // (count * each) for own, count in zip(cores, gpus, strict=True) if count]
        return Share(max(1, min(per_cell)), each, jobs)
    if jobs is None:
        return Share(1, 0, None)
    sizes = range(max(cores), 0, -1)
    return Share(next((size for size in sizes if sum(own // size for own in cores) >= jobs), 1), 0, jobs)


@dataclass
class _Running:
    job: Job
    lock: IO[bytes]
    task: Any
    names: Names
    inputs: Mapping[Path, Any]
    began: float = field(default_factory=time.monotonic)


class RayExecutor:
    """Run cells on a cluster of Ray: the one of RAY_ADDRESS, one that runs on this machine, or a new one on it.

    Args:
        jobs: cells at a time, None: as many as fit.
        device: "cpu": a cell takes one core, with `jobs` its share of all cores; "cuda": a GPU, or its share of one.
        program: what Python runs on the nodes, before the words of a job; without one it is bnnkit, of this version.

    Where a process uses Ray already, its connection is used and left open.

    Raises:
        MissingError: Ray is not installed, its cluster does not answer or has nothing to compute with.
    """

    def __init__(self, jobs: int | None, device: str, *, program: Sequence[str] | None = None) -> None:
        self._ray = _imported()
        self._program = program
        self._owned = not self._ray.is_initialized()
        if self._owned:
            _join(self._ray)
        self._quiet = ExitStack()
        self._quiet.enter_context(_quiet())
        self._running: dict[str, _Running] = {}
        self._refused: list[Finished] = []
        self._said: Mapping[str, str] = {}
        self._workers: Mapping[str, int] = {}
        self._stopping = False
        self._looked: Any = None
        try:
            self._share = share_of(self._nodes(), jobs, device)
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def free(self) -> int:
        # Nodes may come and go; with none left one cell waits for them.
        room = max(1, self._share.fitting(self._nodes()))
        return max(0, room - len(self._running))

    def start(self, job: Job) -> None:
        lock = hold(job)
        if lock is None:
            self._refused.append(refused(job))
            return
        read = list(read_by(job))
        names = Names(job.folder, read)
        inputs = {path: self._sent(path, names) for path in read}
        parcel: node.Parcel = {
            "key": job.key,
            "program": list(PROGRAM[1:] if self._program is None else self._program),
            "words": names.words_there(_with_absolute_data(job.words)),
            "home": names.there(str(job.folder)),
            "version": bnnkit.__version__ if self._program is None else None,
            "environment": {**_own_variables(), "OMP_NUM_THREADS": str(self._share.cpus)},
            "defaults": {DATA: str(Path(os.environ[DATA]).absolute())} if DATA in os.environ else {},
            "python_path": [str(Path(path).absolute()) for path in _python_path()],
        }
        task = self._task.remote(parcel, self._board, *inputs.values())
        self._running[job.key] = _Running(job, lock, task, names, inputs)

    def finished(self) -> list[Finished]:
        ended, self._refused = self._refused, []
        self._look()
        tasks = [running.task for running in self._running.values()]
        ready = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)[0] if tasks else []
        for key, running in list(self._running.items()):
            if running.task in ready:
                del self._running[key]
                with running.lock:
                    ended.append(self._ended(running))
        return ended

    def saying(self, key: str) -> str:
        if key not in self._running:
            return ""
        if key not in self._workers:
            return "waiting for a node"
        again = f"({self._workers[key]}. worker) " if self._workers[key] > 1 else ""
        return again + self._said.get(key, "")

    def stop(self) -> None:
        self._stopping = True
        self._look()
        for key, running in self._running.items():
            if key not in self._workers:
                # Nothing is lost; otherwise it would stop only after there is room to begin it.
                self._ray.cancel(running.task, force=False)

    def close(self) -> None:
        for running in self._running.values():
            self._ray.cancel(running.task, force=True)
        tasks = [running.task for running in self._running.values()]
        if tasks:
            self._ray.wait(tasks, num_returns=len(tasks), timeout=SECONDS_TO_END)
        for running in self._running.values():
            running.lock.close()
        self._running.clear()
        self._quiet.close()
        if self._owned:
            self._ray.shutdown()

    def _nodes(self) -> list[Mapping[str, float]]:
        return [found["Resources"] for found in self._ray.nodes() if found["Alive"]]

    def _prepare(self) -> None:
        from ray import cloudpickle
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cloudpickle.register_pickle_by_value(node)
        options = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "max_retries": RETRIES}
        self._task = self._ray.remote(node.run_job).options(**options)
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=True)
        board = self._ray.remote(node.Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
        self._board = board.remote()

    def _sent(self, path: Path, names: Names) -> Any:
        """Return a file, or all files of a run, in Ray's storage; once for all running cells that read it."""
        of_cell = path.is_relative_to(names.home)
        known = [running.inputs[path] for running in self._running.values() if path in running.inputs]
        return known[0] if known and not of_cell else self._ray.put(list(content_of(path, names)))

    def _look(self) -> None:
        """Read the board as soon as it has answered, and ask it again."""
        if self._looked is None:
            self._looked = self._board.look.remote(self._stopping)
        elif self._ray.wait([self._looked], timeout=0)[0]:
            self._read()
            self._looked = self._board.look.remote(self._stopping)

    def _read(self) -> None:
        # It begins anew when its node dies; the next answer counts.
        with suppress(self._ray.exceptions.RayError):
            self._said, self._workers = self._ray.get(self._looked, timeout=SECONDS_FOR_AN_ANSWER)

    def _ended(self, running: _Running) -> Finished:
        job, seconds = running.job, time.monotonic() - running.began
        try:
            outcome = cast(node.Outcome, self._ray.get(running.task))
        except self._ray.exceptions.TaskCancelledError:
            return Finished(job.key, INTERRUPTED, None, "stopped before it began", seconds)
        except self._ray.exceptions.RayError as failure:
            return Finished(job.key, 1, None, _words_of(failure), seconds)
        self._looked = self._board.look.remote(self._stopping)
        self._read()
        times = self._workers.get(job.key, 1)
        if times > 1:
            outcome["log"] = f"begun {times} times, because a worker died\n".encode() + outcome["log"]
        try:
            land(job, running.names, outcome)
        except (OSError, BnnkitError) as failure:
            hint = f"; {failure.hint}" if isinstance(failure, BnnkitError) and failure.hint else ""
            return Finished(job.key, 1, None, f"what came back is not kept: {failure}{hint}", seconds)
        return ending(job, outcome["code"], outcome["seconds"])


def _with_absolute_data(words: Sequence[str]) -> list[str]:
    """Return words in which the folder of the datasets, which does not travel, is named for all nodes."""
    before = ["", *words]
    return [
        str(Path(word).absolute()) if last == "--data-dir" else word for last, word in zip(before, words, strict=False)
    ]


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _own_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("BNNKIT_") and name != DATA}


def _words_of(failure: Exception) -> str:
    """Return what Ray says about a task that did not end by itself, without its traceback."""
    lines = [line for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
    return f"Ray: {lines[-1] if 'Traceback' in lines[0] or 'ray::' in lines[0] else lines[0]}"


def _imported() -> Any:
    try:
        import ray
    except ImportError as failure:
        raise MissingError(
            "--executor ray: Ray is not installed; it was needed", hint="pip install 'bnnkit[ray]'"
        ) from failure
    return ray


def _join(ray: Any) -> None:
    # What a person computes is nobody's business.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(os.environ.get("RAY_ADDRESS", ""))
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as failure:
        where = os.environ.get("RAY_ADDRESS", "on this machine")
        said = next(iter(str(failure).splitlines()), type(failure).__name__)
        raise MissingError(
            f"--executor ray: the cluster {where} cannot be used ({said})", hint="ray status; or unset RAY_ADDRESS"
        ) from failure


def _knock(address: str) -> None:
    """Find out in seconds that nobody answers at HOST:PORT; Ray takes minutes."""
    host, _, port = address.partition("://")[-1 if "://" in address else 0].rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_FOR_AN_ANSWER).close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray says about nodes and workers from standard output, where the result belongs.

    No option of `ray.init` does that: `log_to_driver` is about what tasks print.
    """
    from ray._private import worker

    before = getattr(worker, "print_to_stdstream", None)
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before
