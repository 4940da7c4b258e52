"""Templates, style and script, and the policy that lets only these into a page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flowbench.leaderboard import numbers, words

# The index has a theme and a link, and nothing to sort.
_INDEX_SCRIPTS = ("1-state.js", "2-theme.js")


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What stands in a page besides its content; all of it our own text.

    Attributes:
        style: The style sheet.
        early: What runs before anything is painted.
        script: What runs once the page is there.
        policy: The content security policy that allows these three alone.
    """

    style: Markup
    early: Markup
    script: Markup
    policy: str


def render_page(template: str, content: dict[str, Any], *, style: str = "") -> str:
    """Fills in a template.

    Args:
        template: Its name.
        content: Its variables.
        style: Rules of this page alone.

    Returns:
        The page.
    """
    shell = _shell(style, scripts=None if template == "board.html.j2" else _INDEX_SCRIPTS)
    return _environment().get_template(template).render(content | {"shell": shell})


def _shell(style: str, scripts: Sequence[str] | None) -> Shell:
    sheet = _joined("css") + style
    early = _early()
    script = f'"use strict";\n(() => {{\n{_joined("js", scripts)}}})();\n'
    return Shell(
        style=Markup(sheet),
        early=Markup(early),
        script=Markup(script),
        policy=_policy(sheet, early, script),
    )


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
        "version": version("flowbench"),
    }
    environment.filters |= {"printable": words.printable, "data_uri": _data_uri, "log": _log}
    return environment


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _log(text: str) -> str:
    """A log as printable lines."""
    return "\n".join(words.printable(line) for line in text.splitlines())
