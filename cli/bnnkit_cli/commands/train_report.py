"""What `bnnkit train` is about to do and what came of it, as tables or JSON, and whether it is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnnkit.errors import GateError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.train import Outcome, Plan


def show_plan(plan: Plan, seeds: Sequence[int], *, json: bool) -> None:
    """Print the options of every step and how long all runs will take; nothing is written."""
    from bnnkit.train.config import to_toml
    from bnnkit.train.estimate import estimate
    from bnnkit.train.loop import duration

    found = [estimate(config, plan.dataset) for config in plan.steps]
    steps = len(found)
    total = sum(each.seconds for each in found) * len(seeds)
    if json:
        payload = {"dry_run": True, "config": plan.config.as_json(), "seeds": list(seeds), **found[-1].as_json()}
        payload |= {"runs": len(seeds) * steps, "seconds_of_all_runs": total}
        payload["trainings"] = [
            {"step": number, "steps": steps, "config": config.as_json(), "estimate": each.as_json()}
            for number, (config, each) in enumerate(zip(plan.steps, found, strict=True), start=1)
        ]
        output.emit_json("train", payload)
        return
    titles = [f"step {number} of {steps}" for number in range(1, steps + 1)] if steps > 1 else [""]
    for title, config in zip(titles, plan.steps, strict=True):
        output.result_text(to_toml(config, heading=title))
    number = f"{len(seeds)}" if steps == 1 else f"{len(seeds)} of each step"
    runs = f"{number} (seeds {', '.join(map(str, seeds))})"
    rows: list[tuple[str, ...]] = [
        ("runs", runs, *[""] * (steps - 1)),
        ("steps", *(f"{each.steps:,} per run, {each.steps_per_epoch:,} per epoch" for each in found)),
        ("parameters", *(f"{each.parameters:,}" for each in found)),
        (
            "time per step",
            *(
                f"{each.step_seconds:.3g} s, {config.batch / each.step_seconds:,.0f} images/s"
                for config, each in zip(plan.steps, found, strict=True)
            ),
        ),
        ("time", *(f"about {duration(each.seconds * len(seeds))}" for each in found)),
    ]
    notes = [f"together about {duration(total)}"] if steps > 1 else []
    columns = ["dry run", *(title or "estimate" for title in titles)]
    output.result_table(columns, rows, notes=[*notes, "nothing was written"])


def report(outcomes: Sequence[Outcome], *, json: bool) -> None:
    """Print what every run came to; mean and spread are those of the last steps."""
    from bnnkit.train import Summary

    summary = Summary.of([outcome.accuracy for outcome in outcomes if outcome.is_last])
    limited = any(outcome.results["limited"] for outcome in outcomes)
    if json:
        runs = [_as_json(outcome) for outcome in outcomes]
        payload = {"runs": runs, "mean": summary.mean, "spread": summary.spread, "limited": limited}
        output.emit_json("train", payload)
        return
    in_steps = any(outcome.steps > 1 for outcome in outcomes)
    columns = ["seed", *["step"] * in_steps, "test %", "95 % interval", "correct", "val %", "best epoch", "time"]
    notes = [note for outcome in outcomes for note in _notes(outcome, in_steps)]
    if summary.spread is not None:
        many = f"{sum(outcome.is_last for outcome in outcomes)} seeds"
        notes.insert(0, f"mean {summary.mean:.2f} %, standard deviation {summary.spread:.2f} over {many}")
    if limited:
        notes.insert(0, "limited: not all images or steps were used")
    output.result_table(columns, [_row(outcome, in_steps) for outcome in outcomes], notes=notes)


def check_gate(outcomes: Sequence[Outcome], min_acc: float | None) -> None:
    """Raise `GateError` if the mean accuracy of the last steps is below `min_acc` percent."""
    accuracies = [outcome.accuracy for outcome in outcomes if outcome.is_last]
    mean = sum(accuracies) / len(accuracies)
    if min_acc is not None and mean < min_acc:
        raise GateError(
            f"--min-acc: test accuracy {mean:.2f} %; at least {min_acc:g} % was demanded", hint="train longer"
        )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    place = {"seed": outcome.seed, "step": outcome.step, "steps": outcome.steps}
    return {"run": outcome.run.path, **place, **outcome.results}


def _row(outcome: Outcome, in_steps: bool) -> tuple[object, ...]:
    from bnnkit.train.loop import duration

    results = outcome.results
    test, validation = results["test"], results["validation"]
    return (
        outcome.seed,
        *[f"{outcome.step}/{outcome.steps}"] * in_steps,
        f"{test['accuracy']:.2f}",
        f"{test['wilson95'][0]:.2f} to {test['wilson95'][1]:.2f}",
        f"{test['correct']:,}/{test['total']:,}",
        f"{validation['accuracy']:.2f}" if validation else None,
        f"{results['best_epoch']}/{results['epochs']}",
        duration(results["seconds"]),
    )


def _notes(outcome: Outcome, in_steps: bool) -> list[str]:
    from bnnkit.train.gate_report import gates_text

    gates = outcome.results.get("gates")
    where = f"seed {outcome.seed}" + (f", step {outcome.step}" if in_steps else "")
    counted = [] if gates is None else [f"{where}: {gates_text(gates)}"]
    return [*counted, f"curve: {outcome.run.curve}"]
