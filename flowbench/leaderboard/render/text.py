"""Templates of text that is no HTML, where each format says how any text is made inert in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import TIE_RULE


def fill_in(template: str, inert: Callable[[str], str], **content: Any) -> str:
    """Fills in a template.

    Args:
        template: Its name.
        inert: What makes any text inert in the format; a filter of that name.
        **content: The template's variables.
    """
    environment = Environment(
        loader=PackageLoader("flowbench.leaderboard.render"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inert"] = inert
    environment.globals["better"] = words.better
    environment.globals["tie_rule"] = TIE_RULE
    return environment.get_template(template).render(content)
