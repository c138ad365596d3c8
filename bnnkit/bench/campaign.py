"""campaign: a network evaluated with the flipped weight bits of many fault maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bnnkit import faults, nn
from bnnkit.bench import inference, machine
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.inference import Run
from bnnkit.bench.model import check_logits
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import equal
from bnnkit.checkpoint import PREFIX, Checkpoint
from bnnkit.data import Split
from bnnkit.deploy import PackedNetwork
from bnnkit.models import Model
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.train.precision import repeatable
from bnnkit.train.subject import Subject

RATE = 0.01
BATCH = 256
CHECKED_IMAGES = 2
LOOP_IMAGES = 128
"""That an opponent evaluates per map in one call: its speed does not depend on their number."""
OPPONENTS = {"layers": "bnnkit layers", "loop": "loop", "fp32": "torch fp32"}


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for count, maps, width in plan.shapes:
        torch.manual_seed(1)
        model, images = inference.build("res20", width), inference.random_images(count)
        yield Case(f"res20 width {width}, {count} images, {maps} maps", _sides(plan, model, images, maps))


def _sides(plan: Plan, model: Model, images: Tensor, maps: int) -> list[Side]:
    some = images[:LOOP_IMAGES]
    against = tuple(OPPONENTS[name] for name in plan.against)
    sides = []
    for threads in plan.threads:
        for name in plan.against:
            # Without quantization there are no bits to flip: what is left is the time of the network itself.
            target = None if name == "fp32" else model
            run = inference.side(name, model)
            sides.append(
                Side(
                    OPPONENTS[name],
                    partial(perturbed, run, target, some),
                    Work(len(some), "image"),
                    threads,
                    None,
                    ("adc", "pack") if name == "layers" else (),
                    partial(check_logits, model, run, some) if name == "layers" else None,
                    tuple(other for other in against if other != OPPONENTS["layers"]) if name == "layers" else (),
                )
            )
        for variant in plan.variants:
            machine.enter(threads, variant)  # a packed network keeps the variant it is made for
            campaign = _Packed(model, images, maps)
            sides.append(
                Side(
                    "bnnkit campaign",
                    campaign.run,
                    Work(len(images) * maps, "image", campaign.products),
                    threads,
                    variant,
                    ("network",),
                    campaign.check,
                    against,
                    stages=campaign.stages,
                )
            )
    return sides


@torch.no_grad()
def perturbed(run: Run, model: Model | None, images: Tensor) -> Tensor:
    """Do what a loop over maps does for one map: flip weights of the network, run it, and flip them back."""
    flips = []
    for layer in [] if model is None else model.modules():
        if isinstance(layer, CimConv2d | CimLinear):
            sign = torch.where(torch.rand(layer.weight.shape) < RATE, -1.0, 1.0)
            layer.weight.mul_(sign)
            flips.append((layer, sign))
    logits = run(images)
    for layer, sign in flips:
        layer.weight.mul_(sign)
    return logits


class _Packed:
    """The campaign as `bnnkit inject` runs it, on random images."""

    def __init__(self, model: Model, images: Tensor, maps: int) -> None:
        self._model, self._images, self._maps = model, images, maps
        mean, std = inference.normalization(model)
        metadata = {"model": model.config, "preparation": {"mean": list(mean), "std": list(std)}}
        tensors = {f"{PREFIX}{name}": value for name, value in model.state_dict().items()}
        self._network = faults.Network(Subject(Checkpoint(Path("network"), metadata, tensors)), {}, "packed")
        self._settings = faults.of_faults([faults.Fault("weight", "flip", RATE)], self._network.layers)
        packed = self._network.golden
        assert isinstance(packed, PackedNetwork)
        self.products = len(images) * maps * sum(packed.binary_products.values())
        self._shares: list[float] = []

    def run(self) -> None:
        """Evaluate every map; the golden network is not evaluated again in every call."""
        split = Split(self._images, torch.zeros(len(self._images), dtype=torch.int64))
        campaign = faults.Campaign(
            self._network,
            split,
            torch.arange(len(self._images)),
            self._settings,
            faults.Repeats(self._maps),
            batch=BATCH,
            golden=split.labels,
        )
        trials = list(campaign.run())
        self._shares.append(sum(t.fault_seconds for t in trials) / sum(t.seconds for t in trials))

    def stages(self) -> dict[str, float]:
        """Return the share of the time in which faults are put into the network, and the rest."""
        share = sum(self._shares) / len(self._shares)
        return {"faults": share, "network": 1 - share}

    @torch.no_grad()
    def check(self) -> Check:
        """Compare the faulty network's logits with the reference's, in whose weights the same bits are flipped."""
        faulty = self._network.faulty(self._settings[0], (0, 0))
        flipped = []
        for name, [sites] in faulty.sites.items():
            weight = self._model.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            flat, places = weight.view(-1), torch.from_numpy(sites.places)
            flat[places] = -flat[places]
            flipped.append((flat, places))
        some = self._images[:CHECKED_IMAGES]
        with repeatable(self._model), nn.backend("reference"):
            expected = inference.side("layers", self._model)(some)
        for flat, places in flipped:
            flat[places] = -flat[places]
        return equal(faulty.network(some), expected, f"logits of {len(some)} images with the faults of a map")


BENCHES.register("campaign")(
    Bench(
        description="a fault campaign: flipped weight bits in res20 1/1/1",
        shape_form="IMAGES,MAPS,WIDTH",
        shapes=((1000, 32, 1),),
        opponents=tuple(OPPONENTS),
        rivals=tuple(OPPONENTS),
        every_variant=False,
        cases=cases,
        notes=(
            f"a map flips {RATE:.0%} of the weight bits; 1-bit activations, weights and converters, 32x32 images",
            "bnnkit campaign: what `bnnkit inject --fault weight:flip` does; images are those of all maps together",
            f"others: weights of the torch network are flipped, {LOOP_IMAGES} images evaluated, weights flipped back; "
            "bnnkit layers, loop: as in `--kernel model`; torch fp32: without quantization, and nothing is flipped",
            "stages: share of the time in which faults are drawn and put into packed words",
        ),
    )
)
