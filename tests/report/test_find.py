"""Which runs a person means."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnkit import runs
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.report import find, kind
from bnnkit.runs import Run

Make = Callable[..., Run]


def test_by_path_name_and_beginning(root: Path, train: Make, inject: Make) -> None:
    one, other = train(), inject()
    for reference in (one.path, one.name, "mlp-a1", root / "train" / "latest", os.path.relpath(one.path)):
        assert [run.path for run in find([reference], root=root)] == [one.path.resolve()]
    assert [kind(run) for run in find(["mlp-weight", "mlp-a1"], root=root)] == ["inject", "train"]
    assert find([one.path, one.name], root=root) == find([one.name], root=root)
    assert find([other.name], root=root)[0].path.name == other.name


def test_latest_is_the_newest_of_all(root: Path) -> None:
    for command, name in (("train", "z-20260102-000000-aaaaaa"), ("inject", "a-20260103-000000-bbbbbb")):
        (root / command / name).mkdir(parents=True)
        (root / command / name / "config.toml").touch()
    assert find(["latest"], root=root)[0].name == "a-20260103-000000-bbbbbb"


def test_the_folder_itself(root: Path, train: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train()
    monkeypatch.chdir(run.path)
    assert find(["."], root=root)[0].name == run.name


def test_what_is_not_there(root: Path, train: Make) -> None:
    with pytest.raises(MissingError, match="holds no run yet"):
        find(["latest"], root=root)
    run = train()
    with pytest.raises(MissingError) as missing:
        find([run.name.replace("mlp", "mpl")], root=root)
    assert missing.value.hint == f"did you mean '{run.name}'?"
    train()
    with pytest.raises(UsageError, match="2 runs begin with it"):
        find(["mlp"], root=root)


def test_a_run_that_was_moved_is_known_by_its_stamp(root: Path, inject: Make, tmp_path: Path) -> None:
    run = inject()
    moved = Run(run.path.rename(tmp_path / "kept"))
    moved.write_json("stamp.json", {"argv": ["bnnkit", "-q", "inject-faults", "--bit", "6"]})
    assert kind(find([moved.path], root=root)[0]) == "inject"
    (moved.path / "stamp.json").unlink()
    with pytest.raises(MismatchError, match="not known which command made it"):
        find([moved.path], root=root)


def test_other_commands_have_no_report(tmp_path: Path) -> None:
    run = runs.create("bench", "kernel", "", root=tmp_path)
    with pytest.raises(MismatchError, match="train, inject, sweep was needed"):
        find([run.path], root=tmp_path)
