"""One training by several processes, on one machine or many, started by torchrun.

Every process computes a share of every batch, and every number that depends on the whole batch is exchanged: batch
statistics, their gradients, and at the end of a step all gradients, the loss, and the correct images. So the processes
compute what one would, but for the order in which floats are added.

Gradients are summed in one flat `all_reduce` after the backward pass and not by
`torch.nn.parallel.DistributedDataParallel`, which averages over processes instead of images, wants a gradient for
every parameter in every step, and regroups its buckets after the first step: beyond two processes a resumed training
would add in another order than one that never stopped. What it would gain is that it sends while it computes.

Small things (who stops, which training, whether weights agree) go by gloo; batch statistics and gradients too on
processors, and by NCCL on GPUs, one GPU per process of a machine.

An error in one process must end all. The first one to fail leaves a note in torchrun's key-value store and closes its
connections. Whatever the others wait for then fails, and they find the note.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from bnnkit.atomic import DISK_FULL, NOT_WRITABLE
from bnnkit.errors import BnnkitError, InterruptedRunError, MismatchError, MissingError, UsageError
from bnnkit.train.batch_statistics import WholeBatch
from bnnkit.train.workers import EndedElsewhereError, Share, Workers

LONGEST_WAIT = timedelta(days=7)
"""For another process that computes, such as the first one while it validates; a lost connection is noticed at once."""
SECONDS_FOR_A_NOTE = 5.0
SECONDS_TO_END = 10.0

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Processes(Workers):
    """One of several processes that compute one training; see `bnnkit.train.workers.together`.

    Args:
        store: of keys and values, the same for all.
    """

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self._notes = PrefixStore("bnnkit", store)
        self._nccl: dist.ProcessGroup | None = None

    def statistics(self, share: Share) -> WholeBatch:
        return WholeBatch(self._gather, counts=share.count > 0)

    def backward(
        self, loss: Tensor, correct: int, share: Share, parameters: Sequence[nn.Parameter]
    ) -> tuple[Tensor, int]:
        # Every loss is a mean over images, or the same for all images: the weighted ones add up to the batch's.
        weighted = loss * share.weight
        weighted.backward()
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = weighted.new_tensor([correct if share.count else 0])
        flat = torch.cat([*(g.reshape(-1) for g in gradients), weighted.detach().reshape(1), told])
        with self._exchange():
            dist.all_reduce(flat, group=self._nccl)
        *summed, total, found = flat.split([*(g.numel() for g in gradients), 1, 1])
        for gradient, whole in zip(gradients, summed, strict=True):
            gradient.copy_(whole.view_as(gradient))
        return total[0], int(found)

    def agreed(self, signal_name: str | None) -> str | None:
        number = 0 if signal_name is None else signal.Signals[signal_name].value
        asked = torch.tensor([number])
        with self._exchange():
            dist.all_reduce(asked, op=dist.ReduceOp.MAX)
        return signal.Signals(int(asked)).name if int(asked) else None

    def announce(self, task: Mapping[str, Any] | None) -> None:
        """Tell the other processes which training to follow; None: that there are no more."""
        with self._exchange():
            dist.broadcast_object_list([task], src=0)
        if task is not None:
            self._use(task["config"]["device"])

    def receive(self) -> dict[str, Any] | None:
        found: list[Any] = [None]
        with self._exchange():
            dist.broadcast_object_list(found, src=0)
        if found[0] is None:
            return None
        self._use(found[0]["config"]["device"])
        return dict(found[0])

    def check_same(self, model: nn.Module) -> None:
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
        own = torch.tensor([int.from_bytes(digest.digest()[:7], "big")])
        every = [torch.empty_like(own) for _ in range(self.world_size)]
        with self._exchange():
            dist.all_gather(every, own)
        other = next((rank for rank, found in enumerate(every) if found != every[0]), None)
        if other is not None:
            raise MismatchError(
                f"train: process {other + 1} of {self.world_size} has other weights than the first; all were needed "
                "to compute the same bits",
                hint="use machines of one kind, with the same torch",
            )

    def end(self, failure: BaseException | None = None) -> int | None:
        """Close the connections; after a failure leave a note for the others.

        Returns:
            The exit code of the process that has failed first, if that is another one.
        """
        if failure is None:
            dist.destroy_process_group()
            return None
        # torchrun ends the others as soon as one is gone; they end by themselves, with an exit code of their own.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        first = self._first(failure)
        if self._nccl is None:
            # NCCL would wait for the others here. They find the note by themselves, see `_watch`.
            dist.destroy_process_group()
        return first

    def note(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """Return what the first process that failed has left; wait so long for it."""
        until = time.monotonic() + seconds
        try:
            while not self._notes.check(["failure"]):
                if time.monotonic() > until:
                    return None
                time.sleep(0.05)
            return dict(json.loads(self._notes.get("failure")))
        except RuntimeError:
            # The store is gone with the torchrun that held it.
            return None

    def _first(self, failure: BaseException) -> int | None:
        """Leave a note, or return the exit code of the one that is there."""
        try:
            if self._notes.add("failures", 1) == 1:
                self._notes.set("failure", json.dumps(_note(failure)))
                return None
        except RuntimeError:
            return None
        note = self.note(SECONDS_FOR_A_NOTE)
        return 1 if note is None else int(note["exit_code"])

    def _use(self, device: str) -> None:
        """Exchange numbers by NCCL where networks are on GPUs; all processes call it at the same time."""
        if device != "cuda" or self._nccl is not None:
            return
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise MissingError(
                f"--device cuda: process {local + 1} of this machine needs a GPU of its own; torch sees "
                f"{torch.cuda.device_count()}",
                hint=f"torchrun --nproc-per-node {max(1, torch.cuda.device_count())}",
            )
        with self._exchange():
            self._nccl = dist.new_group(backend="nccl", timeout=LONGEST_WAIT)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End this process where it waits for a GPU that waits for a process that is gone."""
        while self.note() is None:
            time.sleep(1.0)
        time.sleep(SECONDS_TO_END)
        note = self.note()
        os._exit(1 if note is None else int(note["exit_code"]))

    def _gather(self, own: Tensor) -> Tensor:
        every = [torch.empty_like(own) for _ in range(self.world_size)]
        with self._exchange():
            dist.all_gather(every, own, group=self._nccl)
        return torch.stack(every)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Raise what ended another process instead of the broken connection that it left."""
        try:
            yield
        except RuntimeError as broken:
            raise _error(self.note(SECONDS_FOR_A_NOTE)) from broken


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes of torchrun for the time of the block, see `bnnkit.train.workers.together`."""
    processes = _join()
    before = {number: signal.signal(number, _ending(processes)) for number in _SIGNALS}
    try:
        yield processes
        if processes.rank == 0:
            processes.announce(None)
    except BaseException as failure:
        first = processes.end(failure)
        if first is None:
            raise
        raise EndedElsewhereError(first) from None
    for number, handler in before.items():
        signal.signal(number, handler)
    processes.end()


