"""Hashes of the code that makes a number: the core's, and that of a model, a dataset or a metric.

A part's code is the files that its spec refers to, with the modules of its own package that these
import, and so on; a plugin file's package is the folder beside it. Imports are read from the
syntax, nothing is imported. Comments, docstrings and layout do not count. Of a package's
``__init__.py`` what it defines counts always, what it imports only where that is asked of it: a new
model beside a model changes nothing. Code that is imported by a computed name is not seen.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from importlib import util
from pathlib import Path

from flowbench.api.frozen import Frozen
from flowbench.files import write_whole
from flowbench.memory import Memory
from flowbench.paths import cache_dir

# What can change a number. Boards, the store and the command line cannot.
RUNNER_CODE = ("execute", "setup", "train", "measure", "kept_model")
CORE_CODE = ("api", "data", "training", "evaluation", *(f"runner/{m}.py" for m in RUNNER_CODE))
CORE = "flowbench"
ALL = "*"
REMEMBERED = "core.sha256"
SOURCES, MOST_SOURCES = "sources.json", 8192


class CodeHashes(Frozen):
    """The code of a job, each part by its own hash.

    Attributes:
        core: That of the harness, as far as it can change a number.
        metrics: Those of its metrics, by name.
    """

    core: str
    model: str
    dataset: str
    metrics: Mapping[str, str] = {}

    @property
    def of_model(self) -> str:
        """Hash of core and model, which a check of the model carries too."""
        return combined(self.core, self.model)

    @property
    def of_all(self) -> str:
        """Hash of what trained: core, model and dataset."""
        return combined(self.core, self.model, self.dataset)


def combined(*hashes: str) -> str:
    """One hash of several."""
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def core_sha256() -> str:
    """Hash of the core's code that can change a number.

    Reading it all takes a quarter of a second, so that the user's cache folder remembers the hash
    of the files as they are, byte for byte.
    """
    core = Path(__file__).parent
    files: list[Path] = []
    for part in CORE_CODE:
        root = core / part
        files += sorted(root.rglob("*.py")) if root.is_dir() else [root]
    names = [path.relative_to(core).as_posix() for path in files]
    sources = [path.read_bytes() for path in (Path(__file__), *files)]
    exact = combined(*names, *(hashlib.sha256(source).hexdigest() for source in sources))
    return _remembered(exact) or _remember(
        exact,
        combined(*(f"{name}:{_digest(path)}" for name, path in zip(names, files, strict=True))),
    )


def _remembered(exact: str) -> str | None:
    """The hash of code that was seen before, by that of its bytes."""
    try:
        known, _, found = (cache_dir() / REMEMBERED).read_text(encoding="ascii").partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return found if known == exact and len(found) == len(exact) else None


def _remember(exact: str, found: str) -> str:
    with contextlib.suppress(OSError):  # it takes longer next time
        cache_dir().mkdir(parents=True, exist_ok=True)
        write_whole(cache_dir() / REMEMBERED, f"{exact} {found}")
    return found


def part_sha256(references: Iterable[str | None]) -> str:
    """Hash of a part's code.

    Args:
        references: What its spec refers to, ``"module:name"`` or a module; None is passed over.

    Returns:
        SHA-256 in hex. What belongs to the core, whose hash is another, adds nothing; of a module
        without source, such as a compiled one, the name alone counts.
    """
    found: dict[str, str] = {}
    for reference in {reference for reference in references if reference is not None}:
        module, _, name = reference.partition(":")
        root = module.partition(".")[0]
        # A metric may name a function of the API itself; that is the core's part of a job's hash.
        if root == CORE:
            continue
        used = _Package(root).used_by(module, name or ALL)
        # Of a compiled module only the name is known here: its version tells the rest, in the
        # record.
        found |= {name: _digest(path) for name, path in used.items()} or {module: ""}
    _memory().keep()
    return combined(*(f"{name}:{digest}" for name, digest in sorted(found.items())))


class _Package:
    """A top-level package or module, and what of it a module uses."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder, self._is_file = _place(root)
        self._used: dict[str, Path] = {}
        self._paths: dict[str, Path | None] = {}
        self._followed: set[tuple[str, str]] = set()

    def used_by(self, module: str, name: str) -> dict[str, Path]:
        """The source behind a name of a module, with all that it imports from here, by module."""
        self._visit(module, name)
        return self._used

    def _path(self, module: str) -> Path | None:
        """The file of a module here; None for one that is elsewhere or does not exist."""
        if module not in self._paths:  # most are imported many times over
            self._paths[module] = self._find(module)
        return self._paths[module]

    def _find(self, module: str) -> Path | None:
        # Other distributions are not followed: their versions are in the record, and torch alone
        # has thousands of files.
        top, *rest = module.split(".")
        if top == CORE or (top != self._root and not self._is_file):
            return None
        bare = self._folder.joinpath(top, *rest)
        for path in (bare / "__init__.py", bare.with_name(f"{bare.name}.py")):
            if path.is_file():
                return path
        return None

    def _visit(self, module: str, name: str) -> None:
        """Adds a module of which a name, or all, is used."""
        parents = module.split(".")[:-1]
        # Importing a module runs the `__init__.py` of every package above it.
        for depth in range(1, len(parents) + 1):
            self._add(".".join(parents[:depth]))
        path = self._add(module)
        # Modules import one another in circles.
        if path is None or (module, name) in self._followed:
            return
        self._followed.add((module, name))
        is_package = path.name == "__init__.py"
        here = module if is_package else module.rpartition(".")[0]
        imports = _imports(path.read_bytes(), here)
        # A package may lend a name from elsewhere; what it makes itself may use all its imports.
        if is_package and name in {bound for _, _, bound in imports}:
            imports = tuple(found for found in imports if found[2] == name)
        for target, original, _ in imports:
            submodule = f"{target}.{original}"
            # `from package import x` imports a module where there is one of that name, else what
            # the package defines.
            if original != ALL and self._path(submodule) is not None:
                self._visit(submodule, ALL)
            else:
                self._visit(target, original)

    def _add(self, module: str) -> Path | None:
        path = self._path(module)
        if path is not None:
            self._used[module] = path
        return path


