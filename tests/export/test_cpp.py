"""Exported C++ sources: compiled and run, their logits are those of the packed network, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy.networks import images, network, packed

from bnnkit import data, deploy, ops
from bnnkit.errors import MissingError, UsageError
from bnnkit.export import cpp

try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)

COMPILER = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
if COMPILER is None:
    pytest.skip("no C++ compiler is installed", allow_module_level=True)

FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off")
RUNTIME = Path(cpp.__file__).parent / "runtime"

# Every architecture; converters of every width; planes and thermometers on both sides; both mappings; odd sizes.
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"adc_bit": 3, "ao_bit": 2, "w_bit": 1.5, "in_shape": (1, 9, 7)}),
    ("mlp", {"adc_bit": "fp", "width": 1, "in_shape": (1, 9, 7)}),
    ("mlp", {"rows": 100, "width": 1, "adc_bit": 2, "in_shape": (2, 5, 5)}),
    ("res20", {"width": 1, "in_shape": (3, 16, 16)}),
    ("res20", {"width": 1, "ao_bit": 1.5, "w_bit": 2, "adc_bit": 2, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "ao_bit": 3, "w_bit": 3, "adc_bit": 4, "mapping": "tap", "rows": 64, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 2, "adc_bit": 2, "rows": 1000, "in_shape": (3, 9, 8)}),
    ("res18", {"width": 2, "in_shape": (1, 9, 13), "classes": 3}),
    ("vgg9", {"width": 1, "in_shape": (3, 9, 8)}),
    ("cnv", {}),
    ("reactnet18", {"width": 1, "adc_bit": 3, "mapping": "tap", "rows": 20, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 128, 128)}),
    ("reactnet34", {"width": 1, "in_shape": (3, 16, 8)}),
    ("reactnetA", {"width": 1, "adc_bit": 2, "in_shape": (1, 16, 32)}),
    ("fracbnn20", {"in_shape": (3, 12, 16)}),
    ("fracbnn20", {"adc_bit": 2, "mapping": "tap", "rows": 24, "in_shape": (1, 4, 8), "classes": 3}),
    ("fracbnn_imagenet", {"in_shape": (3, 32, 32)}),
]


def compile_(out: Path, *arguments: object) -> None:
    command = [str(COMPILER), *FLAGS, *map(str, arguments), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The runtime compiled once: it is the same for every network."""
    folder = tmp_path_factory.mktemp("runtime")
    objects = []
    for source in sorted(RUNTIME.glob("*.cpp")):
        objects.append(folder / f"{source.stem}.o")
        compile_(objects[-1], "-O2", "-c", source)
    return objects


def build(folder: Path, program: str, *objects: object) -> Path:
    compile_(folder / program, folder / "model.cpp", folder / "weights.cpp", folder / f"{program}.cpp", *objects)
    return folder / program


def run(program: Path, *arguments: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=120, **more)


def exported(folder: Path, name: str, count: int = 4, **options: Any) -> dict[str, object]:
    model = network(name, **options)
    stored = images(model, count)
    stored[-2], stored[-1] = 0, 255
    return cpp.write(packed(model), folder, stored)


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_logits_are_equal_bit_for_bit(name: str, options: dict[str, Any], tmp_path: Path, runtime: list[Path]) -> None:
    facts = exported(tmp_path, name, **options)
    logits = np.fromfile(tmp_path / "vectors/logits.bin", np.float32).reshape(4, -1)
    assert len({tuple(row) for row in logits.tolist()}) == 4, "the test would not notice lost inputs"
    checked = run(build(tmp_path, "check", *runtime), tmp_path / "vectors")
    assert checked.stdout.decode() == "PASS: the logits of 4 of 4 images are equal, bit for bit\n"
    assert checked.returncode == 0
    assert facts["namespace"] == name


def test_all_digits_through_the_sample_network(tmp_path: Path, runtime: list[Path]) -> None:
    sample = deploy.PackedNetwork(deploy.load(deploy.SAMPLE))
    digits = data.load("digits").test
    cpp.write(sample, tmp_path, digits.images[:1])
    program, stored = build(tmp_path, "main", *runtime), digits.images.numpy().tobytes()
    found = np.frombuffer(run(program, "--logits", input=stored).stdout, np.float32).reshape(360, 10)
    assert torch.equal(torch.from_numpy(found.copy()), sample(digits.images[:]))
    predicted = np.array(run(program, input=stored).stdout.split(), np.int64)
    assert (predicted == found.argmax(1)).all() and (predicted == digits.labels.numpy()).sum() > 300


