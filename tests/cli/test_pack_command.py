"""`bnnkit pack`, and `bnnkit eval` on what it wrote and on the packaged sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnnkit import checkpoint, deploy
from bnnkit.models import create_model

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")

METADATA = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}


@pytest.fixture
def saved() -> Path:
    torch.manual_seed(1)
    path = Path("net.safetensors")
    checkpoint.save(path, create_model("mlp", width=1, in_shape=(1, 8, 8)), metadata=METADATA)
    return path


def test_a_packed_file_evaluates_like_its_checkpoint(bnnkit: Command, saved: Path) -> None:
    code, out, _err = bnnkit("pack", str(saved), "--json")
    assert code == 0
    packed = json.loads(out)
    assert packed["schema"] == "bnnkit.pack/1"
    assert packed["packed"] == "net.packed.safetensors"
    assert packed["bytes"] == Path("net.packed.safetensors").stat().st_size < packed["checkpoint_bytes"] / 5
    results = {}
    for name in (str(saved), "net.packed.safetensors"):
        for backend in ("auto", "packed", "torch"):
            code, out, _err = bnnkit("eval", name, "--adc-bit", "1,3", "--backend", backend, "--json")
            assert code == 0
            found = json.loads(out)
            assert found["backend"] == ("torch" if backend == "torch" else "packed")
            results[name, backend] = [(row["correct"], row["loss"]) for row in found["results"]]
    assert len(set(map(tuple, results.values()))) == 1


def test_packing_prints_what_became_of_the_network(bnnkit: Command, saved: Path) -> None:
    code, out, _err = bnnkit("pack", str(saved), "-o", "bits.safetensors")
    assert code == 0
    assert "bits.safetensors" in out and "above its content" in out
    assert deploy.load("bits.safetensors").provenance["dataset"] == "digits"


def test_without_a_run_the_packaged_sample_is_evaluated(bnnkit: Command) -> None:
    code, out, _err = bnnkit("eval", "--json", "--min-acc", "85")
    assert code == 0
    assert json.loads(out)["checkpoint"] == str(deploy.SAMPLE)


def test_invariance_of_a_packed_network(bnnkit: Command) -> None:
    code, out, _err = bnnkit("eval", "--limit", "9", "--check-invariance", "--json")
    assert code == 0
    findings = json.loads(out)["invariance"]
    assert {"batch 1", "batch 7", "threads 2", "layer by layer", "backend torch"} <= {f["setting"] for f in findings}
    assert all(f["identical"] for f in findings)


def test_a_network_without_bits_is_refused(bnnkit: Command) -> None:
    plain = create_model("mlp", width=1, in_shape=(1, 8, 8), ao_bit="fp", w_bit="fp", adc_bit="fp")
    checkpoint.save("plain.safetensors", plain, metadata=METADATA)
    code, _out, err = bnnkit("pack", "plain.safetensors")
    assert code == 2
    assert "cannot be packed" in err
    code, _out, err = bnnkit("eval", "plain.safetensors", "--backend", "packed")
    assert code == 2
    assert "--backend packed" in err
    code, out, err = bnnkit("eval", "plain.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["backend"] == "layer by layer"
    assert "not packed: layer hidden.0" in err


def test_damaged_files_are_refused(bnnkit: Command, saved: Path) -> None:
    bnnkit("pack", str(saved))
    path = Path("net.packed.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    code, _out, err = bnnkit("eval", str(path))
    assert code == 4
    assert "truncated" in err
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 255]))
    code, _out, err = bnnkit("eval", str(path))
    assert code == 4
    assert "corrupt" in err
    code, _out, _err = bnnkit("pack", "nowhere.safetensors")
    assert code == 3