def _join() -> Processes:
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: says that there are several processes, but {', '.join(missing)} "
            "is not set; the environment of torchrun was needed",
            hint="torchrun --nproc-per-node N -m bnnkit_cli.main train ..., or unset WORLD_SIZE",
        )
    if "OMP_NUM_THREADS" not in os.environ:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
    if int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Its functions keep the group of the moment of their import as a default. Imported later, by a part of torch that a
    # training needs, they would keep the threads of gloo alive until the interpreter ends, and abort it there now and
    # then (pytorch issue 190489).
    importlib.import_module("torch.distributed.nn.functional")
    try:
        store, rank, world_size = next(rendezvous("env://"))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError, OSError) as failure:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise MissingError(
            f"train: the other processes cannot be reached by {address} ({failure}); a connection was needed",
            hint="see docs/distributed.md",
        ) from failure
    return Processes(store, rank, world_size)


def _ending(processes: Processes) -> Any:
    """Return a handler for signals outside of the steps of a training: they end the program."""

    def handle(number: int, frame: FrameType | None) -> None:
        note = processes.note()
        if note is not None:
            raise _error(note)
        raise InterruptedRunError(f"train: stopped by {signal.Signals(number).name}, outside of a training")

    return handle


def _note(failure: BaseException) -> dict[str, Any]:
    if isinstance(failure, BnnkitError):
        kind, message, code = type(failure).__name__, failure.message, failure.exit_code
        return {"kind": kind, "message": message, "hint": failure.hint, "exit_code": code}
    code = 130 if isinstance(failure, KeyboardInterrupt) else 1
    if isinstance(failure, OSError) and failure.errno in (*DISK_FULL, *NOT_WRITABLE):
        code = 3
    return {"kind": "", "message": str(failure), "hint": None, "exit_code": code}


def _error(note: Mapping[str, Any] | None) -> BnnkitError:
    if note is None:
        return MissingError(
            "train: another process is gone without a word; all were needed",
            hint="its machine, or the system's log (dmesg: out of memory?), may say why; then --resume",
        )
    kinds = {kind.__name__: kind for kind in BnnkitError.__subclasses__()}
    return kinds.get(note["kind"], BnnkitError)(note["message"], hint=note["hint"])
