from __future__ import annotations

import re

import pytest

from flowbench.leaderboard.build.citations import citation, plain, short_name
from flowbench.suite.published import BIBLIOGRAPHY, published_folder, published_tables


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"Grci{\'c}", "Grcić"),
        (r"{\v{S}}egvi{\'c}", "Šegvić"),
        (r"J{\"o}rn", "Jörn"),
        (r"Maal{\o}e", "Maaløe"),
        ("{GLOW}: a  --  b", "GLOW: a – b"),
    ],
)
def test_latex_becomes_text(latex: str, text: str) -> None:
    assert plain(latex) == text


def test_every_entry_is_found() -> None:
    text = (published_folder() / BIBLIOGRAPHY).read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", text, re.M)
    found = [citation(key) for key in keys]
    assert all(one is not None and one.bibtex.startswith("@") and one.line for one in found)
    assert all(one is not None and one.bibtex.count("{") == one.bibtex.count("}") for one in found)


def test_every_row_that_names_a_source_has_it() -> None:
    for table in published_tables().values():
        assert all(citation(row.bib) is not None for row in table.rows if row.bib)


def test_a_source_in_words() -> None:
    found = citation("grcic2021densely")
    assert found is not None
    assert found.line.startswith("Grcić, Grubišić, Šegvić, Densely connected normalizing flows")
    assert found.url == "https://arxiv.org/abs/2106.04627"
    papers = {table.paper.id: short_name(table.paper) for table in published_tables().values()}
    assert papers["denseflow"] == "Grcić et al. (2021)"
    assert papers["nf-overview"] == "Normalizing Flows Explained"
