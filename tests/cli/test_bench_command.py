"""`bnnkit bench`: its document, its tables, its errors, and a kernel that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnnkit import ops
from bnnkit.bench import packed
from bnnkit.errors import MissingError
from bnnkit_cli.main import main

TINY = ("bench", "--kernel", "xnor", "--shape", "70,40,150", "--threads", "1", "--variant", "reference")


@pytest.fixture
def extension() -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(missing.message)


@pytest.fixture
def wrong_kernel(extension: None, monkeypatch: pytest.MonkeyPatch) -> None:
    right = packed.xnor_product
    monkeypatch.setattr(packed, "xnor_product", lambda bits, k: right(bits, k) + 2)


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*TINY, "--repeat", "2", "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.usefixtures("extension")
def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = measured(capsys)
    assert list(document) == [
        "schema", "command", "started", "hardware", "versions", "settings",
        "kernel", "valid", "rows", "limits", "notes",
    ]  # fmt: skip
    assert (document["schema"], document["kernel"], document["valid"]) == ("bnnkit.bench/1", "xnor", True)
    assert set(document["hardware"]) == {"cpu", "cores", "gpu", "features", "platform", "load_average"}
    assert set(document["versions"]) == {"bnnkit", "commit", "python", "torch", "compiler"}
    assert document["settings"] == {
        "shapes": [[70, 40, 150]],
        "threads": [1],
        "variants": ["reference"],
        "against": ["fp32", "bf16", "int8"],
        "repeat": 2,
        "seconds": 60,
        "clock": "wall",
        "device": "cpu",
    }
    rows = {row["side"]: row for row in document["rows"]}
    assert list(rows) == ["torch fp32", "torch bf16", "torch int8", "bnnkit xnor", "bnnkit pack"]
    ours = rows["bnnkit xnor"]
    assert ours["variants"] == {"xnor": "reference"}
    assert ours["check"] == {"passed": True, "compared": "the whole output", "detail": ""}
    assert ours["work"] == {"amount": 70 * 40 * 150, "unit": "bMAC", "products": 0}
    assert ours["seconds"]["rounds"] == len(ours["seconds"]["values"]) == 2
    assert ours["per_second"] == ours["work"]["amount"] / ours["seconds"]["median"]
    assert ours["tops"] == pytest.approx(2 * ours["per_second"] / 1e12)
    for name, ratio in ours["faster_than"].items():
        assert ratio == pytest.approx(rows[name]["seconds"]["median"] / ours["seconds"]["median"])
    assert set(ours["faster_than"]) == {"torch fp32", "torch bf16", "torch int8"}


@pytest.mark.usefixtures("extension")
def test_the_same_document_as_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text("old")
    document = measured(capsys, "-o", str(file), "--against", "fp32,int8")
    assert json.loads(file.read_text()) == document
    assert document["settings"]["against"] == ["fp32", "int8"]
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


@pytest.mark.usefixtures("extension")
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--repeat", "1", "--against", "int8"]) == 0
    streams = capsys.readouterr()
    for text in ("70 x 40 x 150", "vs torch int8", "TOP/s", "verified (the whole output): bnnkit xnor", "packing is"):
        assert text in streams.out
    assert "bench xnor: 1/1 rounds, 70 x 40 x 150" in streams.err


@pytest.mark.usefixtures("wrong_kernel")
def test_a_wrong_kernel_is_invalid_and_has_no_speed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*TINY, "--repeat", "1", "--against", "none"]) == 1
    streams = capsys.readouterr()
    line = next(line for line in streams.out.splitlines() if line.startswith("bnnkit xnor"))
    assert line.split() == ["bnnkit", "xnor", "reference", "1", "INVALID"]
    assert "error: bench xnor: bnnkit xnor, 70 x 40 x 150: 2,800 of 2,800 values differ, first " in streams.err
    assert "hint: bnnkit doctor" in streams.err
    file = tmp_path / "bench.json"
    assert main([*TINY, "--repeat", "1", "--json", "-o", str(file)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == document
    assert document["valid"] is False
    row = next(row for row in document["rows"] if row["side"] == "bnnkit xnor")
    assert (row["valid"], row["seconds"], row["per_second"], row["faster_than"]) == (False, None, None, {})


@pytest.mark.usefixtures("extension")
def test_a_dry_run_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--kernel", "conv", "--threads", "1", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["kernel"], document["cases"]) == ("bnnkit.bench-plan/1", "conv", 9)
    assert document["settings"]["variants"] == ["highest"]
    assert main(["bench", "--dry-run"]) == 0
    assert "3 to 30 rounds per case in about 60 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--kernel", "xnr"], "unknown bench kernel 'xnr'", "did you mean 'xnor'?"),
        (["--shape", "4x4x4"], "--shape: '4x4x4'; whole numbers separated by commas were needed", "use --shape 1,2"),
        (["--threads", "one"], "--threads: 'one'; whole numbers", "use --threads 1,2"),
        (["--shape", "4,4"], "bench xnor: shape 4,4; M,N,K was needed", "use --shape 4096,4096,4096"),
        (["--against", "int9"], "bench xnor: cannot compare with 'int9'", "did you mean 'int8'?"),
        (["-o", "nowhere/at/all.json"], "nowhere/at/all.json: its folder does not exist", "mkdir -p nowhere/at"),
    ],
)
def test_wrong_options(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert f"hint: {hint}" in error


@pytest.mark.usefixtures("extension")
def test_an_unknown_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--variant", "avx9"]) == 2
    error = capsys.readouterr().err
    assert "error: unknown variant 'avx9'; known: reference, neon, avx2, avx512, amx" in error
    assert f"hint: usable here: {', '.join(ops.usable_variants())}" in error


def test_without_the_extension(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingError("extension: the compiled kernels (bnnkit._C) are not installed", hint="make setup")

    monkeypatch.setattr("bnnkit.ops.extension.load", missing)
    assert main(["bench", "--kernel", "xnor"]) == 3
    assert "error: extension: the compiled kernels (bnnkit._C) are not installed\nhint: make setup" in (
        capsys.readouterr().err
    )
