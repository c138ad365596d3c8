"""What the tests run in every process that torchrun starts.

distributed_worker.py compare CASES RESULTS     the same steps alone and together, as JSON
distributed_worker.py fail RANK STEP ARGUMENTS  `bnnkit ARGUMENTS`, where one process fails in one step
distributed_worker.py leave ARGUMENTS           `bnnkit ARGUMENTS`, then the threads that are left
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from bnnkit.errors import MissingError
from bnnkit.train import resolve
from bnnkit.train.training import Training
from bnnkit.train.workers import Workers, together


def compare(cases: str, results: str) -> None:
    with together() as workers:
        found = [_steps(case, workers) for case in json.loads(cases)]
        if workers.rank == 0:
            Path(results).write_text(json.dumps(found))
        else:
            assert workers.receive() is None


def _steps(case: dict[str, Any], workers: Workers) -> dict[str, Any]:
    plan = resolve(case["model"], case["options"])
    trainings = [Training(plan.config, plan.dataset, workers=workers)]
    if workers.rank == 0:
        trainings.append(Training(plan.config, plan.dataset))
    losses: list[list[float]] = []
    for _ in range(case["steps"]):
        for training in trainings:
            if training.position.step == training.images.steps:
                training.end_epoch()
            training.step()
        losses.append([training.position.loss / training.position.seen for training in trainings])
    workers.check_same(trainings[0].model)
    correct = [training.position.correct for training in trainings]
    states = [training.model.state_dict() for training in trainings]
    apart = max(_apart(value, states[-1][name]) for name, value in states[0].items())
    return {"losses": losses, "correct": correct, "apart": apart}


def _apart(value: Tensor, other: Tensor) -> float:
    return float((value - other).abs().max()) / max(1.0, float(other.abs().max()))


def fail(rank: str, step: str, *arguments: str) -> int:
    whole = Training.step

    def failing(training: Training) -> None:
        if os.environ["RANK"] == rank and training.steps_done == int(step):
            raise MissingError("scissors: none left; one was needed", hint="look elsewhere")
        whole(training)

    Training.step = failing  # type: ignore[assignment, method-assign]
    from bnnkit_cli.main import main

    code = main(arguments)
    print(f"process {os.environ['RANK']} ended with {code}", file=sys.stderr)
    return code


def leave(*arguments: str) -> int:
    from bnnkit_cli.main import main

    code = main(arguments)
    left = sorted((thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    print(f"process {os.environ['RANK']} has left {len(left)} thread(s): {', '.join(left)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    sys.exit({"compare": compare, "fail": fail, "leave": leave}[what](*rest))
