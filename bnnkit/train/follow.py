"""What the processes of a distributed training do, except the first: the same steps, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnkit.data import load
from bnnkit.errors import MismatchError
from bnnkit.train.config import Config
from bnnkit.train.interrupt import stop_on_signals
from bnnkit.train.training import Training
from bnnkit.train.workers import Workers


def task(training: Training) -> dict[str, Any]:
    """Return what the other processes need to follow a training from where it is; `follow` reads it."""
    teacher = training.teacher
    return {
        "config": training.config.as_json(),
        "fingerprint": training.dataset.fingerprint,
        "teacher": None if teacher is None else teacher.digest,
        "state": training.state(),
    }


def follow(workers: Workers) -> None:
    """Take part in every training that the first process announces, until it says that there are no more.

    Datasets and teachers are read from the same paths as there; weights come from it, so that run directories need not
    be readable here.

    Raises:
        MismatchError: dataset or teacher are not those of the first process, or the weights went apart.
        MissingError: no such dataset or teacher here.
        BnnkitError: whatever ended another process.
    """
    while (announced := workers.receive()) is not None:
        training = _training(announced, workers)
        training.adopt(announced["state"])
        with stop_on_signals() as stop:
            while not training.training_is_over:
                end = training.epoch_end
                while training.position.step < end:
                    if workers.agreed(stop.signal) is not None:
                        # The first process saves, and then ends all.
                        workers.receive()
                    training.step()
                workers.check_same(training.model)
                training.end_epoch()


def _training(announced: Mapping[str, Any], workers: Workers) -> Training:
    config = Config.from_json(announced["config"])
    dataset = load(config.dataset, data_dir=config.data_dir)
    where = f"train: process {workers.rank + 1} of {workers.world_size}"
    if dataset.fingerprint != announced["fingerprint"]:
        raise MismatchError(
            f"{where}: dataset {config.dataset} is not that of the first process (fingerprint "
            f"{dataset.fingerprint[:12]} instead of {announced['fingerprint'][:12]})",
            hint=f"bnnkit data prepare {config.dataset}",
        )
    training = Training(config, dataset, workers=workers)
    digest = None if training.teacher is None else training.teacher.digest
    if digest != announced["teacher"]:
        raise MismatchError(
            f"{where}: {config.teacher} is not the teacher of the first process", hint="copy the file to every machine"
        )
    return training
