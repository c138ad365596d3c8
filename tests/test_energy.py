"""Energies of operations: the packaged file, the arithmetic, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnnkit import energy
from bnnkit.deploy.operations import Operations
from bnnkit.energy import KINDS, Cost
from bnnkit.errors import MissingError, UsageError


def written(folder: Path, changed: str = "", entry: str = "", *, without: str = "") -> Path:
    """Write a file in which one kind has another entry, or is missing."""
    good = 'picojoules = 1\nsource = "a guess"\n'
    kinds = [kind for kind in KINDS if kind != without]
    path = folder / "energy.toml"
    path.write_text("".join(f"[{kind}]\n{entry if kind == changed else good}\n" for kind in kinds))
    return path


def test_the_packaged_file_is_complete_and_names_its_sources() -> None:
    costs = energy.read()
    assert tuple(costs) == KINDS
    assert all(cost.source and cost.picojoules > 0 for cost in costs.values())
    assert costs["float_addition"].picojoules == 0.9
    assert costs["conversion"] == Cost(2 / 1.28, costs["conversion"].source, 8)


def test_every_operation_is_charged_once() -> None:
    # A prime each, so that no two are confused.
    one = Operations(2, 3, 5, 7, 0, 13)
    assert energy.by_kind(one) == {
        "binary_mac": 2,
        "integer_addition": 3,
        "float_addition": 0,
        "shift": 5,
        "comparison": 7,
        "multiplication": 0,
        "conversion": 13,
    }
    floats = energy.by_kind(Operations(2, 3, 5, 7, 11, 13))
    assert (floats["integer_addition"], floats["float_addition"], floats["multiplication"]) == (0, 3, 11)
    assert tuple(floats) == KINDS


def test_energy_is_count_times_cost() -> None:
    costs = {kind: Cost(10.0**i, "a guess") for i, kind in enumerate(KINDS)}
    counts = energy.by_kind(Operations(2, 3, 5, 7, 11, 13))
    assert list(energy.picojoules(counts, costs).values()) == [2, 0, 300, 5e3, 7e4, 11e5, 13e6]


def test_converters_of_fewer_bits_take_less(tmp_path: Path) -> None:
    assert energy.read(adc_bit=8) == energy.read()
    assert energy.read(adc_bit=1)["conversion"].picojoules == 1.5625 / 128
    assert energy.read(adc_bit=9)["conversion"].picojoules == 3.125
    assert energy.read(written(tmp_path), adc_bit=1)["conversion"].picojoules == 1


def test_a_copy_with_other_figures_is_read(tmp_path: Path) -> None:
    assert energy.read(written(tmp_path, "shift", 'picojoules = 0\nsource = "wires"'))["shift"] == Cost(0, "wires")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not exist") as failure:
        energy.read(tmp_path / "none.toml")
    assert failure.value.exit_code == 3
    assert failure.value.hint == f"copy {energy.PACKAGED}"
    with pytest.raises(MissingError, match="is a folder"):
        energy.read(tmp_path)


@pytest.mark.parametrize("content", [b"[shift", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "energy.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as TOML") as failure:
        energy.read(path)
    assert failure.value.hint is not None


def test_a_kind_that_is_missing_or_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[comparison\] is missing") as failure:
        energy.read(written(tmp_path, without="comparison"))
    assert failure.value.hint is not None and "picojoules" in failure.value.hint
    path = written(tmp_path)
    path.write_text(path.read_text() + '[division]\npicojoules = 1\nsource = "a guess"\n')
    with pytest.raises(UsageError, match=r"\[division\] is no kind of operation") as failure:
        energy.read(path)
    assert failure.value.hint is not None and "multiplication" in failure.value.hint


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        ("shift", 'picojoules = -0.1\nsource = "a"', "picojoules is -0.1; a number from 0 on"),
        ("shift", 'picojoules = nan\nsource = "a"', "picojoules is nan"),
        ("shift", 'picojoules = inf\nsource = "a"', "picojoules is inf"),
        ("shift", 'picojoules = true\nsource = "a"', "picojoules is True"),
        ("shift", 'picojoules = "1"\nsource = "a"', "picojoules is '1'"),
        ("shift", 'source = "a"', "picojoules is None"),
        ("shift", "picojoules = 1", "names no source"),
        ("shift", 'picojoules = 1\nsource = " "', "names no source"),
        ("shift", 'picojoules = 1\nsource = "a"\nbits = 8', "bits is unknown"),
        ("conversion", 'picojoules = 1\nsource = "a"\nbits = 0', "bits is 0; 1 to 32"),
        ("conversion", 'picojoules = 1\nsource = "a"\nbits = 8.5', "bits is 8.5"),
        ("conversion", 'picojoules = 1\nsource = "a"\nper_bit = 2', "per_bit is unknown"),
    ],
)
def test_entries_that_are_no_energy(tmp_path: Path, kind: str, entry: str, message: str) -> None:
    with pytest.raises(UsageError) as failure:
        energy.read(written(tmp_path, kind, entry))
    assert message in failure.value.message and f"[{kind}]" in failure.value.message
    assert failure.value.exit_code == 2
    assert failure.value.hint
