"""Run directories: made once, found again, never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnnkit import runs
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.runs import Run


def begin(root: Path, name: str = "mlp-a1", config: str = "x = 1\n") -> Run:
    return runs.create("train", name, config, root=root)


def test_a_run_has_its_config_and_latest_points_to_it(tmp_path: Path) -> None:
    first, second = begin(tmp_path), begin(tmp_path)
    assert first.path != second.path
    assert second.config.read_text() == "x = 1\n"
    assert (tmp_path / "train" / "latest").readlink() == Path(second.name)
    assert runs.resolve("latest", root=tmp_path) == second
    prefix, time, unique = second.name.rsplit("-", 3)[0], second.name.split("-")[-3:-1], second.name.split("-")[-1]
    assert prefix == "mlp-a1" and [len(part) for part in time] == [8, 6] and len(unique) == 6


def test_the_same_config_in_the_same_second_gets_its_own_directory(tmp_path: Path) -> None:
    assert len({begin(tmp_path).path for _ in range(20)}) == 20


def test_runs_are_found_by_path_name_and_beginning(tmp_path: Path) -> None:
    run, other = begin(tmp_path), begin(tmp_path, "res20-a1")
    for reference in (run.path, str(run.path), run.name, run.name[:6]):
        assert runs.resolve(reference, root=tmp_path) == run
    assert runs.resolve(tmp_path / "train" / "latest", root=tmp_path).path == other.path.resolve()
    assert runs.every("train", root=tmp_path) == [run, other]


def test_unknown_and_ambiguous_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no run yet") as caught:
        runs.resolve("latest", root=tmp_path)
    assert caught.value.exit_code == 3
    run = begin(tmp_path)
    begin(tmp_path)
    with pytest.raises(UsageError, match="2 runs begin with it"):
        runs.resolve("mlp", root=tmp_path)
    with pytest.raises(MissingError, match="neither a run directory nor a run in") as caught:
        runs.resolve("x" + run.name, root=tmp_path)
    assert caught.value.hint is not None and "did you mean 'mlp-a1-" in caught.value.hint


def test_a_place_that_cannot_be_written_is_an_environment_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="a run directory cannot be made"):
        begin(tmp_path / "file")


def test_metrics_and_json_come_back(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert run.read_metrics() == []
    run.write_metrics([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}])
    assert [record["epoch"] for record in run.read_metrics()] == [1, 2]
    assert not run.finished
    run.write_json("results.json", {"a": [1]})
    assert run.finished and run.read_json("results.json") == {"a": [1]}
    run.log("said")
    run.log("more")
    assert [line.split(" ", 2)[2] for line in (run.path / "log.txt").read_text().splitlines()] == ["said", "more"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = begin(tmp_path)
    for name, read in {"stamp.json": lambda: run.read_json("stamp.json"), "metrics.jsonl": run.read_metrics}.items():
        (run.path / name).write_text('{"a": ')
        with pytest.raises(MismatchError, match=f"{name}: damaged"):
            read()
    with pytest.raises(MissingError, match="does not exist"):
        run.read_json("results.json")


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = begin(tmp_path)
    with run.held(), pytest.raises(MissingError, match="another process is working on this run"), run.held():
        pass
    with run.held():
        pass


def test_the_stamp_is_json_and_names_program_and_machine() -> None:
    stamp = json.loads(json.dumps(runs.stamp(["bnnkit", "train"])))
    assert stamp["argv"] == ["bnnkit", "train"]
    assert stamp["bnnkit"] and stamp["torch"] and stamp["threads"] >= 1
    assert runs.peak_memory() > 1 << 20
