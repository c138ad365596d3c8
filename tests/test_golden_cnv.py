"""The brevitas CNV answered these; bnnkit must answer the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnkit import deploy, importers
from bnnkit.models import Model, create_model
from bnnkit.models.cnv import FixedPointPixels
from bnnkit.nn import Backend, backend

BACKENDS: list[Backend] = ["reference", "torch", "auto"]  # "packed" refuses the first layer, which reads values


@pytest.fixture
def network(origin_state: Callable[[str], dict[str, Tensor]]) -> Model:
    return importers.load("cnv", create_model("cnv"), origin_state("cnv_1w1a.npz")).eval().requires_grad_(False)


def test_pixels(shared_golden: Path) -> None:
    golden = np.load(shared_golden / "cnv_1w1a.npz")
    pixels = FixedPointPixels()(torch.from_numpy(golden["image_u8"]).float() / 255)
    assert torch.equal(pixels, torch.from_numpy(golden["input_q"]))


@pytest.mark.parametrize("name", BACKENDS)
def test_logits(shared_golden: Path, network: Model, name: Backend) -> None:
    golden = np.load(shared_golden / "cnv_1w1a.npz")
    with backend(name):
        logits = network(torch.from_numpy(golden["image_u8"]).float() / 255)
    want = torch.from_numpy(golden["logits"])
    assert (logits - want).abs().max() <= 1e-3 * want.abs().max().clamp_min(1)


def test_packed_logits(shared_golden: Path, network: Model) -> None:
    golden = np.load(shared_golden / "cnv_1w1a.npz")
    logits = deploy.compile(network, (0.0,) * 3, (1.0,) * 3)(torch.from_numpy(golden["image_u8"]))
    want = torch.from_numpy(golden["logits"])
    assert (logits - want).abs().max() <= 1e-3 * want.abs().max().clamp_min(1)
