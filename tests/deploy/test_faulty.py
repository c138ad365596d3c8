"""Packed networks with faults: equal to loops over bits and partial sums, wherever and in whatever order they run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnkit import deploy, ops
from bnnkit.deploy import ConverterFaults, InputFaults, LayerFaults, PackedNetwork, run_together
from bnnkit.deploy.native_faults import fixed_thresholds
from bnnkit.errors import UsageError
from bnnkit.models import Model
from bnnkit.nn import CimConv2d, CimLinear

from .faulty_layers import with_faults
from .networks import images, network, norms, packed, torch_logits

SMALL = {"width": 1, "in_shape": (3, 8, 8)}
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"width": 1, "in_shape": (1, 9, 7)}),
    ("mlp", {"width": 1, "in_shape": (2, 5, 5), "adc_bit": 3, "ao_bit": 2, "w_bit": 1.5, "rows": 100}),
    ("res20", SMALL),
    ("res20", {**SMALL, "adc_bit": 3, "mapping": "tap", "rows": 24}),
    ("vgg9", {**SMALL, "in_shape": (3, 16, 16)}),
    ("vgg9", {**SMALL, "adc_bit": 3, "ao_bit": 1.5, "w_bit": 2, "rows": 60}),
]
every_network = pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)


def arrays(model: Model) -> dict[str, CimConv2d | CimLinear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, CimConv2d | CimLinear)}


def drawn(model: Model, seed: int, **kinds: Any) -> dict[str, LayerFaults]:
    """Return faults of all kinds, different in every layer."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for i, (name, layer) in enumerate(arrays(model).items()):
        layout = layer.layout()
        assert layout is not None and layer.adc is not None
        shape, levels = (layout.arrays, layer.weight.shape[0]), len(layer.adc.levels)
        stuck = torch.randint(-4 * levels, levels, shape, generator=generator).clamp(min=-1).int()
        found[name] = LayerFaults(
            InputFaults(
                kinds.get("kind", ("flip", "stuck0", "stuck1", "random")[i % 4]),
                kinds.get("rate", 0.05),
                1000 * seed + i,
                None if i % 3 else layer.activation.planes - 1,
            ),
            ConverterFaults(
                gain=1 + 0.2 * torch.randn(shape, dtype=torch.float64, generator=generator),
                offset=3 * torch.randn(shape, dtype=torch.float64, generator=generator) if i % 2 else None,
                noise=2.5 if i % 3 != 1 else 0.0,
                stuck=stuck if i % 2 else None,
                flip_kind=(None, "flip", "random")[i % 3],
                flip_rate=0.1,
                flip_bit=None if i % 4 else 0,
                state=2000 * seed + i,
            ),
        )
    return found


def slow_logits(model: Model, layers: dict[str, LayerFaults], stored: Tensor, indices: Tensor) -> Tensor:
    return torch_logits(with_faults(copy.deepcopy(model), layers, indices), stored)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@every_network
def test_faults_of_all_kinds_equal_the_slow_model(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored, indices = images(model, 7), torch.tensor([5, 0, 59_999, 3, 17, 4, 2])
    golden, layers = packed(model), drawn(model, 1)
    found = golden.with_faults(layers=layers)(stored, indices)
    assert torch.equal(found, slow_logits(model, layers, stored, indices))
    assert not torch.equal(found, golden(stored)), "the test would not notice faults that are lost"


@pytest.mark.parametrize("part", ["input", "converter"])
@pytest.mark.parametrize(("name", "options"), [NETWORKS[0], NETWORKS[3]], ids=str)
def test_each_half_alone_equals_the_slow_model(name: str, options: dict[str, Any], part: str) -> None:
    model = network(name, **options)
    stored, indices = images(model, 3), torch.arange(3)
    layers = {key: LayerFaults(**{part: getattr(faults, part)}) for key, faults in drawn(model, 2).items()}
    found = packed(model).with_faults(layers=layers)(stored)
    assert torch.equal(found, slow_logits(model, layers, stored, indices))


def test_inputs_of_layers_without_converters_have_faults() -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8), adc_bit="fp")
    stored = images(model, 4)
    layers = {name: LayerFaults(InputFaults("flip", 0.2, 7)) for name in arrays(model)}
    found = packed(model).with_faults(layers=layers)(stored)
    assert torch.equal(found, slow_logits(model, layers, stored, torch.arange(4)))


