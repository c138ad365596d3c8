"""Cells on a cluster of Ray: a local one, with a worker that is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bnnkit.errors import MismatchError, MissingError
from bnnkit.sweep import Cell, LocalExecutor, Schedule, State, Store
from bnnkit.sweep.cluster import RayExecutor, Share, share_of
from bnnkit.sweep.executor import BUSY, INTERRUPTED, Finished, Job, hold
from bnnkit.sweep.travel import Names, read_by

REAL = ("mlp", "--dataset", "digits", "--limit", "64", "--epochs", "1", "--threads", "1")

# What cells run here in place of bnnkit: a Python program; its words are those of the job.
SHOW = 'import json, sys; print(json.dumps({"words": sys.argv[1:]}))'
FAIL = 'import sys; print("one line", file=sys.stderr); sys.exit("error: no such thing")'
READ = """
import json, sys, pathlib
texts = [pathlib.Path(word).read_text() for word in sys.argv[1:3]]
pathlib.Path(sys.argv[3]).mkdir(parents=True)
pathlib.Path(sys.argv[3], "config.toml").write_text(f'teacher = "{sys.argv[1]}"')
pathlib.Path("beside.txt").write_text("more")
print(json.dumps({"texts": texts, "read": sys.argv[1], "home": sys.argv[3]}))
"""
CONTINUE = """
import json, sys, pathlib
run = pathlib.Path(sys.argv[2])
config = (run / "config.toml").read_text()
(run / "last.safetensors").write_text("more")
print(json.dumps({"teacher": pathlib.Path(config.split('"')[1]).read_text(), "run": str(run)}))
"""
# Begins twice: the first time it waits to be killed.
WAIT_ONCE = """
import os, pathlib, sys, time
begun = pathlib.Path(sys.argv[1])
first = not begun.exists()
with begun.open("a") as file:
    file.write(f"{os.getpid()} {os.getppid()}\\n")
if first:
    time.sleep(60)
