"""The bibliography of the published tables, in BibTeX and in words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from flowbench.leaderboard.board.table import Citation
from flowbench.suite.published import BIBLIOGRAPHY, PublishedPaper, published_folder

_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,\s]+),[^@%]*?\}\s*?$(?=\s*(?:[@%]|\Z))", re.M)
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303"}
_ACCENTS |= {"v": "\u030c", "c": "\u0327", "H": "\u030b", "r": "\u030a", "=": "\u0304"}
_ACCENT = re.compile(r"\{?\\(['`^\"~=]|[vcHr](?=[\s{]))\s*\{?\\?(\w)\}?\}?")
_LETTERS = {r"\o": "ø", r"\O": "Ø", r"\l": "ł", r"\ss": "ß", r"\aa": "å", r"\ae": "æ"}
_MOST_AUTHORS = 3


def citation(key: str) -> Citation | None:
    """A source by its BibTeX key; None if there is no such entry."""
    return _bibliography().get(key)


def short_name(paper: PublishedPaper) -> str:
    """A paper's authors and year, e.g. ``"Grcić et al. (2021)"``; else its title."""
    names = [name.strip() for name in paper.authors.split(",") if name.strip()]
    if not names:
        return paper.title
    who = names[0] if len(names) == 1 else f"{names[0]} et al."
    return f"{who} ({paper.year})" if paper.year else who


@cache
def _bibliography() -> dict[str, Citation]:
    text = (published_folder() / BIBLIOGRAPHY).read_text(encoding="utf-8")
    found = (_citation(match["key"], match[0].strip()) for match in _ENTRY.finditer(text))
    return {entry.key: entry for entry in found}


def _citation(key: str, bibtex: str) -> Citation:
    fields = {name: _field(bibtex, name) for name in ("title", "author", "year", "eprint", "url")}
    place = _field(bibtex, "booktitle") or _field(bibtex, "journal")
    parts = [_authors(fields["author"]), fields["title"], place, fields["year"]]
    arxiv = fields["eprint"]
    return Citation(
        key=key,
        line=", ".join(part for part in parts if part) + ".",
        bibtex=bibtex,
        url=fields["url"] or (f"https://arxiv.org/abs/{arxiv}" if arxiv else ""),
    )


def _field(bibtex: str, name: str) -> str:
    """A field of an entry as plain text; braces may nest two deep."""
    match = re.search(
        rf"\b{name}\s*=\s*\{{((?:[^{{}}]|\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}})*)\}}", bibtex
    )
    return plain(match[1]) if match else ""


def plain(latex: str) -> str:
    r"""LaTeX text without its commands: ``Grcić`` for ``Grci{\'c}``."""
    text = _ACCENT.sub(lambda m: unicodedata.normalize("NFC", m[2] + _ACCENTS[m[1]]), latex)
    for command, letter in _LETTERS.items():
        text = re.sub(rf"\{{?{re.escape(command)}(?![a-zA-Z])\}}?\s*", letter, text)
    return " ".join(text.replace("{", "").replace("}", "").replace("--", "–").split())


def _authors(names: str) -> str:
    people = [person.split(",")[0].strip() for person in names.split(" and ") if person.strip()]
    if len(people) > _MOST_AUTHORS:
        return f"{people[0]} et al."
    return ", ".join(people)
