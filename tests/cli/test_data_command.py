from __future__ import annotations

import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnnkit_cli.main import main


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "prepared"))

    def offline(url, timeout):
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    return tmp_path / "prepared"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "insects.tar.gz", "w:gz") as tar:
        for place in ("train/ant", "train/bee", "test/ant"):
            path = tmp_path / "tree" / place / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((6, 5, 3), len(place), np.uint8)).save(path)
            tar.add(path, f"{place}/0.png")
    return tmp_path / "insects.tar.gz"


def test_prepare_then_list(archive, capsys):
    assert main(["data", "prepare", "insects", "--source", str(archive)]) == 0
    out, err = capsys.readouterr()
    assert "2 train + 1 test, 3x6x5" in out
    assert "fingerprint" in out
    assert "decode: 3/3" in err
    assert main(["data", "list"]) == 0
    out, err = capsys.readouterr()
    states = {line.split()[0]: line for line in out.splitlines() if line}
    assert "prepared" in states["insects"]
    assert "embedded" in states["digits"]
    assert "missing" in states["cifar10"]
    assert err == ""


def test_json(archive, capsys, tmp_path):
    where = ["--data-dir", str(tmp_path / "here"), "--json"]
    assert main(["data", "prepare", "insects", "--source", str(archive), *where]) == 0
    prepared = json.loads(capsys.readouterr().out)
    assert prepared["schema"] == "bnnkit.data-prepare/1"
    assert (prepared["train"], prepared["test"], prepared["shape"]) == (2, 1, [3, 6, 5])
    assert prepared["path"] == str(tmp_path / "here/insects")
    assert main(["data", "list", *where]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["schema"] == "bnnkit.data-list/1"
    insects = next(entry for entry in listed["datasets"] if entry["name"] == "insects")
    assert insects["fingerprint"] == prepared["fingerprint"]


def test_quiet_says_nothing_on_stderr(archive, capsys):
    assert main(["--quiet", "data", "prepare", "insects", "--source", str(archive)]) == 0
    assert capsys.readouterr().err == ""


def test_digits_are_there_already(capsys):
    assert main(["data", "prepare", "digits"]) == 0
    assert "1,437 train + 360 test, 1x8x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["cifar10"], 3, "'cifar10' is not prepared and cannot be downloaded", "data prepare cifar10 --source ARCHIVE"),
        (["cifra10"], 2, "unknown dataset 'cifra10'", "did you mean 'cifar10'?"),
        (["mnist", "--source", "{tmp}/nothing"], 2, "no such file or directory", "check the path"),
        (["mnist", "--source", "{tmp}/cut.tar.gz"], 4, "corrupt or truncated archive", "copy the archive again"),
        (["cifar10", "--source", "{tmp}/insects.tar.gz"], 4, "unknown classes: ant, bee", "another name"),
        (["mnist", "--source", "{tmp}/empty"], 4, "holds 0 files", "check what the archive contains"),
        (["insects", "--source", "{tmp}/tree", "--data-dir", "{tmp}/insects.tar.gz"], 3, "cannot store", "BNNKIT_DATA"),
    ],
)
def test_errors(archive, capsys, tmp_path, arguments, code, error, hint):
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:-40])
    (tmp_path / "empty").mkdir()
    assert main(["data", "prepare", *(word.format(tmp=tmp_path) for word in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert error in err
    assert hint in err.splitlines()[-1]
    assert "Traceback" not in err
