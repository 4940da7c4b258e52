r"""The board as LaTeX, with booktabs: compiles as it is, and can be ``\\input`` in a document.

Published values stand as printed; ours stand in a line of their own below, followed by their
difference and share of the paper's cost. Every character is written in ASCII, so that no engine
and no font can miss one.
"""

from __future__ import annotations

import unicodedata

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.render.environment import fill_in

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
    """Writes a board as a LaTeX document, which is a mere table where it is input by another."""
    return fill_in("board.tex.j2", escape, board=board)


def escape(text: str) -> str:
    """Makes any text inert in LaTeX: ASCII in one line.

    Characters that TeX has no name for are spelt as code points.
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
