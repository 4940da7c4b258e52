"""Templates in one setting, whatever the format."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import TIE_RULE


def environment(**options: Any) -> Environment:
    """Templates with the words that every format may use.

    Args:
        **options: Of jinja2, beside those that all formats share.
    """
    shared: dict[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True}
    loader = PackageLoader("flowbench.leaderboard.render")
    found = Environment(loader=loader, lstrip_blocks=True, **shared, **options)
    found.globals |= {
        "better": words.better,
        "standings": words.STANDINGS,
        "tie_rule": TIE_RULE,
    }
    return found


def fill_in(template: str, inert: Callable[[str], str], **content: Any) -> str:
    """Fills in a template of text that is no HTML.

    Args:
        template: Its name.
        inert: What makes any text inert in the format; a filter of that name.
        **content: The template's variables.
    """
    return _of_text(inert).get_template(template).render(content)


@cache
def _of_text(inert: Callable[[str], str]) -> Environment:
    """One for each format: it keeps the templates that it has compiled."""
    found = environment(keep_trailing_newline=True)
    found.filters["inert"] = inert
    return found
