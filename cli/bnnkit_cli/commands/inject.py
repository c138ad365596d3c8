"""`bnnkit inject`: what faults cost a trained network, wherever they are, and what a repair brings back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnkit.errors import MismatchError
from bnnkit_cli import output, warnings
from bnnkit_cli.commands.inject_work import Work

if TYPE_CHECKING:
    from bnnkit.runs import Run


# The parameters are the documentation of the command, which makes the function long.
def inject(
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITE:KIND@AMOUNT[,key=value]",
            help="What is faulty, such as weight:flip@0.01; may be repeated, all act at once. `bnnkit inject --sites` "
            "lists sites, kinds and keys.",
        ),
    ] = None,
    sites: Annotated[bool, typer.Option("--sites", help="List what can be faulty, and end.")] = False,
    bit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B",
            help="Faulty bit of the pixels, 0 (least significant) to 7; may be repeated, or a list such as 5,6.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="With --bit, what it reads as: random, stuck0, stuck1 or flip (the opposite) [default: random]."
        ),
    ] = None,
    repair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With --bit: none, neighbor[:OFFSET] (copy of the adjacent lower bit, or of another) or msb (copy of "
            "bit 7); may be repeated, or a list.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R|A:B:logN",
            help="Amounts instead of the faults' own, a row each and a curve: 0.01,0.1 or 1e-5:1e-1:log9; with --bit "
            "the share of pixels [default: 1].",
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Layers with faults, such as 'stages.2.*' [default: all].")
    ] = None,
    per_layer: Annotated[
        bool | None, typer.Option("--per-layer", help="A row per layer, with the faults in no other.")
    ] = None,
    per_bit: Annotated[bool | None, typer.Option("--per-bit", help="A row per bit of the codes or pixels.")] = None,
    noise_std: Annotated[
        bool, typer.Option("--noise-std", help="latent:gauss@S has the standard deviation S instead of S^2.")
    ] = False,
    repeats: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Fault maps; auto: 8, 16, 32, 64 or 128, until the 95 % interval is narrow enough [default: 8; with "
            "--bit 3; 1 where all would be equal].",
        ),
    ] = None,
    ci: Annotated[
        float | None, typer.Option(help="With --repeats auto: half of that interval, in points [default: 0.25].")
    ] = None,
    drop: Annotated[
        float | None, typer.Option(help="Points below golden that are tolerated: yield, knee of a curve [default: 1].")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the fault maps [default: 0].")] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fault sites of another campaign, instead of --fault.")
    ] = None,
    save_sites: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the faulty bits of weights, for --replay.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="CKPT|RUN|MODEL",
            help="Trained network, as for `bnnkit eval` [default: latest, or without runs the packaged sample].",
        ),
    ] = None,
    adc_bit: Annotated[
        str | None,
        typer.Option(
            help="Bits of the converters: 1, 2, 3, 4 or fp (bit-serial networks: to 8) [default: as trained]."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset [default: the one it was trained on].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    backend: Annotated[str | None, typer.Option(help="auto, packed, torch or reference [default: auto].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only N test images; marks the result limited.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images per pass; the result does not depend on it [default: 256].")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor [default: all cores].")] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, or cuda: on a GPU, but for faults in converters.")
    ] = "cpu",
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Images clean, faulty and repaired, or the curve [default: in the run directory]."
        ),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Finish an interrupted campaign: latest, or its path or name.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Put faults into a trained network or its images, and measure what they cost.

    Also called `bnnkit inject-faults`. The table has a row without faults (golden), one with faults, and with --bit one
    per repair, which knows the faulty bits and replaces no others. Accuracies are means over fault maps, with an
    interval. A map follows from its seed and number alone, and faults at a lower rate are some of those at a higher
    one.

    Everything is written to runs/inject/<name>-<time>-<hash>/. Ctrl-C saves the evaluations that are finished, and
    --resume does the others.
    """
    if sites:
        columns = ("site", "what", "kinds", "options")
        if json:
            output.emit_json("inject-sites", {"sites": [dict(zip(columns, row, strict=True)) for row in _sites()]})
        else:
            output.result_table(columns, _sites())
        return
    from bnnkit import deploy, ops
    from bnnkit.decompose import check_name
    from bnnkit.faults import plan
    from bnnkit.faults.record import begin
    from bnnkit.train.subject import find_or_sample

    given: dict[str, Any] = {
        "fault": _with_plain_std(fault or [], noise_std) or None,
        "bit": _parts(bit),
        "kind": kind,
        "repair": [name for name in _parts(repair) or [] if name != "none"] or None,
        "rate": rate,
        "layers": layers,
        "per_layer": per_layer,
        "per_bit": per_bit,
        "repeats": repeats,
        "ci": ci,
        "drop": drop,
        "seed": seed,
        "replay": None if replay is None else str(replay),
        "model": model,
        "adc_bit": adc_bit,
        "dataset": dataset,
        "backend": backend,
        "limit": limit,
        "batch": batch,
    }
    given = {name: value for name, value in given.items() if value is not None}
    run, asked = (None, given) if resume is None else _found(resume, given, runs_dir)
    options = plan.DEFAULTS | asked
    plan.check(options)
    ops.check_device(device)
    for path, suffix in ((picture, ".png"), (save_sites, ".safetensors")):
        if path is not None:
            check_name(path, (suffix,))
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    trained = find_or_sample(options["model"], root=runs_dir)
    warnings.of_unfinished(trained)
    sample = trained.path == deploy.SAMPLE
    output.log(f"no run in {runs_dir}: the sample network of the package" if sample else f"network: {trained.path}")
    data = trained.dataset(options["dataset"], data_dir)
    if trained.is_foreign(data):
        output.warn(f"{trained.path}: trained on other data than this {data.name} (fingerprints differ)")
    # Images that do not fit are refused before anything is written.
    trained.preparation.fit(data.test.images[:1])
    options |= {"model": str(trained.path), "dataset": data.name}
    work = Work.of(trained, data, options, device)
    if save_sites is not None:
        work.save_sites(save_sites)
    if run is None:
        argv = ["bnnkit", *sys.argv[1:]]
        work.run = begin(work.options, trained, data, what=_what(options), argv=argv, root=runs_dir)
    else:
        work.resume(run)
    with work.run.held():
        output.log(f"run {work.run.path}")
        work.measure(json=json, picture=picture)


