"""What comes from somebody else is whole and plain, or it is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import StoreError
from flowbench.store import bundles
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.bundles import (
    Bundle,
    Verification,
    VerifiedRow,
    precedence,
    read_bundle,
    read_verifications,
    standing,
    take_in,
    write_bundle,
    write_verification,
)
from flowbench.store.checks import CheckRow
from flowbench.store.kept import kept_attempts
from flowbench.store.records import AttemptRow
from tests.store import attempts as make

CHECK = CheckRow(
    kind="model",
    name="glow:small",
    status="passed",
    plugin="flowbench",
    plugin_version="1",
    flowbench_version="1",
    code_sha256="c" * 64,
    ended="2026-01-01T00:00:00+00:00",
    seconds=1.0,
    checks=(),
)
TEXT = "kept/lab.jsonl"


def bundle(path: Path, *models: str, **fields: Any) -> Bundle:
    records = [make.attempt(make.job(model), **fields) for model in models or ("glow", "nice")]
    return write_bundle(
        path,
        name="lab",
        by="A. Lab",
        attempts=[AttemptContents(record=r, curves=make.curve(2.0)) for r in records],
        checks=[CHECK],
        plugin_files={"my_flow.py": b"raise SystemExit('executed')\n"},
    )


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = bundle(tmp_path / "b")
    found = read_bundle(tmp_path / "b")
    assert found.sha256 == written.sha256
    assert [c.record for c in found.attempts] == [c.record for c in written.attempts]
    assert [path.name for path in found.plugin_files] == ["my_flow.py"]
    assert set(found.manifest.files) == {
        TEXT,
        "checks/model/glow@small.json",
        "plugins/my_flow.py",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with pytest.raises(StoreError, match="is there already"):
        bundle(tmp_path / "b")


def edit(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def relist(folder: Path, **changes: Any) -> None:
    """Writes another list, as somebody would who knows the format."""
    path = folder / "bundle.json"
    listed = json.loads(path.read_text()) | changes
    for file in list(listed["files"]):
        if (folder / file).is_file():
            listed["files"][file] = bundles._facts(folder / file).model_dump()
    path.write_text(json.dumps(listed))


def name_more(folder: Path, name: str) -> None:
    files = json.loads((folder / "bundle.json").read_text())["files"]
    relist(folder, files={**files, name: {"sha256": "0" * 64, "num_bytes": 3}})


def of_newer_records(folder: Path) -> None:
    edit(folder / TEXT, b'"record_version":2', b'"record_version":9')
    relist(folder)


def twice(folder: Path) -> None:
    lines = (folder / TEXT).read_text().splitlines()
    (folder / TEXT).write_text(f"{lines[0]}\n{lines[0]}\n")
    relist(folder)


def replaced_by_a_pipe(folder: Path) -> None:
    (folder / TEXT).unlink()
    os.mkfifo(folder / TEXT)


def replaced_by_a_link(folder: Path) -> None:
    (folder / TEXT).unlink()
    (folder / TEXT).symlink_to("/etc/passwd")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a digit": (lambda b: edit(b / TEXT, b'"value":2.0', b'"value":1.0'), "not what was submitted"),
    "code": (
        lambda b: edit(b / "plugins/my_flow.py", b"raise", b"print"),
        "my_flow.py is not what",
    ),
    "cut short": (lambda b: (b / TEXT).write_bytes((b / TEXT).read_bytes()[:99]), "not what was"),
    "a file lost": (lambda b: (b / TEXT).unlink(), "is missing; the bundle was cut short"),
    "a file more": (lambda b: (b / "kept/x.jsonl").write_text(""), "x.jsonl is not in its list"),
    "hidden": (lambda b: (b / ".profile").write_text(""), ".profile is not in its list"),
    "up": (
        lambda b: name_more(b, "../../x.jsonl"),
        "'../../x.jsonl', which is no file of a bundle",
    ),
    "up inside": (lambda b: name_more(b, "kept/../../x.jsonl"), "which is no file of a bundle"),
    "absolute": (lambda b: name_more(b, "/etc/passwd"), "'/etc/passwd', which is no file"),
    "other kinds": (lambda b: name_more(b, "runs/x/1/record.json"), "which is no file of a bundle"),
    "a link": (replaced_by_a_link, "is a link or no plain file"),
    "a folder's link": (lambda b: (b / "runs").symlink_to("/tmp"), "is a link or no plain file"),
    "a pipe": (replaced_by_a_pipe, "is a link or no plain file"),
    "newer": (lambda b: relist(b, bundle_version=2, more=1), "version 2, this flowbench reads"),
    "newer alike": (lambda b: relist(b, bundle_version=3), "version 3, this flowbench reads"),
    "newer records": (of_newer_records, "upgrade flowbench"),
    "twice": (twice, "twice; submit"),
    "no list": (lambda b: (b / "bundle.json").unlink(), "is no bundle: it has no file bundle.json"),
    "half a list": (lambda b: edit(b / "bundle.json", b"}", b""), "bundle.json is damaged"),
    "deep": (lambda b: (b / "bundle.json").write_text("[" * 100_000), "bundle.json is damaged"),
    "a bad name": (lambda b: relist(b, name="../x"), "bundle.json is damaged: name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_tampered_with_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    folder = bundle(tmp_path / "b").path
    harm, words = WRONG[what]
    harm(folder)
    with pytest.raises(StoreError) as refused:
        read_bundle(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_BYTES_OF_ALL", "MOST_FILES"])
def test_a_huge_bundle_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    folder = bundle(tmp_path / "b").path
    monkeypatch.setattr(bundles, limit, 3)
    with pytest.raises(StoreError, match=r"too large|more than 3"):
        read_bundle(folder)


# --- taken in -------------------------------------------------------------------------------------


def outcome(of: Bundle, **verdicts: str) -> Verification:
    rows = tuple(
        VerifiedRow.model_validate(
            {"row": r.job.model, "attempts": (r.attempt_id,), "verdict": v, "why": "so it is"}
        )
        for r in (c.record for c in of.attempts)
        if (v := verdicts.get(r.job.model))
    )
    return Verification(bundle=of.sha256, name="lab", device="x", rows=rows)


def standings(results: Path) -> dict[str, str]:
    found = (c.record for c in kept_attempts(results, pytest.fail))
    return {record.job.model: standing([record]) for record in found}


def test_attempts_stand_as_those_who_keep_the_board_say(tmp_path: Path) -> None:
    lying = {"provenance": {"submission": {"standing": "verified"}}}
    given = bundle(tmp_path / "b", "glow", "nice", "maf", **lying)
    results = tmp_path / "results"
    assert take_in(results, given, None) == (3, 0)
    assert set(standings(results).values()) == {"self-reported"}
    said = outcome(given, glow="verified", nice="contradicted")
    assert take_in(results, given, said) == (3, 0)
    expected = {"glow": "verified", "nice": "self-reported", "maf": "self-reported"}
    assert standings(results) == expected
    changed = said.model_copy(update={"bundle": "0" * 64})
    take_in(results, given, changed)  # of another bundle it says nothing
    assert set(standings(results).values()) == {"self-reported"}
    assert (results / "checks/model/glow@small.json").is_file()
    assert not (results / "plugins").exists()


def test_what_is_there_is_not_replaced_from_outside(tmp_path: Path) -> None:
    first = bundle(tmp_path / "a", "glow")
    second = bundle(tmp_path / "b", "glow", "nice", steps=9)
    results = tmp_path / "results"
    take_in(results, first, None)
    assert take_in(results, second, None) == (1, 1)
    make.write(results, make.attempt(make.job("maf")))
    assert take_in(results, bundle(tmp_path / "c", "maf"), None) == (0, 1)
    steps = {c.record.job.model: c.record.steps for c in kept_attempts(results, pytest.fail)}
    assert steps == {"glow": 1234, "nice": 9}


def test_what_was_contradicted_comes_last(tmp_path: Path) -> None:
    given = bundle(tmp_path / "b")
    words: tuple[dict[str, str], ...] = (
        {"glow": "verified"},
        {"glow": "not rerun"},
        {"glow": "verified", "nice": "contradicted"},
    )
    assert [precedence(outcome(given, **said)) for said in words] == [0, 1, 2]
    assert precedence(None) == 1


def submitted(how: str | None) -> AttemptRow:
    said = {} if how is None else {"submission": {"standing": how}}
    return make.attempt(provenance=said)


@pytest.mark.parametrize(
    ("of", "row"),
    [
        ((None,), ""),
        (("verified", "verified"), "verified"),
        (("verified", "self-reported"), "self-reported"),
        ((None, "verified"), "verified"),
        ((None, "self-reported"), "self-reported"),
    ],
)
def test_a_row_stands_as_its_weakest_run(of: tuple[str | None, ...], row: str) -> None:
    assert standing([submitted(how) for how in of]) == row


def test_outcomes_are_read_back_or_named(tmp_path: Path) -> None:
    said = outcome(bundle(tmp_path / "b"), glow="verified")
    path = write_verification(tmp_path / "verified", said)
    assert path.name == f"lab-{said.bundle[:12]}.json"
    assert read_verifications(tmp_path / "verified") == {said.bundle: said}
    path.write_text("{}")
    with pytest.raises(StoreError, match="is no outcome of `results verify`"):
        read_verifications(tmp_path / "verified")
    assert read_verifications(tmp_path / "none") == {}
