"""`bnnkit eval` of a bit-serial network: in software and on chips, one row per kind of chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bnnkit.errors import GateError, UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from torch import Tensor

    from bnnkit.cim import Chip
    from bnnkit.data import Dataset
    from bnnkit.train.chips import ChipResult, ChipTrials
    from bnnkit.train.evaluation import Evaluation, Score
    from bnnkit.train.invariance import Finding
    from bnnkit.train.subject import Subject

INVARIANCE_IMAGES = 263
"""A full batch of 256 and a remainder."""
SLOW_IMAGES = 2
"""Images for the specification, which adds up bit by bit."""


@dataclass(frozen=True)
class ChipOptions:
    """What a person asked for; lists are separated by commas, as are settings of one cell."""

    adc_bit: str | None = None
    cell_bit: str | None = None
    cell: Sequence[str] | None = None
    encode: str | None = None
    rows: int | None = None
    mapping: str | None = None
    channels_per_array: int | None = None
    adc_range: str | None = None
    adc_curve: Path | None = None
    per: str | None = None
    calibration_images: int | None = None
    adc_offset: float | None = None
    adc_gain: float | None = None
    chips: int | None = None
    seed: int | None = None
    picture: Path | None = None

    @property
    def only_for_chips(self) -> Mapping[str, Any]:
        """Options that mean something for bit-serial networks alone, as far as they were given."""
        names = (
            "cell_bit", "cell", "encode", "adc_range", "adc_curve", "per", "calibration_images", "adc_offset",
            "adc_gain", "chips", "seed", "picture",
        )  # fmt: skip
        named = {name: getattr(self, name) for name in names}
        return {name: value for name, value in named.items() if value not in (None, [], ())}

    def kinds(self) -> list[tuple[str, Chip]]:
        """Return every kind of chip that was asked for, with its cell as written.

        Raises:
            UsageError: an impossible option.
        """
        from bnnkit.cim import Chip, parse_cell, parse_chip_adc_bits
        from bnnkit.cim.chip import read_curve

        if self.adc_curve is not None and (self.adc_bit or self.adc_range):
            raise UsageError(
                "--adc-curve: has bits and a range of its own; no others were needed", hint="leave them out"
            )

        common: dict[str, Any] = {"rows": self.rows, "mapping": self.mapping, "encoding": self.encode}
        common |= {"channels_per_array": self.channels_per_array, "seed": self.seed}
        common |= {"adc_offset": self.adc_offset, "adc_gain": self.adc_gain}
        common |= {"curve": None if self.adc_curve is None else read_curve(self.adc_curve)}
        common = {name: value for name, value in common.items() if value is not None}
        bits = [parse_chip_adc_bits(part.strip()) for part in (self.adc_bit or "6").split(",")]
        cell_bits = [_cell_bits(part.strip()) for part in (self.cell_bit or "1").split(",")]
        return [
            (cell, Chip(cell=parse_cell(cell), cell_bit=cell_bit, adc_bit=bit, **common))
            for cell in (self.cell or ["ideal"])
            for cell_bit in cell_bits
            for bit in bits
        ]


@dataclass(frozen=True)
class ChipEvaluation:
    """One call of the command.

    Attributes:
        limited: whether not all test images are used.
    """

    subject: Subject
    data: Dataset
    indices: Tensor
    options: ChipOptions
    batch: int
    backend: str
    limited: bool

    def run(self, *, json: bool, min_acc: float | None, check_invariance: bool) -> None:
        """Evaluate, print and check."""
        from bnnkit.nn import backend
        from bnnkit.train.calibration import IMAGES as CALIBRATION_IMAGES
        from bnnkit.train.chips import ChipTrials

        options, kinds = self.options, self.options.kinds()
        chips = 1 if options.chips is None else options.chips
        if chips < 1:
            raise UsageError(f"--chips {chips}: at least 1 was needed", hint="leave --chips out")
        ranges = str(options.adc_curve) if options.adc_curve else options.adc_range or "mse"
        if ranges == "batch" and check_invariance:
            raise UsageError(
                "--check-invariance: with --adc-range batch results depend on the batch", hint="--adc-range mse"
            )
        if ranges == "batch":
            output.warn("--adc-range batch: results depend on the batch, as the origin's do; use a calibration instead")
        model = self.subject.model({})
        trials = ChipTrials(
            model,
            self.data,
            self.subject.preparation,
            self.indices,
            ranges="full" if options.adc_curve else ranges,
            scope=cast("Any", options.per or "slice"),
            count=CALIBRATION_IMAGES if options.calibration_images is None else options.calibration_images,
            batch=self.batch,
        )
        with backend(cast("Any", "auto" if self.backend == "packed" else self.backend)):
            software, results = self._measure(trials, kinds, chips)
            findings = self._invariance(trials, kinds[0][1]) if check_invariance else []
        rows = [self._row(cell, result) for (cell, _), result in zip(kinds, results, strict=True)]
        if options.picture is not None:
            self._draw(options.picture, software, rows)
        if json:
            output.emit_json("eval", self._document(software, rows, findings, ranges))
        else:
            self._print(software, rows, findings, ranges, chips)
        _check(rows, findings, min_acc)

    def _measure(
        self, trials: ChipTrials, kinds: Sequence[tuple[str, Chip]], chips: int
    ) -> tuple[Evaluation, list[ChipResult]]:
        total = len(self.indices)
        with output.progress("software", total) as bar:
            software = trials.software(lambda done: bar.update(done, total) if done < total else None)
        results = []
        for cell, chip in kinds:
            title, images = f"{cell}, {chip.cell_bit}-bit cells, ADC {chip.adc_bit}", total * chips
            with output.progress(title, images) as bar:
                results.append(
                    trials.on(
                        chip,
                        chips,
                        lambda done, bar=bar, images=images: bar.update(done, images) if done < images else None,  # type: ignore[misc]
                    )
                )
        return software, results

    def _invariance(self, trials: ChipTrials, chip: Chip) -> list[Finding]:
        from bnnkit.nn import program
        from bnnkit.train.invariance import check_invariance

        program(trials.model, chip, trials.ranges_for(chip))
        return check_invariance(
            trials.model,
            self.data.test,
            self.indices[:INVARIANCE_IMAGES],
            self.subject.preparation,
            other_backends=() if chip.cell.read else ("reference",),
            slow_images=SLOW_IMAGES,
            each=lambda setting: output.log(f"comparing: {setting}", verbosity=1),
        )

    def _row(self, cell: str, result: ChipResult) -> dict[str, Any]:
        chip, scores = result.chip, [found.score for found in result.evaluations]
        rate = sum(found.images_per_second for found in result.evaluations) / len(scores)
        return {
            "cell": cell,
            "cell_bit": chip.cell_bit,
            "encoding": chip.encoding,
            "adc_bit": chip.adc_bit if chip.curve is None else "curve",
            "rows": chip.rows,
            "mapping": chip.mapping,
            **scores[0].as_json(),
            "accuracy": 100 * result.accuracy,
            **(_pooled(scores) if len(scores) > 1 else {}),
            "spread": None if result.spread is None else 100 * result.spread,
            "chips": [score.as_json() for score in scores],
            "clipped": result.clipped,
            "conversions_per_image": result.conversions,
            "images_per_second": rate,
        }

    def _document(
        self, software: Evaluation, rows: Sequence[Mapping[str, Any]], findings: Sequence[Finding], ranges: str
    ) -> dict[str, Any]:
        return {
            "checkpoint": self.subject.path,
            "model": self.subject.checkpoint.config,
            "provenance": self.subject.provenance,
            "dataset": {"name": self.data.name, "fingerprint": self.data.fingerprint, "note": self.data.note},
            "limited": self.limited,
            "adc_range": ranges,
            "cells": {cell: asdict(chip.cell) for cell, chip in self.options.kinds()},
            "samples": _sample_digests(self.options.kinds()),
            "software": {**software.score.as_json(), "images_per_second": software.images_per_second},
            "results": list(rows),
            "invariance": [{**asdict(finding), "identical": finding.identical} for finding in findings],
        }

    def _draw(self, path: Path, software: Evaluation, rows: Sequence[Mapping[str, Any]]) -> None:
        from bnnkit.train.chip_picture import draw

        config = self.subject.checkpoint.config
        first = rows[0]
        what = f"{config['name']} (width {config['width']}) W{config['w_bit']}/A{config['ao_bit']}, {self.data.name}"
        count = f"{len(self.indices):,} test images" + (", limited" if self.limited else "")
        arrays = f"{first['rows']} rows, mapping {first['mapping']}, {first['encoding']}, {count}"
        draw(path, f"{what}\n{arrays}", software.score.as_json(), rows)
        output.log(f"picture: {path}")

    def _print(
        self,
        software: Evaluation,
        rows: Sequence[Mapping[str, Any]],
        findings: Sequence[Finding],
        ranges: str,
        chips: int,
    ) -> None:
        from bnnkit.checkpoint import describe

        columns = ["cells", "bits", "ADC", "test %", "95 % interval", "correct", "drop", "clipped %"]
        columns += ["conversions/image", "images/s"]
        base = software.score
        low, high = base.interval
        table: list[list[object]] = [
            [
                "software", None, None, f"{100 * base.accuracy:.2f}", f"{100 * low:.2f} to {100 * high:.2f}",
                f"{base.correct:,}/{base.total:,}", None, None, None, f"{software.images_per_second:,.0f}",
            ]
        ]  # fmt: skip
        for row in rows:
            if chips == 1:
                interval = "{:.2f} to {:.2f}".format(*row["wilson95"])
            else:
                interval = f"+- {row['spread']:.2f} (std of {chips} chips)"
            correct = f"{row['correct']:,}/{row['total']:,}"
            clipped = None if row["clipped"] is None else f"{100 * row['clipped']:.3f}"
            table.append(
                [
                    row["cell"], row["cell_bit"], str(row["adc_bit"]), f"{row['accuracy']:.2f}", interval, correct,
                    f"{100 * base.accuracy - row['accuracy']:+.2f}", clipped, row["conversions_per_image"],
                    f"{row['images_per_second']:,.0f}",
                ]
            )  # fmt: skip
        notes = [f"limited: {base.total:,} of {len(self.data.test):,} test images"] * self.limited
        notes += [f"{self.data.name}: {self.data.note}"] if self.data.note else []
        first = rows[0]
        notes.append(
            f"arrays: {first['rows']} rows, mapping {first['mapping']}, encoding {first['encoding']}; ranges: {ranges}"
        )
        title = f"{self.subject.path}: {describe(self.subject.checkpoint.config)}, on {self.data.name}"
        output.result_table(columns, table, title=title, notes=notes)
        if findings:
            output.result_text("")
            heads = ["logits", "images", "identical", "differing", "largest", "first layer"]
            cells = [(f.setting, f.images, f.identical, f.differing, f.largest, f.layer) for f in findings]
            output.result_table(heads, cells, notes=["compared with batch 256, on the first kind of chip"])


def _cell_bits(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 4:
        return int(text)
    raise UsageError(f"--cell-bit '{text}': 1 to 4 bits were needed", hint="--cell-bit 1,2")


def _pooled(scores: Sequence[Score]) -> dict[str, Any]:
    # The images are the same on every chip: no interval of counts holds for what the chips have together.
    return {
        "correct": sum(score.correct for score in scores),
        "total": sum(score.total for score in scores),
        "wilson95": None,
    }


def _sample_digests(kinds: Sequence[tuple[str, Chip]]) -> dict[str, str]:
    from bnnkit.runs import file_digest

    files = {chip.cell.samples for _, chip in kinds if chip.cell.samples is not None}
    return {file: file_digest(Path(file)) for file in sorted(files)}


def _check(rows: Sequence[Mapping[str, Any]], findings: Sequence[Finding], min_acc: float | None) -> None:
    wrong = [finding for finding in findings if not finding.identical]
    if wrong:
        where = "; ".join(f"{finding.setting}: first in layer '{finding.layer}'" for finding in wrong)
        raise GateError(
            f"--check-invariance: logits differ ({where}); identical ones were needed", hint="bnnkit doctor"
        )
    low = [row for row in rows if min_acc is not None and not row["accuracy"] >= min_acc]
    if low:
        values = ", ".join(f"{row['accuracy']:.2f} % ({row['cell']}, ADC {row['adc_bit']})" for row in low)
        raise GateError(f"--min-acc: {values}; at least {min_acc:g} % was demanded", hint="more --adc-bit")
