"""Exported arrays, played by Icarus Verilog; and that a wrong bit anywhere is noticed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy.networks import images, network, packed
from numpy.typing import NDArray

from bnnkit import ops
from bnnkit.deploy.stored import weight_of
from bnnkit.errors import GateError, MissingError, UsageError
from bnnkit.export import memh

try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)

simulated = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("iverilog", "vvp", "make")),
    reason="Icarus Verilog or make is not installed (Debian packages iverilog, make)",
)
# Of every kind: several arrays, planes and thermometers on both sides, both mappings, gates, no converter.
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"width": 1, "adc_bit": 3, "ao_bit": 2, "w_bit": 1.5, "rows": 50, "in_shape": (1, 8, 8)}),
    ("res20", {"width": 1, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "ao_bit": 1.5, "w_bit": 2, "adc_bit": 2, "mapping": "tap", "in_shape": (3, 4, 4)}),
    ("cnv", {"width": 1}),
    ("reactnet18", {"width": 1, "adc_bit": 2, "in_shape": (3, 8, 8)}),
    ("fracbnn20", {"in_shape": (3, 8, 8)}),
    ("fracbnn20", {"adc_bit": 2, "in_shape": (3, 4, 8)}),
]


def make(folder: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    # Tests may be run by make themselves: its variables would make this one say in which folder it is.
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-k", "-j2", *targets]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=alone)


def written(tmp_path: Path, name: str, options: dict[str, Any], vectors: int = 6) -> tuple[Path, dict[str, object]]:
    model = network(name, **options)
    facts = memh.write(packed(model), tmp_path / "out", images(model, 2), vectors=vectors)
    return tmp_path / "out", facts


@simulated
@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_verilog_gives_what_is_expected(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    folder, facts = written(tmp_path, name, options)
    played = make(folder)
    assert played.returncode == 0, played.stdout + played.stderr
    lines = [line for line in played.stdout.splitlines() if line.startswith("PASS layer")]
    assert len(lines) == facts["layers"]
    assert sum(int(line.split(": ")[1].split()[0]) for line in lines) == facts["vectors"]
    assert "FAIL" not in played.stdout and "WARNING" not in played.stdout + played.stderr
    assert played.stdout.splitlines()[-1] == f"PASS {facts['layers']} layers"


def flip(line: str, column: int) -> str:
    """Flip the lowest bit of a digit, counted from the end of a line."""
    at = len(line) - 1 - column
    return f"{line[:at]}{int(line[at], 16) ^ 1:x}{line[at + 1 :]}"


def flip_in_middle(path: Path, column: int) -> None:
    lines = path.read_text().splitlines()
    lines[len(lines) // 2] = flip(lines[len(lines) // 2], column)
    path.write_text("\n".join(lines) + "\n")


def flip_in_all(path: Path, column: int) -> None:
    path.write_text("".join(flip(line, column) + "\n" for line in path.read_text().splitlines()))


# One bit each, except in tables, where a single bit may not matter: sums of n signs are all odd or all even.
ONE = {"array_0001.memh": 1, "enables.memh": 0, "sums.memh": 0, "codes.memh": 0, "totals.memh": 0, "adc_levels.memh": 0}
FOLDED, ALL_FOLDED = {"outputs.memh": 2}, {"adc_thresholds.memh": 1, "sum_thresholds.memh": 1, "flip.memh": 0}
GATED, ALL_GATED = {"opens.memh": 3}, {"adc_thresholds.memh": 1, "gate.memh": 1}


@simulated
@pytest.mark.parametrize(
    ("at", "layer", "bits", "tables"),
    [(0, "hidden.0", ONE | FOLDED, ALL_FOLDED), (-1, "stages.0.1.conv", ONE | GATED, ALL_GATED)],
    ids=["folded", "gated"],
)
def test_one_wrong_bit_is_noticed(
    at: int, layer: str, bits: dict[str, int], tables: dict[str, int], tmp_path: Path
) -> None:
    folder, _ = written(tmp_path, *NETWORKS[at], vectors=4)
    here = folder / "layers" / layer
    assert make(folder, f"play-{layer}").returncode == 0
    enables = (here / "enables.memh").read_text().split()
    enabled = enables[len(enables) // 2][::-1].index("f")  # a digit of word lines that are all in use
    changes = [(flip_in_middle, file, column) for file, column in (bits | {"inputs.memh": enabled}).items()]
    changes += [(flip_in_all, file, column) for file, column in tables.items()]
    for change, file, column in changes:
        before = (here / file).read_bytes()
        change(here / file, column)
        played = make(folder, f"play-{layer}")
        assert played.returncode != 0 and f"FAIL layer {layer}" in played.stdout, file
        (here / file).write_bytes(before)
    assert make(folder, f"play-{layer}").returncode == 0


@simulated
@pytest.mark.parametrize("lost", [("sums.memh",), ("array_0000.memh",), ("array_0000.memh", "sums.memh", "codes.memh")])
def test_lost_and_cut_files_are_noticed(lost: tuple[str, ...], tmp_path: Path) -> None:
    folder, _ = written(tmp_path, *NETWORKS[0])
    for file in lost:
        path = folder / "layers" / "hidden.1" / file
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    played = make(folder, "play-hidden.1")
    assert played.returncode != 0 and "FAIL layer hidden.1" in played.stdout
    for file in lost:
        (folder / "layers" / "hidden.1" / file).unlink()
    played = make(folder, "play-hidden.1")
    assert played.returncode != 0 and "FAIL layer hidden.1" in played.stdout


def lines_of(path: Path) -> list[int]:
    return [int(line.replace("_", ""), 16) for line in path.read_text().split()]


def test_images_hold_the_weights_where_the_manifest_says(tmp_path: Path) -> None:
    model = network("res20", width=1, w_bit=2, ao_bit=2, adc_bit=2, rows=60, in_shape=(3, 8, 8))
    run = packed(model)
    memh.write(run, tmp_path / "out", images(model, 1))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    step = next(step for step in manifest["steps"] if step["name"] == "stages.1.0.conv1")
    folder = tmp_path / "out" / step["folder"]
    layer: Any = run.weights.skeleton().get_submodule(step["name"])
    expected = weight_of(run.weights.tensors[f"{step['name']}.codes"], layer) * layer.weight_quantizer.unit
    with (folder / "word_lines.csv").open() as file:
        listed = [tuple(map(int, row.values())) for row in csv.DictReader(file)]
    found = torch.full_like(expected, torch.nan)
    seen = []
    for s, array in enumerate(step["arrays"]):
        columns = lines_of(folder / array["weights"])
        assert len(columns) == step["bit_lines"] == 2 * step["outputs"]
        for t, (ky, kx) in enumerate(array["taps"]):
            for c in range(array["channels"]):
                row = t * array["channels"] + c
                seen.append((s, row, array["first_channel"] + c, ky, kx))
                for o in range(step["outputs"]):
                    bits = [columns[o * 2 + plane] >> row & 1 for plane in range(2)]
                    integer = sum(w * (2 * b - 1) for w, b in zip(step["weight_planes"], bits, strict=True))
                    found[o, array["first_channel"] + c, ky, kx] = integer
    assert torch.equal(found, expected)
    assert seen == listed
    assert all(column >> array["rows"] == 0 for column in columns), "spare word lines hold 0"


def test_the_manifest_knows_what_follows(tmp_path: Path) -> None:
    folder, facts = written(tmp_path, "reactnet18", {"width": 1, "in_shape": (3, 8, 8)})
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = [step for step in manifest["steps"] if step["kind"] == "array"]
    assert len(arrays) == facts["layers"] and manifest["model"]["name"] == "reactnet18"
    assert all(step["converter"] is None and len(step["arrays"]) == 1 for step in arrays)
    assert {"lift", "shifts", "signs", "bias_in", "right", "left", "bias_out"} <= arrays[0]["finish"]["integers"].keys()
    names = [step["name"] for step in manifest["steps"]]
    assert all(step["reads"] in names for step in manifest["steps"][1:])
    assert arrays[0]["finish"]["residual"] == arrays[0]["reads"] == "stem"
    on_disk = [path for path in folder.rglob("*") if path.is_file()]
    assert len(on_disk) == facts["files"] and sum(path.stat().st_size for path in on_disk) == facts["bytes"]


def test_vectors_show_every_border_of_bounded_samples(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, "res20", {"width": 1, "in_shape": (3, 8, 8)}, vectors=20)
    layer = folder / "layers" / "stages.0.0.conv1"
    pixels = [tuple(map(int, line.split(","))) for line in (layer / "vectors.csv").read_text().split()[1:]]
    assert 9 < len(pixels) <= 20 and len(set(pixels)) == len(pixels) and {image for image, _, _ in pixels} == {0, 1}
    enables = lines_of(layer / "enables.memh")
    assert len(set(enables[::2])) == 9, "eight borders and the inside"
    corner = pixels.index((0, 0, 0))
    assert enables[2 * corner].bit_count() == 14 * 4 and enables[2 * corner + 1].bit_count() == 2 * 4
    assert all(x & ~e == 0 for x, e in zip(lines_of(layer / "inputs.memh"), enables, strict=True))


def test_values_of_the_digital_part_are_those_of_the_network(tmp_path: Path) -> None:
    """The last layer of an MLP leaves values; the classifier makes the logits of them."""
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    stored, run = images(model, 3), packed(model)
    memh.write(run, tmp_path / "out", stored)
    layer = tmp_path / "out" / "layers" / "hidden.2"
    words = [line.split("_")[::-1] for line in (layer / "values.memh").read_text().split()]
    values: NDArray[np.float32] = np.array([[int(w, 16) for w in line] for line in words], np.uint32).view(np.float32)
    weight, bias = (run.weights.tensors[f"classifier.{part}"].double() for part in ("weight", "bias"))
    assert torch.equal((torch.from_numpy(values).double() @ weight.T + bias).float(), run(stored))


def test_folders_in_use_and_impossible_images_are_refused(tmp_path: Path) -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    run, stored = packed(model), images(model, 2)
    with pytest.raises(UsageError, match="17; 1 to 16 were needed"):
        memh.write(run, tmp_path / "out", images(model, 17))
    with pytest.raises(UsageError, match="with at least one was needed"):
        memh.write(run, tmp_path / "out", stored[:0])
    with pytest.raises(UsageError, match="vectors: 0"):
        memh.write(run, tmp_path / "out", stored, vectors=0)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        memh.write(run, tmp_path, stored)
    with pytest.raises(UsageError, match="exists already"):
        memh.write(run, tmp_path / "file", stored)
    with pytest.raises(MissingError, match="cannot be written"):
        memh.write(run, tmp_path / "file" / "out", stored)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_nothing_is_written_that_the_network_does_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("mlp", width=1, in_shape=(1, 8, 8))
    run, stored = packed(model), images(model, 2)
    monkeypatch.setattr(type(run), "forward", lambda self, images: torch.zeros(2, 10))
    with pytest.raises(GateError, match="nothing was written"):
        memh.write(run, tmp_path / "out", stored)
    assert not list(tmp_path.iterdir())
