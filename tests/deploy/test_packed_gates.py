"""Precision gates counted by packed networks: the same numbers as in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bnnkit import deploy, ops
from bnnkit.nn import Gates, gated_layers, take_gates

from .networks import images, network, packed, torch_logits

NETWORKS: list[dict[str, Any]] = [
    {},
    {"adc_bit": 1},
    {"adc_bit": 2, "mapping": "tap", "rows": 30},
    {"adc_bit": 4, "rows": 100},
]


@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "neon"])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_gates_open_as_in_torch(options: dict[str, Any], variant: str) -> None:
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network("fracbnn20", in_shape=(3, 12, 8), **options)
    stored = images(model, 7)
    torch_logits(model, stored)
    expected = take_gates(model)
    assert expected is not None
    assert 0.1 < expected.open / expected.outputs < 0.9
    with ops.variant(variant):
        run = packed(model)
        run(stored)
    assert ops.last_variant("network") == variant
    assert run.take_gates() == expected
    assert run.take_gates() == Gates(0, 0), "reading starts anew"


def test_images_layers_and_threads_add_up() -> None:
    model = network("fracbnn20", in_shape=(3, 8, 8))
    stored = images(model, 6)
    run, before = packed(model), torch.get_num_threads()
    parts = []
    for part in stored.split(2):
        run(part)
        parts.append(run.take_gates())
    torch.set_num_threads(2)
    try:
        run(stored)
    finally:
        torch.set_num_threads(before)
    whole = run.take_gates()
    assert whole == parts[0] + parts[1] + parts[2]
    outputs = 6 * sum(16 * 64 if i < 6 else 32 * 16 if i < 12 else 64 * 4 for i in range(18))
    assert len(gated_layers(model)) == 18
    assert whole.outputs == outputs


@pytest.mark.parametrize(("threshold", "bits"), [(-1e6, 2.0), (1e6, 1.0)])
def test_gates_that_never_or_always_open(threshold: float, bits: float) -> None:
    model = network("fracbnn20", in_shape=(3, 8, 8))
    for layer in gated_layers(model):
        layer.threshold.fill_(threshold)
    stored = images(model, 3)
    run = packed(model)
    assert torch.equal(run(stored), torch_logits(model, stored))
    gates = run.take_gates()
    assert gates is not None
    assert gates.activation_bits == bits


def test_every_network_counts_its_own_gates_when_they_run_together() -> None:
    model = network("fracbnn20", in_shape=(3, 8, 8))
    stored = images(model, 3)
    first = packed(model)
    networks = [first, first.with_options(adc_bit=1)]
    alone = []
    for run in networks:
        run(stored)
        alone.append(run.take_gates())
    deploy.run_together(networks, stored)
    assert [run.take_gates() for run in networks] == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("name", ["reactnet18", "res20"])
def test_networks_without_gates_have_none_to_count(name: str) -> None:
    model = network(name, width=1, in_shape=(3, 8, 8))
    run = packed(model)
    run(images(model, 2))
    assert run.take_gates() is None
    assert take_gates(model) is None
