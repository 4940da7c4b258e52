"""Templates, style and script, and the policy that lets only these into a page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import TIE_RULE
from flowbench.leaderboard.render.html.columns import below
from flowbench.leaderboard.render.html.panel import settings

# The index has a theme and a link, and nothing to sort.
_INDEX_SCRIPTS = ("1-state.js", "2-theme.js")
_NUMBER = re.compile(r"(\D*?)([0-9][0-9.,]*(?:\s?%)?)(.*)", re.DOTALL)


def render_page(template: str, content: dict[str, Any], *, style: str = "") -> str:
    """Fills in a template.

    Args:
        template: Its name.
        content: Its variables.
        style: Rules of this page alone.
    """
    scripts = None if template == "board.html.j2" else _INDEX_SCRIPTS
    sheet, early = _joined("css") + style, _early()
    script = f'"use strict";\n(() => {{\n{_joined("js", scripts)}}})();\n'
    # All of it our own text; `early` runs before anything is painted.
    shell: dict[str, str] = {
        "style": Markup(sheet),
        "early": Markup(early),
        "script": Markup(script),
    }
    shell["policy"] = _policy(sheet, early, script)
    return _environment().get_template(template).render(content | {"shell": shell})


def _policy(style: str, early: str, script: str) -> str:
    """Only these texts, by hash; images from the page itself; no network, no frame, no form."""
    return (
        f"default-src 'none'; style-src {_source(style)}; "
        f"script-src {_source(early)} {_source(script)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _joined(folder: str, names: Sequence[str] | None = None) -> str:
    """The files of a folder in the order of their names."""
    found = sorted(
        (file for file in _static().joinpath(folder).iterdir() if file.name[:1].isdigit()),
        key=lambda file: file.name,
    )
    chosen = [f for f in found if f.name in names] if names else found
    return "".join(f.read_text("utf-8") for f in chosen)


@cache
def _early() -> str:
    return _static().joinpath("early.js").read_text("utf-8")


def _static() -> Traversable:
    return files("flowbench.leaderboard.render").joinpath("static")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flowbench.leaderboard.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "better": words.better,
        "budget_words": words.budget,
        "seconds": numbers.duration,
        "tie_rule": TIE_RULE,
        "version": version("flowbench"),
    }
    environment.filters |= {
        "printable": words.printable,
        "log": _log,
        "below": below,
        "settings": settings,
        "around_number": _around_number,
    }
    return environment


def _around_number(text: str) -> tuple[str, str, str]:
    """A text before its first number, the number, and what follows it."""
    match = _NUMBER.fullmatch(text)
    return (match[1], match[2], match[3]) if match else ("", "", text)


def _log(text: str) -> str:
    """A log as printable lines."""
    return "\n".join(words.printable(line) for line in text.splitlines())
