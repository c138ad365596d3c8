"""Several processes compute what one computes, to the order in which floats are added, and end together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnnkit import checkpoint, ops, runs
from bnnkit.errors import MissingError, UsageError
from bnnkit.runs import Run
from bnnkit.train import Plan, Silent, resolve, resume, start
from bnnkit.train.batch_statistics import WholeBatch
from bnnkit.train.workers import ALONE, Share, together

from .stopping import fingerprint

WORKER = Path(__file__).with_name("distributed_worker.py")

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="this torch has no gloo"
)


@pytest.fixture
def compiled() -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))


def torchrun(*arguments: str, processes: int = 2) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, *arguments]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("total", [2, 3, 7, 64])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_are_a_partition_of_the_batch(total: int, world_size: int) -> None:
    shares = [Share.of(total, rank, world_size) for rank in range(world_size)]
    batch = torch.arange(total)
    assert torch.equal(torch.cat([batch[share.images][: share.count] for share in shares]), batch)
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert max(share.count for share in shares) - min(share.count for share in shares) <= 1
    for share in shares:
        assert len(batch[share.images]) == max(share.count, 1)


class InThreads:
    """Stands for processes: threads that wait for each other's numbers."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count, timeout=30)
        self._every: list[Tensor] = [torch.empty(0)] * count

    def gather(self, rank: int) -> Callable[[Tensor], Tensor]:
        def exchange(own: Tensor) -> Tensor:
            self._every[rank] = own
            self._barrier.wait()
            found = torch.stack(self._every)
            self._barrier.wait()
            return found

        return exchange

    def run(self, work: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def guarded(rank: int) -> None:
            try:
                work(rank)
            except BaseException as failure:
                failures.append(failure)
                self._barrier.abort()

        threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(len(self._every))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures


@pytest.mark.parametrize("shape", [(7, 4), (7, 4, 3, 5), (2, 4, 2, 2)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_statistics_and_gradients_are_those_of_the_whole_batch(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    make: type[nn.Module] = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    x, dy = (3 * torch.randn(shape, generator=generator) + 5 for _ in range(2))
    whole, parts = make(4, **options), [make(4, **options) for _ in range(3)]
    whole_x = x.clone().requires_grad_()
    for _ in range(2):
        whole(whole_x).backward(dy)
    shares = [Share.of(len(x), rank, 3) for rank in range(3)]
    part_x = [x[share.images].clone().requires_grad_() for share in shares]
    threads = InThreads(3)

    def work(rank: int) -> None:
        share = shares[rank]
        for _ in range(2):
            with WholeBatch(threads.gather(rank), counts=share.count > 0):
                y = parts[rank](part_x[rank])
            y.backward(dy[share.images] * (share.count > 0))

    threads.run(work)
    gradients = [part.grad[: share.count] for part, share in zip(part_x, shares, strict=True) if part.grad is not None]
    torch.testing.assert_close(torch.cat(gradients), whole_x.grad, rtol=1e-5, atol=1e-5)
    for name, parameter in whole.named_parameters():
        found = sum(part.get_parameter(name).grad for part in parts)  # type: ignore[misc]
        torch.testing.assert_close(found, parameter.grad, rtol=1e-5, atol=1e-4)
    for part in parts:
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(part.state_dict()[name], value, rtol=1e-6, atol=1e-6)


TINY = {"dataset": "digits", "width": 1, "limit": 120, "epochs": 3, "threads": 1}
FP = {"ao_bit": "fp", "adc_bit": "fp"}
CASES: list[dict[str, Any]] = [
    {"model": "mlp", "options": {**FP, "batch": 27, "clip_factor": 0.02, "label_smoothing": 0.1}, "steps": 6},
    {"model": "mlp", "options": {**FP, "batch": 27, "optimizer": "sgd", "weight_decay": 0.01}, "steps": 6},
    {"model": "res20", "options": {**FP, "w_bit": "fp", "batch": 2, "limit": 12, "optimizer": "sgd"}, "steps": 2},
]
COMPILED: list[dict[str, Any]] = [
    {"model": "res20", "options": {"batch": 27, "augment": "crop-flip"}, "steps": 3},
    {
        "model": "cnv",
        "options": {"batch": 14, "loss": "margin", "faults": ["weight:flip@0.02", "activation:flip@0.02"]},
        "steps": 3,
    },
    {"model": "fracbnn20", "options": {"batch": 9, "gate_penalty": 0.01, "gate_target": 0.5}, "steps": 1},
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a small trained network."""
    plan = resolve("mlp", {**TINY, **FP, "epochs": 1, "batch": 32})
    (outcome,) = start(plan, Silent(), argv=[], root=tmp_path_factory.mktemp("teacher"))
    return str(outcome.run.last)


@pytest.mark.usefixtures("compiled")
def test_every_step_is_that_of_one_process(tmp_path: Path, teacher: str) -> None:
    """Three processes; some batches have fewer images. Few steps: see docs/distributed.md for the reason."""
    imitation = {"model": "mlp", "options": {**FP, "batch": 27, "teacher": teacher, "distill": 0.7}, "steps": 3}
    cases = [{**case, "options": {**TINY, **case["options"]}} for case in [*CASES, imitation, *COMPILED]]
    results = tmp_path / "results.json"
    done = run(torchrun(str(WORKER), "compare", json.dumps(cases), str(results), processes=3))
    assert done.returncode == 0, done.stderr
    for case, found in zip(cases, json.loads(results.read_text()), strict=True):
        for together_, alone in found["losses"]:
            # Normalized over two images, the order of a sum can show in the sixth digit, more or less by processor.
            assert together_ == pytest.approx(alone, rel=1e-5), (case, found)
        assert found["correct"][0] == found["correct"][1], case
        if case["options"].get("optimizer") == "sgd":
            # Adam divides even the gradients that are 0 but for rounding, of biases before a normalization.
            assert found["apart"] < 1e-4, case


CLI = {**TINY, "model": "res20", "epochs": 5, "batch": 27, "optimizer": "sgd", "lr": 0.01, "val_split": 0.2}


def command_line(root: Path) -> list[str]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in CLI.items() if name != "model"]
    return ["-m", "bnnkit_cli", "train", "res20", *flags, "--runs-dir", str(root), "--json"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two processes, started as a person does."""
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))
    root = tmp_path_factory.mktemp("two")
    done = run(torchrun(*command_line(root)))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = runs.resolve("latest", root=root)
    assert document["runs"][0]["run"] == str(found.path)
    assert done.stderr.count("epoch 1/5") == 1, "only the first process speaks"
    return found


def one_process(root: Path) -> Run:
    plan: Plan = resolve("res20", {name: value for name, value in CLI.items() if name != "model"})
    (outcome,) = start(plan, Silent(), argv=[], root=root)
    return outcome.run


def assert_close(found: Run, expected: Run) -> None:
    for record, other in zip(found.read_metrics(), expected.read_metrics(), strict=True):
        assert record["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert record["train_accuracy"] == pytest.approx(other["train_accuracy"], abs=100 * 1.1 / 96)
    tensors, others = checkpoint.read(found.last).tensors, checkpoint.read(expected.last).tensors
    assert tensors.keys() == others.keys()
    for name, value in others.items():
        if value.is_floating_point():
            torch.testing.assert_close(tensors[name], value, rtol=1e-2, atol=1e-3)


def test_two_processes_train_what_one_trains(two: Run, tmp_path: Path) -> None:
    expected = one_process(tmp_path)
    assert_close(two, expected)
    assert two.config.read_text() == expected.config.read_text()
    assert (two.read_json("stamp.json")["processes"], expected.read_json("stamp.json")["processes"]) == (2, 1)


def test_a_stopped_training_continues_with_as_many_processes_or_fewer(two: Run, tmp_path: Path) -> None:
    with subprocess.Popen(
        torchrun(*command_line(tmp_path)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        printed = []
        for line in process.stderr:
            printed.append(line)
            if line.startswith("epoch 1/5"):
                process.send_signal(signal.SIGTERM)
    stopped = runs.resolve("latest", root=tmp_path)
    messages = [line for line in printed if line.startswith("interrupted: ")]
    assert len(messages) == 1 and "stopped by SIGTERM after " in messages[0], "".join(printed)
    assert f"the state is saved in {stopped.path}" in messages[0]
    assert not stopped.finished and process.returncode != 0
    copy = Path(shutil.copytree(stopped.path, tmp_path / "copy" / "train" / stopped.name))

    done = run(torchrun("-m", "bnnkit_cli", "train", "--resume", str(stopped.path)))
    assert done.returncode == 0, done.stderr
    assert fingerprint(stopped) == fingerprint(two), "bit for bit with as many processes"
    assert [entry["processes"] for entry in stopped.read_json("stamp.json")["resumed"]] == [2]

    resume(copy, {}, Silent(), argv=[])
    assert_close(Run(copy), two)
    assert [entry["processes"] for entry in Run(copy).read_json("stamp.json")["resumed"]] == [1]


def test_an_error_in_one_process_ends_all_with_its_exit_code(tmp_path: Path) -> None:
    arguments = ["train", "mlp", *(f"--{name}={value}" for name, value in TINY.items()), "--batch=27"]
    arguments += ["--ao-bit=fp", "--adc-bit=fp", "--runs-dir", str(tmp_path)]
    done = run(torchrun(str(WORKER), "fail", "1", "2", *arguments))
    assert done.returncode != 0
    assert done.stderr.count("error: scissors: none left; one was needed") == 1
    assert done.stderr.count("hint: look elsewhere") == 1
    for rank in range(2):
        assert f"process {rank} ended with 3" in done.stderr
    assert not runs.resolve("latest", root=tmp_path).finished


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads in /proc")
def test_no_thread_outlives_the_connections(tmp_path: Path) -> None:
    """One of gloo that frees a tensor while the interpreter ends would abort it."""
    arguments = ["train", "mlp", *(f"--{name}={value}" for name, value in {**TINY, "epochs": 1}.items())]
    arguments += ["--ao-bit=fp", "--adc-bit=fp"]
    done = run(torchrun(str(WORKER), "leave", *arguments, "--batch=27", "--runs-dir", str(tmp_path)))
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert f"process {rank} has left 1 thread(s)" in done.stderr


def test_one_process_needs_no_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "1"):
        monkeypatch.setenv("WORLD_SIZE", value)
        with together() as workers:
            assert workers is ALONE
    code = (
        "import sys; from bnnkit.train import Silent, resolve, start; from pathlib import Path\n"
        f"plan = resolve('mlp', {dict(TINY, **FP, epochs=1, batch=32)!r})\n"
        f"start(plan, Silent(), argv=[], root=Path({str(tmp_path)!r}))\n"
        "assert 'bnnkit.train.distributed' not in sys.modules\n"
    )
    done = run([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set"), together():
        pass
