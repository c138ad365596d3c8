from __future__ import annotations

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from email.message import Message

import pytest

from bnnkit.data import download, load, prepare
from bnnkit.data.record import CIFAR10_CLASSES, DATASETS
from bnnkit.errors import MismatchError, MissingError

from .conftest import image_tree, shrink


class Answer(io.BytesIO):
    """What urlopen returns: a body and its announced length."""

    def __init__(self, body: bytes, length: int | None = None) -> None:
        super().__init__(body)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(body) if length is None else length)


@pytest.fixture
def site(monkeypatch):
    """A dictionary url -> answer or exception that stands for the network; it also lists what was asked for."""
    answers: dict[str, object] = {}
    asked: list[str] = []

    def urlopen(url, timeout):
        assert timeout == download.TIMEOUT
        asked.append(url)
        answer = answers.get(url, urllib.error.URLError("Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        return Answer(*answer)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    answers["asked"] = asked
    return answers


def archive_of(write_tar) -> bytes:
    return write_tar("site.tar.gz", image_tree(CIFAR10_CLASSES)).read_bytes()


URLS = (("https://one/cifar.tar.gz", "https://two/cifar.tar.gz"),)


def test_offline_names_the_command_that_reads_a_local_copy(site, data_dir, tmp_path):
    with pytest.raises(MissingError, match="'cifar100' is not prepared and cannot be downloaded") as caught:
        load("cifar100")
    assert "Name or service not known" in caught.value.message
    assert caught.value.hint == "bnnkit data prepare cifar100 --source ARCHIVE"
    assert caught.value.exit_code == 3
    with pytest.raises(MissingError) as caught:
        prepare("mnist", data_dir=tmp_path / "my data")
    assert caught.value.hint == f"bnnkit data prepare mnist --source ARCHIVE --data-dir '{tmp_path}/my data'"
    assert not list(data_dir.glob("*/download*"))


def test_without_download_the_network_is_not_asked(site):
    with pytest.raises(MissingError, match="'mnist' is not prepared in") as caught:
        load("mnist", download=False)
    assert caught.value.hint == "bnnkit data prepare mnist --source ARCHIVE"
    assert site["asked"] == []


def test_second_address_is_tried_and_the_archive_is_not_kept(site, write_tar, monkeypatch, data_dir):
    body = archive_of(write_tar)
    shrink(monkeypatch, "cifar10", counts=(10, 10), urls=URLS, md5={"cifar.tar.gz": hashlib.md5(body).hexdigest()})
    site[URLS[0][1]] = (body,)
    stages = []
    prepare("cifar10", progress=lambda *report: stages.append(report))
    assert site["asked"] == list(URLS[0])
    assert ("download cifar.tar.gz", len(body), len(body)) in stages
    assert len(load("cifar10", verify=True).train) == 10
    assert sorted(p.name.partition("-")[0] for p in (data_dir / "cifar10").iterdir()) == [
        "data",
        "dataset.json",
        "lock",
    ]
    prepare("cifar10")
    assert len(site["asked"]) == 2


def test_changed_archive_is_refused(site, write_tar, monkeypatch, data_dir):
    shrink(monkeypatch, "cifar10", counts=(10, 10), urls=URLS, md5={"cifar.tar.gz": "0" * 32})
    site[URLS[0][0]] = (archive_of(write_tar),)
    with pytest.raises(MismatchError, match=r"https://one/cifar.tar.gz: md5 \w+ of the download; .* has 0000"):
        prepare("cifar10")
    assert not list(data_dir.glob("*/download*"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((b"half", 9), "stopped after 4 of 9 bytes"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (http.client.BadStatusLine("?"), r"\?"),
        (urllib.error.HTTPError("u", 404, "Not Found", Message(), None), "Not Found"),
    ],
)
def test_ways_in_which_a_site_fails(site, monkeypatch, answer, reason):
    shrink(monkeypatch, "cifar10", urls=((URLS[0][0],),))
    site[URLS[0][0]] = answer
    with pytest.raises(MissingError, match=reason):
        load("cifar10")


def test_connection_that_breaks_in_the_middle(site, monkeypatch):
    def read(self, size):
        raise http.client.IncompleteRead(b"123")

    monkeypatch.setattr(Answer, "read", read)
    site[URLS[0][0]] = (b"12345",)
    shrink(monkeypatch, "cifar10", urls=((URLS[0][0],),))
    with pytest.raises(MissingError, match="stopped after 0 bytes"):
        load("cifar10")


def test_every_known_dataset_has_an_address_or_is_embedded():
    for name in DATASETS:
        record = DATASETS.get(name)
        assert name == "digits" or record.urls
        for url in (url for urls in record.urls for url in urls):
            # Without encryption only the published hash tells whose file it is.
            assert url.startswith("https://") or (url.startswith("http://") and url.rpartition("/")[2] in record.md5)
