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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

WIDTH = 360
TEXT_PX = 11.0

NAMESPACE = "http://www.w3.org/2000/svg"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"

# Placeholders: each stands for a token of the style sheet. The last is an empty marker's inside.
INK, MUTED, LINE, RULE = "#000001", "#000002", "#000003", "#000004"
ACCENT, PAGE = "#000005", "#000006"
_TOKENS = {
    INK: "ink", MUTED: "muted", LINE: "line", RULE: "rule", ACCENT: "accent", PAGE: "background",
}  # fmt: skip

_ROWS, _PART = "rows:", "part:"
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


def part_gid(name: str) -> str:
    """The gid of what `take_parts` takes out of a figure under a name."""
    return _PART + name


def take_parts(root: ET.Element) -> dict[str, list[ET.Element]]:
    """Takes the parts that have a name out of a figure, in order of drawing.

    Curves are given to a tenth of a pixel: there may be hundreds of them on a page.
    """
    parts: dict[str, list[ET.Element]] = {}
    for parent in list(root.iter()):
        for child in list(parent):
            name = child.attrib.pop("data-part", None)
            if name is not None:
                parent.remove(child)
                parts.setdefault(name, []).append(child)
                for path in child.iter(f"{{{NAMESPACE}}}path"):
                    line = " ".join(path.get("d", "").split())
                    path.set("d", _COORDINATE.sub(lambda m: f"{float(m[0]):.1f}", line))
    return parts


def element(tag: str, **attributes: str) -> ET.Element:
    """An empty element of SVG."""
    return ET.Element(f"{{{NAMESPACE}}}{tag}", attributes)


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
    """Writes a figure as an ``svg`` element for a page.

    Args:
        figure: The figure.
        prefix: Of its ids, unique on the page.
        title: Its name for those who cannot see it.
        description: What it shows, for the same readers.
    """
    root = draw(figure, prefix)
    as_image(root, round(figure.get_figheight() * 72), title, description)
    return text(root)


def draw(figure: Figure, prefix: str) -> ET.Element:
    """Draws a figure as SVG that a strict policy leaves as it is, its ids under a prefix."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(stream.getvalue())
    _strip(root)
    for element in root.iter():
        _style_as_attributes(element)
        _gid_as_attributes(element)
    _prefix_ids(root, prefix)
    return root


def as_image(root: ET.Element, height: int, title: str, description: str = "") -> None:
    """Makes an ``svg`` element an image with a name, as high as so many pixels."""
    root.attrib.pop("version", None)
    size = {"width": str(WIDTH), "height": str(height)}
    root.attrib.update(size | {"role": "img", "class": "figure"})
    for place, (tag, words) in enumerate((("title", title), ("desc", description))):
        if words:
            named = element(tag)
            named.text = words
            root.insert(place, named)


def text(root: ET.Element) -> str:
    """Writes an element, with SVG as the default namespace."""
    ET.register_namespace("", NAMESPACE)
    return ET.tostring(root, encoding="unicode")


def _strip(root: ET.Element) -> None:
    """Takes out metadata and style elements; what they set stands in the page's style sheet."""
    unwanted = {f"{{{NAMESPACE}}}style", f"{{{NAMESPACE}}}metadata"}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in unwanted:
                parent.remove(child)


def _style_as_attributes(element: ET.Element) -> None:
    style = element.attrib.pop("style", "")
    pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
    for name, value in ((n.strip(), v.strip()) for n, v in pairs):
        if name != "font" and not name.startswith("font-"):
            element.set(name, value)
    classes = []
    for name in ("stroke", "fill"):
        token = _TOKENS.get(element.get(name, "").lower())
        if token:
            del element.attrib[name]
            classes.append(f"{name}-{token}")
    if classes:
        element.set("class", " ".join(classes))


def _gid_as_attributes(element: ET.Element) -> None:
    gid = element.get("id", "")
    if gid.startswith(_PART):
        element.set("data-part", element.attrib.pop("id").removeprefix(_PART))
    if not gid.startswith(_ROWS):
        return
    del element.attrib["id"]
    marks = [e for e in element.iter(f"{{{NAMESPACE}}}use")]
    for mark, row in zip(marks, gid.removeprefix(_ROWS).split(" "), strict=True):
        mark.set("data-row", row)


def _prefix_ids(root: ET.Element, prefix: str) -> None:
    """Keeps the ids that something refers to, under a prefix; drops the others."""
    used: set[str] = set()
    for element in root.iter():
        if _XLINK_HREF in element.attrib:
            element.set("href", element.attrib.pop(_XLINK_HREF))
        for name, value in element.attrib.items():
            if name == "href" and value.startswith("#"):
                used.add(value[1:])
                element.set(name, f"#{prefix}-{value[1:]}")
            elif value.startswith("url(#"):
                used.add(value[5:-1])
                element.set(name, f"url(#{prefix}-{value[5:]}")
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{prefix}-{own}")
