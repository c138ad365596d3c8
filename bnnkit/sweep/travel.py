"""What travels between this machine and the nodes of a cluster: what a cell reads, and what it has written.

Everything comes back into the place where a process on this machine would have written it, and paths in the records of
a run are those of this machine afterwards: any executor continues what another one has begun.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bnnkit import runs
from bnnkit.atomic import replace_link, write_bytes
from bnnkit.errors import MismatchError
from bnnkit.sweep import node
from bnnkit.sweep.cell import parts_of
from bnnkit.sweep.executor import Job

RECORDS = (".toml", ".json", ".jsonl")
CELL = "../cell"
"""The folder of a cell on a node, where its name here leads out of the folder the sweep was started in."""


class Names:
    """Names of files here, and on a node relative to where the command starts there.

    A relative name is the same at both places; one that leads out of the folder gets another place.

    Args:
        home: the folder of a cell.
        inputs: what the cell reads.

    >>> names = Names(Path("/data/cells/8f"), [Path("/networks/mine.safetensors"), Path("yours.safetensors")])
    >>> names.there("/networks/mine.safetensors"), names.there("yours.safetensors"), names.there("/data/cells/8f/runs")
    ('../files/ca324336/mine.safetensors', 'yours.safetensors', '../cell/runs')
    >>> names.here("../cell/runs/train/config.toml")
    PosixPath('/data/cells/8f/runs/train/config.toml')
    """

    def __init__(self, home: Path, inputs: Sequence[Path]) -> None:
        self.home = home
        others = [path for path in inputs if not path.is_relative_to(home)]
        self._outside = {str(path): _place(path) for path in others if _leads_out(path)}
        if _leads_out(home):
            self._outside[str(home)] = CELL

    def there(self, name: str) -> str:
        """Return the name on a node of a file that is called `name` here; other names are the same."""
        plain = str(Path(name))
        for here, there in self._outside.items():
            if plain == here or plain.startswith(f"{here}/"):
                return there + plain.removeprefix(here)
        return name

    def words_there(self, words: Iterable[str]) -> list[str]:
        """Return the words of a command with the names on a node."""
        there = ((word, self.there(word)) for word in words)
        return [new if new != word else "".join(map(self.there, _parts(word))) for word, new in there]

    def here(self, name: str) -> Path:
        """Return where a file that a node has written belongs.

        Raises:
            MismatchError: outside of the folder of the cell and the one the sweep was started in.
        """
        path, base = PurePosixPath(name), Path()
        if _leads_out(self.home) and path.is_relative_to(CELL):
            path, base = path.relative_to(CELL), self.home
        if path.is_absolute() or ".." in path.parts:
            raise MismatchError(f"{name}: came back from a node, but leads out of its folder", hint="--executor local")
        return base / path

    def record_there(self, text: bytes) -> bytes:
        """Return the text of a record with the names on a node."""
        return _renamed(text, self._outside.items())

    def record_here(self, text: bytes) -> bytes:
        """Return the text of a record with the names here."""
        return _renamed(text, ((there, here) for here, there in self._outside.items()))

    def said_here(self, text: bytes) -> bytes:
        """Return what a command has said with the names here."""
        for here, there in self._outside.items():
            name = os.fsencode(here).replace(b"\\", rb"\\")
            text = re.sub(re.escape(os.fsencode(there)) + rb"\b", name, text)
        return text


def _leads_out(path: Path) -> bool:
    return path.is_absolute() or ".." in path.parts


def _place(path: Path) -> str:
    return f"../files/{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}/{path.name}"


def _renamed(text: bytes, names: Iterable[tuple[str, str]]) -> bytes:
    """Replace names, and what lies below them, where they stand in quotes as in JSON and TOML."""
    for old, new in names:
        for form in (old, json.dumps(old)[1:-1]):
            for end in ('"', "/"):
                text = text.replace(f'"{form}{end}'.encode(), f'"{json.dumps(new)[1:-1]}{end}'.encode())
    return text


def _parts(word: str) -> list[str]:
    return parts_of(word, _is_input)


def _is_input(name: str) -> bool:
    """Return whether a file or a run directory has this name."""
    with suppress(OSError):
        return name != "" and (Path(name).is_file() or Path(name, "config.toml").is_file())
    return False


def read_by(job: Job) -> Iterator[Path]:
    """Find what a job reads: files and run directories that its words name, and its own runs if it continues one."""
    names = [part for word in [*job.inputs, *job.words] for part in _parts(word) if _is_input(part)]
    yield from dict.fromkeys(path for path in map(Path, names) if not path.is_relative_to(job.folder))
    if "--resume" in job.words:
        yield job.folder / "runs"


def content_of(path: Path, names: Names) -> Iterator[tuple[str, int, bytes]]:
    """Yield name on a node, time and content of a file, or of all files of a folder."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if not file.is_file():
            continue
        content = file.read_bytes()
        if path.is_relative_to(names.home) and file.suffix in RECORDS:
            content = names.record_there(content)
        yield names.there(str(file)), file.stat().st_mtime_ns, content


def land(job: Job, names: Names, outcome: node.Outcome) -> None:
    """Write what came back, in the order in which it was written.

    Raises:
        MismatchError: it was computed from other data than the cell is about, or leads out of its folder.
        OSError, MissingError: it cannot be written.
    """
    strange = set(_fingerprints(outcome)) - {job.data}
    if job.data is not None and strange:
        raise MismatchError(
            f"its node read other data: fingerprint {min(strange)[:12]} instead of {job.data[:12]}",
            hint="bnnkit data prepare, on every node",
        )
    for name, modified, content in outcome["files"]:
        path = names.here(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, [names.record_here(content) if path.suffix in RECORDS else content])
        os.utime(path, ns=(modified, modified))
    for home in (job.folder / "runs").glob("*"):
        found = runs.every(home.name, root=home.parent)
        if found:
            replace_link(home / runs.LATEST, found[-1].name)
    write_bytes(job.folder / "out.json", [names.record_here(outcome["out"])])
    with (job.folder / "log.txt").open("ab") as log:
        log.write(names.said_here(outcome["log"]))


def _fingerprints(outcome: node.Outcome) -> Iterator[str]:
    """Find the fingerprints of datasets in what a command has printed and in the stamps of its runs."""
    stamps = [content for name, _, content in outcome["files"] if PurePosixPath(name).name == "stamp.json"]
    for text in [outcome["out"], *stamps]:
        with suppress(ValueError):
            document = json.loads(text)
            dataset = document.get("dataset") if isinstance(document, dict) else None
            if isinstance(dataset, dict) and "fingerprint" in dataset:
                yield dataset["fingerprint"]
