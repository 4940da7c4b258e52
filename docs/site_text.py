"""The site as text for programs: llms.txt, llms-full.txt and each page; a hook of mkdocs."""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

DIRECTIVE = re.compile(r"^::: ([\w.]+)\n(?:    .*\n)*", re.MULTILINE)  # what mkdocstrings fills in
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_chapters: list[tuple[str, list[Page]]] = []
_texts: dict[str, str] = {}


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    """Keeps the order of the pages."""
    _chapters.clear()
    for item in nav.items:
        pages = item.children if isinstance(item, Section) else [item]
        _chapters.append(
            (item.title or config.site_name, [p for p in pages if isinstance(p, Page)])
        )
    return nav


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keeps a page's text, with docstrings in the place of their names."""
    _texts[page.file.src_uri] = DIRECTIVE.sub(_docstring, markdown)
    return markdown


def on_post_build(*, config: MkDocsConfig) -> None:
    """Writes a list of the pages (https://llmstxt.org), all of them in one file, and each."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}\n\n> {config.site_description}"]
    for title, pages in _chapters:
        links = [f"- [{page.title}]({page.file.src_uri}){_about(page)}" for page in pages]
        lines.append("\n".join([f"## {title}\n", *links]))
    site.joinpath("llms.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    pages = [page for _, chapter in _chapters for page in chapter]
    full = "\n\n".join(_texts[page.file.src_uri].strip() for page in pages)
    site.joinpath("llms-full.txt").write_text(full + "\n", encoding="utf-8")
    for page in pages:
        text = _texts[page.file.src_uri]
        site.joinpath(page.file.src_uri).write_text(text, encoding="utf-8")


def _docstring(found: re.Match[str]) -> str:
    thing = pydoc.locate(found[1])
    try:
        signature = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a module, or a value
        signature = ""
    return f"### {found[1]}\n\n`{found[1]}{signature}`\n\n{inspect.getdoc(thing) or ''}\n"


def _about(page: Page) -> str:
    """The first sentence of a page, where it begins with one."""
    paragraphs = [part for part in _texts[page.file.src_uri].split("\n\n")[1:] if part.strip()]
    first = " ".join(paragraphs[0].split()) if paragraphs else ""
    plain = LINK.sub(r"\1", first)
    sentence = re.match(r"[A-Z`].*?[.:](?= |$)", plain)
    return f": {sentence[0].rstrip('.:')}" if sentence else ""
