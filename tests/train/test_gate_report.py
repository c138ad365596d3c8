"""Networks with precision gates: what is counted while images are evaluated, and where it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnnkit.data import load
from bnnkit.deploy import compile
from bnnkit.models import create_model
from bnnkit.nn import take_gates
from bnnkit.train import Plan, Preparation, Silent, evaluate, start
from bnnkit.train.evaluation import evaluate_packed
from bnnkit.train.gate_report import gates_json, gates_text

FEW = {"limit": 12, "batch": 4, "epochs": 1, "val_split": 4, "ao_bit": None}


class Listening(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def test_an_evaluation_counts_the_gates_of_its_own_images() -> None:
    torch.manual_seed(0)
    digits = load("digits")
    model = create_model("fracbnn20", width=1).eval()
    preparation = Preparation.of(digits, (3, 32, 32), normalized=False)
    with torch.no_grad():
        model(preparation(digits.test.images[:1]))
    counted = [evaluate(model, digits.test, torch.arange(n), preparation, batch=2).gates for n in (2, 4)]
    assert counted[0] is not None and counted[1] is not None
    assert counted[1].outputs == 2 * counted[0].outputs > 0
    assert 0 < counted[0].open < counted[0].outputs
    left = take_gates(model)
    assert left is not None and left.outputs == 0
    plain = create_model("mlp", width=1, in_shape=(1, 8, 8))
    assert evaluate(plain, digits.test, torch.arange(2), Preparation.of(digits, (1, 8, 8))).gates is None


def test_a_run_writes_the_effective_bits(tiny: Callable[..., Plan], root: Path) -> None:
    watcher = Listening()
    plan = tiny("fracbnn20", w_bit=1, **FEW)
    (outcome,) = start(plan, watcher, argv=[], root=root)
    (record,) = outcome.run.read_metrics()
    found, held_out = outcome.results["gates"], record["val_gates"]
    assert (found["images"], found["of_images"]) == (12, 360)
    assert (held_out["images"], held_out["of_images"]) == (4, 4)
    assert found["outputs"] == 3 * held_out["outputs"]
    assert found["activation_bits"] == pytest.approx(1 + found["open"] / found["outputs"])
    assert gates_text(found) in watcher.lines
    assert any(f"  {held_out['activation_bits']:.2f} bits  lr " in line for line in watcher.lines)


def test_networks_without_gates_say_so(tiny: Callable[..., Plan], root: Path) -> None:
    watcher = Listening()
    (outcome,) = start(tiny(gate_penalty=1e-5, epochs=1), watcher, argv=[], root=root)
    assert watcher.lines[1] == "note: mlp has no gates; gate penalty 1e-05 has no effect"
    assert outcome.results["gates"] is None and outcome.run.read_metrics()[0]["val_gates"] is None
    assert gates_json(None, 1, 1) is None


def test_a_packed_network_counts_the_same() -> None:
    pytest.importorskip("bnnkit._C")
    torch.manual_seed(0)
    digits = load("digits")
    model = create_model("fracbnn20", width=1).eval()
    preparation = Preparation.of(digits, (3, 32, 32), normalized=False)
    images = torch.arange(5)
    network = compile(model, preparation.mean, preparation.std)
    network(preparation.fit(digits.test.images[:2]))
    (packed,) = evaluate_packed([network], digits.test, images, preparation, batch=2)
    by_layers = evaluate(model, digits.test, images, preparation, batch=5)
    assert packed.gates == by_layers.gates is not None
