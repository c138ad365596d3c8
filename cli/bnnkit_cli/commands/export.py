"""`bnnkit export`: a trained network as C++ sources, as memory images with Verilog, or as an ONNX file."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bnnkit.errors import MissingError, UsageError
from bnnkit_cli import output, warnings

if TYPE_CHECKING:
    from torch import Tensor

    from bnnkit.deploy import PackedNetwork
    from bnnkit.train.subject import Subject

FORMATS = {"cpp": "make -C {} check", "memh": "make -C {}", "onnx": "netron {}"}
"""What to run next, by format."""


def export(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[CKPT|RUN|MODEL]", help="A trained network, as for `bnnkit eval` [default: latest]."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="cpp, memh or onnx.", show_default=False)
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Folder, or FILE.onnx [default: MODEL-FORMAT, MODEL.onnx]."),
    ] = None,
    vectors: Annotated[int, typer.Option(help="Test images written along with their results.")] = 4,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset of the test images [default: the one it was trained on].")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    adc_bit: Annotated[str | None, typer.Option(help="Bits of the converters: 1, 2, 3, 4 or fp.")] = None,
    rows: Annotated[int | None, typer.Option(help="Word lines of an array [default: as trained].")] = None,
    mapping: Annotated[str | None, typer.Option(help="channel or tap [default: as trained].")] = None,
    channels_per_array: Annotated[
        int | None, typer.Option(help="Input channels of an array [default: as trained].")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Write a trained network in a form that others use.

    cpp: C++17 sources without dependencies, whose logits are those of the packed network bit for bit. memh: weights of
    all arrays for $readmemh, thresholds, golden vectors, and Verilog that plays them. onnx: one file, for viewers and
    other runtimes. An earlier export at OUT is replaced.
    """
    from bnnkit.train.subject import find_or_sample

    if form not in FORMATS:
        named = f"--format {form}" if form else "no --format"
        raise UsageError(f"export: {named}; cpp, memh or onnx was needed", hint="--format cpp")
    if vectors < 1:
        raise UsageError(f"export: --vectors {vectors}; at least 1 was needed", hint="leave --vectors out")
    trained = find_or_sample(subject, root=runs_dir)
    warnings.of_unfinished(trained)
    target = out if out is not None else Path(_default_name(trained, form))
    _check_target(target, form)
    arrays = {"rows": rows, "mapping": mapping, "channels_per_array": channels_per_array}
    network = _packed(trained, adc_bit, {name: value for name, value in arrays.items() if value is not None})
    images = _test_images(trained, network, vectors, dataset, data_dir)
    facts = _write(form, network, target, images.stored)
    _Report(trained, network, form, target, images, facts).print(json)


def _default_name(trained: Subject, form: str) -> str:
    name = trained.checkpoint.config["name"]
    return f"{name}.onnx" if form == "onnx" else f"{name}-{form}"


def _check_target(target: Path, form: str) -> None:
    from bnnkit.export import folder

    if form != "onnx":
        folder.check(target, form)
    elif target.is_dir():
        raise UsageError(f"{target}: is a folder; a file was needed", hint=f"-o {target / 'net.onnx'}")


def _packed(trained: Subject, adc_bit: str | None, changes: Mapping[str, Any]) -> PackedNetwork:
    from bnnkit.cim import parse_adc_bits
    from bnnkit.deploy import PackedNetwork, skeleton, why_not

    if adc_bit is not None:
        warnings.of_no_converter(adc_bit)
        changes = {**changes, "adc_bit": parse_adc_bits(adc_bit)}
    name = trained.checkpoint.config["name"]
    _refuse_bit_serial(name)
    reason = why_not(skeleton({**trained.checkpoint.config, **changes}))
    if reason is not None:
        raise UsageError(
            f"export: {name}: {reason}; a network that can be packed was needed",
            hint="choose converters with --adc-bit, or a network with bits on both sides of its layers",
        )
    return PackedNetwork(trained.packed_weights(), dict(changes))


