"""A model class of a notebook or script becomes a plugin file: its source, and what it refers to.

Nothing of the session travels but text: a worker builds the class anew, and who reads the attempt
later can read how it was made.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.machinery
import inspect
import re
import symtable
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from flowbench.api import ModelConfig
from flowbench.api.models import GenerativeModel
from flowbench.api.specs import Modality
from flowbench.errors import PluginLoadError
from flowbench.files import write_whole

MAIN = "__main__"
CELLS = "In"  # where IPython keeps the cells that were run, in their order
FOLDER = "classes"  # within the results folder
POSTPONED = "from __future__ import annotations"

_LITERALS = (bool, int, float, complex, str, bytes, type(None))
_HOOK = """

@hookimpl
def register_models():
    return [
        ModelSpec(
            name={name!r},
            model={model!r},
            config={config!r},
            modalities=frozenset({modalities!r}),
            summary={summary!r},
        )
    ]
"""


def name_of(model: type[GenerativeModel]) -> str:
    """What boards call a model class: ``my-flow`` for ``MyFlow``.

    Example:
        >>> name_of(type("MyFlowV2", (), {}))
        'my-flow-v2'
    """
    parts = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", model.__name__)
    return "-".join(parts).lower()


def write_plugin_file(model: type[GenerativeModel], results: Path) -> Path:
    """Writes a model class as a plugin file into a results folder.

    Args:
        model: A class at the top level of a cell or a script, whose ``__init__`` says by its
            annotation which `ModelConfig` it takes.

    Returns:
        The file, named after the class and its text: who edits the class gets another file.

    Raises:
        PluginLoadError: The class, or something that it refers to, has no source here.
    """
    config = _config_of(model)
    source = _Source(model.__name__)
    for wanted in (model, config):
        source.add_class(wanted)
    text = source.text()
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = name_of(model)
    stem = f"{name.replace('-', '_')}_{digest}"
    # By default all: the class says itself what it cannot take, and somebody asked for its data.
    modalities = getattr(model, "modalities", typing.get_args(Modality))
    about = inspect.cleandoc(model.__dict__.get("__doc__") or "").partition("\n")[0]
    text += _HOOK.format(
        name=name,
        model=f"{stem}:{model.__name__}",
        config=f"{stem}:{config.__name__}",
        modalities=tuple(sorted(modalities)),
        summary=about or f"the class {model.__name__} of a session",
    )
    path = results / FOLDER / f"{stem}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def _config_of(model: type[GenerativeModel]) -> type[ModelConfig]:
    if not (inspect.isclass(model) and issubclass(model, GenerativeModel)):
        raise PluginLoadError(
            f"{model!r} is no model; expected a name such as 'glow', or a subclass of "
            "flowbench.api.GenerativeModel"
        )
    try:
        config = typing.get_type_hints(model.__init__).get("config")
    except NameError:
        config = None
    if not (inspect.isclass(config) and issubclass(config, ModelConfig)):
        raise PluginLoadError(
            f"{model.__name__} does not say which config it takes; annotate it: "
            "def __init__(self, config: MyConfig, data: DatasetInfo)"
        )
    return config


class _Source:
    """Statements that a class needs, those before it that it is made of.

    Args:
        of: The class, for errors.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self._texts = _texts(of)
        self._names: Mapping[str, object] = vars(sys.modules[MAIN])
        self._done: set[str] = set()
        self._lines: dict[str, None] = {}  # ordered, each once: one statement may bind two names

    def add_class(self, cls: type) -> None:
        """A class, with all that it refers to.

        Raises:
            PluginLoadError: A part has no source here.
        """
        if "." in cls.__qualname__:
            raise PluginLoadError(
                f"{cls.__qualname__} is defined within another; define it at the top level of a "
                "cell or a file"
            )
        if cls.__module__ != MAIN:
            self._import(cls.__name__, cls)
        elif self._names.get(cls.__name__) is not cls:
            raise PluginLoadError(
                f"{cls.__name__} is no longer the class of that name here; pass the one that is"
            )
        else:
            self._add(cls.__name__)

    def text(self) -> str:
        """The plugin file, without its hook."""
        # In a notebook it holds for all later cells.
        first = [POSTPONED] if any(re.search(f"^{POSTPONED}", t, re.M) for t in self._texts) else []
        head = ["from flowbench.api import ModelSpec, hookimpl", "FLOWBENCH_API_VERSION = 2"]
        return "\n".join([*first, *head, *self._lines]) + "\n"

    def _add(self, name: str) -> None:
        if name in self._done:
            return
        self._done.add(name)
        if name not in self._names or name.startswith("__"):
            return  # of any module, or missing here as well
        value = self._names[name]
        if _is_literal(value):
            # Its value, not its statement: it may have been changed since.
            self._lines[f"{name} = {value!r}"] = None
            return
        if isinstance(value, ModuleType):
            self._check_importable(value.__name__)
            alias = "" if value.__name__ == name else f" as {name}"
            self._lines[f"import {value.__name__}{alias}"] = None
            return
        home = getattr(value, "__module__", None)
        if home != MAIN and getattr(sys.modules.get(str(home)), _called(value), None) is value:
            self._import(name, value)
            return
        found = _binding(self._texts, name)
        if found is None:
            raise PluginLoadError(
                f"{self._of} uses {name!r}, of which there is no source (a {type(value).__name__} "
                "of this session); define it at the top level of a cell or a file"
            )
        text, node = found
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for module in _imported(node):
                self._check_importable(module)
        statement = _statement(text, node)
        for other in sorted(_free_names(statement) - {name}):
            self._add(other)
        self._lines[f"\n{statement}"] = None

    def _import(self, name: str, value: object) -> None:
        module = str(getattr(value, "__module__", ""))
        self._check_importable(module)
        called = _called(value)
        alias = "" if called == name else f" as {name}"
        self._lines[f"from {module} import {called}{alias}"] = None

    def _check_importable(self, module: str) -> None:
        """Refuses a module that workers cannot import: no script's folder is on their path.

        Raises:
            PluginLoadError: It is one.
        """
        top = module.partition(".")[0]
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return
        main = getattr(sys.modules[MAIN], "__file__", None)
        here = {"", str(Path.cwd()), str(Path(main).resolve().parent) if main else ""}
        path = [entry for entry in sys.path if entry not in here]
        # Editable installs are found by finders of their own, which know no folder.
        others = (f for f in sys.meta_path if f is not importlib.machinery.PathFinder)
        if importlib.machinery.PathFinder.find_spec(top, path) is not None or any(
            finder.find_spec(top, None) is not None for finder in others
        ):
            return
        raise PluginLoadError(
            f"{self._of} uses the module {top!r}, which workers cannot import; define what it "
            "needs in the same notebook or script, or install it as a package"
        )


