"""Ranges of converters: from histograms with known answers, into files and out of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit.cim import Histogram, Method, Ranges
from bnnkit.cim.ranges import Scope, aligned
from bnnkit.errors import MismatchError, MissingError, UsageError

BITS = st.integers(1, 8)


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _levels(low: Tensor, high: Tensor, adc_bit: int) -> Tensor:
    """Return [groups, 2^k] output levels."""
    return low[:, None] + torch.arange(2**adc_bit) * ((high - low) / 2**adc_bit)[:, None]


@settings(deadline=None)
@given(BITS, st.integers(-5000, 0), st.integers(0, 5000), st.integers(0, 6))
def test_zero_is_a_level_and_the_ends_are_reached(adc_bit: int, least: int, most: int, fraction: int) -> None:
    resolution = 2.0**-fraction
    low, high = aligned(_numbers(least * resolution), _numbers(most * resolution), adc_bit, resolution)
    step = (high - low) / 2**adc_bit
    levels = _levels(low, high, adc_bit)[0]
    slack = 1e-9 * float(step)
    assert float(levels.abs().min()) <= slack
    assert float(step) >= resolution
    assert float(levels[0]) <= least * resolution + float(step) / 2 + slack
    assert float(levels[-1]) >= most * resolution - float(step) / 2 - slack
    if float(step) > resolution:
        assert float(step) == pytest.approx((most - least) * resolution / (2**adc_bit - 1))
    else:
        assert float(levels[0]) == least * resolution, "every partial sum has a level of its own"


def test_aligned_by_hand() -> None:
    low, high = aligned(_numbers(-7, -2, 0, -1), _numbers(0, 1, 30, 1), 3)
    assert low.tolist() == [-7, -2, 0, -1]
    assert high.tolist() == [1, 6, pytest.approx(240 / 7), 7]
    low, high = aligned(_numbers(-2), _numbers(1), 1)
    assert (low.tolist(), high.tolist()) == ([-3], [3])
    low, high = aligned(_numbers(-0.5), _numbers(0.5), 2, resolution=0.25)
    assert (low.tolist(), high.tolist()) == ([pytest.approx(-2 / 3)], [pytest.approx(2 / 3)])


@pytest.mark.parametrize(
    ("text", "method", "written"),
    [
        ("max", Method("max"), "max"),
        ("mse", Method("mse"), "mse"),
        ("percentile", Method("percentile", 99.9), "percentile:99.9"),
        ("percentile:100", Method("percentile", 100), "percentile:100"),
        ("sigma", Method("sigma", 4), "sigma:4"),
        ("sigma:2.5", Method("sigma", 2.5), "sigma:2.5"),
    ],
)
def test_methods(text: str, method: Method, written: str) -> None:
    assert Method.parse(text) == method
    assert str(method) == written
    assert Method.parse(written) == method


@pytest.mark.parametrize("text", ["", "nonsense", "Max", "percentile:x", "sigma:1,2", "full", "batch"])
def test_unknown_methods_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Method.parse(text)
    assert error.value.message == f"calibration '{text}'; max, percentile:P, mse or sigma:K was needed"
    assert error.value.hint == "use mse"


@pytest.mark.parametrize(
    "text",
    [
        "max:1",
        "mse:2",
        "percentile:0",
        "percentile:101",
        "percentile:-1",
        "percentile:nan",
        "sigma:0",
        "sigma:-1",
        "sigma:nan",
        "sigma:inf",
    ],
)
def test_impossible_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="impossible number") as error:
        Method.parse(text)
    assert error.value.hint == "percentile:99.9 or sigma:4"


def _bounds(text: str, counts: Mapping[float, int], adc_bit: int, arrays: int = 1) -> tuple[float, float]:
    values = torch.arange(-10, 101, dtype=torch.float64)
    histogram = torch.zeros(1, len(values), dtype=torch.int64)
    for value, count in counts.items():
        histogram[0, values.tolist().index(value)] = count
    low, high = Method.parse(text).bounds(values, histogram, adc_bit, arrays)
    return float(low), float(high)


def test_max_by_hand() -> None:
    counts = {-2: 2, 0: 5, 1: 1}
    assert _bounds("max", counts, 2) == (-2, 2)  # levels -2, -1, 0, 1
    assert _bounds("max", counts, 1) == (-3, 3)  # levels -3, 0
    assert _bounds("max", counts, 3) == (-2, 6)  # a step of less than 1 would tell nothing more apart


def test_percentile_by_hand() -> None:
    counts = {-5: 1, -1: 49, 2: 49, 5: 1}
    assert _bounds("percentile:98", counts, 2) == (-1, 3)
    assert _bounds("percentile:99", counts, 2) == _bounds("max", counts, 2), "half a percent on either side"
    assert _bounds("percentile:100", counts, 2) == _bounds("max", counts, 2)
    assert _bounds("percentile:2", {0: 45, 1: 10, 3: 45}, 1) == (1, 3)  # the middle: 1 alone, in steps of 1


def test_sigma_by_hand() -> None:
    counts = {0: 3, 2: 3}  # mean 1, standard deviation 1
    assert _bounds("sigma:6", counts, 2) == (-4, 12)  # -5 to 7 in steps of 4
    assert _bounds("sigma:2", counts, 2) == (pytest.approx(-4 / 3), pytest.approx(4))  # -1 to 3


def test_least_error_by_hand() -> None:
    dense = dict.fromkeys(range(-4, 4), 1000)
    # Clipping one 60 at 3 costs 57^2 = 3249; steps of 2 cost 4000.
    assert _bounds("mse", {**dense, 60: 1}, 3) == (-4, 4)
    assert _bounds("max", {**dense, 60: 1}, 3) == (pytest.approx(0), pytest.approx(8 * 64 / 7))
    # Five of them cost 16245; levels -3, 0, .. 18 cost 5 * 42^2 + 5000 = 13820.
    assert _bounds("mse", {**dense, 60: 5}, 3) == (-3, 21)


def test_errors_to_one_side_weigh_more_the_more_arrays_are_added_up() -> None:
    values = torch.arange(-4, 61, dtype=torch.float64)
    counts = torch.zeros(65, dtype=torch.int64)
    counts[:8], counts[-1] = 1000, 1
    bias, spread = [], []
    for arrays in (1, 10**7):
        low, high = Method("mse").bounds(values, counts[None], 3, arrays)
        spread.append(_error(values, counts, low, high, 3, 0))
        bias.append(_error(values, counts, low, high, 3, 1) - spread[-1])
    assert bias[1] < bias[0]
    assert spread[1] > spread[0]


def _error(values: Tensor, counts: Tensor, low: Tensor, high: Tensor, adc_bit: int, arrays: int) -> float:
    """Variance plus `arrays` times the squared bias, as `mse` minimises it."""
    step = (high - low) / 2**adc_bit
    codes = ((values - low) / step).round().clamp(0, 2**adc_bit - 1)
    error, weights = codes * step + low - values, counts.double() / counts.sum()
    bias = float((weights * error).sum())
    return float((weights * error**2).sum()) - bias**2 + arrays * bias**2


@settings(deadline=None, max_examples=60)
@given(BITS, st.integers(1, 12), st.integers(0, 40), st.data())
def test_least_error_errs_no_more_than_max(adc_bit: int, step: int, below: int, data: st.DataObject) -> None:
    # Steps of whole numbers: only these are tried, so that small partial sums do not all err to the same side.
    levels = 2**adc_bit
    below = min(below, levels - 1)
    counts = torch.tensor(
        data.draw(st.lists(st.integers(0, 1000), min_size=2, max_size=60)), dtype=torch.int64
    ).repeat_interleave(max(1, step * (levels - 1) // 60))
    counts = torch.nn.functional.pad(counts, (0, step * (levels - 1) + 1))[: step * (levels - 1) + 1]
    counts[0], counts[-1] = counts[0] + 1, counts[-1] + 1
    arrays = data.draw(st.sampled_from([1, 9, 72]))
    values = torch.arange(len(counts), dtype=torch.float64) - below * step
    errors = []
    for text in ("mse", "max"):
        low, high = Method.parse(text).bounds(values, counts[None], adc_bit, arrays)
        errors.append(_error(values, counts, low, high, adc_bit, arrays))
    assert errors[0] <= errors[1] * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("adc_bit", [3, 4, 5, 6])
@pytest.mark.parametrize("spread", [2.0, 7.0, 20.0])
def test_least_error_beats_max_on_bells(spread: float, adc_bit: int) -> None:
    values = torch.arange(-128, 129, dtype=torch.float64)
    counts = (1e6 * torch.exp(-((values - spread / 3) ** 2) / (2 * spread**2))).long()
    counts[[20, 250]] += 1
    errors = []
    for text in ("mse", "max"):
        low, high = Method.parse(text).bounds(values, counts[None], adc_bit, 9)
        errors.append(_error(values, counts, low, high, adc_bit, 9))
    assert errors[0] < errors[1]


def test_least_error_finds_a_bell_between_two_outliers() -> None:
    values = torch.arange(-128, 129, dtype=torch.float64)
    counts = (1e6 * torch.exp(-((values - 2 / 3) ** 2) / (2 * 2.0**2))).long()
    counts[[20, 250]] += 1
    low, high = Method("mse").bounds(values, counts[None], 4)
    # Levels -7 to 8 hold all but two partial sums.
    near = _error(values, counts, _numbers(-7), _numbers(9), 4, 1)
    assert _error(values, counts, low, high, 4, 1) <= 2 * near


def test_groups_do_not_influence_each_other() -> None:
    values = torch.arange(-20, 21, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 50, (5, 41), generator=generator)
    counts[1, :15] = counts[3, 30:] = 0
    for text in ("max", "mse", "percentile:95", "sigma:2"):
        method = Method.parse(text)
        low, high = method.bounds(values, counts, 3, 4)
        assert low.shape == high.shape == (5,) and low.dtype == high.dtype == torch.float64
        for i in range(5):
            alone = method.bounds(values, counts[i : i + 1], 3, 4)
            assert (float(alone[0]), float(alone[1])) == (float(low[i]), float(high[i]))


def _histogram(seed: int = 0, bits: int = 3, slices: int = 2, columns: int = 4) -> Histogram:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 9, (bits, slices, columns, 11), generator=generator)
    for c in range(slices):
        counts[:, c, :, : 2 * c] = 0  # a slice of its own kind
    return Histogram(counts, low=-20, fraction=2, arrays=3)


def test_values_of_a_histogram() -> None:
    assert Histogram(torch.zeros(1, 1, 1, 4), low=-1, fraction=0).values.tolist() == [-1, 0, 1, 2]
    assert Histogram(torch.zeros(1, 1, 1, 3), low=-6, fraction=3).values.tolist() == [-0.75, -0.625, -0.5]


def test_adding_histograms() -> None:
    one, other = _histogram(1), _histogram(2)
    both = one + other
    assert torch.equal(both.counts, one.counts + other.counts)
    assert (both.low, both.fraction, both.arrays) == (one.low, one.fraction, one.arrays)


def test_clipped_share_by_hand() -> None:
    counts = torch.tensor([[[[1, 2, 3, 4]], [[0, 0, 0, 10]]]])  # one input bit, two slices: values -1, 0, 1, 2
    histogram = Histogram(counts, low=-1, fraction=0)

    def clipped(low: list[float], high: list[float]) -> float:
        shape = (1, len(low), 1)
        share = histogram.clipped(_numbers(*low).view(shape), _numbers(*high).view(shape))
        return round(share, 6)

    assert clipped([-1], [2]) == 0
    assert clipped([0], [2]) == 1 / 20
    assert clipped([0], [1.5]) == 15 / 20
    assert clipped([0, 2], [1, 2]) == 5 / 20
    assert clipped([-9, 3], [9, 9]) == 10 / 20
    assert Histogram(torch.zeros(1, 1, 1, 2), 0, 0).clipped(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)) == 0


@pytest.mark.parametrize(
    ("scope", "shape"), [("layer", (1, 2, 1)), ("slice", (1, 2, 1)), ("input-bit", (3, 2, 1)), ("column", (3, 2, 4))]
)
def test_what_has_a_range_of_its_own(scope: Scope, shape: tuple[int, ...]) -> None:
    histogram = _histogram()
    pooled = histogram.pooled(scope)
    assert pooled.shape == (*shape, 11)
    ranges = Ranges.from_histograms({"a": histogram, "b": _histogram(5)}, Method("max"), scope, 2, {"images": 3})
    assert list(ranges.bounds) == ["a", "b"]
    low, high = ranges.bounds["a"]
    assert low.shape == high.shape == shape and low.dtype == high.dtype == torch.float64
    assert ranges.metadata == {"images": 3, "method": "max", "scope": scope, "adc_bit": 2}
    for index in torch.cartesian_prod(*(torch.arange(size) for size in shape)).tolist():
        seen = histogram.values[pooled[tuple(index)] > 0]
        expected = aligned(seen.min()[None], seen.max()[None], 2, 0.25)
        assert (float(low[tuple(index)]), float(high[tuple(index)])) == (float(expected[0]), float(expected[1]))
    if scope == "layer":
        assert torch.equal(pooled[0, 0], pooled[0, 1]) and torch.equal(low[0, 0], low[0, 1])
        assert int(pooled[0, 0].sum()) == int(histogram.counts.sum())
    else:
        assert not torch.equal(pooled[0, 0], pooled[0, 1])
        assert int(pooled.sum()) == int(histogram.counts.sum())


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(UsageError, match="per 'row'; one of layer, slice, input-bit, column was needed") as error:
        Ranges.from_histograms({"a": _histogram()}, Method("max"), "row", 2, {})  # type: ignore[arg-type]
    assert error.value.hint == "slice"


def _ranges() -> Ranges:
    arrays = {"rows": 128, "mapping": "tap", "cell_bit": 1, "encoding": "offset", "channels_per_array": None}
    return Ranges.from_histograms({"hidden": _histogram()}, Method("sigma", 3), "column", 5, {"arrays": arrays})


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6, unique=True))
def test_files_hold_every_digit(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("ranges") / "ranges.json"
    low, high = torch.tensor(sorted(numbers), dtype=torch.float64).view(2, 1, 3, 1)
    Ranges({"a.b": (low, high), "c": (low.flip(1), high.flip(1))}, {"note": "x"}).save(path)
    loaded = Ranges.load(path)
    assert loaded.metadata == {"note": "x"}
    assert loaded.bounds.keys() == {"a.b", "c"}
    wanted = (low, high, low.flip(1), high.flip(1))
    for got, want in zip((*loaded.bounds["a.b"], *loaded.bounds["c"]), wanted, strict=True):
        assert got.dtype == torch.float64 and torch.equal(got, want)


def test_saved_and_loaded(tmp_path: Path) -> None:
    ranges, path = _ranges(), tmp_path / "ranges.json"
    ranges.save(path)
    document = json.loads(path.read_text())
    assert (document["format"], document["version"]) == ("bnnkit.calibration", 1)
    loaded = Ranges.load(str(path))
    assert loaded.metadata == ranges.metadata
    for got, want in zip(loaded.bounds["hidden"], ranges.bounds["hidden"], strict=True):
        assert torch.equal(got, want)


def _damage(document: dict[str, Any], how: str) -> Any:
    layer = document["layers"]["hidden"]
    if how == "foreign":
        return {"layers": document["layers"]}
    if how == "other format":
        return {**document, "format": "bnnkit.recipe"}
    if how == "list":
        return [document]
    if how == "newer":
        return {**document, "version": 2}
    if how == "no layers":
        return {key: value for key, value in document.items() if key != "layers"}
    if how == "layers are a list":
        return {**document, "layers": [layer]}
    if how == "no high":
        return {**document, "layers": {"hidden": {"low": layer["low"]}}}
    bad = {"text": [[["x"]]], "ragged": [[[1.0], [1.0, 2.0]]], "flat": [1.0], "not finite": [[[float("nan")]]]}[how]
    return {**document, "layers": {"hidden": {"low": bad, "high": layer["high"]}}}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("foreign", "not a calibration file"),
        ("other format", "not a calibration file"),
        ("list", "not a calibration file"),
        ("newer", "version 2; 1 was needed"),
        ("no layers", "damaged"),
        ("layers are a list", "damaged"),
        ("no high", "damaged"),
        ("text", "damaged"),
        ("ragged", "damaged"),
        ("flat", "damaged"),
        ("not finite", "damaged"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, how: str, text: str) -> None:
    path = tmp_path / "ranges.json"
    _ranges().save(path)
    path.write_text(json.dumps(_damage(json.loads(path.read_text()), how)))
    with pytest.raises(MismatchError) as error:
        Ranges.load(path)
    assert error.value.message.startswith(f"{path}: {text}")
    assert error.value.hint == "bnnkit calibrate"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00binary", b"PK\x03\x04"])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ranges.json"
    path.write_bytes(content)
    with pytest.raises(MismatchError, match="no calibration file"):
        Ranges.load(path)
    with pytest.raises(MismatchError, match="no calibration file"):
        Ranges.load(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    _ranges().save(path)
    content = path.read_bytes()
    for length in range(0, len(content.rstrip()), 97):
        path.write_bytes(content[:length])
        with pytest.raises(MismatchError):
            Ranges.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none\.json: does not exist; a calibration was needed"):
        Ranges.load(tmp_path / "none.json")
