from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flowbench.errors import StoreError
from flowbench.store.checks import CheckRow, latest_checks, write_check
from flowbench.store.connection import writing
from flowbench.store.rebuild import rebuild
from tests.leaderboard import mirrored

BAD_NAMES = ["../../outside", "/outside", ".hidden", "a\\b", "a/b", "a\0b", ""]


def renamed(name: str) -> str:
    """The JSON of a check with another name, whatever it is."""
    return mirrored.check("glow").model_copy(update={"name": name}).model_dump_json()


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_would_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a model, dataset or metric"):
        CheckRow.model_validate_json(renamed(name))


@pytest.mark.parametrize("name", ["glow", "glow:512ch", "fd-digits_cnn.2"])
def test_a_check_lies_in_the_folder_of_its_kind(tmp_path: Path, name: str) -> None:
    write_check(tmp_path, CheckRow.model_validate_json(renamed(name)))
    (file,) = (tmp_path / "checks").rglob("*.json")
    assert file.parent == tmp_path / "checks" / "model"
    rebuild(tmp_path)
    assert [check.name for check in latest_checks(tmp_path)] == [name]


def test_a_file_with_a_bad_name_is_no_check(tmp_path: Path) -> None:
    write_check(tmp_path, mirrored.check("nice"))
    (tmp_path / "checks" / "model" / "glow.json").write_text(renamed("../glow"))
    rebuild(tmp_path)
    assert [check.name for check in latest_checks(tmp_path)] == ["nice"]


def test_a_bad_name_in_the_database_is_one_line(tmp_path: Path) -> None:
    write_check(tmp_path, mirrored.check("glow"))
    rebuild(tmp_path)
    with writing(tmp_path) as connection:
        connection.execute("UPDATE checks SET name = '../glow'")
    with pytest.raises(StoreError, match=r"'../glow' is no name of .*flowbench store rebuild"):
        latest_checks(tmp_path)