@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "neon"])
@pytest.mark.parametrize(("name", "options"), [NETWORKS[1], NETWORKS[2], NETWORKS[3]], ids=str)
def test_variants_do_not_matter(name: str, options: dict[str, Any], variant: str) -> None:
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network(name, **options)
    stored, layers = images(model, 3), drawn(model, 3)
    expected = packed(model).with_faults(layers=layers)(stored)
    with ops.variant(variant):
        found = packed(model).with_faults(layers=layers)(stored)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", [1, 7])
def test_batches_and_threads_do_not_matter(batch: int, count: int) -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8), adc_bit=2)
    stored, indices = images(model, 70), torch.randperm(70) + 100
    faulty = packed(model).with_faults(layers=drawn(model, 4))
    expected = faulty(stored, indices)
    with threads(count):
        parts = zip(stored.split(batch), indices.split(batch), strict=True)
        assert torch.equal(torch.cat([faulty(some, numbers) for some, numbers in parts]), expected)


@pytest.mark.parametrize(("name", "options"), [NETWORKS[2], NETWORKS[4]], ids=str)
@pytest.mark.parametrize("batch", [64, 40, 13])
def test_layers_that_count_many_images_and_faulty_ones_take_turns(
    name: str, options: dict[str, Any], batch: int
) -> None:
    model = network(name, **options)
    stored, indices, golden = images(model, 64), torch.randperm(64), packed(model)
    layers = {key: faults for i, (key, faults) in enumerate(drawn(model, 6).items()) if i % 3 == 1}
    faulty = golden.with_faults(layers=layers)
    few = zip(stored.split(3), indices.split(3), strict=True)
    expected = torch.cat([run_together([golden, faulty, golden], *some) for some in few], dim=1)
    many = zip(stored.split(batch), indices.split(batch), strict=True)
    found = torch.cat([run_together([golden, faulty, golden], *some) for some in many], dim=1)
    assert torch.equal(found, expected)
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_an_image_has_the_faults_of_its_number() -> None:
    model = network("vgg9", **SMALL)
    stored = images(model, 8)
    faulty = packed(model).with_faults(layers=drawn(model, 5))
    every = faulty(stored)
    assert torch.equal(faulty(stored[5:6], torch.tensor([5])), every[5:6])
    assert torch.equal(faulty(stored, torch.arange(8)), every), "without numbers they are counted"
    assert not torch.equal(faulty(stored[5:6]), every[5:6])
    with pytest.raises(RuntimeError, match="indices: needed one per image"):
        faulty(stored, torch.arange(7))
    with pytest.raises(RuntimeError, match="int64"):
        faulty(stored, torch.arange(8).int())


