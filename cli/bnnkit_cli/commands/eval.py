"""`bnnkit eval`: accuracy of a trained network, through the converters it was trained with or through others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bnnkit.errors import UsageError
from bnnkit_cli import output, warnings
from bnnkit_cli.commands.eval_chip import ChipEvaluation, ChipOptions
from bnnkit_cli.commands.eval_report import Report, Row

if TYPE_CHECKING:
    from torch import Tensor

    from bnnkit.data import Dataset, Split
    from bnnkit.deploy import DeviceNetwork, PackedNetwork
    from bnnkit.models import Model
    from bnnkit.nn import Backend
    from bnnkit.train.evaluation import Evaluation
    from bnnkit.train.invariance import Finding
    from bnnkit.train.subject import Subject

INVARIANCE_IMAGES = 263
"""A full batch of 256 and a remainder."""


# The parameters are the documentation of the command, which makes the function long.
def eval(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[CKPT|RUN|MODEL]",
            help="Checkpoint or packed file, run (path, name, or latest), or a model: its newest run "
            "[default: latest, or without runs the packaged sample].",
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset [default: the one it was trained on].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where prepared datasets live [default: $BNNKIT_DATA].")] = None,
    adc_bit: Annotated[
        str | None,
        typer.Option(help="Bits of the converters, or a list such as fp,1,2,3,4 [default: as trained; on a chip: 6]."),
    ] = None,
    cell_bit: Annotated[
        str | None, typer.Option(help="Bit-serial networks, on a chip: bits of a cell, or a list [default: 1].")
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="On a chip: NAME[:key=value,...], such as rram:sigma=0.05; may be given several times."),
    ] = None,
    encode: Annotated[
        str | None, typer.Option(help="On a chip: offset, differential or twos [default: offset].")
    ] = None,
    adc_range: Annotated[
        str | None,
        typer.Option(
            metavar="RANGE",
            help="On a chip: file of `bnnkit calibrate`, max, percentile:P, mse, sigma:K, full, batch [default: mse].",
        ),
    ] = None,
    adc_curve: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="On a chip: a non-uniform converter, thresholds and levels in cell steps."
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(help="What has a range of its own: layer, slice, input-bit or column [default: slice]."),
    ] = None,
    calibration_images: Annotated[
        int | None, typer.Option(help="Training images that ranges are chosen from [default: 128].")
    ] = None,
    adc_offset: Annotated[
        float | None, typer.Option(help="On a chip: standard deviation of the columns' offsets, in cell steps.")
    ] = None,
    adc_gain: Annotated[
        float | None, typer.Option(help="On a chip: standard deviation of the columns' gain errors, as a share.")
    ] = None,
    chips: Annotated[int | None, typer.Option(help="Chips of each kind; mean and spread are reported.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first chip [default: 0].")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="On a chip: draw accuracy against converters or cells.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Word lines of an array [default: as trained].")] = None,
    mapping: Annotated[str | None, typer.Option(help="channel or tap [default: as trained].")] = None,
    channels_per_array: Annotated[
        int | None, typer.Option(help="Input channels of an array [default: as trained].")
    ] = None,
    ao_bit: Annotated[str | None, typer.Option(help="Refuse a network with other bits of activations.")] = None,
    w_bit: Annotated[str | None, typer.Option(help="Refuse a network with other bits of weights.")] = None,
    backend: Annotated[str, typer.Option(help="auto, packed, torch or reference.")] = "auto",
    check_invariance: Annotated[
        bool,
        typer.Option("--check-invariance", help="Compare logits over batch sizes, threads, variants and backends."),
    ] = False,
    compare: Annotated[
        str | None, typer.Option(metavar="OTHER", help="A second network; count the differing predictions.")
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="Write the logits, float32 [images, classes].")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use only N test images; marks the result limited.")] = None,
    batch: Annotated[int, typer.Option(help="Images per forward pass; the result does not depend on it.")] = 256,
    threads: Annotated[int | None, typer.Option(help="Of the processor [default: all cores].")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, or cuda: on a GPU, not on chips.")] = "cpu",
    runs_dir: Annotated[Path, typer.Option(help="Where run directories live.")] = Path("runs"),
    min_acc: Annotated[float | None, typer.Option(help="Exit with 1 if an accuracy is below this percentage.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Test a trained network on all test images.

    A network with low-bit layers is packed first and runs from bytes to logits in compiled kernels; the table says so.
    Layers in full precision are computed in double precision, so the result does not depend on batch size, threads or
    backend.
    """
    from bnnkit import checkpoint, deploy, ops
    from bnnkit.atomic import check_target
    from bnnkit.quantizers import parse_bits
    from bnnkit.train.images import limited
    from bnnkit.train.subject import find, find_or_sample

    for file in (logits, picture):
        if file is not None:
            check_target(file)
    _prepare(batch, limit, threads)
    if device == "cuda" and check_invariance:
        raise UsageError("eval: --check-invariance compares ways of a processor", hint="leave --device out")
    ops.check_device(device)
    trained = find_or_sample(subject, root=runs_dir)
    warnings.of_unfinished(trained)
    if trained.path == deploy.SAMPLE:
        output.log(f"no run in {runs_dir}: the sample network of the package")
    expected = {"ao_bit": ao_bit, "w_bit": w_bit}
    checkpoint.check(trained.checkpoint, {k: parse_bits(v) for k, v in expected.items() if v is not None})
    other = find(compare, root=runs_dir) if compare is not None else None
    data = trained.dataset(dataset, data_dir)
    _warn_of_other_data(trained, data)
    indices = limited(len(data.test), limit)
    limited_to = limit is not None and limit < len(data.test)
    options = ChipOptions(
        adc_bit, cell_bit, cell, encode, rows, mapping, channels_per_array, adc_range, adc_curve, per,
        calibration_images, adc_offset, adc_gain, chips, seed, picture,
    )  # fmt: skip
    common = (adc_bit, rows, mapping, channels_per_array)
    wanted = bool(options.only_for_chips) or any(value is not None for value in common)
    if _is_bit_serial(trained) and wanted:
        if other is not None or logits is not None or device != "cpu":
            given = "--compare, --logits and --device cuda"
            raise UsageError(f"eval: {given} have no place on a chip", hint="leave them out")
        chip = ChipEvaluation(trained, data, indices, options, batch, backend, limited_to)
        chip.run(json=json, min_acc=min_acc, check_invariance=check_invariance)
        return
    if options.only_for_chips:
        name = next(iter(options.only_for_chips)).replace("_", "-")
        raise UsageError(
            f"eval: --{name} is for bit-serial networks; {trained.checkpoint.config['name']} has arrays of its own",
            hint=f"leave --{name} out",
        )
    bits = _adc_bits(adc_bit, trained, logits)
    arrays = {"rows": rows, "mapping": mapping, "channels_per_array": channels_per_array}
    changes = {name: value for name, value in arrays.items() if value is not None}
    work = _Work(data.test.to(device), indices, batch, backend, changes, device)
    backend_used, found = work.measure(trained, bits)
    compared: Sequence[Evaluation | None] = [None] * len(bits)
    if other is not None:
        _, compared = work.measure(other, bits if adc_bit else [other.checkpoint.config["adc_bit"]] * len(bits))
    table = [Row(*row) for row in zip(bits, found, compared, strict=True)]
    if logits is not None:
        _write_logits(logits, table[0].found)
    findings = work.invariance(trained, bits[0]) if check_invariance else []
    report = Report(trained, other, data, table, findings, backend_used, limited_to)
    report.print(json)
    report.check(min_acc)


