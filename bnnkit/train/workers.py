"""The processes that compute one training: one alone, or several with a share of every batch each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Share:
    """The images of a batch that one process computes: `count` of `total`, from number `first` on.

    A process without an image of its own computes the last one, with weight 0: it takes part in every exchange.

    >>> [Share.of(5, rank, 3) for rank in range(3)]
    [Share(first=0, count=2, total=5), Share(first=2, count=2, total=5), Share(first=4, count=1, total=5)]
    """

    first: int
    count: int
    total: int

    @classmethod
    def of(cls, total: int, rank: int, world_size: int) -> Share:
        """Return the share of process `rank`: contiguous, and at most one image larger than the others."""
        least, more = divmod(total, world_size)
        return cls(rank * least + min(rank, more), least + (rank < more), total)

    @property
    def images(self) -> slice:
        """Which images of the batch to compute, at least one."""
        first = min(self.first, self.total - 1)
        return slice(first, first + max(self.count, 1))

    @property
    def weight(self) -> float:
        """Share of the batch; the weights of all processes add up to 1."""
        return self.count / self.total


class Workers:
    """A process that trains alone; `bnnkit.train.distributed.Processes` is one of several.

    Attributes:
        rank: number of this process. Number 0 validates, tests, writes and reports; the others follow it.
        world_size: number of processes.
    """

    rank = 0
    world_size = 1

    def share(self, total: int) -> Share:
        """Return the share of this process in a batch of `total` images."""
        return Share.of(total, self.rank, self.world_size)

    def statistics(self, share: Share) -> AbstractContextManager[object]:
        """Let batch normalization inside the block see the whole batch, of which this process computes a share."""
        return nullcontext()

    def backward(
        self, loss: Tensor, correct: int, share: Share, parameters: Sequence[nn.Parameter]
    ) -> tuple[Tensor, int]:
        """Compute the gradients of the whole batch.

        Args:
            loss: float32 [], mean over the share, with its graph.
            correct: images of the share whose class was found.

        Returns:
            Mean loss over the whole batch, without graph, and the correct images in it.
        """
        loss.backward()
        return loss.detach(), correct

    def agreed(self, signal: str | None) -> str | None:
        """Return the signal that asked any of the processes to stop; all call it at the same time."""
        return signal

    def announce(self, task: Mapping[str, Any]) -> None:
        """Tell the other processes which training to follow, see `bnnkit.train.follow`."""

    def receive(self) -> dict[str, Any] | None:
        """Return what the first process announces next; None: there are no more trainings."""
        return None

    def check_same(self, model: nn.Module) -> None:
        """Raise `MismatchError` unless the weights of all processes are the same, bit for bit."""


ALONE = Workers()


class EndedElsewhereError(Exception):
    """Another process has failed first, and said so; this one ends with the same exit code, and in silence."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"another process ended with {exit_code}")
        self.exit_code = exit_code


@contextmanager
def together() -> Iterator[Workers]:
    """Join the processes that torchrun started with this one, for the time of the block; without torchrun be alone.

    An exception in one process ends the block in all of them: there with the same exception, elsewhere with
    `EndedElsewhereError`, which has its exit code.

    Raises:
        UsageError: the environment is only partly that of torchrun.
        MissingError: the other processes cannot be reached.

    >>> with together() as workers:
    ...     workers.world_size
    1
    """
    if os.environ.get("WORLD_SIZE", "1") in ("", "0", "1"):
        yield ALONE
        return
    from bnnkit.train.distributed import joined

    with joined() as workers:
        yield workers
