"""Weights on disk: one safetensors file that also says which network they belong to and where they come from.

    header        safetensors JSON; its `__metadata__` has one entry "bnnkit", a JSON document:
                  format_version, bnnkit (version), model (config), digest (sha256 of everything else), ...
    tensors       "model.<name>" for the network; other prefixes belong to whoever saved them

Any program that reads safetensors can read the weights; bnnkit needs the metadata to rebuild the network.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

import bnnkit
from bnnkit.atomic import write_bytes
from bnnkit.errors import MismatchError, MissingError
from bnnkit.models import Model, create_model

FORMAT_VERSION = 1
PREFIX = "model."
RETRAIN = "take another checkpoint, or train again"

_LENGTH_BYTES = 8
_ARCHITECTURE = ("name", "width", "classes", "in_shape")


@dataclass(frozen=True)
class Checkpoint:
    """A file that was read and found intact.

    Attributes:
        metadata: the JSON document: "model" is the network's config, the rest what `save` was given.
        tensors: all tensors by their full name, on the CPU.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `create_model`."""
        return dict(self.metadata["model"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose name begins with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save(
    path: Path | str,
    model: Model,
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network, atomically: until the new file is complete on the disk, the old one stays.

    Args:
        model: its `state_dict` and `config` are stored.
        extra: further tensors (optimizer state); names must not begin with "model.".
        metadata: further JSON-able entries (provenance, position); "model", "format_version", "bnnkit" and "digest"
            are written by this function.

    Raises:
        MissingError: no space; the previous file is unchanged.
        ValueError: a name in `extra` or `metadata` is taken.

    Example:
        >>> import tempfile
        >>> from bnnkit import create_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/net.safetensors", create_model("mlp", adc_bit=2), metadata={"seed": 1})
        ...     load(f"{folder}/net.safetensors").config["adc_bit"]
        2
    """
    taken = [name for name in extra or {} if name.startswith(PREFIX)]
    if taken:
        raise ValueError(f"save: the name {taken[0]!r} belongs to the checkpoint itself")
    tensors = {f"{PREFIX}{name}": value for name, value in model.state_dict().items()}
    write(path, {**tensors, **(extra or {})}, model.config, metadata)


