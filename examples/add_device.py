"""Compute on a memory cell that bnnkit does not know: its conductances, what varies, and how it drifts.

    python examples/add_device.py

A cell is a few numbers in a registry. Here an invented one is registered, checked against what was said of it, and used
for the weights of a small network of 4-bit weights and activations, on several chips, fresh and a month later.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnkit
from bnnkit.cim import CELLS, Cell, Chip, parse_cell
from bnnkit.data import Dataset, normalize
from bnnkit.nn import BitSerialLinear, program
from bnnkit.train import Preparation, Score, evaluate

MONTH = 30 * 24 * 3600

CELLS.register("invented")(
    Cell(
        hrs=20.0,  # microsiemens
        lrs=120.0,
        program=(4.0, 0.1),  # standard deviation after programming: 4 uS + 10 % of the conductance
        nu=0.05,  # conductances fall like t^-nu, with a spread of nu from cell to cell
        nu_sigma=0.01,
        source="no device: numbers of this example",
    )
)


def check_cell() -> None:
    """Measure many cells."""
    cell = parse_cell("invented")  # as `--cell invented` does; keys can be changed: invented:nu=0.1
    level = torch.ones(100_000, dtype=torch.long)
    fresh = cell.conductance(level, 1, 0)  # level 1 of a 1-bit cell, chip 0
    assert abs(fresh.mean().item() - 120) < 0.3
    assert abs(fresh.std().item() - (4 + 0.1 * 120)) < 0.2
    old = parse_cell(f"invented:time={MONTH}").conductance(level, 1, 0)
    exponents = -(old / fresh).log() / torch.tensor(float(MONTH)).log()
    assert abs(exponents.mean().item() - 0.05) < 1e-3 and abs(exponents.std().item() - 0.01) < 1e-3
    assert torch.equal(cell.conductance(level, 1, 0), fresh), "a chip keeps its cells"
    assert not torch.equal(cell.conductance(level, 1, 1), fresh), "another chip has others"


def network() -> nn.Module:
    """One layer on arrays between two in full precision."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 128), nn.BatchNorm1d(128)),
        *(BitSerialLinear(128, 128, ao_bit=4, w_bit=4), nn.BatchNorm1d(128), nn.ReLU()),
        nn.Linear(128, 10),
    )


def train(net: nn.Module, images: Tensor, labels: Tensor, epochs: int = 4) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimizer.step()


def on_chips(net: nn.Module, digits: Dataset, cell: str, chips: int) -> list[Score]:
    """Test on several chips: the same network, other cells. `program` can also be given calibrated ranges."""
    scores = []
    for seed in range(chips):
        program(net, Chip(cell_bit=2, adc_bit=8, cell=parse_cell(cell), seed=seed))
        scores.append(test(net, digits))
    program(net, None)
    return scores


def test(net: nn.Module, digits: Dataset) -> Score:
    everything = torch.arange(len(digits.test))
    return evaluate(net, digits.test, everything, Preparation.of(digits, (1, 8, 8))).score


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_cell()
    digits = bnnkit.data.load("digits")
    net = network()
    train(net, normalize(digits.train.images, digits.mean, digits.std), digits.train.labels)
    software = test(net, digits)
    print(f"{'software':24}{software}")
    mean = {}
    for cell in ("ideal", "invented", f"invented:time={MONTH}"):
        scores = on_chips(net, digits, cell, 1 if cell == "ideal" else 3)
        mean[cell] = sum(score.accuracy for score in scores) / len(scores)
        print(f"{cell:24}{'  '.join(f'{score.correct}/{score.total}' for score in scores)}")
    assert software.accuracy > 0.9
    assert abs(mean["ideal"] - software.accuracy) < 0.02
    assert mean[f"invented:time={MONTH}"] < mean["invented"], "drift is not for free"


if __name__ == "__main__":
    main()