@every_network
def test_no_faults_change_nothing(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored, golden = images(model, 5), packed(model)
    shapes = {key: (layer.layout().arrays, layer.weight.shape[0]) for key, layer in arrays(model).items()}
    nothing = [
        LayerFaults(),
        LayerFaults(InputFaults("flip", 0.0, 3), ConverterFaults()),
        LayerFaults(converter=ConverterFaults(noise=0.0, flip_kind="random", flip_rate=0.0, state=9)),
    ]
    layers = [dict.fromkeys(shapes, faults) for faults in nothing]
    neutral = {
        key: ConverterFaults(torch.ones(shape), torch.zeros(shape), stuck=torch.full(shape, -1, dtype=torch.int32))
        for key, shape in shapes.items()
    }
    layers.append({key: LayerFaults(converter=faults) for key, faults in neutral.items()})
    expected = golden(stored)
    for some in layers:
        assert torch.equal(golden.with_faults(layers=some)(stored), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [("reactnet18", {**SMALL, "adc_bit": 1}), ("cnv", {"width": 1, "in_shape": (3, 32, 32), "adc_bit": 2})],
    ids=str,
)
def test_neutral_converters_of_other_families_change_nothing(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored, golden = images(model, 3), packed(model)
    faults = LayerFaults(converter=ConverterFaults(state=5))
    layers = {key: faults for key, layer in arrays(model).items() if layer.adc is not None and layer.activation.planes}
    assert torch.equal(golden.with_faults(layers=layers)(stored), golden(stored))


def test_hits_of_a_lower_rate_are_among_those_of_a_higher_one() -> None:
    """One layer of weights 1 and stuck inputs: what it adds up only grows with the rate."""
    model = network("mlp", width=1, in_shape=(1, 8, 8), adc_bit="fp", seed=3)
    layer = model.get_submodule("hidden.0")
    layer.weight.fill_(1.0)
    values = []
    for rate in (0.0, 1e-3, 0.1, 0.3, 1.0):
        faulty = with_faults(
            copy.deepcopy(model), {"hidden.0": LayerFaults(InputFaults("stuck1", rate, 11))}, torch.arange(4)
        )
        values.append(faulty.get_submodule("hidden.0")(torch.linspace(-1, 1, 4 * 64).view(4, 64))[:, 0])
    assert all(bool((a <= b).all()) for a, b in pairwise(values))
    assert [InputFaults("flip", rate, 0).below for rate in (0, 1e-12, 0.5, 1)] == [0, 0, 2**31, 2**32]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"width": 1, "in_shape": (1, 8, 8)}),
        ("res20", SMALL),
        ("vgg9", {**SMALL, "w_bit": 1.5, "adc_bit": 2, "mapping": "tap"}),
        ("cnv", {"width": 1, "in_shape": (3, 32, 32)}),
        ("reactnet18", SMALL),
        ("fracbnn20", SMALL),
    ],
    ids=str,
)
def test_other_weight_bits_give_the_network_of_those_weights(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    stored, golden = images(model, 3), packed(model)
    before = golden(stored)
    tensors, generator = golden.weights.tensors, torch.Generator().manual_seed(1)
    codes = {
        key.removesuffix(".codes"): bits ^ torch.randint(0, 4, bits.shape, dtype=torch.uint8, generator=generator)
        for key, bits in tensors.items()
        if key.endswith(".codes")
    }
    found = golden.with_faults(codes)
    assert not torch.equal(found(stored), before)
    assert torch.equal(found(stored), PackedNetwork(found.weights)(stored))
    assert torch.equal(golden(stored), before)
    changed = {f"{key}.codes": bits for key, bits in codes.items()}
    other = deploy.PackedWeights(model.config, *norms(model), {**tensors, **changed})
    assert torch.equal(found(stored), torch_logits(deploy.unpack_model(other), stored))
    assert torch.equal(golden.with_options(adc_bit=3)(stored), PackedNetwork(golden.weights, {"adc_bit": 3})(stored))


def test_layers_that_are_not_named_are_shared() -> None:
    model = network("res20", **SMALL)
    golden, name = packed(model), "stages.1.0.conv2"
    stored, tensors = images(model, 4), golden.weights.tensors
    other = golden.with_faults({name: 255 - tensors[f"{name}.codes"]})
    faulty = golden.with_faults(layers={name: LayerFaults(InputFaults("flip", 0.1, 1))})
    for run in (other, faulty):
        assert [a is b for a, b in zip(run.steps, golden.steps, strict=True)] == [
            step.name != name for step in golden.steps
        ]
    networks = [golden, other, faulty]
    found = run_together(networks, stored, torch.arange(4) + 9)
    assert [dict(run.take_profile())["stem"] > 0 for run in networks] == [True, False, False]
    for run, logits in zip(networks, found, strict=True):
        assert torch.equal(run(stored, torch.arange(4) + 9), logits)


def test_faults_are_added_to_those_there_are() -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    stored, golden, layers = images(model, 4), packed(model), drawn(model, 6)
    codes = {"hidden.1": 255 - golden.weights.tensors["hidden.1.codes"]}
    for run in (
        golden.with_faults(codes).with_faults(layers=layers),
        golden.with_faults(layers=layers).with_faults(codes),
    ):
        assert torch.equal(run(stored), golden.with_faults(codes, layers)(stored))
    with pytest.raises(UsageError, match="has no other options"):
        golden.with_faults(codes).with_options(adc_bit=2)


def test_thresholds_between_integers_are_those_of_the_curve() -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8), adc_bit=3, ao_bit=2)
    layer = model.get_submodule("hidden.0")
    exact, unit = fixed_thresholds(layer.adc.curve, layer.unit), layer.unit
    integers = layer.adc.thresholds(unit).long() * 65536
    assert bool(((exact <= integers) & (exact > integers - 65536)).all())
    assert layer.adc.curve.code((exact.double() / 65536).float() / unit).tolist() == list(range(1, 8))
    assert layer.adc.curve.code(((exact - 1).double() / 65536).float() / unit).tolist() == list(range(7))