def _found(reference: str, given: Mapping[str, Any], runs_dir: Path) -> tuple[Run, dict[str, Any]]:
    """Return the campaign to resume, and the options it was begun with.

    Raises:
        MissingError: there is none like that.
        MismatchError: it is finished, or was begun with other options than those given now.
    """
    from bnnkit import runs
    from bnnkit.faults.record import read_options

    run = runs.resolve(reference, command="inject", root=runs_dir)
    options = read_options(run)
    changed = {name: value for name, value in given.items() if _plain(options.get(name)) != _plain(value)}
    if changed:
        lines = [f"\n  {name}: {options.get(name)} in the run, {value} now" for name, value in changed.items()]
        raise MismatchError(
            f"--resume {run.name}: begun with other options:{''.join(lines)}",
            hint=f"bnnkit inject --resume {reference}, or start anew",
        )
    return run, options


def _plain(value: Any) -> Any:
    return [str(part) for part in value] if isinstance(value, list) else str(value)


def _with_plain_std(faults: list[str], plain: bool) -> list[str]:
    """Let sigma of latent weights be their standard deviation, where that is asked for."""
    from bnnkit.cim import parse_fault

    parsed = [parse_fault(text) for text in faults]
    means = [plain and (f.site, f.kind) == ("latent", "gauss") and f.option("std") is None for f in parsed]
    return [str(f.with_option("std", "plain") if mean else f) for f, mean in zip(parsed, means, strict=True)]


def _parts(values: list[str] | None) -> list[str] | None:
    return None if values is None else [part.strip() for value in values for part in value.split(",")]


def _what(options: Mapping[str, Any]) -> str:
    if options["bit"]:
        return f"bit{'.'.join(map(str, options['bit']))}-{options['kind']}"
    if options["replay"]:
        return "replay"
    return "-".join(text.partition("@")[0].replace(":", "-") for text in options["fault"])[:60]


def _sites() -> list[list[object]]:
    from bnnkit.cim import SITES

    found: list[list[object]] = []
    for name in SITES:
        site = SITES.get(name)
        keys = ", ".join(f"{key}={value}" for key, value in site.keys.items())
        found.append([name, site.text + (f" (sigma: {site.unit})" if site.unit else ""), ", ".join(site.kinds), keys])
    return found
