"""A&B BNN: its betas and blocks, and the integers its evaluation computes with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit.cim import Adc
from bnnkit.errors import UsageError
from bnnkit.models import create_model, integer_network
from bnnkit.models.integer_network import IntegerNetwork
from bnnkit.models.reactnet import ReactNet
from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import Backend, ScaledCimConv2d, backend, fixed_point
from bnnkit.nn.activations import ShiftRPReLU
from bnnkit.nn.fixed_point import WIDEST, IntegerActivation, ShiftAdd
from bnnkit.train.precision import repeatable

INT32 = 2**31


@torch.no_grad()
def drawn(name: str, seed: int = 1, steepest: float = 0.8, **options: Any) -> ReactNet:
    """Return a network with random parameters of both signs."""
    torch.manual_seed(seed)
    model = create_model(name, **{"width": 1, "in_shape": (3, 16, 16) if name == "reactnetA" else (3, 8, 8), **options})
    assert isinstance(model, ReactNet)
    for layer in model.modules():
        if isinstance(layer, ScaledCimConv2d):
            layer.weight.normal_()
            layer.gain.uniform_(0.5, 1.5).mul_(torch.randn_like(layer.gain).sign())
        if isinstance(layer, SignBlock):
            layer.offset.normal_(0, 0.5)
        if isinstance(layer, ShiftRPReLU):
            layer.bias_in.normal_(0, 0.3)
            layer.bias_out.normal_(0, 0.3)
            layer.log2_slope.uniform_(-5, steepest)
    return model.eval()


# Structure


def variances_of_stages(counts: list[int]) -> Iterator[float]:
    """The first block of a stage divides by what the stage before has left; then the variance is 1 again and grows by
    1/16 with every further block."""
    left = 0
    for count in counts:
        yield 1 + left / 16
        yield from (1 + index / 16 for index in range(count - 1))
        left = count - 1


def variances_of_pairs(halved_after: list[int]) -> Iterator[float]:
    """Both blocks of a pair add 1/16; the pair that halves the image is the last one before the variance is 1 again."""
    for pairs in halved_after:
        yield from (1 + index / 16 for index in range(2 * pairs))


@pytest.mark.parametrize(
    ("name", "variances"),
    [
        ("reactnet18", variances_of_stages([4, 4, 4, 4])),
        ("reactnet34", variances_of_stages([6, 8, 12, 6])),
        ("reactnetA", variances_of_pairs([2, 2, 2, 6, 1])),
    ],
)
def test_betas_divide_by_the_expected_deviation(name: str, variances: Iterator[float]) -> None:
    betas = [block.beta for block in drawn(name).blocks]
    assert betas == pytest.approx([variance**-0.5 for variance in variances], rel=1e-12)


def test_shapes_of_the_published_networks() -> None:
    wide = create_model("reactnet18")
    assert isinstance(wide, ReactNet)
    assert [block.conv.out_channels for block in wide.blocks] == [64] * 4 + [128] * 4 + [256] * 4 + [512] * 4
    assert {block.shortcut for block in wide.blocks} == {"identity", "pool-conv"}
    pairs = create_model("reactnetA", classes=1000, in_shape=(3, 224, 224))
    assert isinstance(pairs, ReactNet)
    halves = [(block.conv.out_channels, block.conv.kernel_size[0], block.conv.stride[0]) for block in pairs.blocks]
    assert halves[:6] == [(32, 3, 1), (64, 1, 1), (64, 3, 2), (128, 1, 1), (128, 3, 1), (128, 1, 1)]
    assert halves[-2:] == [(1024, 3, 1), (1024, 1, 1)]
    assert sum(stride == 2 for _, _, stride in halves) == 4
    assert [block.shortcut for block in pairs.blocks][:4] == ["identity", "duplicate", "pool", "duplicate"]


@pytest.mark.parametrize(
    ("name", "side", "stem", "last"),
    [("reactnet18", 32, 32, 4), ("reactnet18", 160, 40, 5), ("reactnetA", 32, 32, 2), ("reactnetA", 160, 80, 5)],
)
def test_large_images_are_reduced_by_the_stem(name: str, side: int, stem: int, last: int) -> None:
    model = drawn(name, in_shape=(3, side, side)).train()
    with torch.no_grad():
        x = model.stem_pool(model.stem(torch.randn(1, 3, side, side)))
        assert x.shape[2:] == (stem, stem)
        for stage in model.stages:
            x = stage(x)
    assert x.shape[2:] == (last, last)


@pytest.mark.parametrize(
    ("name", "sides", "multiple"),
    [
        ("reactnet18", (12, 16), 8),
        ("reactnet34", (16, 4), 8),
        ("reactnet18", (144, 160), 32),
        ("reactnetA", (16, 24), 16),
        ("reactnetA", (128, 144), 32),
    ],
)
def test_impossible_sides_are_refused(name: str, sides: tuple[int, int], multiple: int) -> None:
    with pytest.raises(UsageError, match=f"multiples of {multiple} were needed"):
        create_model(name, width=1, in_shape=(3, *sides))


# Training


@pytest.mark.parametrize("name", ["reactnet18", "reactnetA"])
@pytest.mark.parametrize("bits", [(1, 1), (1, "fp"), ("fp", 1)])
def test_blocks_compute_what_they_say(name: str, bits: tuple[Any, Any]) -> None:
    seen = set()
    for block in drawn(name, ao_bit=bits[0], w_bit=bits[1]).train().blocks:
        x = torch.randn(2, block.offset.numel(), 4, 4)
        pooled = (x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]) / 4
        shortcut = {"identity": x, "duplicate": torch.cat([x, x], 1)}.get(block.shortcut, pooled)
        if block.shortcut_conv is not None:
            shortcut = block.shortcut_conv(pooled)
        masked = (x + block.offset.view(1, -1, 1, 1) / block.beta) * block.beta
        v = block.conv(masked) / 4 + shortcut + block.activation.bias_in.view(1, -1, 1, 1)
        slope = 2 ** block.activation.log2_slope.round().view(1, -1, 1, 1)
        expected = torch.where(v > 0, v, v * slope) + block.activation.bias_out.view(1, -1, 1, 1)
        assert torch.allclose(block(x), expected, rtol=1e-4, atol=1e-5)
        seen.add(block.shortcut)
    assert seen == ({"identity", "pool-conv"} if name == "reactnet18" else {"identity", "pool", "duplicate"})


@settings(max_examples=30, deadline=None)
@given(st.floats(0.125, 3, width=32), st.integers(0, 1000))
def test_the_mask_layer_changes_no_sign(beta: float, seed: int) -> None:
    block = drawn("reactnet18", seed).train().blocks[1]
    other = drawn("reactnet18", seed).train().blocks[1]
    block.beta, other.beta = beta, 1.0
    with torch.no_grad():
        other.offset.div_(beta)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(x), other(x))
    slopes = []
    for each in (block, other):
        (slope,) = torch.autograd.grad(each(x).sum(), each.offset)
        slopes.append(slope)
    assert beta == 1 or not torch.allclose(*slopes), "it shapes the gradients"


@pytest.mark.parametrize("bits", [{"ao_bit": "fp"}, {"w_bit": "fp"}])
def test_the_first_step_evaluates_in_full_precision(bits: dict[str, Any]) -> None:
    model, x = drawn("reactnet18", **bits), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        evaluated, trained = model.eval()(x), model.train()(x)
    # Standardized in double for evaluation: a value next to 0 may change its sign.
    assert torch.nn.functional.cosine_similarity(evaluated, trained).min() > 0.999


# Evaluation in integers


@pytest.mark.parametrize("adc_bit", ["fp", 2])
@pytest.mark.parametrize("name", ["reactnet18", "reactnetA"])
def test_with_more_digits_integers_are_the_floats(name: str, adc_bit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_point, "DIGITS", 12)
    for seed in (1, 2, 3):
        model = drawn(name, seed, steepest=0.4, adc_bit=adc_bit)
        x = torch.randn(32, *model.settings.in_shape)
        with torch.no_grad():
            integers, floats = model.eval()(x), model.train()(x)
        # Here and there a sign differs, and with it everything behind; in most images none does.
        errors = (integers - floats).abs().max(1).values / floats.abs().max()
        assert errors.median() < 5e-4
        assert not torch.equal(integers, floats)


@pytest.mark.parametrize("name", ["reactnet18", "reactnet34", "reactnetA"])
def test_integers_are_close_to_the_floats(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn(name)
    x = torch.randn(32, *model.settings.in_shape)
    signs: dict[bool, list[Tensor]] = {False: [], True: []}
    run = integer_network._run

    def noted(block: SignBlock, integers: Any, values: Tensor) -> Tensor:
        signs[True].append(values >= integers.threshold.view(1, -1, 1, 1))
        return run(block, integers, values)

    def note(block: SignBlock, inputs: tuple[Tensor]) -> None:
        signs[False].append(inputs[0] + block.offset.view(1, -1, 1, 1) / block.beta >= 0)

    monkeypatch.setattr(integer_network, "_run", noted)
    with torch.no_grad():
        integers = model.eval()(x)
        for block in model.blocks:
            block.register_forward_pre_hook(note)
        floats = model.train()(x)
    assert len(signs[True]) == len(signs[False]) == len(model.blocks)
    equal = [(a == b).double().mean() for a, b in zip(signs[True], signs[False], strict=True)]
    assert equal[0] > 0.999
    assert min(equal) > 0.97
    assert torch.corrcoef(torch.stack([integers.flatten(), floats.flatten()]))[0, 1] > 0.99


class Watch:
    """Records the largest integers of an evaluation: values, and what is on the way to them.

    `blocks` are the magnitudes of what each block leaves, by channel.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: list[int] = []
        self.blocks: list[Tensor] = []
        self.on_the_way: list[int] = []
        run, multiply, activate = integer_network._run, ShiftAdd.__call__, IntegerActivation.__call__

        def watched_run(block: SignBlock, integers: Any, values: Tensor) -> Tensor:
            self.values.append(int(values.abs().max()))
            if block.shortcut.startswith("pool"):
                self.on_the_way.append(4 * int(values.abs().max()))
            left = run(block, integers, values)
            self.blocks.append(left.abs().amax((0, 2, 3)))
            return left

        def watched_multiply(product: ShiftAdd, x: Tensor) -> Tensor:
            found = multiply(product, x)
            self.on_the_way += [int((x << product.lift).abs().max()), 2 * int(x.abs().max())]
            self.values.append(int(found.abs().max()))
            return found

        def watched_activate(activation: IntegerActivation, x: Tensor) -> Tensor:
            found = activate(activation, x)
            inner = x + activation.bias_in.long().view(1, -1, 1, 1)
            self.values += [int(v.abs().max()) for v in (x, inner, found)]
            return found

        monkeypatch.setattr(integer_network, "_run", watched_run)
        monkeypatch.setattr(ShiftAdd, "__call__", watched_multiply)
        monkeypatch.setattr(IntegerActivation, "__call__", watched_activate)