def _is_bit_serial(trained: Subject) -> bool:
    from bnnkit.models import BIT_SERIAL, MODELS

    return MODELS.get(trained.checkpoint.config["name"]).family == BIT_SERIAL


def _prepare(batch: int, limit: int | None, threads: int | None) -> None:
    import torch

    for name, value in {"--batch": batch, "--limit": limit, "--threads": threads}.items():
        if value is not None and value < 1:
            raise UsageError(f"eval: {name} {value}; at least 1 was needed", hint=f"leave {name} out")
    if threads is not None:
        torch.set_num_threads(threads)


def _warn_of_other_data(trained: Subject, data: Dataset) -> None:
    if trained.is_foreign(data):
        output.warn(f"{trained.path}: trained on other data than this {data.name} (fingerprints differ)")


def _adc_bits(text: str | None, trained: Subject, logits: Path | None) -> list[int | str]:
    from bnnkit.cim import parse_adc_bits

    if text is None:
        return [trained.checkpoint.config["adc_bit"]]
    warnings.of_no_converter(text)
    bits: list[int | str] = [parse_adc_bits(part.strip()) for part in text.split(",")]
    if logits is not None and len(bits) > 1:
        raise UsageError(
            f"eval: --logits with {len(bits)} settings of the converters; one file holds one", hint="give one --adc-bit"
        )
    return bits


