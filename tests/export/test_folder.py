"""Exported folders appear whole and replace only what was exported before."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnnkit.errors import MissingError, UsageError
from bnnkit.export import folder


def write(out: Path, form: str = "cpp", **files: str) -> None:
    with folder.replacing(out, form) as partial:
        for name, text in files.items():
            (partial / "src").mkdir(parents=True, exist_ok=True)
            (partial / "src" / name).write_text(text)


def content(out: Path) -> dict[str, str]:
    return {path: (out / path).read_text() for path in folder.listed(out) if path != folder.RECORD}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "net"
    with pytest.raises(ZeroDivisionError), folder.replacing(out, "cpp") as partial:
        partial.mkdir()
        (partial / "half").write_text("")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write(out, a="1")
    assert content(out) == {"src/a": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", a="1")
    assert content(tmp_path / "net") == {"src/a": "1"}


def test_an_earlier_export_is_replaced_and_what_was_added_stays(tmp_path: Path) -> None:
    out = tmp_path / "net"
    write(out, a="1", b="2")
    (out / "mine").mkdir()
    (out / "mine/notes").write_text("keep")
    write(out, a="3")
    assert content(out) == {"src/a": "3", "mine/notes": "keep"}
    write(out, a="4")
    assert content(out) == {"src/a": "4", "mine/notes": "keep"}


def test_a_failure_leaves_the_earlier_export(tmp_path: Path) -> None:
    out = tmp_path / "net"
    write(out, a="1")
    with pytest.raises(ZeroDivisionError), folder.replacing(out, "cpp") as partial:
        partial.mkdir()
        raise ZeroDivisionError
    assert content(out) == {"src/a": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "net"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="net: is not empty, and no export of bnnkit"):
        write(out, a="1")
    assert content(out) == {"thesis.tex": ""}
    write(tmp_path / "chip", "memh", a="1")
    with pytest.raises(UsageError, match="chip: is an export as memh; a new folder or an earlier export as cpp"):
        write(tmp_path / "chip", a="1")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: is a file"):
        write(tmp_path / "file", a="1")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match="net: cannot be written"):
        write(tmp_path / "file" / "net", a="1")
