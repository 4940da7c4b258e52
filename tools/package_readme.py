"""Says in the package's metadata where the README's links lead: a build hook of hatchling.

A package index shows the README without the files that it links to. Where the build is told the
address under which they can be read, as the release workflow does, links lead there and the address
is one of the project's; elsewhere their texts stay, and pictures are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ADDRESS = "FLOWBENCH_FILES_URL"  # such as https://HOST/OWNER/REPOSITORY/blob/v1.2.3
LINK = re.compile(r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


class PackageReadme(MetadataHookInterface):
    """The README as the package's long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Adds the text, and the address if it is known."""
        address = os.environ.get(ADDRESS, "").rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": LINK.sub(lambda link: _elsewhere(link, address), text),
        }
        metadata["urls"] = {"Source": address} if address else {}


def _elsewhere(link: re.Match[str], address: str) -> str:
    """A link to a file beside the README, as it is to stand away from it."""
    picture, text, file = link.groups()
    if not address:
        return "" if picture else text
    # A page about a picture is no picture.
    there = address.replace("/blob/", "/raw/") if picture else address
    return f"{picture}[{text}]({there}/{file})"
