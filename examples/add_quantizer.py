"""Give a network a value quantizer that bnnkit does not have: five levels, -1, -1/2, 0, 1/2 and 1.

    python examples/add_quantizer.py

A quantizer is thresholds, planes and a gradient. Layers take it as an attribute; codes, packed bits, kernels and packed
inference follow from the thresholds. It is checked against its formula, then a small network is trained with it on
arrays with 3-bit converters and packed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnkit
from bnnkit.data import normalize
from bnnkit.nn import CimLinear
from bnnkit.quantizers import QUANTIZERS, Quantizer
from bnnkit.train import Preparation, evaluate


@QUANTIZERS.register("quinary")
class Quinary(Quantizer):
    """Q(x) = -1 + floor(2 x + 5/2) / 2, saturating: the nearest of five levels, a tie becomes the higher one.

    Four planes of weight 1, integers -4, -2, 0, 2, 4 over 4.
    """

    bits = 2.25  # names the width in messages; it must differ from those of bnnkit's own quantizers
    planes = 4
    thermometer = True
    unit = 4
    thresholds = (-0.75, -0.25, 0.25, 0.75)  # exactly float32; others would have to be rounded to it
    strict = False


def formula(x: Tensor) -> Tensor:
    """The same map in one line of tensor code."""
    return (-1 + torch.floor(2 * x.double() + 2.5) / 2).clamp(-1, 1).float()


def check_map() -> None:
    """Compare the two on many floats, and on the floats next to every threshold."""
    quantizer, x = Quinary(), torch.linspace(-1.5, 1.5, 100_001)
    edges = torch.tensor(quantizer.thresholds)
    inf = torch.tensor(torch.inf)
    x = torch.cat([x, edges, torch.nextafter(edges, inf), torch.nextafter(edges, -inf)])
    assert torch.equal(quantizer(x), formula(x))
    planes = torch.stack([x >= t for t in quantizer.thresholds]).int()
    assert torch.equal((2 * planes - 1).sum(0), quantizer.integers(x)), "an integer is the sum of its planes"


def network() -> nn.Module:
    """Two hidden layers on arrays, with the new quantizer on both sides; the last layer in full precision."""
    plain = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Hardtanh()),
        *(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.Hardtanh()),
        nn.Linear(256, 10),
    )
    net = bnnkit.convert(plain, adc_bit=3, keep_first_and_last=False, exclude="7")
    for layer in net.modules():
        if isinstance(layer, CimLinear):
            layer.activation, layer.weight_quantizer = Quinary(), Quinary()
    return net


def train(net: nn.Module, images: Tensor, labels: Tensor, epochs: int = 4) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            bnnkit.nn.clamp_latent(net)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_map()
    digits = bnnkit.data.load("digits")
    net = network()
    train(net, normalize(digits.train.images, digits.mean, digits.std), digits.train.labels)

    preparation = Preparation.of(digits, (1, 8, 8))
    found = evaluate(net, digits.test, torch.arange(len(digits.test)), preparation)
    print(f"five levels, 3-bit converters: {found.score}")
    assert found.score.accuracy > 0.85

    packed = bnnkit.deploy.compile(net, digits.mean, digits.std, in_shape=(1, 8, 8))
    assert torch.equal(packed(digits.test.images), found.logits), "packed bits give the same logits"
    print("packed: the same logits")


if __name__ == "__main__":
    main()
