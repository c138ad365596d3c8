"""A described network in NumPy: the logits of the compiled network, and partial sums that mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from deploy.networks import NETWORKS, images, network, packed
from numpy.typing import NDArray

from bnnkit import ops, reference
from bnnkit.deploy.network import PackedNetwork
from bnnkit.errors import MissingError, UsageError
from bnnkit.export.trace import LayerTrace, play

try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)


def traced(run: PackedNetwork, stored: torch.Tensor) -> tuple[NDArray[np.float32], list[LayerTrace]]:
    layers: list[LayerTrace] = []
    return play(run.describe(), stored.numpy(), layers.append), layers


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_the_logits_are_those_of_the_packed_network(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored = images(model, 2)
    stored[-1, :, ::2] = 255
    run = packed(model)
    expected = run(stored)
    assert len({tuple(row) for row in expected.tolist()}) == len(stored), "the test would not notice lost inputs"
    logits, layers = traced(run, stored)
    assert torch.equal(torch.from_numpy(logits), expected)
    assert len(layers) == sum(products > 0 for products in run.binary_products.values())


@pytest.mark.parametrize("mapping", ["channel", "tap"])
def test_partial_sums_are_those_of_the_specification(mapping: str) -> None:
    model = network("res20", width=1, ao_bit=2, w_bit=1.5, adc_bit=3, mapping=mapping, rows=40, in_shape=(3, 8, 8))
    _, layers = traced(packed(model), images(model, 2))
    layer = next(layer for layer in layers if layer.step.weights.stride == (2, 2))
    planes = [torch.from_numpy(2.0 * plane - 1) for plane in layer.bits]
    x = planes[0] + 2 * planes[1]
    w = model.get_submodule(layer.step.name).weight_quantizer(model.get_submodule(layer.step.name).weight) * 2
    slices = reference.array_slices(16, 3, 3, mapping, 40, None)
    assert layer.sums.shape[:2] == (1, len(slices)) and len(slices) > 2
    for s, (channels, rows, columns) in enumerate(slices):
        held = torch.zeros_like(w[:, channels])
        held[:, :, rows, columns] = w[:, channels, rows, columns]
        expected = torch.nn.functional.conv2d(x[:, channels].float(), held, stride=2, padding=1)
        assert np.array_equal(layer.sums[0, s], expected.numpy())
    assert layer.codes is not None and layer.codes.min() >= 0 and layer.codes.max() < 8
    assert np.unique(layer.codes).size > 1


def test_gates_combine_two_conversions() -> None:
    model = network("fracbnn20", adc_bit=2, in_shape=(3, 8, 8))
    run = packed(model)
    stored = images(model, 3)
    _, layers = traced(run, stored)
    gated = [layer for layer in layers if layer.opens is not None]
    assert len(gated) == 18 and all(layer.sums.shape[0] == 2 for layer in gated)
    run(stored)
    counted = run.take_gates()
    assert counted is not None
    opens = np.concatenate([layer.opens.ravel() for layer in gated if layer.opens is not None])
    assert (counted.open, counted.outputs) == (opens.sum(), opens.size)
    high, low = gated[3].totals
    expected = reference.gated_sums(*(torch.from_numpy(t) for t in (high, low, gated[3].opens)))
    assert np.array_equal(gated[3].total, expected.numpy())


@pytest.mark.parametrize(
    "stored",
    [np.zeros((0, 1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.float32)],
    ids=["none", "no channels", "floats"],
)
def test_impossible_images_are_refused(stored: NDArray[Any]) -> None:
    run = packed(network("mlp", width=1, in_shape=(1, 8, 8)))
    with pytest.raises(UsageError, match=r"uint8 \[N, 1, 8, 8\] with at least one was needed"):
        play(run.describe(), stored)
