"""Grids: what is typed, all combinations of it, and the command lines they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.errors import UsageError
from bnnkit.sweep import parse_grid
from bnnkit.sweep.grid import arguments_of, combinations

NAMES = st.from_regex(r"[a-z]{1,5}(-[a-z]{1,5})?", fullmatch=True)
VALUES = st.lists(st.from_regex(r"[a-z0-9.:@]{1,6}", fullmatch=True), min_size=1, max_size=4, unique=True)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["adc-bit=1,2"], {"adc-bit": ("1", "2")}),
        ([" --adc_bit = 1 , 2 ,"], {"adc-bit": ("1", "2")}),
        (["adc-bit=1", "rows=64", "adc-bit=2"], {"adc-bit": ("1", "2"), "rows": ("64",)}),
        (["rate=1,2;3"], {"rate": ("1,2", "3")}),
        (["fault=weight:flip@0.1,layers=a;"], {"fault": ("weight:flip@0.1,layers=a",)}),
        (["noise-std=yes,no"], {"noise-std": ("yes", "no")}),
        ([], {}),
    ],
)
def test_what_is_read(texts: list[str], found: dict[str, tuple[str, ...]]) -> None:
    assert parse_grid(texts) == found


@pytest.mark.parametrize("text", ["adc-bit", "=1,2", "adc-bit=", "adc-bit=;", "", "--=1"])
def test_what_is_no_grid(text: str) -> None:
    with pytest.raises(UsageError) as failure:
        parse_grid([text])
    assert failure.value.message == f"--grid {text}: KEY=VALUE,VALUE,... was needed"
    assert failure.value.hint == "--grid adc-bit=1,2,3,4"


def test_a_value_twice_is_refused_also_over_two_options() -> None:
    with pytest.raises(UsageError, match="--only model: mlp is given twice") as failure:
        parse_grid(["model=mlp,res20", "model=mlp"], "--only")
    assert failure.value.hint == "give mlp once"


def test_the_last_key_changes_fastest() -> None:
    found = combinations({"a": ["1", "2"], "b": ["x"], "c": ["p", "q"]})
    assert ["".join(chosen.values()) for chosen in found] == ["1xp", "1xq", "2xp", "2xq"]
    assert combinations({}) == [{}]


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_every_combination_is_there_once(grid: dict[str, list[str]]) -> None:
    assert parse_grid([f"{name}={','.join(values)}" for name, values in grid.items()]) == {
        name: tuple(values) for name, values in grid.items()
    }
    found = combinations(grid)
    count = 1
    for values in grid.values():
        count *= len(values)
    assert len({tuple(chosen.items()) for chosen in found}) == len(found) == count
    assert all(chosen[name] in values for chosen in found for name, values in grid.items())


@pytest.mark.parametrize(
    ("command", "chosen", "words"),
    [
        ("train", {"model": "mlp", "adc-bit": "2"}, ("mlp", "--epochs", "3", "--adc-bit", "2")),
        ("eval", {"adc-bit": "2", "model": "a.safetensors"}, ("a.safetensors", "--epochs", "3", "--adc-bit", "2")),
        ("inject", {"model": "latest", "bit": "6"}, ("--model", "latest", "--epochs", "3", "--bit", "6")),
        ("inject", {"per-bit": "yes", "per-layer": "no"}, ("--epochs", "3", "--per-bit")),
    ],
)
def test_arguments(command: str, chosen: dict[str, str], words: tuple[str, ...]) -> None:
    assert arguments_of(command, chosen, ["--epochs", "3"]) == words
