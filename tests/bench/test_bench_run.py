"""Every benchmark at a tiny size, and wrong kernels in each of them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import pytest
import torch

from bnnkit import nn, ops
from bnnkit.bench import (
    BENCHES,
    Report,
    bit_serial,
    bitplane,
    inference,
    memory,
    model,
    packed,
    resolve,
    run,
    train,
    vgg7,
)
from bnnkit.bench.masked import MaskedConv2d
from bnnkit.errors import UsageError

pytestmark = pytest.mark.usefixtures("extension")

TINY = {
    "xnor": (70, 40, 150),
    "adc": (70, 40, 150),
    "bitplane": (8, 4, 3, 3),
    "bit-serial": (2, 20, 6),
    "conv": (2, 20, 6),
    "model": (2, 1),
    "vgg9": (2, 1),
    "vgg7": (2, 1),
    "reactnet18": (2, 1),
    "fracbnn20": (2, 1),
    "train": (4, 1),
    "campaign": (4, 2, 1),
}


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the processes that measure memory; they have their own test."""
    monkeypatch.setattr(train, "peak_of_training", lambda side, *sizes: 300 if side == "loop" else 100)
    monkeypatch.setattr(model, "peak_of_inference", lambda side, *sizes: 300 if side == "loop" else 100)


NETWORKS = (
    "model",
    "vgg9",
    "vgg7",
    "reactnet18",
    "fracbnn20",
    "train",
    "campaign",
)  # their scalar kernels would take minutes


def tiny(kernel: str, against: list[str] | None = None) -> Report:
    variants = None if kernel in NETWORKS else ["reference"]
    return run(resolve(kernel, shapes=[TINY[kernel]], threads=[1], variants=variants, against=against, repeat=1))


def test_every_benchmark_has_a_tiny_size() -> None:
    assert set(TINY) == set(BENCHES)


@pytest.mark.parametrize("kernel", TINY)
def test_right_kernels_are_measured(kernel: str) -> None:
    report = tiny(kernel)
    assert not report.invalid
    assert all(row.seconds is not None and row.seconds.median > 0 for row in report.rows)
    ours = [row for row in report.rows if row.side.startswith("bnnkit") and row.side != "bnnkit pack"]
    assert ours
    assert all(row.check is not None and row.variants for row in ours)
    assert kernel in NETWORKS or all(set(row.variants.values()) == {"reference"} for row in ours)
    names = {row.side for row in report.rows}
    assert all(row.faster_than and set(row.faster_than) <= names for row in ours)
    assert report.notes


@pytest.mark.parametrize("kernel", TINY)
def test_it_can_be_measured_alone(kernel: str) -> None:
    report = tiny(kernel, against=["none"])
    assert not [row.side for row in report.rows if not row.side.startswith("bnnkit")]


