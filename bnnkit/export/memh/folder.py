"""Arrays of a packed network for hardware: weight images, thresholds, golden vectors, Verilog that plays them."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnkit import atomic
from bnnkit.deploy import PackedNetwork
from bnnkit.errors import GateError, MissingError, UsageError
from bnnkit.export import trace
from bnnkit.export.memh.layer import VECTORS, layer_files
from bnnkit.export.memh.manifest import manifest_of
from bnnkit.export.trace import LayerTrace

MOST_IMAGES = 16
COPIED = ("cim_array.v", "testbench.v", "Makefile")


def write(network: PackedNetwork, folder: Path, images: Tensor, *, vectors: int = VECTORS) -> dict[str, object]:
    """Write a folder with everything about the arrays of a network, which `make` in it verifies with Icarus Verilog.

    The folder appears whole or not at all. Its README.md says what each file is.

    Args:
        folder: does not exist yet, or is empty.
        images: uint8 [N, *in_shape] as stored, 1 to 16; golden vectors are pixels of these.
        vectors: at most as many for each layer, see `bnnkit.export.memh.layer.sample`.

    Returns:
        layers (on arrays), arrays, vectors (of all layers), files, bytes.

    Raises:
        UsageError: the folder is not empty; no images, too many, or of another shape; no vectors.
        MissingError: it cannot be written.
        GateError: NumPy and the compiled network disagree about the logits; nothing is written.

    Example:
        >>> import tempfile
        >>> from bnnkit import create_model, deploy
        >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
        >>> images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     facts = write(packed, Path(folder) / "mlp", images)
        >>> facts["layers"], facts["arrays"], facts["vectors"]
        (3, 9, 9)
    """
    folder = folder.absolute()
    _check(folder, images, vectors)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        facts = _write_all(network, partial, images, vectors)
        partial.replace(folder)
    except OSError as failure:
        raise MissingError(f"{folder}: cannot be written ({failure.strerror})", hint="name another folder") from failure
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _check(folder: Path, images: Tensor, vectors: int) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; an empty or a new folder was needed", hint="name another folder")
    if len(images) > MOST_IMAGES:
        raise UsageError(
            f"images: {len(images)}; 1 to {MOST_IMAGES} were needed, golden vectors are pixels of these",
            hint="give the first few",
        )
    if vectors < 1:
        raise UsageError(f"vectors: {vectors} of each layer; at least 1 was needed", hint=f"use {VECTORS}")


class _Folder:
    """Writes files, and counts them."""

    def __init__(self, path: Path) -> None:
        self.path, self.files, self.bytes = path, 0, 0

    def add(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(self.path / name, [content])
        self.files, self.bytes = self.files + 1, self.bytes + len(content)


def _write_all(network: PackedNetwork, path: Path, images: Tensor, vectors: int) -> dict[str, object]:
    folder, said = _Folder(path), dict[str, dict[str, Any]]()

    def add_layer(layer: LayerTrace) -> None:
        name = layer.step.name
        contents, said[name] = layer_files(layer, f"layers/{name}", vectors)
        for file, content in contents.items():
            folder.add(f"layers/{name}/{file}", content)

    description = network.describe()
    logits = trace.play(description, images.numpy(), add_layer)
    if not torch.equal(torch.from_numpy(logits), network(images)):
        raise GateError(
            "memh: the logits in NumPy are not those of the packed network; nothing was written",
            hint="this is a bug: report the model and its options",
        )
    manifest = manifest_of(description, said)
    model = files("bnnkit.export.memh") / "verilog"
    for file in COPIED:
        folder.add(file, (model / file).read_bytes())
    readme = (model / "README.md").read_text(encoding="utf-8")
    folder.add("README.md", readme.replace("{layers}", _table(manifest)).encode())
    folder.add("manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return {
        "layers": len(said),
        "arrays": sum(len(step["arrays"]) for step in manifest["steps"] if step["kind"] == "array"),
        "vectors": sum(layer["vectors"] for layer in said.values()),
        "files": folder.files,
        "bytes": folder.bytes,
    }


def _table(manifest: dict[str, Any]) -> str:
    """Return the layers on arrays as a table in Markdown."""
    rows = [
        "| layer | arrays | word lines | bit lines | converter | ends as | vectors |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in manifest["steps"]:
        if step["kind"] != "array":
            continue
        converter = "none" if step["converter"] is None else f"{len(step['converter']['levels'])} levels"
        ends = "output codes" if "sum_thresholds" in step["finish"] else "totals"
        used = max(array["rows"] for array in step["arrays"])
        cells = [step["name"], len(step["arrays"]), used, step["bit_lines"], converter, ends, step["vectors"]]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)
