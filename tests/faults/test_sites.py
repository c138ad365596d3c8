"""Faulty bits of stored weights: against loops over bits and cells, statistics, files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit import create_model, deploy
from bnnkit.cim import Array, parse_fault
from bnnkit.counter import hash32, normal, uniform
from bnnkit.deploy.stored import codes_of
from bnnkit.errors import MismatchError, UsageError
from bnnkit.faults.recorded import RecordedSites, load
from bnnkit.faults.sites import FLIPPED, Memory, Sites, packed
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.quantizers import Bits

WEIGHT, LINE, LATENT, VALUES = 0x1FA11, 0x1FA12, 0x1FA13, 0x1FA14
KEY = (3, 5)
NAME = "stages.1.conv"
CRC = zlib.crc32(NAME.encode())


def memory(w_bit: Bits = 1, array: Array | None = None, channels: int = 20) -> Memory:
    generator = torch.Generator().manual_seed(4)
    layer = CimConv2d(channels, 6, 3, ao_bit=1, w_bit=w_bit, adc_bit=1, array=array or Array(64))
    with torch.no_grad():
        layer.weight.copy_(torch.empty(layer.weight.shape).uniform_(-1, 1, generator=generator))
    codes = codes_of(layer.weight_quantizer, layer.weight)
    return Memory(NAME, layer, codes, layer.weight.detach(), lambda latent: codes_of(layer.weight_quantizer, latent))


def places(found: Sites, size: int) -> list[bool]:
    hit = np.zeros(size, bool)
    hit[found.places] = True
    return [bool(value) for value in hit]


@pytest.mark.parametrize("kind", ["flip", "stuck0", "stuck1", "random"])
@pytest.mark.parametrize("w_bit", [1, 1.5, 3])
def test_bits_against_their_definition(kind: str, w_bit: Bits) -> None:
    stored = memory(w_bit)
    found = stored.sites(parse_fault(f"weight:{kind}@0.1"), KEY)
    index = torch.arange(stored.size)
    assert places(found, stored.size) == (uniform(*KEY, WEIGHT, CRC, index) < 0.1).tolist()
    bits, before = stored.bits(), stored.bits()
    changed = found.apply(bits)
    drawn = hash32(*KEY, VALUES, CRC, index // 32) >> index % 32 & 1
    for place, (was, now) in enumerate(zip(before.tolist(), bits.tolist(), strict=True)):
        if place not in found.places:
            assert was == now
        else:
            assert now == {"flip": 1 - was, "stuck0": 0, "stuck1": 1, "random": int(drawn[place])}[kind]
    assert changed == int((bits != before).sum())
    assert found.expected == pytest.approx(0.1 * stored.size)
    assert torch.equal(packed(stored.bits()), stored.codes)


def test_one_plane() -> None:
    stored = memory(3)
    plane = stored.size // 3
    every, one = (stored.sites(parse_fault(f"weight:flip@0.2{bit}"), KEY).places for bit in ("", ",bit=1"))
    assert one.tolist() == [place for place in every.tolist() if plane <= place < 2 * plane]
    stored.check_bit(parse_fault("weight:flip@0.2,bit=2"))
    with pytest.raises(UsageError, match="has 3-bit codes there; a bit from 0 to 2 was needed"):
        stored.check_bit(parse_fault("weight:flip@0.2,bit=3"))
    with pytest.raises(UsageError, match="one code for ever"):
        stored.check_bit(parse_fault("adc:stuck0@0.2,bit=0"))


@given(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), st.sampled_from(["weight:flip", "weight:burst", "line:flip"]))
@settings(max_examples=30)
def test_faults_at_a_lower_rate_are_some_of_those_at_a_higher_one(rates: tuple[float, float], what: str) -> None:
    stored = memory()
    few, many = (set(stored.sites(parse_fault(f"{what}@{rate!r}"), KEY).places.tolist()) for rate in sorted(rates))
    assert few <= many


@pytest.mark.parametrize("what", ["weight:flip@0.01", "weight:burst@0.05,len=4", "weight:burst@0.3,len=50"])
def test_faults_are_as_many_as_expected(what: str) -> None:
    stored, fault = memory(channels=100), parse_fault(what)
    found = [stored.sites(fault, (1, number)) for number in range(60)]
    counts = [len(sites.places) for sites in found]
    assert found[0].expected is not None
    # Four standard errors, and bits of a burst come together.
    error = (fault.amount * stored.size * (fault.length if fault.kind == "burst" else 1) / 60) ** 0.5
    assert abs(np.mean(counts) - found[0].expected) < 4 * error


def test_bursts_are_runs_of_bits() -> None:
    stored = memory(channels=100)
    found = places(stored.sites(parse_fault("weight:burst@0.01,len=16"), KEY), stored.size)
    runs = "".join("x" if hit else " " for hit in found).split()
    assert runs and all(len(run) >= 16 for run in runs[:-1])


@pytest.mark.parametrize("array", [Array(64), Array(27), Array(8, "tap"), Array(64, "tap")])
@pytest.mark.parametrize("w_bit", [1, 2])
def test_columns_are_those_of_the_arrays(array: Array, w_bit: Bits) -> None:
    stored = memory(w_bit, array)
    layout = stored.layer.layout()
    assert layout is not None
    hit = places(stored.sites(parse_fault("line:stuck1@0.3,axis=column"), KEY), stored.size)
    faulty = (uniform(*KEY, LINE, CRC, torch.arange(stored.planes * 6 * layout.arrays)) < 0.3).tolist()
    at = 0
    for plane in range(stored.planes):
        for output in range(6):
            for channel in range(20):
                for tap in range(9):
                    chunk = channel // layout.channels_per_array
                    s = tap * layout.chunks + chunk if layout.tap else chunk
                    assert channel in layout.channels_of(s)
                    assert hit[at] == faulty[(plane * 6 + output) * layout.arrays + s]
                    at += 1


def test_a_word_line_holds_the_weights_of_one_input() -> None:
    stored = memory(2)
    hit = np.array(places(stored.sites(parse_fault("line:stuck0@0.2"), KEY), stored.size))
    lines = (uniform(*KEY, LINE, CRC, torch.arange(180)) < 0.2).numpy()
    assert (hit.reshape(2, 6, 180) == lines).all() and lines.any() and not lines.all()


def test_a_layer_without_converters_is_one_array() -> None:
    layer = CimLinear(300, 4, ao_bit=1, w_bit=1, adc_bit="fp")
    stored = Memory("fc", layer, codes_of(layer.weight_quantizer, layer.weight))
    assert stored.columns()[0] == 1
    hit = np.array(places(stored.sites(parse_fault("line:flip@0.5,axis=column"), KEY), stored.size)).reshape(4, 300)
    assert (hit.all(1) | ~hit.any(1)).all()


@pytest.mark.parametrize("what", ["latent:gauss@0.5", "latent:gauss@0.25,std=plain", "latent:lognormal@2"])
@pytest.mark.parametrize("w_bit", [1, 2])
def test_noise_on_latent_weights(what: str, w_bit: Bits) -> None:
    stored, fault = memory(w_bit), parse_fault(what)
    assert stored.latent is not None
    bits = stored.bits()
    changed = stored.sites(fault, KEY).apply(bits)
    noise = normal(*KEY, LATENT, CRC, torch.arange(stored.latent.numel())).view(stored.latent.shape)
    std = 2.0 if fault.kind == "lognormal" else 0.25
    latent = stored.latent.double()
    noisy = latent * torch.exp(std * noise) if fault.kind == "lognormal" else latent + std * noise
    assert torch.equal(packed(bits), codes_of(stored.layer.weight_quantizer, noisy.float()))
    # Lognormal noise changes no sign.
    assert (changed > 0) is not (fault.kind == "lognormal" and w_bit == 1)


@pytest.mark.parametrize("over", ["layer", "output"])
def test_weights_are_standardized_after_the_noise(over: str) -> None:
    stored = memory()
    assert stored.latent is not None
    bits = stored.bits()
    stored.sites(parse_fault(f"latent:gauss@0.5,ws={over}"), KEY).apply(bits)
    noise = normal(*KEY, LATENT, CRC, torch.arange(stored.latent.numel())).view(stored.latent.shape)
    noisy = stored.latent.double() + 0.25 * noise
    mean = noisy.mean() if over == "layer" else noisy.mean((1, 2, 3), keepdim=True)
    assert bits.tolist() == (noisy > mean).flatten().int().tolist()


def test_latent_weights_must_be_known() -> None:
    stored = memory()
    with pytest.raises(UsageError, match="no latent weights"):
        Memory(NAME, stored.layer, stored.codes).sites(parse_fault("latent:gauss@0.5"), KEY)


def test_layers_maps_and_seeds_have_faults_of_their_own() -> None:
    stored, fault = memory(), parse_fault("weight:flip@0.2")
    other = Memory("stages.2.conv", stored.layer, stored.codes)
    found = [stored.sites(fault, (seed, number)) for seed, number in ((0, 0), (1, 0), (0, 1))]
    every = [sites.places.tolist() for sites in (*found, other.sites(fault, (0, 0)))]
    assert len({tuple(some) for some in every}) == 4


def recorded() -> tuple[RecordedSites, dict[str, Memory]]:
    model = create_model("mlp", in_shape=(1, 8, 8))
    weights = deploy.pack_model(model, (0.5,), (0.25,))
    memories = {}
    for name in ("hidden.0", "hidden.1"):
        layer = model.get_submodule(name)
        assert isinstance(layer, CimLinear)
        memories[name] = Memory(name, layer, weights.tensors[f"{name}.codes"])
    fault = parse_fault("weight:random@0.01")
    maps = {n: {name: [m.sites(fault, (0, n))] for name, m in memories.items()} for n in range(2)}
    return RecordedSites(str(fault), {name: m.size for name, m in memories.items()}, maps), memories


def test_sites_come_back_from_a_file(tmp_path: Path) -> None:
    sites, memories = recorded()
    sites.save(tmp_path / "sites.safetensors", create_model("mlp", in_shape=(1, 8, 8)).config)
    found = load(tmp_path / "sites.safetensors")
    found.check(memories)
    assert (found.faults, found.sizes, list(found.maps)) == (sites.faults, sites.sizes, [0, 1])
    for number, layers in sites.maps.items():
        for name, [some] in layers.items():
            [again] = found.of(number)[name]
            assert np.array_equal(some.places, again.places) and np.array_equal(some.reads, again.reads)


def test_sites_of_another_network_are_refused() -> None:
    sites, memories = recorded()
    with pytest.raises(MismatchError, match=r"layer hidden\.0 with 32,768 bits; the network has no such layer"):
        sites.check({"hidden.1": memories["hidden.1"]})
    with pytest.raises(MismatchError, match="it has 262,144 bits in the network"):
        sites.check({"hidden.0": memories["hidden.1"], "hidden.1": memories["hidden.1"]})


@pytest.mark.parametrize("bad", [[5, 4], [-1, 3], [3, 32_768], [7, 7]])
def test_impossible_sites_are_refused(tmp_path: Path, bad: list[int]) -> None:
    sites, _ = recorded()
    reads = np.array([0, FLIPPED], np.uint8)
    sites.maps[1]["hidden.0"] = [Sites(np.array(bad), reads)]
    path = tmp_path / "sites.safetensors"
    sites.save(path, create_model("mlp", in_shape=(1, 8, 8)).config)
    with pytest.raises(MismatchError, match=r"sites of map 1, layer hidden\.0, are impossible"):
        load(path)


def test_other_files_are_refused() -> None:
    with pytest.raises(MismatchError, match="holds no fault sites"):
        load(deploy.SAMPLE)
