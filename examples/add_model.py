"""Register an architecture of your own, then use it like the others: train, test and pack it with bnnkit's commands.

    python examples/add_model.py                                        # a demonstration in a temporary folder
    python examples/add_model.py train lenet --adc-bit 2            # the bnnkit command, which knows it now
    python examples/add_model.py models show lenet

A model is a class that builds its layers from `Settings`, and an entry that names it. Layers come from `settings.conv`
and `settings.linear`: they have the bits, arrays and converters that were asked for.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import bnnkit
from bnnkit import train
from bnnkit.models import MODELS, Model, ModelEntry, Settings
from bnnkit.train import Preparation, evaluate
from bnnkit_cli.main import main as command


class Lenet(Model):
    """A stem in full precision, a convolution and a linear layer on arrays, a classifier in full precision."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        channels = 16 * settings.width
        colours, height, width = settings.in_shape
        self.stem = nn.Conv2d(colours, channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.conv = settings.conv(channels, channels, stride=2)
        self.conv_norm = nn.BatchNorm2d(channels)
        self.hidden = settings.linear(channels * ((height + 1) // 2) * ((width + 1) // 2), 128)
        self.hidden_norm = nn.BatchNorm1d(128)
        self.classifier = nn.Linear(128, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        # Inputs of layers on arrays are quantized in [-1, 1].
        x = nn.functional.hardtanh(self.stem_norm(self.stem(x)))
        x = nn.functional.hardtanh(self.conv_norm(self.conv(x)))
        x = nn.functional.hardtanh(self.hidden_norm(self.hidden(x.flatten(1))))
        logits: Tensor = self.classifier(x)
        return logits


MODELS.register("lenet")(
    ModelEntry(
        build=Lenet,
        description="a 3x3 convolution of 16*width channels and a linear layer on arrays, width 1",
        dataset="digits",
        in_shape=(1, 8, 8),
        width=1,
    )
)


def demonstrate(root: Path) -> None:
    """Train, test through another converter, and pack; `root` takes the run directory."""
    options = {"dataset": "digits", "adc_bit": 2, "epochs": 4, "batch": 32, "lr": 3e-3, "threads": 1}
    plan = train.resolve("lenet", options)
    (outcome,) = train.start(plan, train.Silent(), argv=[], root=root)
    print(f"trained through 2-bit converters: {outcome.accuracy:.2f} %")
    assert outcome.accuracy > 70

    net = bnnkit.load(outcome.run.best)
    digits = plan.dataset
    preparation = Preparation.of(digits, net.settings.in_shape)
    found = evaluate(net, digits.test, torch.arange(len(digits.test)), preparation)
    packed = bnnkit.deploy.compile(net, preparation.mean, preparation.std)
    assert torch.equal(packed(digits.test.images), found.logits), "packed bits give the same logits"
    print(f"packed: the same logits, {sum(packed.binary_products.values()):,} binary products per image")

    # The commands work too, because this process has registered the model.
    assert command(["pack", str(outcome.run.path), "-o", str(root / "lenet.packed.safetensors")]) == 0
    results = json.loads((outcome.run.path / "results.json").read_text())
    assert results["test"]["correct"] == found.score.correct


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--quick"]):  # it is quick anyway
        sys.exit(command(sys.argv[1:]))
    with tempfile.TemporaryDirectory() as folder:
        demonstrate(Path(folder))