def _texts(of: str) -> list[str]:
    """Sources of the session, the last first: its cells, or its script.

    Raises:
        PluginLoadError: It keeps none.
    """
    main = sys.modules[MAIN]
    cells = getattr(main, CELLS, None)
    if isinstance(cells, Sequence) and not isinstance(cells, str):
        return [str(cell) for cell in reversed(cells)]
    file = getattr(main, "__file__", None)
    if file is not None and Path(file).is_file():
        return [Path(file).read_text(encoding="utf-8")]
    raise PluginLoadError(
        f"{of} has no source that could be kept with its results; define it in a notebook or a "
        "file (a prompt of plain Python keeps none)"
    )


def _is_literal(value: object) -> bool:
    if type(value) in (tuple, list, set, frozenset):
        return all(map(_is_literal, typing.cast("list[object]", value)))
    if type(value) is dict:
        pairs = typing.cast("dict[object, object]", value).items()
        return all(_is_literal(key) and _is_literal(item) for key, item in pairs)
    # A float of its own has a repr that reads back; "inf" and "nan" have none.
    if isinstance(value, (float, complex)):
        return type(value) in _LITERALS and not re.search("inf|nan", repr(value))
    return type(value) in _LITERALS


def _called(value: object) -> str:
    return str(getattr(value, "__qualname__", ""))


def _binding(texts: Sequence[str], name: str) -> tuple[str, ast.stmt] | None:
    """The last statement that gives a name its value."""
    for text in texts:
        try:
            body = ast.parse(text).body
        except SyntaxError:  # a cell that never ran
            continue
        for node in reversed(body):
            if name in _bound(node):
                return text, node
    return None


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement gives a value."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((a.asname or a.name).partition(".")[0] for a in node.names)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = (n for target in targets for n in ast.walk(target))
        yield from (n.id for n in names if isinstance(n, ast.Name))
    elif isinstance(node, (ast.If, ast.Try, ast.With)):
        inner = (child for child in ast.walk(node) if isinstance(child, ast.stmt))
        yield from (name for child in inner if child is not node for name in _bound(child))


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Modules that an import statement asks for."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]


def _statement(text: str, node: ast.stmt) -> str:
    """Source of a statement, its decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return "\n".join(lines)


def _free_names(statement: str) -> set[str]:
    """Names that a statement takes from outside, by Python's own rules of scope."""
    found: set[str] = set()
    tables = [symtable.symtable(statement, "<class>", "exec")]
    top = tables[0]
    while tables:
        table = tables.pop()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                found.add(symbol.get_name())
        tables += table.get_children()
    annotations = (
        getattr(node, kind, None)
        for node in ast.walk(ast.parse(statement))
        for kind in ("annotation", "returns")
    )
    # In quotes they are read by pydantic, in the same namespace.
    parts = (part for one in annotations if one is not None for part in ast.walk(one))
    quoted = (part.value for part in parts if isinstance(part, ast.Constant))
    found |= {text for text in quoted if isinstance(text, str) and text.isidentifier()}
    return found - set(vars(builtins))
