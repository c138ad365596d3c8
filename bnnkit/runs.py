"""Run directories: everything one command did, in one folder that is never overwritten.

    runs/<command>/<name>-<time>-<hash6>/
        config.toml               every option as used, with a comment each
        stamp.json                program, machine, data and time
        metrics.jsonl             one JSON document per epoch
        results.json              what came out; present when the run is finished
        last.safetensors          weights and everything needed to continue
        best-val.safetensors      weights chosen on the validation images
        curve.png  log.txt
    runs/<command>/latest         link to the newest

Every file except log.txt is replaced as a whole (`bnnkit.atomic`), so a killed process leaves readable files.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bnnkit
from bnnkit.atomic import replace_link, write_text
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.locks import try_lock

ROOT = Path("runs")
LATEST = "latest"


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        path: the directory; its name ends with time and hash.
        config: config.toml, every option as resolved.
        last, best: checkpoints, the last one and the one chosen on validation images.
        curve: picture of the training.
        finished: whether results.json is written, the last thing a run does.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "best-val.safetensors"

    @property
    def curve(self) -> Path:
        return self.path / "curve.png"

    @property
    def finished(self) -> bool:
        return (self.path / "results.json").exists()

    def log(self, line: str) -> None:
        """Append one line to log.txt, with the time before it."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write stamp.json or results.json."""
        write_text(self.path / name, json.dumps(document, indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read stamp.json or results.json.

        Raises:
            MissingError: the run has no such file.
            MismatchError: the file is damaged.
        """
        path = self.path / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as failure:
            raise MissingError(f"{path}: does not exist; needed by this command", hint=f"ls {self.path}") from failure
        except (ValueError, TypeError) as failure:
            raise MismatchError(f"{path}: damaged; a JSON document was needed", hint="train again") from failure

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl, one line per record."""
        lines = [json.dumps(record, allow_nan=False) for record in records]
        write_text(self.path / "metrics.jsonl", "".join(f"{line}\n" for line in lines))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl; none if there is no such file."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as failure:
            raise MismatchError(f"{path}: damaged; JSON lines were needed", hint="train again") from failure

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run for this process while the block runs.

        Raises:
            MissingError: another process works on it.
        """
        with self.config.open("rb") as file:
            if not try_lock(file):
                raise MissingError(
                    f"{self.path}: another process is working on this run", hint="wait for it, or stop it"
                )
            yield


def create(command: str, name: str, config: str, *, root: Path = ROOT) -> Run:
    """Make a new run directory with its config.toml, and point `latest` to it.

    Args:
        command: the command's name, the folder below `root`.
        name: what is run, in a few characters without spaces, for example "res20-a1-w1-adc1".
        config: the text of config.toml.

    Raises:
        MissingError: `root` cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = create("train", "mlp", "epochs = 3\\n", root=Path(folder))
        ...     run.path == resolve("latest", root=Path(folder)).path
        True
    """
    home = root / command
    try:
        home.mkdir(parents=True, exist_ok=True)
        path = _new_folder(home, name, config)
    except OSError as failure:
        raise MissingError(
            f"{home}: a run directory cannot be made ({failure.strerror})", hint="go to a folder you can write to"
        ) from failure
    run = Run(path)
    write_text(run.config, config)
    replace_link(home / LATEST, path.name)
    return run


def options_toml(heading: str, comments: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Return the text of config.toml: the options that have a comment, in the order of the comments.

    >>> print(options_toml("bnnkit inject", {"kind": "of faults", "bit": "of a pixel"}, {"kind": "flip", "bit": None}))
    # bnnkit inject
    kind = "flip"                       # of faults
    # bit is left out                   # of a pixel
    <BLANKLINE>
    """
    lines = [f"# {heading}"]
    for name, comment in comments.items():
        value = options[name]
        # What JSON writes for numbers, texts and lists is TOML too.
        text = _inline_table(value) if isinstance(value, Mapping) else json.dumps(value, ensure_ascii=False)
        setting = f"# {name} is left out" if value is None else f"{name} = {text}"
        lines.append(f"{setting:<34}  # {comment}")
    return "\n".join(lines) + "\n"


def resolve(reference: str | Path, *, command: str = "train", root: Path = ROOT) -> Run:
    """Return the run that a person means: "latest", the path of a run, its name, or the beginning of its name.

    Raises:
        MissingError: there is no such run; the hint names the nearest.
        UsageError: several runs begin with it.
    """
    given = Path(reference)
    if (given / "config.toml").is_file():
        # The link may move on while the run is read.
        return Run(given.resolve() if given.is_symlink() else given)
    home = root / command
    if str(reference) == LATEST:
        if (home / LATEST / "config.toml").is_file():
            return Run(home / (home / LATEST).readlink())
        raise MissingError(f"{home}: holds no run yet", hint=f"bnnkit {command} --help")
    names = [run.name for run in every(command, root=root)]
    found = [name for name in names if name.startswith(str(reference))]
    if len(found) == 1:
        return Run(home / found[0])
    if found:
        raise UsageError(
            f"run '{reference}': {len(found)} runs begin with it: {', '.join(found[:4])}", hint="give more of the name"
        )
    near = difflib.get_close_matches(str(reference), names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"ls {home}"
    raise MissingError(f"run '{reference}': neither a run directory nor a run in {home}", hint=hint)


def every(command: str = "train", *, root: Path = ROOT) -> list[Run]:
    """Return all runs of a command, the oldest first."""
    folders = [file.parent for file in (root / command).glob("*/config.toml") if not file.parent.is_symlink()]
    return sorted(map(Run, folders), key=begun)


def begun(run: Run) -> tuple[list[str], int]:
    """Return when a run was begun, as what runs can be sorted by."""
    # The time in the name has seconds; within one, the file tells.
    return run.name.split("-")[-3:-1], run.config.stat().st_mtime_ns


def stamp(argv: Sequence[str]) -> dict[str, Any]:
    """Return what a result must be labelled with to be repeated: program, commit, command line, machine, time."""
    import torch

    return {
        "bnnkit": bnnkit.__version__,
        "commit": _commit(),
        "argv": list(argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "variants": _variants(),
    }


def peak_memory() -> int:
    """Return the most bytes of memory this process has held so far."""
    # The unit is kilobytes everywhere but on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, as hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _new_folder(home: Path, name: str, config: str) -> Path:
    while True:
        unique = hashlib.sha256(f"{config}{time.time_ns()}{os.getpid()}".encode()).hexdigest()[:6]
        path = home / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{unique}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path


def _inline_table(value: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items()) + "}"


def _commit() -> str | None:
    """Return the commit of the source tree bnnkit runs from, "-dirty" after it if changed; None if installed."""
    home = Path(__file__).resolve().parents[1]
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _variants() -> list[str]:
    try:
        from bnnkit import _C
    except ImportError:
        return []
    return list(_C.usable_variants())
