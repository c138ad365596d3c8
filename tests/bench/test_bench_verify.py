"""Whatever part of an output the reference can afford, a wrong value in it is found."""

from __future__ import annotations

import pytest
import torch

from bnnkit import ops, reference
from bnnkit.bench import packed, resolve, xnor
from bnnkit.bench.dense import product, signs
from bnnkit.bench.verify import ProductOracle, equal, near, spread
from bnnkit.errors import MissingError

M, N, K = 40, 30, 50


def oracle(macs: int) -> ProductOracle:
    return ProductOracle(signs((M, K), 1), signs((N, K), 2), reference.xnor_gemm, macs)


@pytest.fixture
def right() -> torch.Tensor:
    return product(signs((M, K), 1), signs((N, K), 2), torch.float32)()


def test_a_small_product_is_compared_whole(right: torch.Tensor) -> None:
    whole = oracle(M * N * K)
    assert whole.check(right).passed
    assert whole.check(right).compared == "the whole output"
    for where in ((0, 0), (17, 23), (M - 1, N - 1)):
        wrong = right.clone()
        wrong[where] += 2
        found = whole.check(wrong)
        assert not found.passed
        assert found.detail.startswith("1 of 1,200 values differ, first ")
        assert found.detail.endswith(f" at {where}")


def test_a_large_product_is_compared_in_some_whole_rows_and_columns(right: torch.Tensor) -> None:
    sampled = oracle(5 * N * K)
    assert sampled.check(right).passed
    assert sampled.check(right).compared == "5 of 40 rows and 3 of 30 columns of the output"
    for where in ((0, 13), (M - 1, 13), (13, 0), (13, N - 1)):
        wrong = right.clone()
        wrong[where] = -wrong[where] + 1
        assert not sampled.check(wrong).passed


def test_a_wrong_shape_is_no_match(right: torch.Tensor) -> None:
    assert oracle(M * N * K).check(right.T).detail == "(30, 40) instead of (40, 30)"
    assert not equal(right[:1], right, "all").passed


def test_not_a_number_is_no_match(right: torch.Tensor) -> None:
    right[3, 3] = float("nan")
    assert not oracle(M * N * K).check(right).passed


def test_what_is_rounded_may_be_off_by_a_share_of_the_largest_value(right: torch.Tensor) -> None:
    off = right.clone()
    off[3, 3] += 0.01 * right.abs().max()
    assert near(off, right, 0.011, "all").compared == "all, within 0.011 of the largest value"
    assert near(off, right, 0.011, "all").passed
    assert near(off, right, 0.009, "all").detail == "off by up to 0.01 of the largest value"
    off[0, 0] = float("nan")
    assert not near(off, right, 0.011, "all").passed
    assert not near(right[:1], right, 1.0, "all").passed


def test_samples_hold_both_ends() -> None:
    assert spread(4096, 16)[[0, -1]].tolist() == [0, 4095]
    assert spread(5, 0).tolist() == [0, 4]
    assert spread(1, 7).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_opponents_compute_the_same_product(dtype: torch.dtype) -> None:
    x, w = signs((32, 64), 1), signs((32, 64), 2)
    assert torch.equal(product(x, w, dtype)().float(), reference.xnor_gemm(x, w).float())


@pytest.mark.parametrize("n", [30, 64, 70])
def test_every_output_of_the_xnor_kernel_is_compared(n: int) -> None:
    try:
        ops.load()
    except MissingError:
        pytest.skip("the compiled extension, which has the ops, is missing")
    x, w, layout = signs((M, K), 1), signs((n, K), 2), packed.whole(K)
    bits = packed.pack_activations(x, layout), packed.pack_weights(w, layout)
    sides = xnor.output_sides(resolve("xnor"), bits, (x, w), 1)
    assert [side.name.split(", ")[1] for side in sides] == ["int32 out", "bits out", "int16 out"]
    for side in sides:
        assert side.check is not None and side.check().passed, side.name
    bits[1][0, 3, 0] ^= 1
    broken = [side.check is not None and side.check().passed for side in sides]
    assert broken[0] is broken[2] is False
