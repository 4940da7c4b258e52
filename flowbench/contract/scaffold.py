"""Writes a complete plugin distribution: ``flowbench new``."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2

from flowbench.api.hooks import API_VERSION
from flowbench.contract.checking.report import Kind
from flowbench.errors import PluginError, SuiteError

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".j2"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SOURCE = re.compile(r"[\w/.~][^\s\"'`$\\]*")  # stands in quotes in a shell's commands
MAX_NAME = 24  # longer ones would not fit the lines of the templates


def check_name(name: str) -> None:
    """Refuses a name that cannot be a plugin's, a package's and a folder's at once.

    Raises:
        SuiteError: It has other characters than a-z, 0-9 and single dashes, or is too long.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME or keyword.iskeyword(name):
        raise SuiteError(
            f"{name!r} cannot name a plugin; expected a-z, 0-9 and single dashes between them, a "
            f"letter first and at most {MAX_NAME} characters, e.g. my-flow"
        )


def check_source(source: str) -> None:
    """Refuses what pip would not take for one requirement.

    Raises:
        SuiteError: It is empty, an option, or has quotes or characters that are not printed.
    """
    if not SOURCE.fullmatch(source):
        raise SuiteError(
            f"cannot install flowbench from {source!r}; expected a requirement of pip, e.g. "
            "git+https://HOST/OWNER/flowbench@COMMIT"
        )


def write_distribution(kind: Kind, name: str, parent: Path, source: str) -> list[Path]:
    """Writes a distribution that installs and passes its own tests as it is.

    Args:
        name: The plugin's name; the distribution is ``flowbench-<name>``.
        parent: Folder in which the distribution's own folder is made.
        source: What pip installs flowbench from in its CI.

    Returns:
        The files.

    Raises:
        PluginError: The folder is there already, or cannot be written.
        SuiteError: The name or the source cannot be one.
    """
    check_name(name)
    check_source(source)
    target = parent / f"flowbench-{name}"
    if target.exists():
        raise PluginError(f"{target} exists already; choose another name or another --dir")
    files = {target / path: text for path, text in _render(kind, name, source)}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise PluginError(f"cannot write {target}: {exc.strerror}; choose another --dir") from exc
    return list(files)


def _render(kind: Kind, name: str, source: str) -> Iterator[tuple[Path, str]]:
    module = name.replace("-", "_")
    values: dict[str, str] = {
        "kind": kind,
        "name": module if kind == "metric" else name,  # a metric's name is a column's, too
        "module": module,
        "package": f"flowbench_{module}",
        "distribution": f"flowbench-{name}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "api_version": str(API_VERSION),
        "source": source,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and TOML, not HTML; names are allow-listed
    )
    for folder in ("shared", kind):
        for path in sorted((TEMPLATES / folder).rglob(f"*{SUFFIX}")):
            relative = path.relative_to(TEMPLATES / folder).as_posix().removesuffix(SUFFIX)
            for key in ("package", "module"):
                relative = relative.replace(f"__{key}__", values[key])
            template = environment.get_template(path.relative_to(TEMPLATES).as_posix())
            yield Path(relative), template.render(values)
