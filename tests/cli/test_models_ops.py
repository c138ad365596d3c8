"""`bnnkit models show --ops`: sums, parts, figures by hand, and energies from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnnkit import checkpoint, deploy, energy
from bnnkit.models import create_model
from bnnkit_cli.main import main

FIELDS = ("binary_macs", "additions", "shifts", "comparisons", "multiplications", "conversions")


def counted(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the operations, after checking that everything adds up."""
    assert main(["models", "show", *arguments, "--ops", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "bnnkit.models-show/1"
    assert {"config", "checkpoint", "layers", "totals", "operations"} <= document.keys()
    operations: dict[str, Any] = document["operations"]
    steps, parts = operations["steps"], operations["parts"]
    for part, chosen in {
        "ends": [step for step in steps if step["part"] == "ends"],
        "body": [step for step in steps if step["part"] == "body"],
        "total": steps,
    }.items():
        for field in FIELDS:
            assert parts[part][field] == sum(step[field] for step in chosen)
        assert parts[part]["picojoules"] == pytest.approx(sum(step["picojoules"] for step in chosen))
    kinds = operations["energy"]["kinds"]
    assert tuple(kinds) == energy.KINDS
    for kind in kinds.values():
        assert kind["picojoules"] == pytest.approx(kind["operations"] * kind["picojoules_each"])
        assert kind["source"]
    assert operations["energy"]["picojoules"] == pytest.approx(sum(kind["picojoules"] for kind in kinds.values()))
    assert operations["energy"]["picojoules"] == pytest.approx(parts["total"]["picojoules"])
    additions = kinds["integer_addition"]["operations"] + kinds["float_addition"]["operations"]
    assert additions == parts["total"]["additions"]
    return operations


def step(operations: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(step for step in operations["steps"] if step["name"] == name)
    return found


def test_the_body_of_reactnet18_has_no_multiplications(capsys: pytest.CaptureFixture[str]) -> None:
    operations = counted(capsys, "reactnet18", "--width", "1")
    ends, body = operations["parts"]["ends"], operations["parts"]["body"]
    assert operations["counted"] == "packed" and operations["why_by_formula"] is None
    assert body["multiplications"] == 0
    assert body["shifts"] > 0 and body["additions"] > 0 and body["comparisons"] > 0
    assert ends["binary_macs"] == ends["shifts"] == 0
    assert {step["name"] for step in operations["steps"] if step["part"] == "ends"} == {
        "images",
        "stem",
        "pool",
        "classifier",
    }
    # Only the ends work on floats.
    assert operations["energy"]["kinds"]["integer_addition"]["operations"] == body["additions"]
    assert any("weights" in note for note in operations["notes"])


def test_a_pooled_stem_is_no_part_of_the_body(capsys: pytest.CaptureFixture[str]) -> None:
    operations = counted(capsys, "reactnet18", "--width", "1", "--input", "3x128x128")
    assert step(operations, "stem_pool")["part"] == "ends"


def test_counts_do_not_change_from_call_to_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert counted(capsys, "reactnet18", "--width", "1") == counted(capsys, "reactnet18", "--width", "1")


def test_gated_layers_count_both_bits(capsys: pytest.CaptureFixture[str]) -> None:
    operations = counted(capsys, "fracbnn20")
    first = step(operations, "stages.0.0.conv")
    assert first["binary_macs"] == 2 * 16 * 16 * 9 * 32 * 32
    assert first["shifts"] == 16 * 32 * 32
    assert step(operations, "stem")["part"] == "ends"
    assert operations["parts"]["total"]["conversions"] == 0
    assert "low bits are counted as if every gate were open" in operations["notes"]


def test_converters_are_counted_as_for_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    without = counted(capsys, "res20", "--width", "1", "--adc-bit", "fp")["parts"]["total"]
    operations = counted(capsys, "res20", "--width", "1", "--adc-bit", "1")
    total = operations["parts"]["total"]
    assert without["conversions"] == 0
    assert total["binary_macs"] == without["binary_macs"]
    assert main(["models", "show", "res20", "--width", "1", "--json"]) == 0
    assert total["conversions"] == json.loads(capsys.readouterr().out)["totals"]["adc_conversions"] > 0
    # Seven bits less than those of the file: a 128th of the energy.
    each = operations["energy"]["kinds"]["conversion"]["picojoules_each"]
    assert each == energy.read()["conversion"].picojoules / 128


def test_mlp_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    operations = counted(capsys, "mlp")
    middle, last = step(operations, "hidden.1"), step(operations, "classifier")
    assert [middle[field] for field in FIELDS] == [512 * 512, 512 * 3, 0, 512, 0, 512 * 4]
    assert [last[field] for field in FIELDS] == [0, 5120, 0, 0, 5120, 0]
    assert middle["picojoules"] == pytest.approx(
        512 * 512 * 0.0432 + 512 * 3 * 0.1 + 512 * 0.1 + 512 * 4 * 1.5625 / 128
    )
    assert last["picojoules"] == pytest.approx(5120 * (0.9 + 3.7))
    assert {step["name"] for step in operations["steps"] if step["part"] == "ends"} == {"images", "classifier"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("vgg7", "--width", "1"),
        ("resnet18", "--width", "1"),
        ("mlp", "--ao-bit", "fp"),
        ("reactnet18", "--w-bit", "fp", "--width", "1"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_packed_is_counted_by_formula(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    operations = counted(capsys, *arguments)
    assert operations["counted"] == "formula"
    assert operations["why_by_formula"] in operations["notes"][0]
    first, last = operations["steps"][0], operations["steps"][-1]
    assert first["part"] == last["part"] == "ends"
    assert first["multiplications"] == first["additions"] > 0
    assert operations["parts"]["body"]["multiplications"] > 0
    assert main(["models", "show", *arguments, "--json"]) == 0
    macs = json.loads(capsys.readouterr().out)["totals"]["macs"]
    assert operations["parts"]["total"]["multiplications"] == macs


@pytest.mark.parametrize("name", ["reactnet18", "fracbnn20"])
def test_a_packed_file_counts_like_its_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    model = create_model(name, width=1).eval()
    saved, packed = tmp_path / "net.safetensors", tmp_path / "net.packed.safetensors"
    checkpoint.save(saved, model)
    weights = deploy.pack_model(model, (0.5,) * 3, (0.25,) * 3)
    deploy.save(weights, packed)
    expected = {name: vars(counts) for name, counts in deploy.PackedNetwork(weights).operations().items()}
    for file in (saved, packed):
        operations = counted(capsys, str(file))
        assert {s["name"]: {field: s[field] for field in FIELDS} for s in operations["steps"]} == expected
        assert not any("random" in note for note in operations["notes"])


def test_energies_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("".join(f'[{kind}]\npicojoules = {kind == "shift":d}\nsource = "mine"\n' for kind in energy.KINDS))
    operations = counted(capsys, "reactnet18", "--width", "1", "--energy", str(own))
    assert operations["energy"]["file"] == str(own)
    assert operations["energy"]["picojoules"] == operations["parts"]["total"]["shifts"]
    assert operations["energy"]["kinds"]["shift"]["source"] == "mine"
    assert any(str(own) in note for note in operations["notes"])


def test_files_that_are_no_energies(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[shift")
    for file, code in ((tmp_path / "none.toml", 3), (tmp_path, 3), (broken, 2)):
        assert main(["models", "show", "mlp", "--ops", "--energy", str(file)]) == code
        streams = capsys.readouterr()
        assert streams.out == ""
        first, second = streams.err.splitlines()
        assert first.startswith(f"error: {file}: ") and second.startswith("hint: copy ")


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    operations = counted(capsys, "reactnet18", "--width", "1")
    assert main(["models", "show", "reactnet18", "--width", "1", "--ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("   ")[0].strip(): line.split() for line in lines}
    for step in operations["steps"]:
        assert (step["name"] in rows) == any(step[field] for field in FIELDS)
    # binary MACs, additions, shifts, comparisons, multiplications, energy: no column of conversions
    body = operations["parts"]["body"]
    assert rows["body"][1:] == [
        f"{round(body['binary_macs'] / 1e3):,}",
        f"{round(body['additions'] / 1e3):,}",
        f"{body['shifts'] / 1e3:.4g}",
        f"{body['comparisons'] / 1e3:.4g}",
        "0",
        f"{round(body['picojoules'] / 1e3):,}",
    ]
    assert rows["binary MAC"][2:4] == [f"{operations['parts']['total']['binary_macs']:,}", "0.0432"]
    microjoules = operations["energy"]["picojoules"] / 1e6
    assert f"estimated energy of one image: {microjoules:.4g} \u00b5J" in lines
    assert lines[-len(operations["notes"]) :] == operations["notes"]