def _place(root: str) -> tuple[Path, bool]:
    """The folder that a top-level module lies in, and whether it is a single file."""
    # What is loaded first: a plugin file is on no path, so it could not be found again.
    origin = getattr(sys.modules.get(root), "__file__", None)
    if origin is None:
        spec = util.find_spec(root)
        if spec is not None and spec.origin is None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations))).parent, False  # a namespace
        origin = (spec.origin if spec is not None else None) or f"nowhere/{root}.py"
    path = Path(origin)
    in_folder = path.name == "__init__.py"
    return (path.parent.parent if in_folder else path.parent), not in_folder


@lru_cache(maxsize=1)
def _memory() -> Memory:
    """What is known of sources: to parse those behind one job takes a worker half a second."""
    by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return Memory(SOURCES, by, MOST_SOURCES)


@lru_cache(maxsize=4096)
def _imports(source: bytes, package: str) -> tuple[tuple[str, str, str], ...]:
    """What a file imports: the module, the name in it and the name that it gets; ``*`` for all."""

    def find_out() -> str:
        return "\n".join(" ".join(found) for found in _read_imports(source, package))

    key = f"imports {hashlib.sha256(source).hexdigest()} {package}"
    lines = (line.split(" ") for line in _memory().recall(key, find_out).splitlines())
    return tuple((module, name, bound) for module, name, bound in lines)


def _read_imports(source: bytes, package: str) -> list[tuple[str, str, str]]:
    found = []
    tree = _tree(source)
    # All of the tree: imports inside functions run as well, later.
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                found.append((alias.name, ALL, name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            found += [(base, alias.name, alias.asname or alias.name) for alias in node.names]
    return found


@lru_cache(maxsize=4096)
def _tree(source: bytes) -> ast.Module | None:
    """The syntax of a file; None if it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):  # told when it is imported
        return None


def _digest(path: Path) -> str:
    return _digest_of(path.read_bytes(), path.name == "__init__.py")


@lru_cache(maxsize=4096)
def _digest_of(source: bytes, is_package: bool) -> str:
    key = f"code {hashlib.sha256(source).hexdigest()} {is_package:d}"
    return _memory().recall(key, partial(_find_digest, source, is_package))


def _find_digest(source: bytes, is_package: bool) -> str:
    tree = _tree(source)
    if tree is None:
        return hashlib.sha256(source).hexdigest()
    body = [node for node in tree.body if not (is_package and _only_lends(node))]
    texts: list[str] = []
    _add_texts(body, texts)
    # Each ends, or `ab c` and `a bc` would be the same.
    ended = "".join(f"{text}\0" for text in texts)
    return hashlib.sha256(ended.encode("utf-8", "surrogatepass")).hexdigest()


def _only_lends(node: ast.stmt) -> bool:
    """Whether a statement of a package's ``__init__.py`` only passes names on."""
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return names <= {"__all__", "__version__"} and bool(names)
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _add_texts(value: object, texts: list[str]) -> None:
    """Adds the syntax as a stream of texts that all versions of Python share.

    What is absent is left out: newer versions have fields that older ones lack.
    """
    if isinstance(value, ast.AST):
        texts.append(type(value).__name__)
        for name in value._fields:
            inner = getattr(value, name, None)
            # `ctx` repeats what the position says; `kind` is the u of u"text"; a type comment does
            # nothing.
            if inner is None or inner == [] or name in ("ctx", "kind", "type_comment"):
                continue
            texts.append(name)
            _add_texts(inner, texts)
    elif isinstance(value, list):
        texts.append("[")
        for inner in value:
            if not _is_bare_text(inner):
                _add_texts(inner, texts)
        texts.append("]")
    else:
        texts.append(f"{type(value).__name__} {value!r}")


def _is_bare_text(node: object) -> bool:
    """Whether this is a docstring, or another string that stands alone: it does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
