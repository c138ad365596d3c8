"""`bnnkit doctor`: a sound installation, one without kernels, and one whose kernels are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from bnnkit import ops
from bnnkit.errors import MissingError
from bnnkit_cli import selftest
from bnnkit_cli.main import main


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["schema"] == "bnnkit.doctor/1"
    return document


@pytest.fixture
def extension() -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(missing.message)


@pytest.mark.usefixtures("extension")
def test_a_sound_installation_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    document = report(capsys)
    assert document["torch"]["version"] == torch.__version__
    assert document["extension"]["loaded"] is True
    assert {"name": "digits", "prepared": True} in document["datasets"]
    assert all(place["free_bytes"] > 0 for place in document["disk"])
    tested = {(row["kernel"], row["variant"]) for row in document["selftest"]}
    assert {
        (kernel, "reference") for kernel in ("pack", "xnor", "adc", "adc_backward", "bitplane", "bit_serial")
    } <= tested
    assert {variant for _, variant in tested} <= set(document["extension"]["variants_usable"])
    assert all(row["passed"] and row["cases"] > 0 for row in document["selftest"])


@pytest.mark.usefixtures("extension")
def test_the_table_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert torch.__version__ in printed
    assert "FAILED" not in printed
    assert printed.count("passed") >= 5


@pytest.mark.usefixtures("extension")
def test_the_self_test_leaves_no_variant_forced() -> None:
    selftest.run_selftest()
    ops.slice_weights(torch.arange(4), 2, 1)
    assert ops.last_variant("bitplane") != "reference" or ops.usable_variants() == ["reference"]


@pytest.mark.usefixtures("extension")
def test_a_wrong_kernel_fails_the_gate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.merge_slices
    monkeypatch.setattr(ops, "merge_slices", lambda slices, cell_bit: right(slices, cell_bit) + 1)
    assert main(["doctor", "--json"]) == 1
    streams = capsys.readouterr()
    assert "error: self-test: bitplane (reference): case 0: " in streams.err
    failed = [row for row in json.loads(streams.out)["selftest"] if not row["passed"]]
    assert {row["kernel"] for row in failed} == {"bitplane"}


def test_without_the_extension_the_rest_is_still_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingError("extension: the compiled kernels (bnnkit._C) are not installed", hint="make setup")

    monkeypatch.setattr(ops, "load", missing)
    assert main(["doctor", "--json"]) == 3
    streams = capsys.readouterr()
    document = json.loads(streams.out)
    assert document["extension"] == {
        "loaded": False,
        "reason": "extension: the compiled kernels (bnnkit._C) are not installed",
    }
    assert document["selftest"] == []
    assert "error: extension: the compiled kernels (bnnkit._C) are not installed\nhint: make setup" in streams.err
    assert main(["doctor"]) == 3
    assert "missing" in capsys.readouterr().out
