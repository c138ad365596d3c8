"""The brevitas CNV answered these; bnnkit must answer the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bnnkit import deploy, importers
from bnnkit.models import Model, create_model
from bnnkit.models.cnv import FixedPointPixels
from bnnkit.nn import Backend, backend

BACKENDS: list[Backend] = ["reference", "torch", "auto"]  # "packed" refuses the first layer, which reads values


@pytest.fixture
def network(shared_golden: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    golden = np.load(shared_golden / "cnv_1w1a.npz")
    monkeypatch.syspath_prepend(shared_golden)
    monkeypatch.delitem(sys.modules, "golden_fill", raising=False)
    from golden_fill import fill  # type: ignore[import-not-found]

    rng = np.random.default_rng(7)
    state = {name: torch.from_numpy(fill(name, shape, rng)) for name, shape in json.loads(str(golden["keys"]))}
    return importers.load("cnv", create_model("cnv"), state).eval().requires_grad_(False)


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
