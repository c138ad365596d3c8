"""How networks are trained: published settings, by name. No torch is needed to list them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnkit.registry import Registry
from bnnkit.train.config import Milestones


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. Milestones are (epoch, learning rate from then on), in the epochs of the recipe.

    With other epochs than the recipe's the milestones move in proportion. `models` are those it is the default of, the
    first also the one it trains when none is named; `short` are the epochs used for the embedded digits, in small
    batches, when none are asked for; `augment` is meant for colour images.

    `first` makes it a recipe of two steps: the options of `bnnkit.train.config.Config` in which a first training
    differs from the one described, which then starts from the weights of the first. `epochs` and `short` are those of
    each.
    """

    description: str
    epochs: int
    short: int
    lr: float
    schedule: str
    milestones: Milestones = ()
    batch: int = 128
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip_factor: float = 0.0
    gate_penalty: float = 0.0
    gate_target: float = 0.0
    augment: str | None = None
    first: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the settings as options of a training."""
        names = ("epochs", "lr", "schedule", "milestones", "batch", "optimizer", "weight_decay", "clip_factor")
        return {name: getattr(self, name) for name in (*names, "gate_penalty", "gate_target")}

    def steps(self) -> tuple[dict[str, Any], ...]:
        """Return the settings of each training, in their order."""
        last = self.options()
        return ({**last, **self.first}, last) if self.first else (last,)


RECIPES: Registry[Recipe] = Registry("recipe")

RECIPES.register("iga-res")(
    Recipe(
        description="BNN-IGA's residual networks: Adam 5e-3 in five steps down to 1e-5",
        epochs=250,
        short=8,
        lr=5e-3,
        schedule="piecewise",
        milestones=((101.0, 1e-3), (142.0, 5e-4), (184.0, 1e-4), (220.0, 1e-5)),
        models=("res20", "res18"),
    )
)
RECIPES.register("iga-vgg9")(
    Recipe(
        description="BNN-IGA's vgg9: Adam 5e-3 in six steps down to 1e-5",
        epochs=160,
        short=6,
        lr=5e-3,
        schedule="piecewise",
        milestones=((40.0, 1e-3), (80.0, 5e-4), (100.0, 1e-4), (120.0, 5e-5), (140.0, 1e-5)),
        models=("vgg9",),
    )
)
RECIPES.register("iga-mlp")(
    Recipe(
        description="the MNIST network: Adam 1e-3, cosine to 0",
        epochs=30,
        short=20,
        lr=1e-3,
        schedule="cosine",
        models=("mlp",),
    )
)
RECIPES.register("iga-cosine")(
    Recipe(
        description="the newer BNN-IGA: Adam 5e-3, cosine to 0, long",
        epochs=500,
        short=10,
        lr=5e-3,
        schedule="cosine",
    )
)

RECIPES.register("rram")(
    Recipe(
        description="TorchInference_RRAM: SGD 0.05 with two drops, weight decay 1e-4 also on PACT's ranges",
        epochs=200,
        short=12,
        lr=0.05,
        schedule="piecewise",
        milestones=((60.0, 0.025), (120.0, 0.0025)),
        optimizer="sgd",
        weight_decay=1e-4,
        models=("vgg7", "resnet20", "resnet18"),
    )
)

RECIPES.register("ab-bnn")(
    Recipe(
        description="A&B BNN: real weights, then binary ones from them; Adam 1e-3, linear to 0, clipped gradients",
        epochs=256,
        short=4,
        lr=1e-3,
        schedule="linear",
        batch=256,
        clip_factor=1e-3,
        augment="reflect-crop-flip",
        first={"w_bit": "fp", "weight_decay": 5e-6, "decay_on": "convolutions"},
        models=("reactnet18", "reactnet34", "reactnetA"),
    )
)

RECIPES.register("fracbnn")(
    Recipe(
        description="FracBNN: real weights, then binary ones from them; Adam 1e-3, linear to 0, then in three drops",
        epochs=250,
        short=6,
        lr=1e-3,
        schedule="piecewise",
        milestones=((100.0, 1e-4), (150.0, 1e-5), (200.0, 1e-6)),
        gate_penalty=1e-5,
        augment="crop-flip",
        first={"w_bit": "fp", "weight_decay": 1e-5, "schedule": "linear"},
        models=("fracbnn20", "fracbnn_imagenet"),
    )
)

RECIPES.register("cnv")(
    Recipe(
        description="the brevitas CNV: Adam (amsgrad) 0.02, a fifth of it every 80 epochs, large batches",
        epochs=600,
        short=10,
        lr=0.02,
        schedule="piecewise",
        milestones=tuple((80.0 * drop, 0.02 * 0.2**drop) for drop in range(1, 8)),
        batch=2048,
        optimizer="amsgrad",
        models=("cnv",),
    )
)

DEFAULT_RECIPE = "iga-cosine"


def recipe_for(model: str) -> str:
    """Return the name of the recipe a model is trained with when none is asked for.

    >>> recipe_for("res20")
    'iga-res'
    """
    return next((name for name in RECIPES if model in RECIPES.get(name).models), DEFAULT_RECIPE)
