"""Converted networks in all formats: their steps are put together in ways that no network of the registry has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy.converted import MEAN, STD, PlainCnn, PreActivation, SmallResNet, converted, images
from torch import nn

from bnnkit import deploy, ops
from bnnkit.deploy import PackedNetwork
from bnnkit.errors import MissingError
from bnnkit.export import cpp, trace

try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)

NETWORKS: list[tuple[str, type[nn.Module], tuple[int, int, int], dict[str, Any]]] = [
    ("plain", PlainCnn, (3, 12, 16), {"ao_bit": 2, "w_bit": 1.5, "adc_bit": 3}),
    ("residual", SmallResNet, (3, 12, 10), {"activations": "keep", "adc_bit": 2}),
    ("pre-activation", PreActivation, (3, 8, 8), {"adc_bit": 2}),
]


@pytest.fixture(params=NETWORKS, ids=[name for name, *_ in NETWORKS])
def packed(request: pytest.FixtureRequest) -> PackedNetwork:
    _, network, shape, options = request.param
    return deploy.compile(converted(network(), shape, **options), MEAN, STD, in_shape=shape)


def stored_for(network: PackedNetwork, count: int) -> torch.Tensor:
    return images(network.describe().in_shape, count)


def test_played_in_numpy(packed: PackedNetwork) -> None:
    stored = stored_for(packed, 5)
    assert np.array_equal(trace.play(packed.describe(), stored.numpy()), packed(stored).numpy())


def test_as_cpp(packed: PackedNetwork, tmp_path: Path) -> None:
    if not (shutil.which("make") and shutil.which("c++")):
        pytest.skip("make and a C++ compiler are needed")
    cpp.write(packed, tmp_path / "net", stored_for(packed, 5))
    done = subprocess.run(["make", "-C", tmp_path / "net", "check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "PASS" in done.stdout, done.stdout + done.stderr


def test_as_onnx(packed: PackedNetwork, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    from bnnkit.export import onnx

    stored = stored_for(packed, 5)
    onnx.write(packed, tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    [logits] = session.run(["logits"], {"images": stored.numpy()})
    assert np.array_equal(logits, packed(stored).numpy())
