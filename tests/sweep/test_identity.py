"""What cells read besides their arguments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bnnkit import deploy, runs
from bnnkit.data import load
from bnnkit.errors import MissingError, UsageError
from bnnkit.sweep import TRAINED, Cell
from bnnkit.sweep.identity import data_of_network, data_of_training, model_of_recipe, network_file, with_files

DIGITS = load("digits").fingerprint


@pytest.fixture(autouse=True)
def nothing_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))


def make_run(root: Path, name: str) -> Path:
    run = runs.create("train", name, "", root=root)
    shutil.copy(deploy.SAMPLE, run.last)
    return run.last.resolve().relative_to(Path.cwd())


def test_names_become_files(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    assert network_file(None, root) == str(Path(deploy.SAMPLE).resolve())
    first, second = make_run(root, "mlp-a1"), make_run(root, "res20-a1")
    assert network_file("latest", root) == network_file(None, root) == str(second)
    assert network_file("mlp", root) == network_file("mlp-a1", root) == network_file(str(first)) == str(first)
    assert network_file(TRAINED) == TRAINED
    with pytest.raises(MissingError):
        network_file("cnv", root)


def test_files_elsewhere_have_their_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_run(tmp_path, "mlp-a1").resolve()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert network_file("latest", tmp_path) == str(file)


def test_references_in_options_become_files(tmp_path: Path) -> None:
    file = str(make_run(tmp_path / "runs", "mlp-a1"))
    before = Cell("train", ("mlp", "--teacher", "latest", "--lr", "1"), {"model": "mlp"}, data="d")
    cell = Cell("eval", (TRAINED, "--compare", "mlp"), {"adc-bit": "1"}, before, data="e")
    found = with_files(cell)
    assert found.arguments == (TRAINED, "--compare", file)
    assert found.needs is not None and found.needs.arguments == ("mlp", "--teacher", file, "--lr", "1")
    assert (found.labels, found.data, found.needs.data) == (cell.labels, "e", "d")
    assert with_files(Cell("train", ("mlp", "--teacher"), {})).arguments == ("mlp", "--teacher")


def test_the_data_of_trainings(tmp_path: Path) -> None:
    assert data_of_training("mlp", {}).fingerprint == DIGITS
    assert data_of_training("cnv", {"dataset": "digits", "data-dir": "nowhere"}).name == "digits"
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[model]\nmodel = "cnv"\n[data]\ndataset = "digits"\n')
    assert data_of_training("cnv", {"recipe": str(recipe)}).name == "digits"
    with pytest.raises(UsageError, match="unknown model 'mpl'"):
        data_of_training("mpl", {})
    with pytest.raises(UsageError, match="nothing-like-that"):
        data_of_training("mlp", {"dataset": "nothing-like-that"})


def test_the_data_of_networks() -> None:
    assert data_of_network(str(deploy.SAMPLE), {}).fingerprint == DIGITS
    assert data_of_network(str(deploy.SAMPLE), {"dataset": "digits", "data-dir": "nowhere"}).fingerprint == DIGITS


def test_the_network_of_a_recipe(tmp_path: Path) -> None:
    assert model_of_recipe(None) is None
    assert model_of_recipe("iga-mlp") == "mlp"
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[model]\nmodel = "cnv"\n')
    assert model_of_recipe(str(recipe)) == "cnv"
    recipe.write_text("")
    assert model_of_recipe(str(recipe)) is None
    with pytest.raises(UsageError, match="unknown recipe 'iga-mpl'"):
        model_of_recipe("iga-mpl")
