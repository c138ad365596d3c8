"""Cells: what levels become, measured over many of them, and descriptions that are refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnkit.cim import CELLS, Cell, parse_cell
from bnnkit.errors import MismatchError, MissingError, UsageError

MANY = 100_000
KEYS = (7, 3, 1)


def _levels(cell_bit: int, count: int = MANY) -> Tensor:
    return torch.arange(count) % 2**cell_bit


@pytest.mark.parametrize(
    ("cell", "ideal"),
    [
        (Cell(), True),
        (Cell(hrs=5, lrs=50), True),
        (Cell(time=100.0), True),
        (Cell(nu=0.05, nu_sigma=0.01), True),
        (Cell(time=100.0, nu=0.05), False),
        (Cell(time=100.0, nu_sigma=0.05), False),
        (Cell(sigma=0.01), False),
        (Cell(program=(1.0,)), False),
        (Cell(lognormal=0.1), False),
        (Cell(samples="g.npy"), False),
        (Cell(stuck_on=0.01), False),
        (Cell(stuck_off=0.01), False),
        (Cell(read=0.01), False),
    ],
    ids=str,
)
def test_which_cells_are_ideal(cell: Cell, ideal: bool) -> None:
    assert cell.ideal is ideal


@pytest.mark.parametrize("name", list(CELLS))
def test_presets(name: str) -> None:
    cell = parse_cell(name)
    assert cell == CELLS.get(name)
    assert cell.source or name == "ideal", "numbers have a source"
    assert cell.ideal is (name in ("ideal", "rram"))
    for cell_bit in (1, 4):
        g = cell.conductance(_levels(cell_bit), cell_bit, *KEYS)
        assert g.isfinite().all() and (g >= 0).all()
        means = torch.stack([g[_levels(cell_bit) == v].mean() for v in range(2**cell_bit)])
        assert (means.diff() > 0).all(), "a higher level conducts more"


def test_nominal_conductances_by_hand() -> None:
    assert Cell().nominal(torch.tensor([0, 1]), 1).tolist() == [1, 166]
    assert Cell().nominal(torch.tensor([0, 1, 2, 3]), 2).tolist() == [1, 56, 111, 166]
    assert (Cell().step(1), Cell().step(2), Cell(hrs=0, lrs=30).step(4)) == (165, 55, 2)
    levels = _levels(2, 12).view(3, 4)
    g = Cell().conductance(levels, 2, *KEYS)
    assert g.dtype == torch.float64
    assert torch.equal(g, Cell().nominal(levels, 2))


@pytest.mark.parametrize("cell_bit", [1, 2])
def test_sigma_is_a_share_of_the_window(cell_bit: int) -> None:
    cell = Cell(hrs=60, lrs=160, sigma=0.04)  # far enough from 0 that no cell is clamped
    level = _levels(cell_bit)
    error = cell.conductance(level, cell_bit, *KEYS) - cell.nominal(level, cell_bit)
    for v in range(2**cell_bit):
        mine = error[level == v]
        assert mine.std().item() == pytest.approx(4, rel=0.02)
        assert abs(mine.mean().item()) < 4 * 4 / math.sqrt(len(mine))
    assert (error.abs() < 2 * 4).double().mean().item() == pytest.approx(0.9545, abs=0.005)


def test_polynomial_of_the_conductance() -> None:
    cell, level = Cell(hrs=100, lrs=200, program=(1.0, 0.02)), _levels(1)
    error = cell.conductance(level, 1, *KEYS) - cell.nominal(level, 1)
    assert error[level == 0].std().item() == pytest.approx(3, rel=0.02)
    assert error[level == 1].std().item() == pytest.approx(5, rel=0.02)
    both = Cell(hrs=100, lrs=200, program=(1.0, 0.02), sigma=0.01).conductance(level, 1, *KEYS)
    assert (both - cell.nominal(level, 1))[level == 1].std().item() == pytest.approx(6, rel=0.02)


def test_lognormal() -> None:
    cell, level = Cell(lognormal=0.3), _levels(1)
    logarithm = (cell.conductance(level, 1, *KEYS) / cell.nominal(level, 1)).log()
    assert logarithm.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(logarithm.mean().item()) < 4 * 0.3 / math.sqrt(MANY)


def test_conductances_are_never_negative() -> None:
    g = Cell(sigma=0.5).conductance(torch.zeros(1000, dtype=torch.long), 1, *KEYS)
    assert float(g.min()) == 0
    assert 0.3 < float((g == 0).double().mean()) < 0.7


def test_shares_of_stuck_cells() -> None:
    on, off = 0.03, 0.08
    # 30 and 130 are levels that no cell of two bits is programmed to.
    cell, level = Cell(hrs=30, lrs=130, stuck_on=on, stuck_off=off), _levels(2)
    g, wanted = cell.conductance(level, 2, *KEYS), cell.nominal(level, 2)
    for v in range(4):
        mine = g[level == v]
        for share, stuck in ((on, 130), (off, 30)):
            if float(wanted[v]) != stuck:
                spread = math.sqrt(share * (1 - share) / len(mine))
                assert float((mine == stuck).double().mean()) == pytest.approx(share, abs=3 * spread)
    healthy = (g != 30) & (g != 130)
    assert torch.equal(g[healthy], wanted[healthy])
    # A stuck cell stays where it is, whatever its noise.
    noisy = Cell(sigma=0.2, stuck_on=1.0).conductance(level, 2, *KEYS)
    assert (noisy == 166).all()


def test_drift_without_spread_is_exact() -> None:
    level = _levels(2, 100)
    fresh, old = (Cell(nu=0.05, t0=20.0, time=time) for time in (20.0, 2000.0))
    assert torch.equal(fresh.conductance(level, 2, *KEYS), fresh.nominal(level, 2))
    assert torch.equal(old.conductance(level, 2, *KEYS), old.nominal(level, 2) * 100.0**-0.05)


def test_spread_of_drift() -> None:
    cell, level = Cell(nu=0.05, nu_sigma=0.01, time=math.e), _levels(1)
    exponent = -(cell.conductance(level, 1, *KEYS) / cell.nominal(level, 1)).log()
    assert exponent.std().item() == pytest.approx(0.01, rel=0.02)
    assert exponent.mean().item() == pytest.approx(0.05, rel=0.01)


def test_drift_of_the_phase_change_preset() -> None:
    level = torch.full((MANY,), 1)
    fresh, old = (parse_cell(f"pcm:time={time}").conductance(level, 1, *KEYS) for time in (20, 20_000))
    assert (old / fresh).log().mean().item() == pytest.approx(-0.049 * math.log(1000), rel=0.01)
    assert torch.equal(fresh, parse_cell("pcm").conductance(level, 1, *KEYS)), "no drift yet at t0"


def _saved(folder: Path, content: object) -> str:
    path = folder / "measured.npy"
    np.save(path, content, allow_pickle=True)
    return str(path)


def test_samples_are_taken_from_the_file(tmp_path: Path) -> None:
    measured = np.array([[1.0, 2.0, 3.0, 4.0], [50.0, 51.0, 52.0, 53.0], [80, 81, 82, 83], [110, 111, 112, 113]])
    path, level = _saved(tmp_path, measured), _levels(2)
    for file in (path, str(tmp_path / "measured.npz")):
        np.savez(tmp_path / "measured.npz", g=measured)
        g = parse_cell(f"rram:samples={file}").conductance(level, 2, *KEYS)
        for v in range(4):
            found, counts = g[level == v].unique(return_counts=True)
            assert found.tolist() == measured[v].tolist()
            assert counts.min() > MANY / 16 * 0.95
    # Noise comes on top where it is asked for.
    noisy = Cell(samples=path, sigma=0.01).conductance(level, 2, *KEYS)
    assert (noisy - g)[level > 0].std().item() == pytest.approx(1.65, rel=0.02)


def test_samples_of_other_cells_are_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path, np.ones((2, 5)))
    with pytest.raises(MismatchError, match="2 levels; 4 were needed for 2-bit cells") as error:
        Cell(samples=path).conductance(_levels(2, 8), 2, *KEYS)
    assert error.value.hint == "give the matching --cell-bit"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (np.ones(5), "finite numbers [levels, samples] were needed"),
        (np.ones((2, 0)), "finite numbers [levels, samples] were needed"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), "finite numbers [levels, samples] were needed"),
        (np.array([["a", "b"], ["c", "d"]]), "not a matrix of numbers"),
        (np.array([[{}], [{}]], dtype=object), "not a matrix of numbers"),
    ],
    ids=["vector", "empty", "nan", "text", "pickled"],
)
def test_files_without_a_matrix_are_refused(tmp_path: Path, content: object, text: str) -> None:
    cell = Cell(samples=_saved(tmp_path, content))
    with pytest.raises(MismatchError) as error:
        cell.conductance(_levels(1, 4), 1, *KEYS)
    assert text in error.value.message and "measured.npy" in error.value.message


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "zip", "zip without entries", "compressed"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = Path(_saved(tmp_path, np.ones((2, 500))))
    content = path.read_bytes()
    if damage == "zip without entries":
        path = tmp_path / "measured.npz"
        np.savez(path)
    elif damage == "compressed":
        path = tmp_path / "measured.npz"
        np.savez_compressed(path, g=np.ones((2, 500)))
        content = path.read_bytes()
        path.write_bytes(content[:60] + b"\xff" * 30 + content[90:])
    else:
        damaged = {"cut": content[:-8], "empty": b"", "text": b"1 2 3\n", "zip": b"PK\x03\x04" + content}
        path.write_bytes(damaged[damage])
    with pytest.raises(MismatchError) as error:
        Cell(samples=str(path)).conductance(_levels(1, 4), 1, *KEYS)
    assert str(path) in error.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none\.npy: does not exist"):
        Cell(samples=str(tmp_path / "none.npy")).conductance(_levels(1, 4), 1, *KEYS)


NOISY = (
    Cell(sigma=0.1),
    Cell(lognormal=0.2),
    Cell(time=100.0, nu_sigma=0.1),
    Cell(stuck_on=0.3, stuck_off=0.3),
    parse_cell("pcm:time=1e6,stuck_off=0.02"),
)


@pytest.mark.parametrize("cell", NOISY, ids=str)
def test_a_cell_depends_on_its_keys_and_its_place_alone(cell: Cell) -> None:
    level = _levels(2, 999)
    whole = cell.conductance(level, 2, *KEYS)
    assert torch.equal(cell.conductance(level[:100], 2, *KEYS), whole[:100])
    assert torch.equal(cell.conductance(level[:998].view(2, 499), 2, *KEYS).flatten(), whole[:998])
    cell.conductance(level, 2, 99)  # whatever else is drawn in between
    torch.rand(5)
    assert torch.equal(cell.conductance(level, 2, *KEYS), whole)
    for other in ((8, 3, 1), (7, 4, 1), (7, 3, 2)):
        assert (cell.conductance(level, 2, *other) != whole).double().mean() > 0.2


def test_samples_depend_on_the_keys_too(tmp_path: Path) -> None:
    cell = Cell(samples=_saved(tmp_path, np.arange(200.0).reshape(2, 100)))
    level = _levels(1, 500)
    whole = cell.conductance(level, 1, *KEYS)
    assert torch.equal(cell.conductance(level[:100], 1, *KEYS), whole[:100])
    assert (cell.conductance(level, 1, 8, 3, 1) != whole).double().mean() > 0.9


def test_descriptions() -> None:
    assert parse_cell("ideal") == Cell() == parse_cell("ideal:")
    assert parse_cell("rram:sigma=0.05,stuck_off=0.01").sigma == 0.05
    assert parse_cell("rram:sigma=0.05,stuck_off=0.01").stuck_off == 0.01
    assert parse_cell("rram-milo:read=0.1").program == CELLS.get("rram-milo").program
    assert parse_cell("rram:samples=a/b.npy,sigma=0.1").samples == "a/b.npy"
    assert parse_cell("rram:on_off=10").hrs == pytest.approx(16.6)
    assert parse_cell("rram:on_off=4,lrs=100").hrs == parse_cell("rram:lrs=100,on_off=4").hrs == 25
    pcm = parse_cell("pcm:time=86400")
    assert (pcm.time, pcm.t0, pcm.nu) == (86400, 20, 0.049)


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("rrma", "unknown cell 'rrma'", "did you mean 'rram'?"),
        ("nonsense", "unknown cell 'nonsense'", "known: ideal, pcm, rram, rram-milo, rram-wan"),
        ("rram:sigmas=1", "cell: 'sigmas=1' in 'rram:sigmas=1'; key=value was needed, with hrs, lrs", "rram:sigma="),
        ("rram:sigma", "cell: 'sigma' in 'rram:sigma'; key=value was needed", "rram:sigma="),
        ("rram:source=me", "cell: 'source=me'", "rram:sigma="),
        ("rram:sigma=x", "cell: sigma 'x'; a number was needed", "sigma=0.1"),
        ("rram:sigma=", "cell: sigma ''; a number was needed", "sigma=0.1"),
        ("rram:sigma=-1", "cell: sigma -1.0; 0 or more was needed", "leave sigma out"),
        ("rram:sigma=nan", "cell: sigma nan; 0 or more was needed", "leave sigma out"),
        ("rram:lognormal=inf", "cell: lognormal inf; 0 or more was needed", "leave lognormal out"),
        ("rram:hrs=200", "cell: hrs 200 and lrs 166 uS; 0 <= hrs < lrs was needed", "hrs=1"),
        ("rram:hrs=nan", "cell: hrs nan and lrs 166 uS", "hrs=1"),
        ("rram:on_off=1", "cell: hrs 166 and lrs 166 uS", "hrs=1"),
        ("rram:stuck_on=0.6,stuck_off=0.6", "cell: stuck_on 0.6 and stuck_off 0.6; shares of at most 1", "stuck_off="),
        ("rram:on_off=0", "cell: hrs inf and lrs 166 uS", "hrs=1"),
        ("rram:on_off=-2", "cell: hrs -83 and lrs 166 uS", "hrs=1"),
        ("rram:on_off=nan", "cell: hrs nan and lrs 166 uS", "hrs=1"),
        ("pcm:time=1", "cell: time 1.0 s with t0 20.0 s; time >= t0 > 0 was needed", "t0=1"),
        ("pcm:time=nan", "cell: time nan s with t0 20.0 s; time >= t0 > 0 was needed", "t0=1"),
        ("pcm:time=inf", "cell: time inf s with t0 20.0 s; time >= t0 > 0 was needed", "t0=1"),
        ("rram:nu=nan", "cell: nu nan; a finite number was needed", "nu=0.05"),
        ("rram:nu=inf", "cell: nu inf; a finite number was needed", "nu=0.05"),
    ],
)
def test_impossible_descriptions_are_refused(text: str, error: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_cell(text)
    assert error in raised.value.message
    assert raised.value.hint is not None and hint in raised.value.hint