def extremes(model: ReactNet) -> Tensor:
    """Return black, white, noise, what makes channels of the stem answer with their bounds, and what no image is."""
    shape = model.settings.in_shape
    black, white = ((torch.full((1, *shape), byte) - 0.45) / 0.25 for byte in (0.0, 1.0))
    kernel = model.stem.effective_weight()[:4].sign().detach() * 4
    matched = kernel.repeat(1, 1, 6, 6)[:, :, : shape[1], : shape[2]]
    return torch.cat([black, white, matched, 1e4 * matched, torch.randn(4, *shape)])


def scaled(model: ReactNet, size: float) -> ReactNet:
    """Multiply a network's shifts and the outputs of its stem."""
    with torch.no_grad():
        for parameter in (p for block in model.blocks for p in (block.offset, block.activation.bias_in)):
            parameter.mul_(size)
        model.stem.gain.mul_(size)
    return model


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["reactnet18", "reactnetA"]),
    adc_bit=st.sampled_from(["fp", 1, 4]),
    steepest=st.floats(-3, 1.5),
    seed=st.integers(0, 2**20),
    size=st.floats(0.01, 100),
)
def test_no_integer_outgrows_its_room(name: str, adc_bit: Any, steepest: float, seed: int, size: float) -> None:
    model = scaled(drawn(name, seed, steepest, adc_bit=adc_bit), size)
    with pytest.MonkeyPatch.context() as monkeypatch, torch.no_grad():
        watch = Watch(monkeypatch)
        model(extremes(model))
    assert len(watch.values) > 4 * len(model.blocks)
    assert 0 < max(watch.values) < 2**WIDEST
    assert max(watch.on_the_way) < INT32


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["reactnet18", "reactnetA"])
def test_no_block_outgrows_the_bounds_of_its_channels(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two levels far apart: every sum of an array is as large as it can be.
    model = scaled(drawn(name, seed, 0.0, adc_bit=1), 0.5)
    watch = Watch(monkeypatch)
    with torch.no_grad():
        model(extremes(model))
    network, floats = IntegerNetwork.of(model), integer_network.parameters_of(model)
    bound, reached = network.stem_bound, []
    for key, block, left in zip(network.blocks, model.blocks, watch.blocks, strict=True):
        parts = {part: floats[f"{key}.{part}"].double() for part in integer_network._parts(block)}
        bound, _ = integer_network._bounds(block, parts, bound)
        reached.append(float((left / (bound * 2**network.fraction_bits)).max()))
    assert max(reached) <= 1
    assert max(reached) > 0.95, "close to what can happen"


def test_the_stem_saturates_at_its_bound() -> None:
    model = drawn("reactnet18")
    network = IntegerNetwork.of(model)
    with torch.no_grad():
        values = network._stem(torch.full((1, 3, 8, 8), 1e6))
    limits = network.stem_limits().view(1, -1, 1, 1)
    assert (values.abs() <= limits).all()
    assert (values.abs() == limits).any()
    assert torch.equal(
        limits.flatten(),
        (4 * model.stem.effective_weight().double().abs().sum((1, 2, 3)) * 2**network.fraction_bits).floor(),
    )


@pytest.mark.parametrize("adc_bit", ["fp", 2])
@pytest.mark.parametrize("name", ["reactnet18", "reactnetA"])
def test_other_images_of_a_batch_and_backends_do_not_matter(name: str, adc_bit: Any) -> None:
    model = drawn(name, adc_bit=adc_bit)
    x = torch.randn(7, *model.settings.in_shape)
    backends: list[Backend] = ["auto", "torch", "reference"]
    with torch.no_grad(), repeatable(model):
        expected = model(x)
        assert torch.equal(torch.cat([model(image[None]) for image in x]), expected)
        for used in backends:
            with backend(used):
                assert torch.equal(model(x), expected)
    assert len({tuple(row) for row in expected.tolist()}) == len(x)


def test_evaluation_follows_training() -> None:
    model, x = drawn("reactnet18"), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        before = model(x)
    model.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1 * parameter.grad.sign())  # type: ignore[union-attr]
        assert not torch.equal(model.eval()(x), before)


def test_converters_off_the_grid_have_no_integers() -> None:
    model = drawn("reactnet18", adc_bit=1)
    model.blocks[2].conv.adc = Adc.from_table([0], [-1, 2], rows=128)
    with pytest.raises(UsageError, match="not multiples of one step"):
        model(torch.randn(1, 3, 8, 8))


def test_fraction_bits_shrink_where_values_may_grow() -> None:
    calm, steep = (IntegerNetwork.of(drawn("reactnet18", steepest=steepest)) for steepest in (-1.0, 2.4))
    assert calm.fraction_bits > steep.fraction_bits
