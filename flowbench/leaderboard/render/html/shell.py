"""The shell of a page: style and script, and the policy that lets only these into it."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.render.environment import environment
from flowbench.leaderboard.render.html.columns import below

_STATIC = files("flowbench.leaderboard.render") / "static"
_NUMBER = re.compile(r"(\D*?)([0-9][0-9.,]*(?:\s?%)?)(.*)", re.DOTALL)


def render_page(
    template: str,
    content: dict[str, Any],
    *scripts: str,
    style: str = "",
    sounds: bool = False,
    live: bool = False,
) -> str:
    """Fills in a template.

    Args:
        template: Its name.
        content: Its variables.
        *scripts: Folders of scripts that it has beside those of every page.
        style: Rules of this page alone.
        sounds: Whether there is something to be heard on it.
        live: Whether it is served, and asks its server what has changed.
    """
    folders = ("page", *scripts, *["live"] * live)
    joined = "".join(_joined(f"js/{folder}") for folder in folders)
    # All of it our own text; `early` runs before anything is painted.
    texts = {
        "style": _joined("css") + _joined("css-live") * live + style,
        "early": (_STATIC / "early.js").read_text("utf-8"),
        # Details that come packed are waited for.
        "script": f'"use strict";\n({"async " * ("packed" in scripts)}() => {{\n{joined}}})();\n',
    }
    shell: dict[str, str] = {name: Markup(text) for name, text in texts.items()}
    shell["policy"] = _policy(**texts, sounds=sounds, live=live)
    return _environment().get_template(template).render(content | {"shell": shell})


def render_part(template: str, content: dict[str, Any]) -> Markup:
    """Fills in the template of a part of a page."""
    return Markup(_environment().get_template(template).render(content))


def _policy(style: str, early: str, script: str, *, sounds: bool, live: bool) -> str:
    """Only these texts, by hash; images from the page itself; no network, no frame, no form.

    A page that is served may ask its own server alone.
    """
    own = "connect-src 'self'; " if live else ""
    return (
        f"default-src 'none'; style-src {_source(style)}; "
        f"script-src {_source(early)} {_source(script)}; img-src data:; "
        f"{'media-src data:; ' * sounds}{own}base-uri 'none'; "
        "form-action 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _joined(folder: str) -> str:
    """The files of a folder in the order of their names."""
    found = sorted((_STATIC / folder).iterdir(), key=lambda file: file.name)
    return "".join(file.read_text("utf-8") for file in found)


@cache
def _environment() -> Environment:
    found = environment(autoescape=True)
    found.globals["seconds"] = numbers.duration
    found.filters |= {
        "printable": words.printable,
        "log": _log,
        "below": below,
        "around_number": _around_number,
    }
    return found


def _around_number(text: str) -> tuple[str, str, str]:
    """A text before its first number, the number, and what follows it."""
    match = _NUMBER.fullmatch(text)
    return (match[1], match[2], match[3]) if match else ("", "", text)


def _log(text: str) -> str:
    """A log as printable lines."""
    return "\n".join(words.printable(line) for line in text.splitlines())
