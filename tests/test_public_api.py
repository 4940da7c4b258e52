from __future__ import annotations

import subprocess
import sys

import pytest

import flowbench
from flowbench import api


def test_api_all_is_sorted_and_resolves() -> None:
    assert list(api.__all__) == sorted(api.__all__)
    assert all(getattr(api, name) is not None for name in api.__all__)


def test_api_all_is_exactly_what_is_mapped() -> None:
    assert set(api.__all__) == set(api._HOME_OF)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = api.Nothing


def test_the_package_exports_what_it_says() -> None:
    assert list(flowbench.__all__) == sorted(flowbench.__all__)
    assert all(getattr(flowbench, name) is not None for name in flowbench.__all__)


@pytest.mark.parametrize("command", [["--help"], ["list"], ["run", "--help"], ["plugins"]])
def test_light_commands_import_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['flowbench', *sys.argv[1:]]\n"
        "from flowbench.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as exc:\n    assert not exc.code\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'sklearn', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
