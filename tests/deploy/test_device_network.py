"""Packed networks run by ops on a device: the logits are those of the processor's own, on the processor too."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from bnnkit import data, deploy, ops
from bnnkit.cim import parse_fault
from bnnkit.deploy.device import DeviceNetwork, run_on_device
from bnnkit.deploy.device.buffers import Packed, Quantized
from bnnkit.errors import MissingError, UsageError
from bnnkit.faults import Campaign, Network, Repeats, of_faults, of_images
from bnnkit.train.evaluation import evaluate_packed
from bnnkit.train.subject import find
from deploy.networks import NETWORKS, images, network, packed

try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)

CPU = torch.device("cpu")
DEVICES = [CPU, torch.device("cuda")] if torch.cuda.is_available() else [CPU]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_the_logits_are_those_of_the_packed_network(name: str, options: dict[str, Any], device: torch.device) -> None:
    model = network(name, **options)
    stored = images(model, 5)
    stored[-1, :, ::2] = 255
    run = packed(model)
    expected = run(stored)
    assert len({tuple(row) for row in expected.tolist()}) == len(stored), "the test would not notice lost inputs"
    on_device = DeviceNetwork(run, device)
    assert torch.equal(on_device(stored.to(device)).cpu(), expected)
    for chosen in (slice(1), slice(1, 4)):
        assert torch.equal(on_device(stored[chosen].to(device)).cpu(), expected[chosen])


@pytest.mark.parametrize("channels", [5, 64, 70, 100, 130, 192])
def test_bits_are_read_in_the_layout_of_every_reader(channels: int) -> None:
    values = torch.randn(2, channels, 3, 4, generator=torch.Generator().manual_seed(channels))
    quantized = Quantized(values, [0.0], False, 1, False)
    shape, flat = (channels, 3, 4), (channels * 12, 1, 1)
    one_run = Packed(quantized.packed(shape, channels), channels)
    for channels_per_array in (1, 7, 63, 64, 65, 128, channels):
        for read in (shape, flat):
            expected = quantized.packed(read, channels_per_array)
            assert torch.equal(one_run.packed(read, channels_per_array), expected)
    assert one_run.packed(shape, channels) is one_run.bits


def test_sums_of_networks_without_converters_become_bits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("mlp", adc_bit="fp", in_shape=(1, 9, 7))
    stored, run = images(model, 3), packed(model)
    on_device, called = DeviceNetwork(run, CPU), Counter[str]()
    for name in ("xnor_conv2d", "xnor_conv2d_bits"):
        own = getattr(torch.ops.bnnkit, name)
        counted = lambda *args, name=name, own=own: (called.update([name]), own(*args))[1]  # noqa: E731
        monkeypatch.setattr(torch.ops.bnnkit, name, counted)
    assert torch.equal(on_device(stored), run(stored))
    assert called == {"xnor_conv2d": 1, "xnor_conv2d_bits": 2}  # the classifier's sums are the logits


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_precision_gates_are_counted(device: torch.device) -> None:
    model = network("fracbnn20", in_shape=(3, 8, 8))
    stored, run = images(model, 3), packed(model)
    run(stored)
    expected = run.take_gates()
    on_device = DeviceNetwork(run, device)
    on_device(stored.to(device))
    assert expected is not None and 0 < expected.open < expected.outputs
    assert on_device.take_gates() == expected
    on_device(stored[:0].to(device))
    empty = on_device.take_gates()
    assert empty is not None and (empty.open, empty.outputs) == (0, 0)
    assert DeviceNetwork(packed(network("mlp", in_shape=(1, 8, 8))), device).take_gates() is None


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_networks_that_share_steps_share_their_work(device: torch.device) -> None:
    model = network("res20", width=1, in_shape=(3, 8, 8))
    stored, run = images(model, 3), packed(model)
    layer = [name for name, products in run.binary_products.items() if products][5]
    faulty = run.with_faults(codes={layer: 255 - run.weights.tensors[f"{layer}.codes"]})
    golden = DeviceNetwork(run, device)
    other = DeviceNetwork(faulty, device, golden)
    same = [a is b for a, b in zip(golden.steps, other.steps, strict=True)]
    assert same.count(False) == 1 and 2 < same.index(False) < len(same) - 2
    calls: list[str] = []
    own = golden.steps[1]

    def counted(*args: Any) -> Any:
        calls.append("second step")
        return own(*args)

    golden.steps[1] = other.steps[1] = counted
    logits = run_on_device([golden, other], stored.to(device)).cpu()
    assert calls == ["second step"]
    assert torch.equal(logits[0], run(stored)) and torch.equal(logits[1], faulty(stored))
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_other_converters(device: torch.device) -> None:
    model = network("res20", width=1, in_shape=(3, 8, 8))
    stored, run = images(model, 3), packed(model)
    golden = DeviceNetwork(run, device)
    other = golden.with_options(adc_bit=2, rows=36)
    assert any(a is b for a, b in zip(golden.steps, other.steps, strict=True))
    together = run_on_device([golden, other], stored.to(device)).cpu()
    assert torch.equal(together[0], run(stored))
    assert torch.equal(together[1], run.with_options(adc_bit=2, rows=36)(stored))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_evaluation_is_that_of_the_processor(device: torch.device) -> None:
    trained, digits = find(str(deploy.SAMPLE)), data.load("digits")
    run = deploy.PackedNetwork(trained.packed_weights())
    chosen = torch.arange(3, 300)
    [expected] = evaluate_packed([run], digits.test, chosen, trained.preparation)
    networks = [DeviceNetwork(run, device), DeviceNetwork(run, device).with_options(adc_bit=2)]
    found, other = evaluate_packed(networks, digits.test.to(device), chosen, trained.preparation, batch=100)
    assert torch.equal(found.logits, expected.logits) and found.score == expected.score
    assert not torch.equal(other.logits, expected.logits)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_campaign_is_that_of_the_processor(device: torch.device) -> None:
    trained, digits = find(str(deploy.SAMPLE)), data.load("digits")

    def counted(network: Network) -> list[tuple[Any, ...]]:
        settings = [
            *of_faults([parse_fault("weight:flip@0.1")], network.layers),
            *of_faults([parse_fault("activation:flip@0.05")], network.layers),
            *of_faults([parse_fault("activation:random@0.3"), parse_fault("weight:flip@0.02")], network.layers[1:]),
            *of_faults([parse_fault("line:stuck0@0.2"), parse_fault("weight:flip@0.05")], network.layers[:1]),
            *of_images([6], "random", [0.5], ["msb"]),
            *of_faults([parse_fault("input:gauss@0.2")], network.layers),
        ]
        network.check(settings)
        split = digits.test.to(network.device)
        campaign = Campaign(network, split, torch.arange(150), settings, Repeats(2), batch=64)
        return [(t.setting, t.number, t.score, t.changed, t.hits) for t in campaign.run()]

    on_device = Network(trained, {}, device=str(device))
    if device == CPU:  # which takes the processor's own kernels, unless it is told to
        on_device.golden = DeviceNetwork(deploy.PackedNetwork(trained.packed_weights()), device)
    found = counted(on_device)
    assert found == counted(Network(trained, {}))
    assert len({score for _, _, score, _, _ in found}) > 4


def test_faults_that_only_a_processor_computes_are_refused() -> None:
    trained = find(str(deploy.SAMPLE))
    network = Network(trained, {})
    network.device = torch.device("cuda")
    for fault in ("adc:flip@0.1", "partial-sum:gauss@1"):
        with pytest.raises(UsageError, match="on a processor only, not on cuda"):
            network.check(of_faults([parse_fault(fault)], network.layers))
    run, noise = deploy.PackedNetwork(trained.packed_weights()), deploy.ConverterFaults(noise=1.0)
    with pytest.raises(UsageError, match="faults in converters and partial sums are computed on a processor only"):
        DeviceNetwork(run.with_faults(layers={network.layers[1]: deploy.LayerFaults(converter=noise)}), CPU)


FAULTS = [
    deploy.InputFaults("flip", 0.03, 5),
    deploy.InputFaults("stuck0", 1.0, 6),
    deploy.InputFaults("stuck1", 0.2, 7, bit=0),
    deploy.InputFaults("random", 0.5, 1 << 31),
]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("faults", FAULTS, ids=str)
@pytest.mark.parametrize(("name", "options"), [NETWORKS[i] for i in (1, 3, 5, 8, 9, 11, 16)], ids=str)
def test_faults_of_activations_are_those_of_the_processor(
    name: str, options: dict[str, Any], faults: deploy.InputFaults, device: torch.device
) -> None:
    model = network(name, **options)
    stored, run = images(model, 3), packed(model)
    layers = [layer for layer, products in run.binary_products.items() if products]
    faulty = run.with_faults(layers={layer: deploy.LayerFaults(input=faults) for layer in (layers[1], layers[-1])})
    indices = torch.tensor([7, 100_000, 3])
    on_device = DeviceNetwork(run, device).with_faults(layers=faulty.faults)
    expected = faulty(stored, indices)
    assert torch.equal(on_device(stored.to(device), indices).cpu(), expected)
    hits = on_device.take_hits()
    assert hits == faulty.take_hits() and hits[0].bits > 0
    if faults.rate > 0.1:
        assert hits[0].wrong > 0 and not torch.equal(expected, run(stored))
    assert on_device.take_hits()[0] == (0, 0, 0)


def test_what_cannot_be_run_is_refused() -> None:
    run = packed(network("mlp", in_shape=(1, 8, 8)))
    on_device = DeviceNetwork(run, CPU)
    with pytest.raises(UsageError, match=r"images: \[2, 1, 8, 7\] torch.uint8 on cpu; uint8 \[N, 1, 8, 8\]"):
        on_device(torch.zeros(2, 1, 8, 7, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"torch\.float32"):
        on_device(torch.zeros(2, 1, 8, 8))
