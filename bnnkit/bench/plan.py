"""What is to be measured: a command line's wishes, checked and completed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from bnnkit import ops
from bnnkit.bench import machine
from bnnkit.bench.contest import Case
from bnnkit.bench.timing import Clock
from bnnkit.errors import UsageError
from bnnkit.registry import Registry

SECONDS = 60.0
"""Of timing by default; verification and warm-up come on top."""

NOTHING = "none"


@dataclass(frozen=True)
class Plan:
    """A resolved benchmark.

    Attributes:
        kernel: a name in `BENCHES`.
        shapes: one case each (or several, where a bench measures several bit widths per shape).
        threads: thread counts.
        variants: variants to compare; None alone stands for the highest.
        against: names of the contenders to compare with.
        repeat: rounds, or None for as many as `seconds` allow.
        seconds: of timing, for all cases together.
        clock: "wall", or "cpu" with one thread.
        strict: whether a variant that the kernel does not have is an error (it was asked for) or is left out.
        device: "cpu" or "cuda".
    """

    kernel: str
    shapes: tuple[tuple[int, ...], ...]
    threads: tuple[int, ...]
    variants: tuple[str | None, ...]
    against: tuple[str, ...]
    repeat: int | None = None
    seconds: float = SECONDS
    clock: Clock = "wall"
    strict: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Bench:
    """One thing that can be measured.

    Attributes:
        description: one line.
        shape_form: names of a shape's numbers, for example "M,N,K".
        shapes: measured by default.
        opponents: contenders it can be compared with.
        rivals: those it is compared with by default.
        every_variant: whether all usable variants are measured by default, or only the highest.
        cases: builds the cases one after the other, so that only one holds its tensors.
        count: cases per shape.
        notes: what the figures mean.
        gpu_shapes: measured by default on a GPU; none: it measures the processor only.
    """

    description: str
    shape_form: str
    shapes: tuple[tuple[int, ...], ...]
    opponents: tuple[str, ...]
    rivals: tuple[str, ...]
    every_variant: bool
    cases: Callable[[Plan], Iterator[Case]]
    notes: tuple[str, ...] = ()
    count: int = 1
    gpu_shapes: tuple[tuple[int, ...], ...] = ()


BENCHES: Registry[Bench] = Registry("bench kernel")


def resolve(
    kernel: str,
    *,
    shapes: Sequence[Sequence[int]] = (),
    threads: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
    repeat: int | None = None,
    seconds: float = SECONDS,
    clock: str = "wall",
    device: str = "cpu",
) -> Plan:
    """Check what was asked for and fill in what was not.

    Raises:
        UsageError: unknown kernel, variant, opponent or clock; a shape with too few numbers; more threads than cores;
            the clock of the CPU with several threads; a device that the kernel is not measured on.
        MissingError: the compiled extension is missing, or a GPU.
    """
    bench = BENCHES.get(kernel)
    where = f"bench {kernel}"
    if repeat is not None and repeat < 1:
        raise UsageError(f"{where}: repeat {repeat}; at least 1 round was needed", hint="use --repeat 10")
    _check_device(where, bench, device)
    counts = _threads(where, threads) if device == "cpu" else (1,)
    if clock not in get_args(Clock):
        raise UsageError(f"{where}: clock '{clock}'; wall or cpu was needed", hint="use --clock wall")
    if clock == "cpu" and counts != (1,):
        raise UsageError(
            f"{where}: the clock of the CPU adds up all threads; 1 thread was needed", hint="add --threads 1"
        )
    forced = machine.forced_by_environment()
    asked = variants or ((forced,) if forced else None)
    if device == "cuda" and variants:
        raise UsageError(
            f"{where}: variants are those of a processor; --device cuda has one", hint="leave --variant out"
        )
    usual = bench.shapes if device == "cpu" else bench.gpu_shapes
    return Plan(
        kernel=kernel,
        shapes=_shapes(where, bench, shapes) or usual,
        threads=counts,
        variants=_variants(bench, asked) if device == "cpu" else (None,),
        against=_against(where, bench, against),
        repeat=repeat,
        seconds=seconds,
        clock="cpu" if clock == "cpu" else "wall",
        strict=asked is not None,
        device=device,
    )


def _check_device(where: str, bench: Bench, device: str) -> None:
    if device == "cuda" and not bench.gpu_shapes:
        able = ", ".join(name for name in BENCHES if BENCHES.get(name).gpu_shapes)
        raise UsageError(f"{where}: is measured on the processor only; {able} on a GPU", hint="leave --device out")
    ops.check_device(device)


def _shapes(where: str, bench: Bench, shapes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    count = bench.shape_form.count(",") + 1
    example = ",".join(map(str, bench.shapes[0]))
    for shape in shapes:
        if len(shape) != count or min(shape) < 1:
            raise UsageError(
                f"{where}: shape {','.join(map(str, shape))}; {bench.shape_form} was needed, all at least 1",
                hint=f"use --shape {example}",
            )
    return tuple(tuple(shape) for shape in shapes)


def _threads(where: str, threads: Sequence[int] | None) -> tuple[int, ...]:
    cores = machine.usable_cores()
    if threads is None:
        return (1, 2) if cores > 1 else (1,)
    if not threads or min(threads) < 1 or max(threads) > cores:
        given = ",".join(map(str, threads))
        raise UsageError(f"{where}: threads {given}; 1 to {cores} (the cores) was needed", hint="use --threads 1")
    return tuple(dict.fromkeys(threads))


def _variants(bench: Bench, asked: Sequence[str] | None) -> tuple[str | None, ...]:
    if asked is None:
        usable = ops.usable_variants()
        fast = [name for name in usable if name != "reference"] or usable
        return tuple(fast) if bench.every_variant else (None,)
    for name in asked:
        with ops.variant(name):
            pass
    return tuple(dict.fromkeys(asked))


def _against(where: str, bench: Bench, against: Sequence[str] | None) -> tuple[str, ...]:
    if against is None:
        return bench.rivals
    if list(against) == [NOTHING]:
        return ()
    for name in against:
        if name not in bench.opponents:
            near = difflib.get_close_matches(name, bench.opponents, n=1)
            known = ", ".join((*bench.opponents, NOTHING))
            raise UsageError(
                f"{where}: cannot compare with '{name}'; {known} was needed",
                hint=f"did you mean '{near[0]}'?" if near else f"use --against {bench.rivals[0]}",
            )
    return tuple(dict.fromkeys(against))