def _refuse_bit_serial(name: str) -> None:
    from bnnkit.models import BIT_SERIAL, MODELS

    if MODELS.get(name).family == BIT_SERIAL:
        raise UsageError(
            f"export: {name} is a bit-serial network; a network that can be packed was needed",
            hint="bnnkit decompose writes the cells of its arrays",
        )


@dataclass(frozen=True)
class _Images:
    """Test vectors, uint8 [N, *in_shape], and where they come from."""

    stored: Tensor
    source: str


def _test_images(
    trained: Subject, network: PackedNetwork, count: int, dataset: str | None, data_dir: Path | None
) -> _Images:
    import torch

    from bnnkit.data import fit_shape, load

    shape = tuple(network.config["in_shape"])
    name = dataset or trained.provenance.get("dataset")
    if name is not None:
        try:
            data = load(name, data_dir=data_dir, download=dataset is not None)
            return _Images(fit_shape(data.test.images[:count], shape), f"test images of {name}")
        except MissingError as missing:
            if dataset is not None:
                raise
            output.warn(f"{missing}; the test vectors are noise")
    noise = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return _Images(noise, "noise")


def _write(form: str, network: PackedNetwork, target: Path, images: Tensor) -> dict[str, object]:
    import importlib

    from bnnkit.export import folder

    write: Callable[..., dict[str, object]] = importlib.import_module(f"bnnkit.export.{form}").write
    if form == "onnx":
        return write(network, target)
    with folder.replacing(target, form) as partial:
        return write(network, partial, images)


@dataclass(frozen=True)
class _Report:
    trained: Subject
    network: PackedNetwork
    form: str
    target: Path
    images: _Images
    facts: dict[str, object]

    def print(self, json: bool) -> None:
        """Print what was written, and what to do with it."""
        from bnnkit.export import folder

        sizes = folder.listed(self.target) if self.target.is_dir() else {self.target.name: self.target.stat().st_size}
        said = self.facts.get("files")
        meanings = {folder.RECORD: "marks the folder as an export"}
        meanings |= cast("dict[str, str]", said) if isinstance(said, dict) else {}
        following = FORMATS[self.form].format(shlex.quote(str(self.target)))
        if json:
            output.emit_json("export", self._document(sizes, following))
            return
        from bnnkit.checkpoint import describe

        rows = [(name, size, meanings.get(name, "")) for name, size in _by_entry(sizes, meanings).items()]
        notes = [f"{key.replace('_', ' ')}: {value:,}" for key, value in self.facts.items() if isinstance(value, int)]
        vectors = [] if self.form == "onnx" else [f"images: {len(self.images.stored)} {self.images.source}"]
        output.result_table(
            ["file", "bytes", "what"],
            rows,
            title=f"{describe(self.network.config)} -> {self.target}",
            notes=["", *vectors, *notes, f"next: {following}"],
        )

    def _document(self, sizes: dict[str, int], following: str) -> dict[str, Any]:
        return {
            "checkpoint": self.trained.path,
            "model": self.network.config,
            "format": self.form,
            "output": self.target,
            "vectors": None if self.form == "onnx" else len(self.images.stored),
            "vectors_from": None if self.form == "onnx" else self.images.source,
            "files": [{"path": path, "bytes": size} for path, size in sizes.items()],
            "facts": {key: value for key, value in self.facts.items() if key != "files"},
            "next": following,
        }


def _by_entry(sizes: Mapping[str, int], meanings: Mapping[str, str]) -> dict[str, int]:
    """Add up the files of folders, except of those that are explained one by one."""
    found: dict[str, int] = {}
    for path, size in sizes.items():
        entry = path if path in meanings or "/" not in path else f"{path.partition('/')[0]}/"
        found[entry] = found.get(entry, 0) + size
    return found
