"""From a matplotlib figure to SVG that follows the page's theme under a strict policy.

Figures are drawn in placeholder colours at one pixel to the point. What comes out is rewritten:
style attributes, which a content security policy drops, become presentation attributes and classes
that the page's style sheet colours; text stays text; ids are prefixed; nothing depends on when or
where it was drawn.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

WIDTH = 360
TEXT_PX = 11.0

NAMESPACE = "http://www.w3.org/2000/svg"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"(?<=[\"(])#([^\")]+)")
_STYLE_SHEET = re.compile(r"<defs>\s*<style.*?</defs>", re.DOTALL)

# Placeholders: each stands for a token of the style sheet. The last is an empty marker's inside.
INK, MUTED, LINE, RULE = "#000001", "#000002", "#000003", "#000004"
ACCENT, PAGE = "#000005", "#000006"
_TOKENS = {
    INK: "ink", MUTED: "muted", LINE: "line", RULE: "rule", ACCENT: "accent", PAGE: "background",
}  # fmt: skip

_ROWS = "rows:"
_PLACES = {"d", "x", "y", "transform"}
_COORDINATE = re.compile(r"-?[0-9]+\.[0-9]+")

_RC: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "flowbench",
    "font.size": TEXT_PX,
    "axes.unicode_minus": True,
    "path.simplify": False,
}


def gid_of(rows: Iterable[str]) -> str:
    """The gid of a line whose markers are those of rows, by their keys, in order.

    In the page each marker has its row's key as ``data-row``.
    """
    return _ROWS + " ".join(rows)


@contextmanager
def settings() -> Iterator[None]:
    """Our settings alone within a block, whatever the user's matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        # The page's fonts draw the text; matplotlib's own may lack a glyph of somebody's name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def finish(figure: Figure, prefix: str, title: str, description: str = "") -> str:
    """Writes a figure as an ``svg`` element for a page, which a strict policy leaves as it is.

    What matplotlib's style sheet sets stands in that of the page. Ids that nothing refers to go.

    Args:
        figure: The figure.
        prefix: Of its ids, unique on the page.
        title: Its name for those who cannot see it.
        description: What it shows, for the same readers.
    """
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing)
    drawn = _STYLE_SHEET.sub("", stream.getvalue())
    root, used = ET.fromstring(drawn), set(_REFERENCE.findall(drawn))
    for element in root.iter():
        _style_as_attributes(element)
        _ids_as_attributes(element, prefix, used)
        for name in _PLACES & element.attrib.keys():
            # A tenth of a pixel is enough, and a page may have hundreds of curves.
            line = " ".join(element.attrib[name].split())
            element.set(name, _COORDINATE.sub(lambda m: f"{float(m[0]):.1f}", line))
    del root.attrib["version"]
    size = {"width": f"{WIDTH}", "height": f"{figure.get_figheight() * 72:.0f}"}
    root.attrib.update(size | {"role": "img", "class": "figure"})
    for place, (tag, words) in enumerate((("title", title), ("desc", description))):
        if words:
            root.insert(place, ET.Element(f"{{{NAMESPACE}}}{tag}"))
            root[place].text = words
    return text(root)


def text(root: ET.Element) -> str:
    """Writes an element, with SVG as the default namespace."""
    ET.register_namespace("", NAMESPACE)
    return ET.tostring(root, encoding="unicode")


def _style_as_attributes(element: ET.Element) -> None:
    """Turns a style attribute into attributes, and placeholders of colours into classes."""
    style = element.attrib.pop("style", "")
    pairs = (part.strip().split(": ", 1) for part in style.split(";") if part.strip())
    looks = {name: value for name, value in pairs if not name.startswith("font")}
    tokens = {n: t for n in ("stroke", "fill") if (t := _TOKENS.get(looks.get(n, "").lower()))}
    element.attrib |= {name: value for name, value in looks.items() if name not in tokens}
    if tokens:
        element.set("class", " ".join(f"{name}-{token}" for name, token in tokens.items()))


def _ids_as_attributes(element: ET.Element, prefix: str, used: Set[str]) -> None:
    """Puts ids that are used under a prefix, and says in attributes what ours are for."""
    own = element.attrib.pop("id", "")
    if own in used:
        element.set("id", f"{prefix}-{own}")
    if own.startswith(_ROWS):
        marks = element.iter(f"{{{NAMESPACE}}}use")
        for mark, row in zip(marks, own.removeprefix(_ROWS).split(), strict=True):
            mark.set("data-row", row)
    for name, value in list(element.attrib.items()):
        if value.startswith(("#", "url(#")):
            del element.attrib[name]
            element.set("href" if name == _XLINK_HREF else name, value.replace("#", f"#{prefix}-"))