def faulty(name: str, options: dict[str, Any], layer: str, faults: LayerFaults) -> PackedNetwork:
    return packed(network(name, **options)).with_faults(layers={layer: faults})


REFUSED: list[tuple[str, dict[str, Any], str, LayerFaults, str]] = [
    ("mlp", {}, "norms.0", LayerFaults(), "'norms.0' is no layer with weight bits"),
    ("mlp", {}, "hidden.0", LayerFaults(InputFaults("flip", 0.1, 1, bit=1)), "layer hidden.0: bit 1 of its input"),
    ("mlp", {"adc_bit": "fp"}, "hidden.0", LayerFaults(converter=ConverterFaults()), "layer hidden.0: it has no conv"),
    ("mlp", {}, "hidden.0", LayerFaults(converter=ConverterFaults(torch.ones(3, 3))), r"gain of \[3, 3\]"),
    ("mlp", {}, "hidden.0", LayerFaults(converter=ConverterFaults(flip_kind="flip", flip_bit=1)), "bit 1 of a code"),
    ("mlp", {}, "hidden.0", LayerFaults(converter=ConverterFaults(noise=1e9)), "noise of sigma"),
    ("fracbnn20", SMALL | {"adc_bit": 1}, "stages.0.0.conv", LayerFaults(converter=ConverterFaults()), "precision"),
    ("reactnet18", SMALL, "stages.1.0.shortcut_conv", LayerFaults(InputFaults("flip", 0.1, 1)), "values with signs"),
]


@pytest.mark.parametrize(("name", "options", "layer", "faults", "reason"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_a_layer_does_not_have_is_refused(
    name: str, options: dict[str, Any], layer: str, faults: LayerFaults, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as failure:
        faulty(name, {"in_shape": (1, 8, 8), **options}, layer, faults)
    assert failure.value.hint


def test_impossible_numbers_are_refused() -> None:
    for rate, state, bit in ((1.5, 0, None), (float("nan"), 0, None), (0.1, 2**32, None), (0.1, 0, -1)):
        with pytest.raises(UsageError):
            InputFaults("flip", rate, state, bit)
    with pytest.raises(UsageError, match="kind 'burst'"):
        InputFaults("burst", 0.1, 0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sigma"):
        ConverterFaults(noise=-1)
    golden = packed(network("mlp", width=1, in_shape=(1, 8, 8)))
    with pytest.raises(UsageError, match=r"codes \[3\]"):
        golden.with_faults({"hidden.0": torch.zeros(3, dtype=torch.uint8)})
