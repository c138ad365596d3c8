"""Loading the compiled extension, and choosing which instruction set its kernels use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from bnnkit.errors import MissingError, UsageError
from bnnkit.ops import autograd, cuda


@cache
def load() -> ModuleType:
    """Load `bnnkit._C` and the tensor ops beside it; return `_C`.

    Raises:
        MissingError: when the package was installed without its compiled part, or that part does not load here.
    """
    hint = "build it: pip install --no-build-isolation -e .   (or: make setup)"
    spec = importlib.util.find_spec("bnnkit._C")
    if spec is None or spec.origin is None:
        raise MissingError("extension: the compiled kernels (bnnkit._C) are not installed", hint=hint)
    try:
        module = importlib.import_module("bnnkit._C")
        torch.ops.load_library(str(Path(spec.origin).with_name("_ops.so")))
    except (ImportError, OSError) as error:
        raise MissingError(f"extension: the compiled kernels do not load: {error}", hint=hint) from error
    # Tiles multiply and AVX-512 looks sums up faster than torch convolves.
    autograd.register(kernel_gradients=not {"amx", "avx512"}.isdisjoint(module.usable_variants()))
    library = cuda_library()
    if library is not None and torch.cuda.is_available():
        try:
            torch.ops.load_library(str(library))
        except OSError as error:
            raise MissingError(f"extension: the CUDA kernels do not load: {error}", hint=hint) from error
        cuda.register()
    return module


def cuda_library() -> Path | None:
    """Return where the CUDA kernels lie; None for a build without them. They are loaded where torch sees a GPU."""
    spec = importlib.util.find_spec("bnnkit._C")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).with_name("_ops_cuda.so")
    return library if library.is_file() else None


def check_device(name: str) -> None:
    """Check that kernels can run on a device.

    Args:
        name: cpu or cuda.

    Raises:
        UsageError: another name.
        MissingError: torch sees no GPU, or the package was built without its CUDA kernels.

    >>> check_device("cpu")
    """
    if name not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: cpu or cuda was needed", hint="--device cpu")
    if name == "cpu":
        return
    if not torch.cuda.is_available():
        raise MissingError("--device cuda: torch sees no GPU here; one was needed", hint="--device cpu")
    if cuda_library() is None:
        hint = "put nvcc on the PATH and build again, or --device cpu"
        raise MissingError("--device cuda: bnnkit was built without its CUDA kernels", hint=hint)


def variants() -> list[str]:
    """Return the names of all kernel variants, lowest first; a build contains those of its architecture."""
    return list(load().variants())


def usable_variants() -> list[str]:
    """Return the kernel variants that this processor can execute, from the lowest to the highest."""
    return list(load().usable_variants())


def cpu_features() -> dict[str, bool]:
    """Return which instruction-set levels this processor has."""
    return dict(load().cpu_features())


def force_variant(name: str | None) -> None:
    """Limit every kernel to variants up to `name` ("reference", "neon", "avx2", "avx512", "amx"); None lifts the limit.

    A kernel without that very variant uses its next lower one; `last_variant` tells.

    Raises:
        UsageError: for an unknown name or one that this processor cannot execute. Never falls back silently.
    """
    try:
        load().force_variant(name)
    except ValueError as error:
        raise UsageError(str(error), hint=f"usable here: {', '.join(usable_variants())}") from error


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Run the enclosed calls with kernels limited to `name`; afterwards the limit is what it was before.

    >>> with variant("reference"):
    ...     pass
    """
    before: str | None = load().forced_variant()
    force_variant(name)
    try:
        yield
    finally:
        force_variant(before)


def last_variant(kernel: str) -> str:
    """Return which variant a kernel last ran, or "" before any.

    Args:
        kernel: pack, xnor, adc, adc_backward, bitplane, bit_serial, network, dense, bit_faults or image_faults.

    Raises:
        UsageError: for another name.
    """
    try:
        return str(load().last_variant(kernel))
    except ValueError as error:
        hint = "kernels: pack, xnor, adc, adc_backward, bitplane, bit_serial, network, dense, bit_faults, image_faults"
        raise UsageError(str(error), hint=hint) from error