def _write_logits(path: Path, found: Evaluation) -> None:
    import io

    import numpy as np

    from bnnkit.atomic import write_bytes

    content = io.BytesIO()
    np.save(content, found.logits.numpy())
    write_bytes(path, [content.getvalue()])
    output.log(f"logits: {path}, {list(found.logits.shape)} float32")


@dataclass(frozen=True)
class _Work:
    """The images, and how networks are run over them."""

    split: Split
    indices: Tensor
    batch: int
    backend: str
    changes: Mapping[str, Any]
    device: str = "cpu"

    def measure(self, subject: Subject, bits: Sequence[int | str]) -> tuple[str, list[Evaluation]]:
        """Evaluate a network through converters of each width; return also which backend computed it."""
        from bnnkit.nn import backend
        from bnnkit.train.evaluation import evaluate, evaluate_packed

        total = len(self.indices)
        networks = self._packed(subject, bits)
        title = f"ADC {', '.join(map(str, bits))}"
        if networks is not None:
            with output.progress(title, total) as bar:
                found = evaluate_packed(
                    networks,
                    self.split,
                    self.indices,
                    subject.preparation,
                    batch=self.batch,
                    each=lambda done: None if done == total else bar.update(done, total),
                )
            return "packed", found
        found = []
        for bit in bits:
            with (
                backend(cast("Backend", self.backend)),
                output.progress(f"ADC {bit}", total) as bar,
            ):
                found.append(
                    evaluate(
                        self._model(subject, bit),
                        self.split,
                        self.indices,
                        subject.preparation,
                        batch=self.batch,
                        each=lambda done, bar=bar: None if done == total else bar.update(done, total),  # type: ignore[misc]
                    )
                )
        return "layer by layer" if self.backend == "auto" else self.backend, found

    def _packed(self, subject: Subject, bits: Sequence[int | str]) -> Sequence[PackedNetwork | DeviceNetwork] | None:
        """Return packed networks, or None where another backend is asked for or has to do it."""
        import torch

        from bnnkit.deploy import DeviceNetwork, PackedNetwork, skeleton, why_not

        if self.backend not in ("auto", "packed"):
            return None
        configs = [{**subject.checkpoint.config, **self.changes, "adc_bit": bit} for bit in bits]
        reason = next((r for config in configs if (r := why_not(skeleton(config)))), None)
        if reason is not None:
            if self.backend == "packed":
                raise UsageError(f"--backend packed: {reason}", hint="use --backend auto")
            output.log(f"not packed: {reason}")
            return None
        packed = PackedNetwork(subject.packed_weights(), {**self.changes, "adc_bit": bits[0]})
        first = packed if self.device == "cpu" else DeviceNetwork(packed, torch.device(self.device))
        return [first, *(first.with_options(adc_bit=bit) for bit in bits[1:])]

    def invariance(self, subject: Subject, adc_bit: int | str) -> list[Finding]:
        """Try every way of computing the first logits."""
        from bnnkit.deploy import why_not
        from bnnkit.train.invariance import check_invariance

        model = self._model(subject, adc_bit)
        packed = self.backend in ("auto", "packed") and why_not(model) is None
        return check_invariance(
            model,
            self.split,
            self.indices[:INVARIANCE_IMAGES],
            subject.preparation,
            backend=None if packed else cast("Backend", self.backend),
            each=lambda setting: output.log(f"comparing: {setting}", verbosity=1),
        )

    def _model(self, subject: Subject, adc_bit: int | str) -> Model:
        return subject.model({**self.changes, "adc_bit": adc_bit}).to(self.device)
