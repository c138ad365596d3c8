"""Training and evaluation on a GPU against the processor; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bnnkit import ops
from bnnkit.train import Plan
from bnnkit.train.evaluation import evaluate
from bnnkit.train.training import Training

STEPS = 12

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or ops.cuda_library() is None, reason="needs a GPU and bnnkit's CUDA kernels"
)


def _trained(plan: Plan) -> tuple[Training, list[float]]:
    training = Training(plan.config, plan.dataset)
    losses, before = [], 0.0
    for _ in range(STEPS):
        training.step()
        losses.append(training.position.loss - before)
        before = training.position.loss
        if training.position.step == training.images.steps:
            training.end_epoch()
            before = 0.0
    return training, losses


@pytest.mark.parametrize("adc_bit", ["fp", "1", "3"])
def test_the_losses_are_those_of_the_processor(tiny: Callable[..., Plan], adc_bit: str) -> None:
    options = {"ao_bit": "1", "w_bit": "1", "adc_bit": adc_bit, "epochs": 6}
    _, expected = _trained(tiny(**options))
    training, losses = _trained(tiny(**options, device="cuda"))
    assert ops.last_variant("adc" if adc_bit != "fp" else "xnor") == "cuda"
    assert next(training.model.parameters()).is_cuda
    # Sums of floats differ in their last bits, which a sign can make larger further on: the first steps agree.
    assert losses[:3] == pytest.approx(expected[:3], rel=1e-4)
    assert losses[-1] == pytest.approx(expected[-1], rel=0.2)


def test_the_logits_are_those_of_the_processor(tiny: Callable[..., Plan]) -> None:
    training, _ = _trained(tiny(ao_bit="1", w_bit="1", adc_bit="1", device="cuda"))
    indices = torch.arange(len(training.dataset.test))
    on_gpu = evaluate(training.model, training.test_images, indices, training.preparation)
    on_processor = evaluate(training.model.cpu(), training.dataset.test, indices, training.preparation)
    assert torch.equal(on_gpu.logits, on_processor.logits)
