"""The command line in the process of a test."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from flowbench.cli.app import main


@dataclass(frozen=True)
class Command:
    """Runs ``flowbench`` with arguments; gives exit status, output and errors."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    always: tuple[str, ...] = ()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["flowbench", *arguments, *self.always])
        try:
            main()
            status = 0
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        captured = self.capsys.readouterr()
        return status, captured.out, captured.err
