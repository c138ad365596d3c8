"""Put a converter into a network that bnnkit does not have: thresholds and output levels of your own.

    python examples/add_converter.py

Partial sums of a binary network crowd around 0, where a uniform converter over the whole range of an array has few
thresholds. A network is trained without converters and then evaluated through 3-bit ones: uniform, and fitted to the
partial sums it has. The same table then serves training, and packed inference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnkit
from bnnkit.cim import Adc
from bnnkit.data import Dataset, normalize
from bnnkit.nn import CimLinear
from bnnkit.train import Evaluation, Preparation, evaluate

ROWS = 128


def companding(width: float) -> Adc:
    """Return a 3-bit converter whose steps grow with the distance from 0; `width` is where half of its codes lie."""
    share = torch.arange(1, 8) / 8 * 2 - 1
    edges = width * torch.sign(share) * (2.0 ** (2 * share.abs()) - 1)
    steps = edges.diff()
    levels = torch.cat([edges[:1] - steps[0] / 2, (edges[1:] + edges[:-1]) / 2, edges[-1:] + steps[-1] / 2])
    # A partial sum that reaches thresholds[j] reads levels[j + 1]. Gradients are one impulse per threshold.
    return Adc.from_table(edges.tolist(), levels.tolist(), rows=ROWS, sigma=4.0)


def network() -> nn.Module:
    """Two hidden layers on arrays, binary on both sides; the last layer in full precision."""
    plain = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Hardtanh()),
        *(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.Hardtanh()),
        nn.Linear(256, 10),
    )
    return bnnkit.convert(plain, adc_bit="fp", keep_first_and_last=False, exclude="7")


def give(net: nn.Module, adc: Adc | None) -> None:
    """Replace the converters of all layers on arrays."""
    for layer in net.modules():
        if isinstance(layer, CimLinear):
            layer.adc = adc


def train(net: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            bnnkit.nn.clamp_latent(net)


def test(net: nn.Module, digits: Dataset, what: str) -> Evaluation:
    found = evaluate(net, digits.test, torch.arange(len(digits.test)), Preparation.of(digits, (1, 8, 8)))
    print(f"{what:32}{found.score}")
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    own = companding(8.0)
    sums = torch.arange(-ROWS, ROWS + 1)
    codes = (sums[:, None] >= own.thresholds()).sum(1)  # what the kernels do, on integers
    assert torch.equal((own.offset + own.scale * own.levels[codes].double()).float(), own.convert(sums.float()))

    digits = bnnkit.data.load("digits")
    images, labels = normalize(digits.train.images, digits.mean, digits.std), digits.train.labels
    net = network()
    train(net, images, labels, epochs=4)
    exact = test(net, digits, "no converters")
    give(net, Adc(3, ROWS))
    uniform = test(net, digits, "3 bits, uniform")
    give(net, own)
    fitted = test(net, digits, "3 bits, own thresholds")
    train(net, images, labels, epochs=2)
    trained = test(net, digits, "trained on through them")
    assert fitted.score.correct > uniform.score.correct
    assert trained.score.accuracy > 0.8 and exact.score.accuracy > 0.8

    packed = bnnkit.deploy.compile(net, digits.mean, digits.std, in_shape=(1, 8, 8))
    assert torch.equal(packed(digits.test.images), trained.logits), "packed bits give the same logits"
    print("packed: the same logits")


if __name__ == "__main__":
    main()