print('{"second": true}')
"""
STOP = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1]).mkdir(parents=True)
    pathlib.Path(sys.argv[1], "last.safetensors").write_text("saved")
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
print("waiting for a signal", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'bnnkit[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.pop("RAY_ADDRESS", None)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()
    if address is not None:
        os.environ["RAY_ADDRESS"] = address


def of(code: str) -> RayExecutor:
    return RayExecutor(None, "cpu", program=("-c", code))


def job(folder: Path, words: Sequence[str] = (), inputs: Sequence[str] = ()) -> Job:
    home = folder / "cell"
    home.mkdir(parents=True, exist_ok=True)
    return Job("cell", words, home, inputs)


def wait_for(executor: RayExecutor, count: int = 1) -> list[Finished]:
    ended: list[Finished] = []
    end = time.monotonic() + 60
    while len(ended) < count:
        assert time.monotonic() < end, "the jobs did not end"
        ended += executor.finished()
        time.sleep(0.05)
    return ended


def run_one(code: str, todo: Job) -> Finished:
    executor = of(code)
    try:
        executor.start(todo)
        [ended] = wait_for(executor)
        return ended
    finally:
        executor.close()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_trainings_and_what_needs_them_come_out_as_on_this_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    documents = {}
    for root in ("local", "ray"):
        trained = Cell("train", REAL, {})
        evaluated = Cell("eval", ("{trained}", "--adc-bit", "1", "--limit", "64"), {}, needs=trained)
        # One name leads out of the folder and one does not.
        store = Store(tmp_path / root if root == "local" else Path(root))
        executor = LocalExecutor([{"OMP_NUM_THREADS": "1"}]) if root == "local" else RayExecutor(2, "cpu")
        schedule = Schedule([evaluated], store, executor, lambda _: None)
        schedule.run()
        assert [entry.state for entry in schedule.entries.values()] == [State.finished] * 2, schedule.entries
        found = [dict(entry.result.document) for entry in schedule.entries.values() if entry.result]
        documents[root] = [_without_times(document) for document in found]
        [run] = store.folder(trained).glob("runs/train/mlp*")
        assert (run.parent / "latest").resolve() == run.resolve()
        assert store.trained(trained).parent.resolve() == run.resolve()
        assert {"config.toml", "stamp.json", "results.json"} <= {path.name for path in run.iterdir()}
    assert documents["local"] == documents["ray"]


def _without_times(document: Mapping[str, Any]) -> Any:
    """Return a document without what differs each time: seconds, and the names of runs."""
    own = {"seconds", "run", "network", "checkpoint", "images_per_second", "wall_seconds", "path"}
    if isinstance(document, Mapping):
        return {key: _without_times(value) for key, value in document.items() if key not in own}
    return [_without_times(value) for value in document] if isinstance(document, list) else document


def test_a_killed_worker_takes_its_command_with_it_and_the_cell_begins_again(
    cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    executor = of(WAIT_ONCE)
    try:
        executor.start(job(tmp_path, [str(begun)]))
        while not (begun.exists() and begun.read_text().endswith("\n")):
            assert not executor.finished()
            time.sleep(0.05)
        command, worker = (int(pid) for pid in begun.read_text().split())
        while executor.saying("cell") == "waiting for a node":
            assert not executor.finished()
            time.sleep(0.05)
        os.kill(worker, signal.SIGKILL)
        [ended] = wait_for(executor)
    finally:
        executor.close()
    assert ended.code == 0 and ended.document == {"second": True}
    assert len(begun.read_text().splitlines()) == 2
    assert not alive(command)
    assert "begun 2 times" in (tmp_path / "cell" / "log.txt").read_text()
    assert capfd.readouterr() == ("", "")


def test_files_travel_and_come_back(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    far, near = tmp_path / "far.txt", Path("near.txt")
    far.write_text("far")
    near.write_text("near")
    run = tmp_path / "cell" / "runs" / "train" / "mlp-20260101-000000-abcdef"
    first = run_one(READ, job(tmp_path, [str(far), str(near), str(run)]))
    assert first.document == {"texts": ["far", "near"], "read": str(far), "home": str(run)}, first.said
    assert (run / "config.toml").read_text() == f'teacher = "{far}"'
    assert Path("beside.txt").read_text() == "more"
    again = run_one(CONTINUE, job(tmp_path, ["--resume", str(run)], [str(far)]))
    assert again.document == {"teacher": "far", "run": str(run)}, again.said
    assert (run / "last.safetensors").read_text() == "more"
    assert (run / "config.toml").read_text() == f'teacher = "{far}"'


def test_a_failure_is_reported_with_its_words(cluster: Any, tmp_path: Path) -> None:
    ended = run_one(FAIL, job(tmp_path))
    assert (ended.code, ended.document, ended.said) == (1, None, "one line\nerror: no such thing")
    assert (tmp_path / "cell" / "log.txt").read_text() == "one line\nerror: no such thing\n"


def test_output_that_is_no_document_is_a_failure(cluster: Any, tmp_path: Path) -> None:
    ended = run_one("print(1 / 3)", job(tmp_path))
    assert ended.code == 1 and "no JSON document" in ended.said


def test_stopped_jobs_save_and_waiting_ones_do_not_begin(cluster: Any, tmp_path: Path) -> None:
    executor = of(STOP)
    folders = [tmp_path / name for name in "abc"]
    try:
        for folder in folders:
            home = folder / "cell"
            home.mkdir(parents=True)
            executor.start(Job(folder.name, [str(home / "runs" / "train" / "run")], home))
        assert executor.free == 0
        while sum(executor.saying(folder.name) == "waiting for a signal" for folder in folders) < 2:
            assert not executor.finished()
            time.sleep(0.05)
        for _ in range(20):
            # A third one would have begun by now, had a report lent it a core.
            assert [executor.saying(folder.name) for folder in folders].count("waiting for a node") == 1
            executor.finished()
            time.sleep(0.1)
        executor.stop()
        ended = wait_for(executor, len(folders))
    finally:
        executor.close()
    assert {each.code for each in ended} == {INTERRUPTED}
    saved = [path.read_text() for path in tmp_path.glob("*/cell/runs/train/run/last.safetensors")]
    assert saved == ["saved", "saved"]


def test_closing_ends_what_runs(cluster: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    executor = of(WAIT_ONCE)
    executor.start(job(tmp_path, [str(begun)]))
    while not (begun.exists() and begun.read_text().endswith("\n")):
        time.sleep(0.05)
    executor.close()
    command = int(begun.read_text().split()[0])
    end = time.monotonic() + 20
    while alive(command) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(command)


def test_results_from_other_data_are_not_kept(cluster: Any, tmp_path: Path) -> None:
    home = tmp_path / "cell"
    home.mkdir()
    code = """print('{"dataset": {"fingerprint": "bbbb"}}')"""
    ended = run_one(code, Job("cell", [], home, data="aaaa"))
    assert ended.document is None and "fingerprint bbbb instead of aaaa" in ended.said
    assert not (home / "out.json").exists()
    assert run_one(code, Job("cell", [], home, data="bbbb")).code == 0


def test_a_cell_of_another_process_is_left_to_it(cluster: Any, tmp_path: Path) -> None:
    todo = job(tmp_path)
    held = hold(todo)
    assert held is not None
    with held:
        assert run_one(SHOW, todo).code == BUSY


def test_a_node_with_another_release_says_so(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnnkit.__version__", "0.0.1")
    executor = RayExecutor(None, "cpu")
    try:
        executor.start(job(tmp_path, ["train", *REAL]))
        [ended] = wait_for(executor)
    finally:
        executor.close()
    assert ended.code == 3 and "bnnkit 0.0.1 was needed" in ended.said


def test_the_cluster_must_have_what_is_asked_for(cluster: Any) -> None:
    with pytest.raises(MissingError, match="GPU"):
        RayExecutor(None, "cuda")


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError) as caught:
        RayExecutor(None, "cpu")
    assert caught.value.hint == "pip install 'bnnkit[ray]'"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'bnnkit[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(MissingError, match=f"cluster {address} cannot be used .*refused"):
        RayExecutor(None, "cpu")


def test_shares_of_a_cluster() -> None:
    nodes = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 10.0}, {"memory": 1.0}]
    assert share_of(nodes, None, "cpu") == Share(1, 0, None)
    assert share_of(nodes, 4, "cpu") == Share(5, 0, 4)
    assert share_of(nodes, 4, "cpu").fitting(nodes) == 4
    assert share_of(nodes, 100, "cpu").fitting(nodes) == 26
    assert share_of(nodes, None, "cuda").fitting(nodes) == 4
    shared = share_of(nodes, 7, "cuda")
    assert (shared.cpus, shared.gpus, shared.fitting(nodes)) == (2, 0.5, 7)
    with pytest.raises(MissingError, match="processor"):
        share_of([{"memory": 1.0}], None, "cpu")


@pytest.mark.parametrize("name", ["/etc/passwd", "../elsewhere", "../cell/../../elsewhere", "a/../../elsewhere"])
def test_files_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MismatchError):
        Names(tmp_path, []).here(name)


def test_files_inside_words_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    words = ["--device", f"rram:samples={tmp_path}/a.npy,levels=2", "w" * 300, ""]
    read = list(read_by(Job("cell", words, tmp_path / "cell")))
    assert read == [tmp_path / "a.npy"]
    names = Names(tmp_path / "cell", read)
    there = names.there(f"{tmp_path}/a.npy")
    assert names.words_there(words) == ["--device", f"rram:samples={there},levels=2", "w" * 300, ""]
    assert there.startswith("../files/")


def test_records_are_translated_where_names_are_quoted() -> None:
    names = Names(Path("/data/é/8f"), [Path("/n/t.safetensors")])
    text = json.dumps({"run": "/data/é/8f/runs/x", "teacher": "/n/t.safetensors", "other": "/n/t.safetensors2"})
    there = json.loads(names.record_there(text.encode()))
    assert there["run"] == "../cell/runs/x" and there["other"] == "/n/t.safetensors2"
    assert there["teacher"] == names.there("/n/t.safetensors") != "/n/t.safetensors"
    assert json.loads(names.record_here(json.dumps(there).encode())) == json.loads(text)
    said = f"saved in {there['run']}\nhint: --resume {there['run']}, ../cells".encode()
    assert names.said_here(said).decode() == "saved in /data/é/8f/runs/x\nhint: --resume /data/é/8f/runs/x, ../cells"
