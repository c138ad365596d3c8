from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bnnkit.data import source
from bnnkit.data.source import open_source
from bnnkit.errors import MismatchError, UsageError


def contents(path: Path) -> dict[str, bytes]:
    return {name: read() for name, read in open_source(path).items()}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz"])
def test_tar_members_without_unpacking(write_tar, name):
    files = {"top/b.bin": b"bb", "./a.txt": b"a"}
    assert contents(write_tar(name, files)) == {"top/b.bin": b"bb", "a.txt": b"a"}


def test_zip_and_directory_give_the_same_names(tmp_path):
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/sub/x").write_bytes(b"1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/x", b"1")
    assert contents(tmp_path / "d") == contents(tmp_path / "a.zip") == {"sub/x": b"1"}


def test_directory_that_contains_itself(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_bytes(b"1")
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    assert contents(tmp_path / "d") == {"x": b"1"}


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:evil.png"])
def test_names_that_leave_the_archive_are_refused(tmp_path, write_tar, name):
    with pytest.raises(MismatchError, match="points outside the archive"):
        open_source(write_tar("a.tar.gz", {name: b""}))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name.replace("\\", "/"), b"")
    with pytest.raises(MismatchError, match="points outside the archive"):
        open_source(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("train/cat/0.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(MismatchError, match="link or a device"):
        open_source(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.xz", "a.tar"])
def test_truncated_archive(write_tar, name):
    path = write_tar(name, {f"{i}": bytes(range(256)) * 40 for i in range(9)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 100])
    with pytest.raises(MismatchError, match="corrupt or truncated archive") as caught:
        open_source(path)
    assert caught.value.hint == "download or copy the archive again"


def test_flipped_bit_is_seen_by_the_checksum_behind_the_last_member(write_tar):
    path = write_tar("a.tar.gz", {"x": b"y" * 5000})
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(MismatchError, match="corrupt"):
        open_source(path)


def test_corrupt_zip_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"hello hello")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"hello hello", b"hello jello"))
    with pytest.raises(MismatchError, match="corrupt"):
        open_source(tmp_path / "a.zip")["x"]()


def test_zip_without_its_directory(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(MismatchError, match="corrupt or truncated"):
        open_source(tmp_path / "a.zip")


def test_garbage_with_an_archive_name_is_corrupt_and_without_one_is_no_archive(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"not an archive at all")
    (tmp_path / "notes").write_bytes(b"not an archive at all")
    with pytest.raises(MismatchError, match="corrupt"):
        open_source(tmp_path / "a.tar.gz")
    with pytest.raises(UsageError, match="not an archive"):
        open_source(tmp_path / "notes")


def test_missing_path(tmp_path):
    with pytest.raises(UsageError, match="no such file or directory"):
        open_source(tmp_path / "nothing")


def test_members_and_archives_too_large(tmp_path, write_tar, monkeypatch):
    path = write_tar("a.tar", {"x": b"123", "y": b"123"})
    monkeypatch.setattr(source, "ARCHIVE_LIMIT", 5)
    with pytest.raises(MismatchError, match="too much to sort in memory"):
        open_source(path)
    monkeypatch.setattr(source, "MEMBER_LIMIT", 2)
    with pytest.raises(MismatchError, match="has 3 bytes"):
        open_source(path)


def test_a_zip_at_the_end_of_a_tar_does_not_make_it_a_zip(write_tar):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("inside", b"1")
    assert list(open_source(write_tar("a.tar", {"x.zip": inner.getvalue()}))) == ["x.zip"]
