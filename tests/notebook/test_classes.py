from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flowbench.errors import PluginLoadError
from flowbench.notebook.classes import name_of, write_plugin_file
from flowbench.registry import PluginSelection, load_registry

CONFIG = """
from flowbench.api import DatasetInfo, GenerativeModel, ModelConfig

class MyConfig(ModelConfig):
    width: int = 4
"""
MODEL = """
class MyFlow(GenerativeModel):
    '''Halves what it gets.

    More of it.
    '''
    def __init__(self, config: MyConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.factor = half(config.width)

    def loss(self, batch, step):
        results = batch.x  # a local name, whatever the session calls so
        return results.sum()

    def sample(self, num, context=None, *, settings, generator):
        raise NotImplementedError
"""
HALF = """
def half(value):
    return value / PARTS
"""
Session = Callable[..., type]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """Runs cells as IPython does, and gives the class ``MyFlow`` of the last."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    cells: list[str] = [""]
    vars(main)["In"] = cells

    def run(*texts: str) -> type:
        for text in texts:
            cells.append(textwrap.dedent(text))
            exec(compile(cells[-1], "<cell>", "exec"), vars(main))
        found: type = vars(main)["MyFlow"]
        return found

    return run


def loaded(path: Path) -> Any:
    """The class of a written file, as a worker has it."""
    registry = load_registry(PluginSelection(only=("flowbench:models",), files=(path,)))
    entry = registry.model("my-flow")
    assert entry.resolve(entry.spec.config).__module__ == path.stem
    return entry.resolve(entry.spec.model)


@pytest.mark.parametrize(
    ("called", "name"), [("MyFlow", "my-flow"), ("Glow2", "glow2"), ("RQNSFlow", "rqns-flow")]
)
def test_a_class_is_called_as_boards_call_models(called: str, name: str) -> None:
    assert name_of(type(called, (), {})) == name


def test_a_class_travels_with_what_it_refers_to_and_nothing_else(
    session: Session, tmp_path: Path
) -> None:
    cells = ["PARTS = 2", HALF, CONFIG, "results = open('/nowhere/else', 'w') if 0 else 1", MODEL]
    path = write_plugin_file(session(*cells), tmp_path)
    text = path.read_text("utf-8")
    assert "results = 1" not in text
    assert "/nowhere" not in text
    model = loaded(path)
    assert model.__init__.__globals__["half"](3) == 1.5
    assert "summary='Halves what it gets.'" in text


def test_the_last_cell_that_defines_a_name_counts(session: Session, tmp_path: Path) -> None:
    third = "def half(value):\n    return value / 3"
    first = write_plugin_file(session("PARTS = 2", HALF, CONFIG, MODEL, third, HALF), tmp_path)
    assert loaded(first).__init__.__globals__["half"](3) == 1.5
    # Constants by their value: no cell says what they are now.
    second = write_plugin_file(session("PARTS += 4"), tmp_path)
    assert first != second
    assert "PARTS = 6" in second.read_text("utf-8")


def test_annotations_in_quotes_and_decorators_travel(session: Session, tmp_path: Path) -> None:
    twice = "def twice(make):\n    return make"
    other = "from pathlib import Path as Where\n"
    model = MODEL.replace("class MyFlow", "@twice\nclass MyFlow").replace(
        "batch, step", "batch: 'Where', step"
    )
    text = write_plugin_file(
        session("PARTS = 2", HALF, twice, other, CONFIG, model), tmp_path
    ).read_text("utf-8")
    assert "@twice\nclass MyFlow" in text
    assert "def twice(make):" in text
    assert "from pathlib import Path as Where" in text


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["import torch", "PARTS = torch.ones(1)"], None),
        (["exec('PARTS = object()')"], "uses 'PARTS', of which there is no source"),
        (["import beside_me", "PARTS = beside_me.PARTS", "PARTS = beside_me"], "'beside_me'"),
        (["from beside_me import value as PARTS"], "'beside_me'"),
    ],
)
def test_what_has_no_source_is_refused_by_name(
    cells: list[str],
    message: str | None,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "beside_me.py").write_text("PARTS = 2\ndef value():\n    return 2\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.delitem(sys.modules, "beside_me", raising=False)
    model = session(*cells, HALF, CONFIG, MODEL)
    if message is None:
        assert "PARTS = torch.ones(1)" in write_plugin_file(model, tmp_path).read_text("utf-8")
        return
    with pytest.raises(PluginLoadError, match=message):
        write_plugin_file(model, tmp_path)


def test_a_class_that_cannot_travel_is_refused(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = session("PARTS = 2", HALF, CONFIG, MODEL)
    session(MODEL)
    with pytest.raises(PluginLoadError, match="no longer the class of that name"):
        write_plugin_file(within, tmp_path)
    with pytest.raises(PluginLoadError, match="does not say which config it takes"):
        write_plugin_file(session(MODEL.replace("config: MyConfig", "config")), tmp_path)
    nested = "def make():\n" + textwrap.indent(MODEL, "    ") + "    return MyFlow\nMyFlow = make()"
    with pytest.raises(PluginLoadError, match="is defined within another"):
        write_plugin_file(session(nested), tmp_path)
    with pytest.raises(PluginLoadError, match="is no model; expected a name such as 'glow'"):
        write_plugin_file(int, tmp_path)  # type: ignore[arg-type]
    plain = session(MODEL)
    monkeypatch.delattr(sys.modules["__main__"], "In")
    with pytest.raises(PluginLoadError, match="has no source that could be kept"):
        write_plugin_file(plain, tmp_path)
