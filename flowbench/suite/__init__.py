"""What to run: suites from TOML files or from flags."""

from __future__ import annotations

from flowbench.suite.load import find_suite, load_suite, parse_seeds, parse_settings
from flowbench.suite.schema import PROTOCOL_VERSION, Suite

__all__ = [
    "PROTOCOL_VERSION",
    "Suite",
    "find_suite",
    "load_suite",
    "parse_seeds",
    "parse_settings",
]