def write(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tensors, the config of the network they belong to and further metadata; see `save`.

    Args:
        tensors: of any shape, dtype and device, by name.
        config: arguments of `create_model`.
        metadata: JSON values; what the checkpoint says of itself is added.

    Raises:
        ValueError: metadata with a name that belongs to the checkpoint itself.
        MissingError: the file cannot be written, or the disk is full; an earlier file stays as it was.
    """
    own = {"format_version": FORMAT_VERSION, "bnnkit": bnnkit.__version__, "model": dict(config)}
    taken = [name for name in metadata or {} if name in (*own, "digest")]
    if taken:
        raise ValueError(f"save: the name {taken[0]!r} belongs to the checkpoint itself")
    plain = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    write_bytes(Path(path), _encode(plain, {**own, **(metadata or {})}))


def load(path: Path | str, *, expect: Mapping[str, object] | None = None) -> Model:
    """Build the network of a checkpoint and return it with its weights, in evaluation mode.

    Args:
        expect: config entries the checkpoint must have, for example {"name": "res20", "w_bit": 1}.

    Raises:
        MissingError: there is no such file.
        MismatchError: truncated or corrupt, written by a newer bnnkit, not a bnnkit checkpoint, or not what `expect`
            says.
    """
    checkpoint = read(path)
    check(checkpoint, expect or {})
    return build(checkpoint)


def build(checkpoint: Checkpoint, **changes: Any) -> Model:
    """Build the network of a checkpoint in evaluation mode, with some options of its config changed.

    Parameters do not depend on converters and arrays, so `adc_bit`, `rows`, `mapping` may differ from training.

    Raises:
        MismatchError: options of another version, or weights that do not fit the network.
        UsageError: an impossible option.
    """
    try:
        model = create_model(**{**checkpoint.config, **changes})
    except TypeError as failure:
        raise MismatchError(
            f"{checkpoint.path}: its network options {sorted(checkpoint.config)} are not those of this bnnkit",
            hint=f"use bnnkit {checkpoint.metadata.get('bnnkit', 'of its time')}",
        ) from failure
    load_weights(checkpoint, model)
    return model.eval()


def load_weights(checkpoint: Checkpoint, model: Model) -> None:
    """Copy the weights into a network of the same architecture; bits, converters and arrays may differ.

    Raises:
        MismatchError: another model, width, number of classes or image shape, or parameters that do not fit.
    """
    check(checkpoint, {key: model.config[key] for key in _ARCHITECTURE})
    weights, own = checkpoint.part(PREFIX), model.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in own]
    problems += [
        f"{name} is {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MismatchError(
            f"{checkpoint.path}: does not fit {model.config['name']}: {', '.join(problems[:3])}{more}", hint=RETRAIN
        )
    model.load_state_dict(weights)


def check(checkpoint: Checkpoint, expect: Mapping[str, object]) -> None:
    """Compare config entries of a checkpoint with what is expected of it.

    Raises:
        MismatchError: naming every entry that differs, with both values.
    """
    config = checkpoint.config
    differing = [
        f"{key} is {config.get(key)}, needed {value}"
        for key, value in expect.items()
        if _comparable(config.get(key)) != _comparable(value)
    ]
    if differing:
        raise MismatchError(
            f"{checkpoint.path}: holds another network ({describe(config)}): {'; '.join(differing)}",
            hint="give the checkpoint of that network, or options that fit this one",
        )


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Return the JSON document of a checkpoint without reading its tensors (completeness of the file is checked).

    Raises:
        MissingError, MismatchError: as `load`, except that damaged tensor bytes go unnoticed.
    """
    file = Path(path)
    size = _size(file)
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        header = stream.read(length) if length <= size else b""
    return _metadata(file, _header(file, header, length, size))


def read(path: Path | str) -> Checkpoint:
    """Read a checkpoint completely and verify its digest; raises like `load`."""
    file = Path(path)
    size = _size(file)
    content = file.read_bytes()
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    header = _header(file, content[_LENGTH_BYTES:start], length, size)
    metadata = _metadata(file, header)
    if metadata.pop("digest", None) != _digest(metadata, header, memoryview(content)[start:]):
        raise MismatchError(f"{file}: corrupt: its bytes differ from the digest they were saved with", hint=RETRAIN)
    return Checkpoint(file, metadata, safetensors.torch.load(content))


def describe(config: Mapping[str, Any]) -> str:
    """Return a network's options in a few words.

    >>> describe({"name": "res20", "width": 5, "ao_bit": 1, "w_bit": 1, "adc_bit": "fp"})
    'res20 width 5, activations 1, weights 1, ADC fp'
    """
    bits = (config.get(key, "?") for key in ("ao_bit", "w_bit", "adc_bit"))
    text = "{} width {}, activations {}, weights {}, ADC {}"
    return text.format(config.get("name", "?"), config.get("width", "?"), *bits)


def _encode(tensors: dict[str, Tensor], document: dict[str, Any]) -> list[bytes | memoryview]:
    # The digest covers the serialised tensor bytes, so the header is written anew around them.
    content = safetensors.torch.save(tensors)
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    data = memoryview(content)[start:]
    header = json.loads(content[_LENGTH_BYTES:start])
    document = {**document, "digest": _digest(document, header, data)}
    header = {"__metadata__": {"bnnkit": json.dumps(document, allow_nan=False)}, **header}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    # safetensors asks for tensor bytes aligned to 8.
    encoded += b" " * (-len(encoded) % 8)
    return [len(encoded).to_bytes(_LENGTH_BYTES, "little"), encoded, data]


def _digest(document: dict[str, Any], header: dict[str, Any], data: memoryview) -> str:
    layout = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps([document, layout], sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def _size(path: Path) -> int:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingError(f"{path}: {what}; a checkpoint file was needed", hint=f"ls {path.parent}")
    return path.stat().st_size


def _header(path: Path, header: bytes, length: int, size: int) -> dict[str, Any]:
    if size < _LENGTH_BYTES:
        raise MismatchError(f"{path}: truncated: {size} bytes; at least a header was needed", hint=RETRAIN)
    if _LENGTH_BYTES + length > size and length < 1 << 32:
        raise MismatchError(f"{path}: truncated: {size:,} of at least {_LENGTH_BYTES + length:,} bytes", hint=RETRAIN)
    try:
        entries = json.loads(header)
        ends = [operator.index(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__"]
        if not isinstance(entries.get("__metadata__", {}), dict):
            raise TypeError("the metadata are no dictionary")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as failure:
        raise MismatchError(f"{path}: corrupt or not a safetensors file: no readable header", hint=RETRAIN) from failure
    needed = _LENGTH_BYTES + length + max(ends, default=0)
    if size != needed:
        what = "truncated" if size < needed else "corrupt"
        raise MismatchError(f"{path}: {what}: {size:,} bytes; its header says {needed:,}", hint=RETRAIN)
    return dict(entries)


def _metadata(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    text = header.get("__metadata__", {}).get("bnnkit")
    if text is None:
        raise MismatchError(
            f"{path}: safetensors without bnnkit metadata; a checkpoint written by bnnkit was needed",
            hint="read the checkpoint of another project with bnnkit.importers.load",
        )
    try:
        document = json.loads(text)
        version = int(document["format_version"])
        if version <= FORMAT_VERSION:
            dict(document["model"])
    except (ValueError, KeyError, TypeError) as failure:
        raise MismatchError(f"{path}: corrupt: its bnnkit metadata cannot be read", hint=RETRAIN) from failure
    if version > FORMAT_VERSION:
        writer = document.get("bnnkit", "a newer version")
        raise MismatchError(
            f"{path}: format version {version}, written by bnnkit {writer}; this bnnkit {bnnkit.__version__} reads up "
            f"to {FORMAT_VERSION}",
            hint="pip install --upgrade bnnkit",
        )
    return dict(document)


def _comparable(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