def negated(right: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *args, **options: -right(*args, **options)


@pytest.mark.parametrize(
    ("kernel", "owner", "name"),
    [
        ("xnor", packed, "xnor_product"),
        ("adc", packed, "adc_product"),
        ("bitplane", ops, "slice_weights"),
        ("bitplane", ops, "merge_slices"),
        ("bit-serial", ops, "bit_serial_conv2d"),
        ("vgg7", ops, "bit_serial_conv2d"),
        ("conv", ops, "adc_conv2d"),
        ("model", ops, "adc_conv2d"),
        ("train", ops, "adc_conv2d"),
    ],
)
def test_a_wrong_kernel_is_invalid(kernel: str, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, negated(getattr(owner, name)))
    report = tiny(kernel)
    assert report.invalid
    assert all(row.seconds is None for row in report.invalid)
    assert any(row.side.startswith("bnnkit") for row in report.invalid)


@pytest.mark.parametrize(
    ("kernel", "owner", "name"),
    [
        ("bit-serial", MaskedConv2d, "__call__"),
        ("bitplane", bitplane, "remainder_slices"),
        ("bitplane", bitplane, "sum_of_slices"),
    ],
)
def test_a_wrong_loop_is_invalid(kernel: str, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, negated(getattr(owner, name)))
    report = tiny(kernel)
    assert report.invalid
    assert all("loop" in row.side for row in report.invalid)
    assert all(row.faster_than.keys() <= {"torch fp32"} for row in report.rows if row.case == report.invalid[0].case)


def test_cells_that_hold_bits_have_a_limit() -> None:
    report = tiny("bit-serial", against=["loop"])
    rows = [row for row in report.rows if row.side == "bnnkit bit-serial"]
    # Both widths of cells have 4 planes in all; 4 input bits.
    assert [row.work.products for row in rows] == [2 * 20 * 36 * 20 * 9 * 4 * 4] * 2 + [0, 0]
    loops = [row for row in report.rows if row.side == bit_serial.LOOP]
    assert [row.work.amount for row in (loops[0], rows[0])] == [1, 2]
    assert loops[0].seconds is not None
    assert rows[0].seconds is not None
    per_image = loops[0].seconds.median / (rows[0].seconds.median / 2)
    assert rows[0].faster_than[bit_serial.LOOP] == pytest.approx(per_image)
    assert rows[0].check is not None
    assert rows[0].check.compared == "2 of 2 images"
    document = report.document()
    assert document["rows"][1]["work"] == {"amount": 2, "unit": "image", "products": rows[0].work.products}
    assert any("ratios to it are per image" in note for note in document["notes"])


def test_a_chip_says_where_its_time_goes() -> None:
    ideal, noisy = (row for row in tiny("vgg7").rows if row.side == "bnnkit chip")
    assert list(ideal.stages) == [
        *(f"features.{i}" for i in range(1, 6)), "hidden", "classifier",
        "normalization", "pooling", "first layer", "ReLU and other",
    ]  # fmt: skip
    assert sum(ideal.stages.values()) == pytest.approx(1)
    # Layers 1 to 5, then the two linear ones: products of 32 .. 128 channels, 4 bits, 4 planes.
    convs = [(32, 32, 32), (32, 64, 16), (64, 64, 16), (64, 128, 8), (128, 128, 8)]
    macs = sum(a * b * 9 * size**2 for a, b, size in convs) + 2048 * 256 + 256 * 10
    assert (ideal.work.products, noisy.work.products) == (2 * macs * 16, 0)
    assert set(ideal.faster_than) == {"software", "torch fp32"}
    assert ideal.of_limit is not None
    assert noisy.of_limit is None


def test_a_plain_network_has_the_same_weights() -> None:
    network = inference.build("vgg7", 1)
    images = inference.random_images(2)
    plain = vgg7.in_float32(network)
    assert torch.equal(vgg7.in_software(network)(images), vgg7.logits(network, images))
    [layers] = plain.args
    kept = dict(network.named_parameters())
    assert all(torch.equal(parameter, kept[name]) for name, parameter in layers.named_parameters())
    assert not any(isinstance(layer, nn.BitSerial) for layer in layers.modules())
    assert plain(images).isfinite().all()


def test_a_busy_machine_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: time.perf_counter() / 4)
    text = "the machine was busy: single threads had a core for 25% of the time; measure again, or with --clock cpu"
    assert text in tiny("bitplane").notes[-1]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_page_faults_are_kept_out_of_the_times() -> None:
    assert any("freed memory stays with the process" in note for note in tiny("bitplane").notes)


def test_threads_and_variants_are_put_back() -> None:
    before = torch.get_num_threads()
    tiny("bitplane")
    assert torch.get_num_threads() == before
    ops.slice_weights(torch.arange(4), 2, 1)
    assert ops.last_variant("bitplane") != "reference" or ops.usable_variants() == ["reference"]


def test_a_variant_asked_for_by_name_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve("bitplane", shapes=[TINY["bitplane"]], threads=[1], variants=["reference"], repeat=1)
    monkeypatch.setattr(ops, "last_variant", lambda kernel: "avx2")
    with pytest.raises(UsageError, match="bench bitplane: bnnkit bitplane has no variant 'reference'"):
        run(plan)


def test_memory_is_part_of_a_training_step() -> None:
    loop, ours = tiny("train").rows
    assert (loop.memory, ours.memory, ours.less_memory_than) == (300, 100, {"loop": 3})


def test_peaks_are_those_of_a_process_of_its_own() -> None:
    ballast = torch.ones(100_000_000)
    peak = memory.peak_of_training("bnnkit", batch=2, width=1, threads=1, variant=None)
    assert 1e6 < peak < memory.peak()
    assert peak < ballast.numel() * 4


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"memory of nobody: exit code 1\n(.|\n)*KeyError: 'nobody'"):
        memory.peak_of_training("nobody", batch=2, width=1, threads=1, variant=None)


@pytest.mark.parametrize("kernel", ["model", "reactnet18"])
def test_networks_on_a_device_are_verified(kernel: str) -> None:
    """On the processor, which plays the device."""
    plan = resolve(kernel, shapes=[TINY[kernel]], threads=[1])
    network = inference.build({"model": "res20"}.get(kernel, kernel), 1)
    sides = model.device_sides(plan, network, inference.random_images(3))
    assert [side.name for side in sides] == [*(model.OPPONENTS[name] for name in plan.against), "bnnkit packed"]
    assert sides[-1].kernels == (("adc",) if kernel == "model" else ("xnor",))
    for side in sides:
        logits = side.call()
        assert isinstance(logits, torch.Tensor) and logits.shape == (3, 10), side.name
        assert (side.check is not None) == side.name.startswith("bnnkit")
        assert side.check is None or side.check().passed, side.name
    with torch.no_grad():
        next(p for name, p in network.named_parameters() if name.endswith("weight")).neg_()
    assert sides[-1].check is not None and not sides[-1].check().passed
