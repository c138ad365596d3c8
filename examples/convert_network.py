"""Take a network that bnnkit has never seen, put it on compute-in-memory arrays, train it through their converters,
and run it packed.

    python examples/convert_network.py                                  # digits, which come with bnnkit: a minute
    python examples/convert_network.py --data cifar10 --limit 10000 --epochs 3

Four accuracies are printed per network: in full precision; converted, with nothing but its normalizations fitted to
what now comes out of the arrays; after training it through the converters; and packed, which must be the same.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnkit
from bnnkit.data import Dataset, normalize
from bnnkit.data.augment import random_crop_flip
from bnnkit.train import Preparation, Score, evaluate
from bnnkit.train.images import limited


class PlainCnn(nn.Sequential):
    """Convolutions one after the other; pooled before the normalization, or most signs after it would be +1."""

    def __init__(self, colours: int, side: int, width: int) -> None:
        def block(inputs: int, outputs: int, pool: bool = False) -> list[nn.Module]:
            pooling = [nn.MaxPool2d(2)] if pool else []
            return [nn.Conv2d(inputs, outputs, 3, padding=1), *pooling, nn.BatchNorm2d(outputs), nn.ReLU()]

        super().__init__(
            *block(colours, width),
            *block(width, width, pool=True),
            *block(width, 2 * width),
            *block(2 * width, 2 * width, pool=True),
            nn.Flatten(),
            nn.Linear(2 * width * (side // 4) ** 2, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.downsample(x)
        return self.relu(y)


class SmallResNet(nn.Module):
    """A stem and six convolutions in three blocks with shortcuts."""

    def __init__(self, colours: int, side: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(colours, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layers = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.layers(self.stem(x))).flatten(1))


def train(net: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset, epochs: int, lr: float) -> None:
    """An ordinary training; the only line of bnnkit's is `clamp_latent`."""
    optimizer = torch.optim.Adam(net.parameters(), lr)
    steps = epochs * -(-len(images) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    net.train()
    for epoch in range(epochs):
        for chosen in torch.randperm(len(images)).tensor_split(-(-len(images) // 32)):
            batch = images[chosen]
            if batch.shape[-1] >= 28:
                batch = random_crop_flip(batch, key=(0, epoch, chosen))
            loss = F.cross_entropy(net(normalize(batch, dataset.mean, dataset.std)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bnnkit.nn.clamp_latent(net)


@torch.no_grad()
def fit_normalizations(net: nn.Module, images: Tensor, dataset: Dataset) -> None:
    """Let the normalizations average what they see, without training."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    net.train()
    for batch in images.split(256):
        net(normalize(batch, dataset.mean, dataset.std))
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 0.1


def demonstrate(net: nn.Module, dataset: Dataset, options: argparse.Namespace) -> None:
    # Images are drawn, not the first: many data sets come class by class.
    used, tested = limited(len(dataset.train), options.limit), limited(len(dataset.test), options.limit)
    images, labels = dataset.train.images[used], dataset.train.labels[used]
    _, channels, height, width = images.shape
    preparation = Preparation.of(dataset, (channels, height, width))

    def accuracy(network: nn.Module) -> Score:
        return evaluate(network, dataset.test, tested, preparation).score

    begin = time.perf_counter()
    print(f"\n{type(net).__name__} on {dataset.name}, {len(images):,} images to train on, {options.epochs} epochs")
    train(net, images, labels, dataset, options.epochs, lr=3e-3)
    print(f"  full precision       {accuracy(net)}")

    on_arrays = bnnkit.convert(
        net,
        ao_bit=options.ao_bit,
        w_bit=options.w_bit,
        adc_bit=options.adc_bit,
        array=bnnkit.cim.Array(rows=options.rows),
        # 1x1 shortcuts stay in full precision, as in the field.
        exclude="*.downsample.*" if isinstance(net, SmallResNet) else (),
    )
    for layer in bnnkit.nn.converted_layers(on_arrays):
        print(f"    {layer}")
    fit_normalizations(on_arrays, images[limited(len(images), 2048)], dataset)
    print(f"  converted            {accuracy(on_arrays)}")

    train(on_arrays, images, labels, dataset, 2 * options.epochs, lr=1e-2)
    found = evaluate(on_arrays, dataset.test, tested, preparation)
    print(f"  trained on arrays    {found.score}")

    packed = bnnkit.deploy.compile(on_arrays, preparation.mean, preparation.std, in_shape=preparation.shape)
    logits = packed(dataset.test.images[tested])
    same = int((logits == found.logits).all(1).sum())
    correct = int((logits.argmax(1) == dataset.test.labels[tested]).sum())
    print(f"  packed               {Score(correct, len(tested))}")
    print(f"  packed logits equal those of torch for {same:,}/{len(tested):,} images")
    print(f"  {time.perf_counter() - begin:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert two networks, train them through converters, pack them.")
    parser.add_argument("--data", default="digits", help="digits, mnist, cifar10, ... [digits]")
    parser.add_argument("--epochs", type=int, default=15, help="in full precision; twice as many on arrays [15]")
    parser.add_argument("--limit", type=int, help="images to train and to test on, at most")
    parser.add_argument("--width", type=int, default=32, help="channels of the first convolution [32]")
    parser.add_argument("--ao-bit", type=float, default=1, help="bits of activations [1]")
    parser.add_argument("--w-bit", type=float, default=1, help="bits of weights [1]")
    parser.add_argument("--adc-bit", type=int, default=2, help="bits of the converters [2]")
    parser.add_argument("--rows", type=int, default=128, help="word lines of an array [128]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="only show that it runs: one epoch, few images")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.limit, options.width = 1, 100, 4
    torch.set_num_threads(options.threads)
    dataset = bnnkit.data.load(options.data)
    _, colours, side, _ = dataset.train.images.shape
    for kind in (PlainCnn, SmallResNet):
        torch.manual_seed(0)
        demonstrate(kind(colours, side, options.width), dataset, options)


if __name__ == "__main__":
    main()
