"""The server without a browser: what it answers, and to whom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.leaderboard import mirrored
from tests.viewing import ask, viewed


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with viewed(mirrored.store(tmp_path_factory.mktemp("results"))) as found:
        yield found


def test_only_requests_that_name_this_machine_are_answered(port: int) -> None:
    assert ask(port, "/stamp").status == 200
    assert ask(port, "/stamp", host="evil.example").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(port: int, method: str) -> None:
    for path in ("/", "/stamp", "/attempts/x"):
        assert ask(port, path, method=method).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/attempts/nothing",
        "/attempts/..%2f..%2fetc%2fpasswd",
        "/boards/nothing",
        "/compare",
        "/x/y",
    ],
)
def test_an_address_that_leads_nowhere_says_so(port: int, path: str) -> None:
    answer = ask(port, path)
    assert answer.status == 404
    assert "What is here" in answer.text
    assert "root:" not in answer.text


def test_what_is_asked_for_is_written_as_text(port: int) -> None:
    answer = ask(port, "/boards/%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in answer.text
    answer = ask(port, "/?dataset=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in answer.text


def test_pages_may_ask_their_own_server_alone(port: int) -> None:
    answer = ask(port, "/")
    assert "connect-src &#39;self&#39;" in answer.text
    assert "default-src &#39;none&#39;" in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with viewed(tmp_path / "later") as port:
        assert "no results folder later yet" in ask(port, "/").text
        assert ask(port, "/stamp?live").status == 200


def test_a_missing_extra_is_one_line(flowbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = flowbench("view")
    assert status != 0
    assert "pip install 'flowbench[view]'" in err
