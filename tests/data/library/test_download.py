from __future__ import annotations

import gzip
import hashlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from flowbench.api import RemoteFile
from flowbench.data.library.download import check_file, fetch_file
from flowbench.errors import DataError
from tests.web import Web

BODY = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def published(web: Web) -> None:
    web.files["a.bin"] = BODY


def remote(web: Web, body: bytes = BODY, **changes: Any) -> RemoteFile:
    known: dict[str, Any] = {"sha256": hashlib.sha256(body).hexdigest(), "size_bytes": len(body)}
    return RemoteFile(**{"name": "a.bin", "url": web.url("a.bin"), **known, **changes})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def refused(file: RemoteFile, folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        fetch_file(file, folder, retry="flowbench data prepare x", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_fetched_once(web: Web, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch_file(remote(web), tmp_path / "new").read_bytes() == BODY
    assert web.asked == [("a.bin", None)]
    assert names(tmp_path / "new") == {"a.bin"}


@pytest.mark.parametrize("etag", ['"1"', None])
def test_a_cut_connection_keeps_what_came_and_goes_on(
    web: Web, tmp_path: Path, etag: str | None
) -> None:
    web.etag, web.cut_after = etag, {"a.bin": 100_000}
    message = refused(remote(web), tmp_path)
    assert "cut after 100 kB of 256 kB of a.bin" in message
    assert "run flowbench data prepare x to go on" in message
    assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:100_000]
    web.cut_after = {}
    assert fetch_file(remote(web), tmp_path).read_bytes() == BODY
    assert web.asked == [("a.bin", None), ("a.bin", "bytes=100000-")]
    assert names(tmp_path) == {"a.bin"}


def test_a_server_that_cannot_resume_sends_everything(web: Web, tmp_path: Path) -> None:
    web.cut_after, web.ranges = {"a.bin": 100_000}, False
    refused(remote(web), tmp_path)
    web.cut_after = {}
    assert fetch_file(remote(web), tmp_path).read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_not_patched_together(web: Web, tmp_path: Path) -> None:
    unknown = remote(web, sha256=None, size_bytes=None)
    web.cut_after = {"a.bin": 100_000}
    refused(unknown, tmp_path)
    web.files["a.bin"], web.etag, web.cut_after = BODY[::-1], '"2"', {}
    assert fetch_file(unknown, tmp_path).read_bytes() == BODY[::-1]


def test_pieces_of_an_unknown_version_are_dropped(web: Web, tmp_path: Path) -> None:
    unknown = remote(web, sha256=None, size_bytes=None)
    web.etag, web.cut_after = None, {"a.bin": 100_000}
    refused(unknown, tmp_path)
    web.files["a.bin"], web.cut_after = BODY[::-1], {}
    assert fetch_file(unknown, tmp_path).read_bytes() == BODY[::-1]


def test_all_bytes_were_here_but_not_yet_checked(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch_file(remote(web), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 .* the published a.bin has 0000000000000000"),
        ({"sha256": None, "md5": "f" * 32}, "MD5 .* has ffffffffffffffff"),
        ({"size_bytes": 7}, "256,000 bytes, a.bin has 7"),
    ],
)
def test_a_wrong_hash_leaves_nothing(
    web: Web, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f"what http.*a.bin gave has {message}.*it was removed"):
        fetch_file(remote(web, **changes), tmp_path)
    assert names(tmp_path) == set()


def test_the_published_md5_is_enough(web: Web, tmp_path: Path) -> None:
    file = remote(web, sha256=None, md5=hashlib.md5(BODY).hexdigest())
    assert fetch_file(file, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("declared", [True, False])
def test_a_web_page_is_not_the_file(web: Web, tmp_path: Path, declared: bool) -> None:
    if declared:
        web.pages.add("a.bin")
    else:
        web.files["a.bin"] = b"\n <!DOCTYPE html>\n<html>quota exceeded</html>"
    message = refused(remote(web, sha256=None, size_bytes=None), tmp_path)
    assert "gave a web page instead of a.bin" in message
    assert names(tmp_path) == set()


def test_a_missing_file(web: Web, tmp_path: Path) -> None:
    web.files.clear()
    assert "answers 404 Not Found" in refused(remote(web), tmp_path)
    assert names(tmp_path) == set()


def test_nobody_answers(web: Web, tmp_path: Path) -> None:
    message = refused(remote(web, url="http://127.0.0.1:1/a.bin"), tmp_path)
    assert "connection to http://127.0.0.1:1/a.bin failed" in message


def test_only_the_web_is_read(web: Web, tmp_path: Path) -> None:
    assert "not a web address" in refused(remote(web, url="file:///etc/passwd"), tmp_path)


def test_offline_uses_what_is_there_and_refuses_the_rest(web: Web, tmp_path: Path) -> None:
    message = refused(remote(web), tmp_path, offline=True)
    assert "--offline forbids" in message
    assert web.url("a.bin") in message
    assert web.asked == []
    (tmp_path / "a.bin").write_bytes(BODY)
    assert fetch_file(remote(web), tmp_path, offline=True).read_bytes() == BODY


def test_a_file_without_address_is_to_be_had_by_hand(web: Web, tmp_path: Path) -> None:
    message = refused(remote(web, url=None), tmp_path)
    assert "a.bin has no address to download it from; get it by hand" in message
    assert "flowbench data prepare x --from FOLDER" in message


@pytest.mark.parametrize("offline", [True, False])
def test_the_folder_to_give_is_named_once(web: Web, tmp_path: Path, offline: bool) -> None:
    retry = "flowbench data prepare x --from FOLDER --data-dir y"
    missing = remote(web, url=web.url("b.bin") if not offline else web.url("a.bin"))
    with pytest.raises(DataError) as caught:
        fetch_file(missing, tmp_path, offline=offline, retry=retry)
    assert str(caught.value).endswith(f"then run {retry}")


def test_a_damaged_file_in_place_is_told(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x" * len(BODY))
    assert "remove it and fetch the file again" in refused(remote(web), tmp_path)


def test_two_processes_fetch_it_once(web: Web, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=fetch_file, args=(remote(web), tmp_path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert web.asked == [("a.bin", None)]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_another_packing_of_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    file = RemoteFile(name="a.gz", sha256="0" * 64, content_sha256=hashlib.sha256(BODY).hexdigest())
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(BODY, mtime=1))
    check_file(file, path)
    path.write_bytes(gzip.compress(BODY + b"x", mtime=1))
    with pytest.raises(DataError, match="SHA-256"):
        check_file(file, path)
    path.write_bytes(gzip.compress(BODY, mtime=1)[:-9])
    with pytest.raises(DataError, match="not a complete gzip file"):
        check_file(file, path)