def test_a_compiler_that_fuses_products_and_sums_changes_nothing(tmp_path: Path) -> None:
    exported(tmp_path, "res20", width=1, in_shape=(3, 8, 8), adc_bit=2)
    sources = [tmp_path / f"{name}.cpp" for name in ("model", "weights", "check")]
    # clang obeys the pragma unless it is told to fuse everywhere; the last flag of its kind counts.
    is_clang = b"clang" in run(Path(str(COMPILER)), "--version").stdout
    fuse = f"-ffp-contract={'on' if is_clang else 'fast'}"
    compile_(tmp_path / "check", "-O2", "-march=native", fuse, *sources, *(tmp_path / "runtime").glob("*.cpp"))
    assert run(tmp_path / "check", tmp_path / "vectors").returncode == 0


def test_differences_are_noticed(tmp_path: Path, runtime: list[Path]) -> None:
    exported(tmp_path, "mlp", width=1, in_shape=(1, 8, 8))
    program, logits = build(tmp_path, "check", *runtime), tmp_path / "vectors/logits.bin"
    content = bytearray(logits.read_bytes())
    content[50] ^= 1  # the second image: 10 classes of 4 bytes come before it
    logits.write_bytes(content)
    checked = run(program, tmp_path / "vectors")
    assert checked.returncode == 1
    assert checked.stdout.startswith(b"image 1: class ")
    assert checked.stdout.endswith(b"FAIL: the logits of 3 of 4 images are equal, bit for bit\n")
    logits.unlink()
    assert run(program, tmp_path / "vectors").returncode == 3


def test_incomplete_images_are_refused(tmp_path: Path, runtime: list[Path]) -> None:
    exported(tmp_path, "mlp", width=1, in_shape=(1, 8, 8))
    program = build(tmp_path, "main", *runtime)
    found = run(program, input=bytes(64 + 5))
    assert found.returncode == 2
    assert len(found.stdout.split()) == 1
    assert found.stderr == b"error: the last image has 5 bytes; 64 were needed\n"
    assert run(program, tmp_path / "missing.bin").returncode == 3


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed (Debian package binutils)")
def test_nothing_is_allocated_or_thrown(tmp_path: Path, runtime: list[Path]) -> None:
    exported(tmp_path, "res20", width=1, in_shape=(3, 8, 8))
    compile_(tmp_path / "model.o", "-O2", "-c", tmp_path / "model.cpp")
    listing = subprocess.run(["nm", "-u", "-C", *runtime, tmp_path / "model.o"], capture_output=True, text=True)
    undefined = [line.split()[-1] for line in listing.stdout.splitlines() if " U " in line]
    assert undefined, "nothing was listed"
    assert not [name for name in undefined if "alloc" in name or "new" in name or "throw" in name or "free" in name]


def test_the_same_network_gives_the_same_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        exported(tmp_path / folder, "fracbnn20", in_shape=(3, 4, 4))
    first, second = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.*")}
        for folder in ("a", "b")
    )
    assert first == second
    assert all(len(line) <= 120 for line in first[Path("weights.cpp")].decode().splitlines())


def test_the_readme_says_what_it_is(tmp_path: Path) -> None:
    facts = exported(tmp_path, "res20", width=1, in_shape=(3, 8, 8))
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# res20 width 1, activations 1, weights 1, ADC 1\n")
    assert f"{facts['workspace_bytes']:,} bytes; one per thread" in text
    assert str(tmp_path) not in text
    described = facts["files"]
    assert isinstance(described, dict)
    assert all((tmp_path / name).exists() for name in described)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = network("res20", width=1, in_shape=(3, 8, 8))
    weights = deploy.pack_model(model, (0.5,) * 3, (0.25,) * 3)
    weights.tensors["classifier.weight"][0, 0] = float("nan")
    with pytest.raises(UsageError, match="nan is among the network's numbers"):
        cpp.write(deploy.PackedNetwork(weights), tmp_path, images(model, 1))
    assert not list(tmp_path.iterdir())
