"""What `bnnkit eval` found, as tables or JSON, and whether it is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bnnkit.errors import GateError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.data import Dataset
    from bnnkit.train.evaluation import Evaluation
    from bnnkit.train.invariance import Finding
    from bnnkit.train.subject import Subject


@dataclass(frozen=True)
class Row:
    """One setting of the converters: what the network said, and what the one it is compared with said."""

    adc_bit: int | str
    found: Evaluation
    other: Evaluation | None

    @property
    def differing(self) -> int | None:
        """Images on which the two disagree."""
        if self.other is None:
            return None
        return int((self.found.predictions != self.other.predictions).sum())

    def gates(self, of_images: int) -> dict[str, Any] | None:
        """What the network's precision gates did; None without any."""
        from bnnkit.train.gate_report import gates_json

        return gates_json(self.found.gates, self.found.score.total, of_images)

    def as_json(self, of_images: int) -> dict[str, Any]:
        """Return the numbers; `of_images` are the images the dataset has for testing."""
        found = self.found
        entry = {"adc_bit": self.adc_bit, **found.score.as_json(), "loss": found.loss, "seconds": found.seconds}
        entry |= {"images_per_second": found.images_per_second, "non_finite": found.non_finite}
        entry["gates"] = self.gates(of_images)
        if self.other is not None:
            entry |= {"compare": self.other.score.as_json(), "differing_predictions": self.differing}
        return entry


@dataclass(frozen=True)
class Report:
    """Everything that was found, as tables or JSON, and whether it is good enough."""

    trained: Subject
    other: Subject | None
    data: Dataset
    table: Sequence[Row]
    findings: Sequence[Finding]
    backend: str
    limited: bool

    def print(self, json: bool) -> None:
        if json:
            output.emit_json("eval", self._document())
            return
        self._print_accuracies()
        if self.findings:
            output.result_text("")
            self._print_findings()

    def check(self, min_acc: float | None) -> None:
        """Raise `GateError` where integers depend on how they are computed, or an accuracy is below `min_acc`."""
        wrong = [finding for finding in self.findings if finding.layer is not None and finding.on_integers]
        if wrong:
            where = "; ".join(f"{f.setting}: first in layer '{f.layer}'" for f in wrong)
            raise GateError(
                f"--check-invariance: logits differ on the integer path ({where}); identical ones were needed",
                hint="bnnkit doctor",
            )
        low = [row for row in self.table if min_acc is not None and not 100 * row.found.score.accuracy >= min_acc]
        if low:
            values = ", ".join(f"{100 * row.found.score.accuracy:.2f} % (ADC {row.adc_bit})" for row in low)
            raise GateError(f"--min-acc: {values}; at least {min_acc:g} % was demanded", hint="train longer")

    def _document(self) -> dict[str, Any]:
        return {
            "checkpoint": self.trained.path,
            "model": self.trained.checkpoint.config,
            "provenance": self.trained.provenance,
            "compared_with": self.other.path if self.other else None,
            "dataset": {"name": self.data.name, "fingerprint": self.data.fingerprint, "note": self.data.note},
            "backend": self.backend,
            "limited": self.limited,
            "results": [row.as_json(len(self.data.test)) for row in self.table],
            "invariance": [{**asdict(finding), "identical": finding.identical} for finding in self.findings],
        }

    def _print_accuracies(self) -> None:
        from bnnkit.checkpoint import describe
        from bnnkit.train.gate_report import gates_text

        columns = ["ADC", "test %", "95 % interval", "correct", "images/s"]
        columns += ["other %", "differing predictions"] if self.other else []
        rows = []
        for row in self.table:
            score = row.found.score
            low, high = score.interval
            cells: list[object] = [
                str(row.adc_bit),
                f"{100 * score.accuracy:.2f}",
                f"{100 * low:.2f} to {100 * high:.2f}",
            ]
            cells += [f"{score.correct:,}/{score.total:,}", f"{row.found.images_per_second:,.0f}"]
            cells += [f"{100 * row.other.score.accuracy:.2f}", row.differing] if row.other else []
            rows.append(cells)
        notes = [f"limited: {self.table[0].found.score.total:,} of {len(self.data.test):,} test images"] * self.limited
        notes += [f"other: {self.other.path}"] if self.other else []
        broken = max(row.found.non_finite for row in self.table)
        notes += [f"up to {broken:,} images have logits that are not finite, which counts as wrong"] if broken else []
        counted = [(row.adc_bit, row.gates(len(self.data.test))) for row in self.table]
        notes += [f"ADC {bit}: {gates_text(gates)}" for bit, gates in counted if gates is not None]
        notes += [f"{self.data.name}: {self.data.note}"] if self.data.note else []
        notes.append(f"backend: {self.backend}")
        title = f"{self.trained.path}: {describe(self.trained.checkpoint.config)}, on {self.data.name}"
        output.result_table(columns, rows, title=title, notes=notes)

    def _print_findings(self) -> None:
        columns = ["logits", "images", "identical", "differing", "largest", "first layer"]
        rows = [(f.setting, f.images, f.identical, f.differing, f.largest, self._layer(f)) for f in self.findings]
        images = max(finding.images for finding in self.findings)
        notes = [f"compared with batch 256; checked on {images:,} of {len(self.data.test):,} test images"]
        output.result_table(columns, rows, notes=notes)

    def _layer(self, finding: Finding) -> str | None:
        if finding.layer is None:
            return None
        return f"{finding.layer} ({'integers' if finding.on_integers else 'floats: not on the integer path'})"
