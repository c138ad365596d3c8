"""`bnnkit doctor`: what this installation consists of, and whether its kernels compute what they should here."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import GateError, MissingError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit_cli.selftest import Outcome


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Show versions, variants, datasets and free disk space, and test every kernel variant against the reference.

    Exit code 3: the compiled extension cannot be loaded. Exit code 1: a kernel computes something wrong.
    """
    extension, failure = _extension()
    report: dict[str, Any] = {
        "bnnkit": _own_version(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": platform.platform(),
        },
        "torch": _torch(),
        "extension": extension,
        "datasets": _datasets(),
        "disk": _disk(),
    }
    outcomes: list[Outcome] = []
    if failure is None:
        from bnnkit_cli.selftest import run_selftest

        outcomes = run_selftest()
    if json:
        output.emit_json("doctor", {**report, "selftest": [asdict(outcome) for outcome in outcomes]})
    else:
        _print(report, outcomes)
    if failure is not None:
        raise failure
    wrong = [f"{outcome.kernel} ({outcome.variant}): {outcome.detail}" for outcome in outcomes if not outcome.passed]
    if wrong:
        raise GateError(
            f"self-test: {'; '.join(wrong)}; every variant must equal the reference",
            hint="set BNNKIT_VARIANT to a variant that passes, and report this",
        )


def _own_version() -> str:
    import bnnkit

    return bnnkit.__version__


def _extension() -> tuple[dict[str, Any], MissingError | None]:
    from bnnkit import ops

    try:
        extension = ops.load()
    except MissingError as failure:
        return {"loaded": False, "reason": failure.message}, failure
    return {
        "loaded": True,
        "build": extension.build_info(),
        "cuda_kernels": ops.cuda_library() is not None,
        "cpu": ops.cpu_features(),
        "variants_known": ops.variants(),
        "variants_usable": ops.usable_variants(),
    }, None


def _torch() -> dict[str, Any]:
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": devices,
    }


def _datasets() -> list[dict[str, Any]]:
    from bnnkit.data import DATASETS, is_prepared

    return [{"name": name, "prepared": is_prepared(name)} for name in DATASETS]


def _disk() -> list[dict[str, Any]]:
    from bnnkit.data.cache import data_root

    places = {"data": data_root(), "runs": Path.cwd()}
    return [
        {"for": purpose, "path": str(path), "free_bytes": shutil.disk_usage(_existing(path)).free}
        for purpose, path in places.items()
    ]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _print(report: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    python, torch, extension = report["python"], report["torch"], report["extension"]
    rows: list[tuple[str, object]] = [
        ("bnnkit", report["bnnkit"]),
        ("Python", f"{python['version']} ({python['implementation']}, {python['platform']})"),
        ("torch", f"{torch['version']}, {torch['threads']} threads"),
        ("CUDA", f"{torch['cuda'] or 'not in this torch'}; GPUs: {', '.join(torch['devices']) or 'none'}"),
    ]
    if extension["loaded"]:
        rows += [
            ("extension", ", ".join(f"{key} {value}" for key, value in extension["build"].items())),
            ("CUDA kernels", "built" if extension["cuda_kernels"] else "not built: nvcc was missing"),
            ("CPU features", " ".join(name for name, present in extension["cpu"].items() if present) or "none used"),
            ("variants known", " ".join(extension["variants_known"])),
            ("variants usable", " ".join(extension["variants_usable"])),
        ]
    else:
        rows.append(("extension", "missing"))
    prepared = [dataset["name"] for dataset in report["datasets"] if dataset["prepared"]]
    missing = [dataset["name"] for dataset in report["datasets"] if not dataset["prepared"]]
    rows.append(("datasets", f"{' '.join(prepared)}{'; not prepared: ' if missing else ''}{' '.join(missing)}"))
    for place in report["disk"]:
        rows.append((f"disk for {place['for']}", f"{place['free_bytes'] / 1e9:.1f} GB free, {place['path']}"))
    output.result_table(["part", "found"], rows)
    if outcomes:
        output.result_text("")
        output.result_table(
            ["kernel", "variant", "cases", "self-test"],
            [(o.kernel, o.variant, o.cases, "passed" if o.passed else f"FAILED: {o.detail}") for o in outcomes],
        )
