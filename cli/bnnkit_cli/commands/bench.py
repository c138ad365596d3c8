"""`bnnkit bench`: how fast the kernels are here, beside torch and beside what the machine could possibly do."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import GateError, UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.bench import Plan, Report


def bench(
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel",
            metavar="NAME",
            help="What to measure: xnor, adc, bitplane, bit-serial, conv, train, model, vgg9, vgg7, reactnet18, "
            "fracbnn20 or campaign.",
        ),
    ] = "xnor",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="N,N,...",
            help="M,N,K (xnor, adc), BATCH,CHANNELS,SIZE (conv, bit-serial), O,C,H,W (bitplane), IMAGES,MAPS,WIDTH "
            "(campaign) or BATCH,WIDTH (train and networks); "
            "may be repeated. Default: the shapes of the published figures.",
        ),
    ] = None,
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="N,...", help="Thread counts. Default: 1,2.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="NAME",
            help="reference, neon, avx2, avx512 or amx; may be repeated. Default: the fast ones.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="NAME",
            help="Opponents: fp32, bf16, int8, loop, array-loop or none; may be repeated. Default: all.",
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option("--repeat", metavar="N", help="Rounds per case. Default: what --seconds allow, 3 to 30."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", metavar="S", min=0, help="Time for all rounds; verification and warm-up come on top."
        ),
    ] = 60,
    clock: Annotated[
        str,
        typer.Option("--clock", metavar="NAME", help="wall, or cpu: time on a core, for one thread on a busy machine."),
    ] = "wall",
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, or cuda for xnor, adc, train and networks.")
    ] = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the JSON document to FILE as well.")
    ] = None,
) -> None:
    """Verify kernels against the reference, then time them in turns with torch and with the machine's own limit.

    Times are medians with quartiles over rounds in which all contenders take turns. A kernel that computes something
    wrong is shown as INVALID, without a speed, and the exit code is 1.
    """
    from bnnkit.atomic import check_target

    if out is not None:
        check_target(out)
    thread_counts = None if threads is None else _numbers("--threads", threads)
    from bnnkit import bench as benchmarks

    plan = benchmarks.resolve(
        kernel,
        shapes=[_numbers("--shape", text) for text in shape or ()],
        threads=thread_counts,
        variants=_names(variant),
        against=_names(against),
        repeat=repeat,
        seconds=seconds,
        clock=clock,
        device=device,
    )
    if dry_run:
        _print_plan(plan, json)
        return
    report = _run(plan)
    payload = {**benchmarks.describe(["bnnkit", *sys.argv[1:]]), "settings": _settings(plan), **report.document()}
    if out is not None:
        _write(out, payload)
    if json:
        output.emit_json("bench", payload)
    else:
        _print(report, payload)
    if report.invalid:
        wrong = report.invalid[0]
        raise GateError(
            f"bench {kernel}: {wrong.side}, {wrong.case}: {_reason(wrong.check)}; the reference's values were needed",
            hint="bnnkit doctor",
        )


def _run(plan: Plan) -> Report:
    from bnnkit.bench import run

    with output.progress(f"bench {plan.kernel}") as bar:
        return run(plan, lambda case, done, total: bar.update(done, total, f"rounds, {case}"))


def _numbers(option: str, text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"{option}: '{text}'; whole numbers separated by commas were needed", hint=f"use {option} 1,2")
    return [int(part) for part in parts]


def _names(values: Sequence[str] | None) -> list[str] | None:
    return [name.strip() for value in values for name in value.split(",")] if values else None


def _settings(plan: Plan) -> dict[str, Any]:
    return {
        "shapes": [list(shape) for shape in plan.shapes],
        "threads": list(plan.threads),
        "variants": ["highest" if name is None else name for name in plan.variants],
        "against": list(plan.against),
        "repeat": plan.repeat,
        "seconds": plan.seconds,
        "clock": plan.clock,
        "device": plan.device,
    }


def _print_plan(plan: Plan, json: bool) -> None:
    from bnnkit.bench import BENCHES

    cases = len(plan.shapes) * BENCHES.get(plan.kernel).count
    if json:
        output.emit_json("bench-plan", {"kernel": plan.kernel, "cases": cases, "settings": _settings(plan)})
        return
    settings = {"kernel": plan.kernel, "cases": cases, **_settings(plan)}
    rows = [(name, _plain(value)) for name, value in settings.items() if value is not None]
    rounds = "3 to 30 rounds" if plan.repeat is None else f"{plan.repeat} rounds"
    note = f"{rounds} per case in about {plan.seconds:.0f} s, after about as long again for verification and warm-up"
    output.result_table(["setting", "value"], rows, notes=(note,))


def _plain(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return ", ".join(" x ".join(map(str, part)) if isinstance(part, list | tuple) else str(part) for part in value)


def _write(path: Path, payload: dict[str, Any]) -> None:
    from bnnkit.atomic import write_text

    write_text(path, json_format.dumps({"schema": "bnnkit.bench/1", **payload}, indent=2, allow_nan=False) + "\n")
    output.log(f"written: {path}")


def _reason(check: Any) -> str:
    return f"{check.detail} ({check.compared})"


def _print(report: Report, payload: dict[str, Any]) -> None:
    from bnnkit.bench.tables import case_tables

    hardware, versions = payload["hardware"], payload["versions"]
    features = " ".join(name for name, present in hardware["features"].items() if present)
    output.result_text(
        f"{hardware['cpu']}, {hardware['cores']} cores, {features}; bnnkit {versions['bnnkit']}, "
        f"torch {versions['torch']}\n"
    )
    for table in case_tables(report):
        output.result_table(table.columns, table.rows, title=table.title, notes=(*table.notes, ""))
    for note in report.notes:
        output.result_text(note)
