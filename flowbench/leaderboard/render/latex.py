r"""The board as LaTeX, with booktabs: compiles as it is, and can be ``\\input`` in a document.

Published values stand as printed; ours stand in a line of their own below, followed by their
difference and share of the paper's cost. Every character is written in ASCII, so that no engine
and no font can miss one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from flowbench.leaderboard import words
from flowbench.leaderboard.table import Board, Cell, Column, Published, Row

# Inside a document the kernel has let \@nodocument be \relax; then only the table is wanted.
_BEGIN = r"""% Compiles as it is; to \input it, load amssymb, booktabs and longtable.
\expandafter\ifx\csname @nodocument\endcsname\relax\else
\documentclass{article}
\usepackage{amssymb,booktabs,longtable}
\usepackage[margin=15mm,landscape]{geometry}
\def\flowbenchalone{}
\begin{document}
\small
\fi
"""
_END = r"""\ifdefined\flowbenchalone\end{document}\fi
"""

# What TeX obeys, and what has a name in it.
_NAMED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\ensuremath{\sim}", "^": r"\^{}",
    "<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}", "-": "{-}",
    '"': "''", "−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "±": r"\ensuremath{\pm}",
    "≤": r"\ensuremath{\le}", "≥": r"\ensuremath{\ge}", "≈": r"\ensuremath{\approx}",
    "✓": r"\ensuremath{\checkmark}", "★": r"\ensuremath{\bigstar}", "☆": r"\ensuremath{\star}",
    "†": r"\dag{}", "‡": r"\ddag{}", "–": "--", "—": "---", "\u00a0": "~", "…": r"\dots{}",
    "·": r"\ensuremath{\cdot}", "’": "'", "‘": "`", "“": "``", "”": "''", "→": r"\ensuremath{\to}",
    "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ß": r"\ss{}", "æ": r"\ae{}",
    "ı": r"\i{}", "∞": r"\ensuremath{\infty}", "⁻": r"\ensuremath{^-}",
}  # fmt: skip
_NAMED |= {sign: rf"\ensuremath{{^{digit}}}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_NAMED |= {
    letter: rf"\ensuremath{{\{name}}}"
    for name, letter in {
        "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ",
        "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    }.items()
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def render(board: Board) -> str:
    """Writes a board as LaTeX.

    Args:
        board: The board.

    Returns:
        The source of a document, which is a mere table where it is input by another.
    """
    lead = ["l", *(["l"] if board.group_header else [])]
    spec = "".join([*lead, *(_align(column) for column in board.columns)])
    lines = [rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}", rf"\caption{{{_caption(board)}}}\\"]
    lines += [r"\toprule", *_head(board), r"\midrule", r"\endhead", *_body(board)]
    lines += [r"\bottomrule", r"\end{longtable}", *_notes(board)]
    return _BEGIN + "\n".join(lines) + "\n" + _END


def escape(text: str) -> str:
    """Makes any text inert in LaTeX.

    Args:
        text: The text.

    Returns:
        ASCII in one line; characters that TeX has no name for are spelt as code points.
    """
    return "".join(_escaped(character) for character in words.printable(text))


def _escaped(character: str) -> str:
    named = _NAMED.get(character)
    if named is not None:
        return named
    if character.isascii():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and marks and all(mark in _ACCENTS for mark in marks):
        for mark in marks:
            base = rf"\{_ACCENTS[mark]}{{{base}}}"
        return base
    return f"[U+{ord(character):04X}]"


def _align(column: Column) -> str:
    return {"number": "r", "text": "l", "check": "c", "stars": "l"}[column.kind]


def _caption(board: Board) -> str:
    unit = f" {board.shared_unit}." if board.shared_unit else ""
    return escape(f"{board.title}. {board.description}{unit}")


def _head(board: Board) -> Iterator[str]:
    if board.layout == "list":
        yield _line([escape(board.row_header), "Value"])
        return
    lead = [board.group_header, board.row_header] if board.group_header else [board.row_header]
    yield _line([*map(escape, lead), *(escape(column.label) for column in board.columns)])
    if any(column.detail for column in board.columns):
        yield _line([*("" for _ in lead), *(escape(column.detail) for column in board.columns)])


def _body(board: Board) -> Iterator[str]:
    width = len(board.columns) + 1 + bool(board.group_header)
    for index, group in enumerate(board.groups):
        if index:
            yield r"\addlinespace"
        if group.printed and group.name and not board.group_header:
            yield rf"\multicolumn{{{width}}}{{@{{}}l}}{{\textit{{{escape(group.name)}}}}}\\"
        for row in group.rows:
            lead = [escape(group.name)] if board.group_header else []
            yield from _row(row, lead)


def _row(row: Row, lead: list[str]) -> Iterator[str]:
    """The line of the published values, and one of ours if there are any."""
    name = escape(row.name + row.mark)
    about = "; ".join(part for part in (row.sub, *row.badges) if part)
    ours = [_ours(cell) for cell in row.cells]
    theirs = [_published(cell.published) for cell in row.cells]
    blank = ["" for _ in lead]
    if any(theirs) or not any(ours):
        yield _line([*lead, name, *theirs])
        if any(ours):
            yield _line([*blank, rf"\quad\footnotesize {escape(about)}", *ours])
        elif about:
            yield _line([*blank, rf"\quad\footnotesize {escape(about)}", *("" for _ in theirs)])
        return
    yield _line([*lead, name, *ours])
    if about:
        yield _line([*blank, rf"\quad\footnotesize {escape(about)}", *("" for _ in ours)])


def _published(cell: Published | None) -> str:
    if cell is None:
        return ""
    text = escape(cell.line)
    return (rf"\textbf{{{text}}}" if cell.best else text) + _letter(cell.note)


def _ours(cell: Cell) -> str:
    if not cell.text:
        return ""
    value = escape(cell.text)
    if cell.struck:
        value = rf"{value} (contract \ensuremath{{\times}})"
    if cell.best:
        value = rf"\textbf{{{value}}}"
    beside = "; ".join(part for part in (cell.difference, cell.budget_share) if part)
    return value + _letter(cell.note) + (rf" \footnotesize ({escape(beside)})" if beside else "")


def _letter(note: str) -> str:
    return rf"\textsuperscript{{{note}}}" if note else ""


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _notes(board: Board) -> Iterator[str]:
    said = [rf"\textsuperscript{{{letter}}}~{escape(text)}" for letter, text in board.notes]
    if board.source is not None:
        said += [escape(text) for text in (board.source.provenance, *board.source.caveats)]
    for text in said:
        yield rf"\par\noindent\footnotesize {text}"
