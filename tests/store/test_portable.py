from __future__ import annotations

import pytest

from flowbench.store.portable import (
    portable_check,
    portable_command,
    portable_record,
    portable_text,
)
from tests.leaderboard import mirrored
from tests.store import attempts as make

PLACES = [
    (
        'File "/work/bench/.venv/lib/python3.12/site-packages/torch/nn/module.py", line 3, in f',
        'File "<python>/site-packages/torch/nn/module.py", line 3, in f',
    ),
    ("/usr/lib64/python3.11/threading.py:12: Warning", "<python>/threading.py:12: Warning"),
    (
        'File "/home/ada/flowbench/flowbench/training/loop.py", line 3',
        'File "./flowbench/training/loop.py", line 3',
    ),
    (
        "in '/srv/bench/plugins/flowbench_models/glow.py'",
        "in './plugins/flowbench_models/glow.py'",
    ),
    (
        "no weights in /root/.cache/flowbench/weights; run it",
        "no weights in ~/.cache/flowbench/weights; run it",
    ),
    ("/Users/ada/a+/b/c (denied)", "~/a+/b/c (denied)"),
    ("cannot write /home/ada", "cannot write ~"),
    ("run: flowbench data prepare x --data-dir=/scratch/ada/data", None),
    ("no file /scratch/ada/data/x.npy, nor [/mnt/y/z]", "no file .../x.npy, nor [.../z]"),
]


@pytest.mark.parametrize(("told", "expected"), PLACES)
def test_places_have_the_names_of_any_machine(told: str, expected: str | None) -> None:
    portable = portable_text(told)
    assert portable == (told.replace("/scratch/ada", "...") if expected is None else expected)
    assert portable_text(portable) == portable


@pytest.mark.parametrize(
    "text",
    [
        "3.1 bits/dim at 12 samples/s, and/or n/a",
        "see https://example.org/home/ada/x.html",
        "no space left on /dev/shm/a",
        "cannot read ../data/x, ./y/z or ~/w/v",
        "a / b, /, //, 1/2/3, </td></tr>",
        "the folder /rooted",
    ],
)
def test_what_is_no_place_stays(text: str) -> None:
    assert portable_text(text) == text


def test_a_command_keeps_what_means_the_same_elsewhere() -> None:
    given = ["flowbench", "run", "/work/suites/my.toml", "--results", "/work/results"]
    given += ["--data-dir=/scratch/ada", "--weights", "/scratch/ada/w", "--seeds", "0-2"]
    given += ["--plugin-file", "/home/ada/mine.py", "--plugin-file=/home/ada/more.py"]
    given += ["--results", "here", "--set", "glow.note=/x/y"]
    assert portable_command(given) == [
        *("flowbench", "run", "my.toml", "--seeds", "0-2"),
        *("--plugin-file", "mine.py", "--plugin-file=more.py"),
        *("--results", "here", "--set", "glow.note=/x/y"),
    ]


def test_a_record_keeps_its_values() -> None:
    where = "no weights in /home/ada/.cache/w"
    missing = make.measured("fid", None, "", status="unavailable", reason=where)
    record = make.attempt(
        reason=where,
        log_tail=f"Traceback\n{where}",
        measurements=(*make.measurements(2.0), missing),
        provenance={
            "command": ["flowbench", "run", "--results", "/work/results"],
            "plugins": {"/home/ada/mine.py": "1", "flowbench": "2"},
            "git": {"commit": "c"},
        },
    )
    found = portable_record(record)
    assert "/ada" not in found.model_dump_json()  # hashes may well hold the letters
    assert found.reason == "no weights in ~/.cache/w"
    assert found.log_tail == f"Traceback\n{found.reason}"
    assert found.measurements[-1].reason == found.reason
    assert found.measurements[:-1] == record.measurements[:-1]
    assert found.provenance == {
        "command": ["flowbench", "run"],
        "plugins": {"mine.py": "1", "flowbench": "2"},
        "git": {"commit": "c"},
    }
    parts = {"reason", "log_tail", "measurements", "provenance"}
    assert found.model_dump(exclude=parts) == record.model_dump(exclude=parts)
    assert portable_record(found) == found


def test_a_record_without_places_is_as_it_was() -> None:
    assert portable_record(make.attempt()) == make.attempt()
    assert portable_record(make.attempt(provenance={"command": None})).provenance == {
        "command": None
    }


def test_a_check_names_a_plugin_file_without_its_folder() -> None:
    detail = {"name": "ladj", "detail": "raised OSError: /scratch/ada/x", "figure": None}
    check = mirrored.check("glow").model_copy(
        update={"plugin": "/home/ada/mine.py", "checks": (detail,)}
    )
    found = portable_check(check)
    assert found.plugin == "mine.py"
    assert found.checks == ({"name": "ladj", "detail": "raised OSError: .../x", "figure": None},)
    assert portable_check(mirrored.check("glow")) == mirrored.check("glow")
