"""Everything that decides what a training computes, in one value: written to config.toml, compared on --resume."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from bnnkit.errors import BnnkitError, MismatchError, UsageError
from bnnkit.registry import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Milestones: TypeAlias = tuple[tuple[float, float], ...]

SECTIONS = ("model", "data", "training", "machine")


def _option(section: str, comment: str, default: Any = MISSING) -> Any:
    # Options that came later have a default, so that older runs can still be read.
    return field(default=default, metadata={"section": section, "comment": comment})


@dataclass(frozen=True, kw_only=True)
class Config:
    """A resolved training; two equal configs on the same data and machine give the same bits."""

    model: str = _option("model", "bnnkit models list")
    ao_bit: float | str = _option("model", "bits of activations: 1, 1.5, 2, 3, 4 or fp; bit-serial networks: 2 to 8")
    w_bit: float | str = _option("model", "bits of weights: 1, 1.5, 2, 3, 4 or fp; bit-serial networks: 2 to 8")
    weight_quant: str | None = _option("model", "weight quantizer of bit-serial networks: sawb or dorefa")
    adc_bit: float | str = _option("model", "bits of the converters: 1, 2, 3, 4, or fp for none")
    rows: int = _option("model", "word lines of an array")
    mapping: str = _option("model", "inputs that share an array: channel or tap")
    channels_per_array: int | None = _option("model", "input channels of an array; left out: what fits")
    adc_sigma: float | None = _option("model", "width of the converter's impulse gradient; left out: published")
    value_gradient: str = _option("model", "gradient of activations: ste, iga, clip, polynomial, sigmoid or ede")
    width: int = _option("model", "multiplier of the channel counts")
    init: str | None = _option("model", "checkpoint the weights start from; left out: random")
    weight_standardization: bool = _option("model", "subtract mean, divide by deviation, then take the signs", False)

    dataset: str = _option("data", "bnnkit data list")
    data_dir: str | None = _option("data", "where prepared datasets live; left out: the usual place")
    val_split: int = _option("data", "training images held out to choose the checkpoint")
    augment: str = _option("data", "crop-flip (pad 4, crop, mirror), reflect-crop-flip, shift (by 2 pixels) or none")
    limit: int | None = _option("data", "images used of the training and of the test set; left out: all")

    epochs: int = _option("training", "passes over the training images")
    batch: int = _option("training", "images per step, at most")
    optimizer: str = _option("training", "adam, amsgrad, adamw or sgd")
    lr: float = _option("training", "learning rate at the start")
    schedule: str = _option("training", "constant, piecewise, cosine or linear")
    milestones: tuple[tuple[float, float], ...] = _option("training", "piecewise: [from this epoch on, learning rate]")
    weight_decay: float = _option("training", "of the optimizer")
    decay_on: str = _option("training", "what weight decay acts on: all or convolutions (their weights)", "all")
    clip_factor: float = _option("training", "gradients at most so many times as long as the weights; 0: any", 0.0)
    loss: str = _option("training", "distance from the labels: cross-entropy or margin", "cross-entropy")
    margin: float = _option("training", "outputs at least so far on the right side of 0; loss margin", 1.0)
    label_smoothing: float = _option("training", "share of the target spread over all classes", 0.0)
    teacher: str | None = _option("training", "checkpoint whose outputs are imitated; left out: none", None)
    distill: float = _option("training", "share of the loss that is the distance from the teacher", 1.0)
    temperature: float = _option("training", "outputs are divided by it before they are compared with a teacher's", 1.0)
    gate_penalty: float = _option("training", "weight of the gates' thresholds in the loss", 0.0)
    gate_target: float = _option("training", "what the penalty pulls the gates' thresholds to", 0.0)
    faults: tuple[str, ...] = _option("training", "SITE:KIND@AMOUNT: new ones in every step, none in evaluations", ())
    seed: int = _option("training", "of the initial weights, data order, augmentation and validation split")
    precision: str = _option("training", "of the full-precision layers: fp32 or bf16")
    max_steps: int | None = _option("training", "stop after so many steps; left out: train to the end")

    device: str = _option("machine", "cpu or cuda")
    threads: int = _option("machine", "of the processor; sums of floats depend on it")

    @property
    def limited(self) -> bool:
        """Whether not all images, or not all steps, are used."""
        return self.limit is not None or self.max_steps is not None

    @property
    def label(self) -> str:
        """A name without spaces for the run directory."""
        if self.weight_quant is not None:
            return f"{self.model}-a{self.ao_bit}-w{self.w_bit}-{self.weight_quant}"
        return f"{self.model}-a{self.ao_bit}-w{self.w_bit}-adc{self.adc_bit}"

    def as_json(self) -> dict[str, Any]:
        """Return all options by name; `Config.from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Config:
        """Read what `as_json` returned, also after it was JSON.

        Raises:
            MismatchError: an option of another version of bnnkit.
        """
        try:
            milestones = tuple((start, rate) for start, rate in options["milestones"])
            return cls(**{**options, "milestones": milestones, "faults": tuple(options.get("faults", ()))})
        except (TypeError, KeyError, ValueError) as failure:
            raise MismatchError(
                f"options in stamp.json: not of this bnnkit: {failure}", hint="train again"
            ) from failure

    def model_options(self) -> dict[str, Any]:
        """Return the arguments of `create_model` except classes and in_shape, which come from the data."""
        names = [item.name for item in fields(self) if item.metadata["section"] == "model" and item.name != "init"]
        return {("name" if name == "model" else name): getattr(self, name) for name in names}


def to_toml(config: Config, *, heading: str = "") -> str:
    """Return the text of config.toml: a section per topic, a comment per option.

    An option that is left out (None) becomes a comment, because TOML has no such value.
    """
    lines = [f"# {line}" for line in heading.splitlines()]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for item in fields(config):
            if item.metadata["section"] != section:
                continue
            value = getattr(config, item.name)
            setting = f"# {item.name} is left out" if value is None else f"{item.name} = {_literal(value)}"
            lines.append(f"{setting:<34}  # {item.metadata['comment']}")
    return "\n".join(lines).lstrip("\n") + "\n"


def read_toml(path: Path) -> dict[str, Any]:
    """Return the options in a config.toml or recipe file, by name; sections only group them.

    Raises:
        UsageError: not TOML, an unknown section or option, or a value of the wrong type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise UsageError(f"{path}: cannot be read as TOML ({failure})", hint="bnnkit recipes") from failure
    known: Registry[str] = Registry("option")
    for item in fields(Config):
        known.register(item.name)(item.metadata["section"])
    options: dict[str, Any] = {}
    for section, entries in document.items():
        if section not in SECTIONS or not isinstance(entries, dict):
            raise UsageError(f"{path}: [{section}] is not a section", hint=f"sections: {', '.join(SECTIONS)}")
        for name, value in entries.items():
            if known.get(name) != section:
                raise UsageError(f"{path}: {name} stands in [{section}]", hint=f"it belongs in [{known.get(name)}]")
            options[name] = _checked(path, name, value)
    return options


def from_run(path: Path) -> Config:
    """Read the config.toml of a run.

    Raises:
        MismatchError: it is damaged, or of another version of bnnkit.
    """
    try:
        options = read_toml(path)
        optional = {item.name: None for item in fields(Config) if "None" in str(item.type)}
        return Config(**{**optional, **options})
    except (BnnkitError, TypeError) as failure:
        raise MismatchError(f"{path}: not a training of this bnnkit: {failure}", hint="train again") from failure


def differences(config: Config, given: Mapping[str, Any]) -> list[str]:
    """Return one line per option in `given` that has another value in `config`."""
    return [
        f"{flag(name)}: the run has {_shown(getattr(config, name))}, given {_shown(value)}"
        for name, value in given.items()
        if getattr(config, name) != value
    ]


def flag(name: str) -> str:
    """Return an option of the config as the command line has it.

    >>> flag("weight_decay")
    '--weight-decay'
    """
    return "--fault" if name == "faults" else f"--{name.replace('_', '-')}"


def _shown(value: object) -> object:
    return (" ".join(map(str, value)) or "none") if isinstance(value, tuple) else value


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return repr(value)


def _checked(path: Path, name: str, value: Any) -> Any:
    if name == "milestones":
        return _milestones(path, value)
    if name == "faults":
        return _texts(path, name, value)
    annotation = next(str(item.type) for item in fields(Config) if item.name == name)
    fits = {"int": isinstance(value, int), "float": isinstance(value, int | float), "str": isinstance(value, str)}
    if annotation == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, bool) or not any(fits.get(part, False) for part in annotation.split(" | ")):
        needed = annotation.replace(" | None", "").replace(" | ", " or ")
        raise UsageError(f"{path}: {name} = {value!r}; needed {needed}", hint="bnnkit train --help")
    return value


def _texts(path: Path, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(
            f"{path}: {name} = {value!r}; needed a list of texts", hint=f'for example {name} = ["weight:flip@0.01"]'
        )
    return tuple(value)


def _milestones(path: Path, value: Any) -> Milestones:
    try:
        return tuple((float(epoch), float(rate)) for epoch, rate in value)
    except (TypeError, ValueError) as failure:
        raise UsageError(
            f"{path}: milestones = {value!r}; needed a list of [epoch, learning rate]",
            hint="for example milestones = [[10, 1e-3], [15, 1e-4]]",
        ) from failure
