from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowbench.api.specs import MetricSpec, RemoteFile
from flowbench.errors import DataError
from flowbench.registry.entry_points import PluginSource
from flowbench.registry.registry import Entry, Registry
from flowbench.registry.weights import prepare_weights, weight_files, weights_here
from tests.web import Web, serve

BODY = b"weights " * 100
SHA256 = hashlib.sha256(BODY).hexdigest()


def spec(url: str | None = None) -> MetricSpec:
    file = RemoteFile(name="net.pth", url=url, sha256=SHA256, size_bytes=len(BODY))
    return MetricSpec(
        name="distance",
        compute="nowhere:compute",
        unit="",
        direction="lower",
        summary="takes weights",
        weights={"net-weights": file},
    )


def registry(metric: MetricSpec) -> Registry:
    source = PluginSource(distribution="d", version="1", name="n", module="m")
    return Registry(
        models={},
        datasets={},
        metrics={"distance": Entry(metric, source)},
        executors={},
        trackers={},
        plugins=(),
    )


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        server.files["net.pth"] = BODY
        yield server


def test_weights_are_fetched_checked_and_found(web: Web, tmp_path: Path) -> None:
    metric = spec(web.url("net.pth"))
    assert list(weight_files(registry(metric))) == ["net-weights"]
    assert not weights_here(metric, tmp_path)
    path = prepare_weights(registry(metric), "net-weights", tmp_path)
    assert path == tmp_path / "weights" / "net.pth"
    assert path.read_bytes() == BODY
    assert weights_here(metric, tmp_path)
    prepare_weights(registry(metric), "net-weights", tmp_path)
    assert len(web.asked) == 1


def test_a_wrong_file_is_refused_and_not_kept(web: Web, tmp_path: Path) -> None:
    web.files["net.pth"] = BODY[::-1]
    with pytest.raises(DataError, match="flowbench data prepare net-weights"):
        prepare_weights(registry(spec(web.url("net.pth"))), "net-weights", tmp_path)
    given = tmp_path / "given"
    given.mkdir()
    (given / "net.pth").write_bytes(BODY[::-1])
    with pytest.raises(DataError, match="SHA-256"):
        prepare_weights(registry(spec()), "net-weights", tmp_path, given=given)
    assert not (tmp_path / "weights" / "net.pth").exists()


@pytest.mark.parametrize("as_folder", [True, False])
def test_weights_that_the_user_has(tmp_path: Path, as_folder: bool) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "net.pth").write_bytes(BODY)
    source = given if as_folder else given / "net.pth"
    path = prepare_weights(registry(spec()), "net-weights", tmp_path, given=source, offline=True)
    assert path.read_bytes() == BODY
    with pytest.raises(DataError, match=r"expected net\.pth"):
        prepare_weights(registry(spec()), "net-weights", tmp_path, given=tmp_path / "none")


def test_a_place_that_the_user_names_may_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(tmp_path))
    assert weights_here(spec(), tmp_path / "empty")
    without = MetricSpec(name="a", compute="", unit="", direction="none", summary="")
    assert not weights_here(without, tmp_path)
