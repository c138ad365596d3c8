"""Packed networks against the same networks in torch: equal logits, whatever the options and however they run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit import data, deploy, nn, ops
from bnnkit.errors import UsageError
from bnnkit.models import create_model
from bnnkit.train.evaluation import evaluate, evaluate_packed
from bnnkit.train.images import Preparation

from .networks import images, network, norms, packed, torch_logits

NETWORKS = [
    ("mlp", {}),
    ("mlp", {"adc_bit": 3, "ao_bit": 2, "w_bit": 1.5}),
    ("mlp", {"adc_bit": "fp", "in_shape": (1, 9, 7)}),
    ("mlp", {"rows": 100, "width": 1, "adc_bit": 2, "in_shape": (2, 5, 5)}),
    ("res20", {"width": 1, "in_shape": (3, 16, 16)}),
    ("res20", {"width": 1, "adc_bit": "fp", "in_shape": (3, 12, 8)}),
    ("res20", {"width": 1, "ao_bit": 1.5, "w_bit": 2, "adc_bit": 2, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "ao_bit": 3, "w_bit": 3, "adc_bit": 4, "mapping": "tap", "rows": 64, "in_shape": (3, 8, 8)}),
    ("res18", {"width": 2, "in_shape": (1, 9, 13), "classes": 3}),
    ("res18", {"width": 1, "rows": 9, "in_shape": (3, 8, 8)}),
    ("vgg9", {"width": 1, "in_shape": (3, 16, 16)}),
    ("vgg9", {"width": 1, "ao_bit": 4, "w_bit": 4, "adc_bit": 4, "in_shape": (3, 9, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 16, 16)}),
    ("reactnet18", {"width": 1, "adc_bit": 1, "in_shape": (3, 8, 24)}),
    ("reactnet18", {"width": 1, "adc_bit": 2, "rows": 50, "in_shape": (1, 8, 16), "classes": 3}),
    ("reactnet18", {"width": 2, "adc_bit": 3, "mapping": "tap", "rows": 20, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 128, 128)}),
    ("reactnet34", {"width": 1, "in_shape": (3, 16, 8)}),
    ("reactnetA", {"width": 1, "in_shape": (3, 16, 16)}),
    ("reactnetA", {"width": 2, "adc_bit": 2, "in_shape": (1, 16, 32)}),
    ("reactnetA", {"width": 1, "in_shape": (3, 128, 160)}),
    ("fracbnn20", {"in_shape": (3, 12, 16)}),
    ("fracbnn20", {"adc_bit": 1, "in_shape": (3, 8, 8)}),
    ("fracbnn20", {"adc_bit": 2, "mapping": "tap", "rows": 24, "in_shape": (1, 4, 8), "classes": 3}),
    ("fracbnn20", {"adc_bit": 4, "rows": 100, "width": 2, "in_shape": (2, 8, 4)}),
    ("fracbnn_imagenet", {"in_shape": (3, 32, 32)}),
    ("fracbnn_imagenet", {"adc_bit": 3, "in_shape": (3, 32, 64)}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=lambda value: str(value))
def test_logits_equal_those_of_torch(name, options):
    model = network(name, **options)
    stored = images(model, 5)
    expected = torch_logits(model, stored)
    assert len({tuple(row) for row in expected.tolist()}) == len(stored), "the test would not notice lost inputs"
    assert torch.equal(packed(model)(stored), expected)


@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "amx", "neon"])
def test_every_variant_gives_the_same_logits(variant):
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network("res20", width=1, adc_bit=2, in_shape=(3, 8, 8))
    stored = images(model, 3)
    expected = torch_logits(model, stored)
    with ops.variant(variant):
        network_of_variant = packed(model)
        assert torch.equal(network_of_variant(stored), expected)
    assert ops.last_variant("network") == ("avx512" if variant == "amx" else variant)


OF_MANY = [
    ("res20", {"width": 1, "in_shape": (3, 16, 16)}),
    ("res20", {"width": 1, "adc_bit": "fp", "in_shape": (3, 12, 8)}),
    ("res18", {"width": 2, "adc_bit": 3, "rows": 9, "in_shape": (1, 9, 13), "classes": 3}),
    ("vgg9", {"width": 1, "adc_bit": 2, "mapping": "tap", "rows": 50, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 16, 16)}),
    ("reactnet18", {"width": 1, "adc_bit": 2, "rows": 50, "in_shape": (1, 8, 16), "classes": 3}),
    ("fracbnn20", {"in_shape": (3, 12, 16)}),
    ("fracbnn20", {"adc_bit": 2, "mapping": "tap", "rows": 24, "in_shape": (1, 4, 8), "classes": 3}),
]


@pytest.mark.parametrize("variant", ["reference", "avx2", "avx512", "neon"])
@pytest.mark.parametrize(("name", "options"), OF_MANY, ids=lambda value: str(value))
def test_many_images_are_counted_together_like_few(name, options, variant):
    if variant not in ops.usable_variants():
        pytest.skip(f"this processor cannot run {variant}")
    model = network(name, **options)
    stored = images(model, 71)
    with ops.variant(variant):
        run = packed(model)
        together = run(stored)
        assert torch.equal(together, torch.cat([run(few) for few in stored.split(5)]))
        assert torch.equal(together[:40], run(stored[:40]))
    assert torch.equal(together[-3:], torch_logits(model, stored[-3:]))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 7, 70])
def test_batches_and_threads_do_not_matter(batch, threads):
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    stored = images(model, 70)
    expected = torch_logits(model, stored)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network_of_model = packed(model)
        found = torch.cat([network_of_model(part) for part in stored.split(batch)])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected)


def test_no_images():
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    assert packed(model)(images(model, 0)).shape == (0, 10)


def test_memory_is_allocated_once():
    model = network("res18", width=1, in_shape=(3, 8, 8))
    run = packed(model)
    run(images(model, 20))
    before = run.workspace_bytes
    for count in (20, 3, 1):
        run(images(model, count))
    assert run.workspace_bytes == before > 0


def test_other_converters_take_over_the_packed_weights():
    model = network("res20", width=1, in_shape=(3, 8, 8))
    stored = images(model, 4)
    first = packed(model)
    weights = dict(first._parts.weights)
    other = first.with_options(adc_bit=3)
    assert other._parts.weights == weights, "only the converter changed"
    rearranged = first.with_options(rows=64)
    assert len(rearranged._parts.weights) == 2 * len(weights), "other arrays need another order"
    for run, options in ((other, {"adc_bit": 3}), (rearranged, {"rows": 64})):
        again = create_model(**{**model.config, **options}).eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(run(stored), torch_logits(again, stored))
    assert torch.equal(first(stored), torch_logits(model, stored))


def test_networks_run_together_share_their_beginning():
    model = network("vgg9", width=1, in_shape=(3, 8, 8))
    stored = images(model, 6)
    first = packed(model)
    networks = [first, first.with_options(adc_bit=2), first.with_options(mapping="tap")]
    found = deploy.run_together(networks, stored)
    ran = [dict(run.take_profile())["features.0.conv"] > 0 for run in networks]
    assert ran == [True, False, False]
    for run, logits in zip(networks, found, strict=True):
        assert torch.equal(run(stored), logits)


def test_a_network_that_cannot_be_packed_says_why():
    model = create_model("mlp", ao_bit="fp", in_shape=(1, 8, 8))
    with pytest.raises(UsageError, match=r"cannot be packed: layer hidden\.0: fp-bit activations"):
        packed(model)
    sums = create_model("mlp", ao_bit=2, adc_bit="fp", in_shape=(1, 8, 8))
    with pytest.raises(UsageError, match="no converter"):
        packed(sums)


def test_weights_trained_on_exact_sums_are_packed_for_converters_chosen_later():
    model = network("mlp", width=1, ao_bit=2, w_bit=2, adc_bit="fp", in_shape=(1, 8, 8))
    stored = images(model, 4)
    weights = deploy.pack_model(model, *norms(model))
    with pytest.raises(UsageError, match=r"layer hidden\.0: 2-bit activations.*no converter"):
        deploy.PackedNetwork(weights)
    other = create_model(**{**model.config, "adc_bit": 3}).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(deploy.PackedNetwork(weights, {"adc_bit": 3})(stored), torch_logits(other, stored))


def test_images_of_another_shape_are_refused():
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    with pytest.raises(RuntimeError, match="another shape"):
        packed(model)(torch.zeros(1, 1, 9, 8, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="uint8"):
        packed(model)(torch.zeros(1, 1, 8, 8))


def test_the_sample_network_predicts_the_same_in_every_backend():
    weights = deploy.load(deploy.SAMPLE)
    assert deploy.SAMPLE.stat().st_size < 400_000
    assert weights.provenance["command"].startswith("bnnkit train ")
    digits = data.load("digits")
    indices, preparation = (
        torch.arange(len(digits.test)),
        Preparation(weights.config["in_shape"], weights.mean, weights.std),
    )
    [found] = evaluate_packed([deploy.PackedNetwork(weights)], digits.test, indices, preparation)
    assert found.score.correct > 300
    model = deploy.unpack_model(weights)
    for backend in ("auto", "torch"):
        with nn.backend(backend):
            assert torch.equal(evaluate(model, digits.test, indices, preparation).logits, found.logits)


@settings(max_examples=15, deadline=None)
@given(
    ao_bit=st.sampled_from([1, 1.5, 2, 3, 4]),
    w_bit=st.sampled_from([1, 1.5, 2, 3, 4]),
    adc_bit=st.sampled_from([1, 2, 3, 4]),
    rows=st.integers(9, 300),
    mapping=st.sampled_from(["channel", "tap"]),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    seed=st.integers(0, 1000),
)
def test_any_options(ao_bit, w_bit, adc_bit, rows, mapping, height, width, seed):
    options = {"ao_bit": ao_bit, "w_bit": w_bit, "adc_bit": adc_bit, "rows": rows, "mapping": mapping}
    model = network("res18", seed, width=1, in_shape=(1, height, width), **options)
    stored = images(model, 2, seed)
    assert torch.equal(packed(model)(stored), torch_logits(model, stored))
