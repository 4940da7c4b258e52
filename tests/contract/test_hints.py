"""Author mistakes, each with the sentence that says what to do; made of the guide's flow."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from flowbench.contract import CheckReport, check_model
from flowbench.errors import PluginLoadError
from flowbench.registry import PluginSelection, load_registry

GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "plugin.md").read_text(encoding="utf-8")
(FLOW,) = re.findall(r"^```python\n(# my_flow\.py\n.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)
LAYERS = "self.layers = nn.ModuleList(layers)"
PAIR = "return (x,), ladj"
HOOK = "@hookimpl"


def _report(folder: Path, *changes: tuple[str, str]) -> CheckReport:
    text = FLOW
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    # A module is loaded once, so each mistake is one of its own.
    name = f"hint_{hashlib.sha256(f'{folder}{text}'.encode()).hexdigest()[:8]}"
    path = folder / f"{name}.py"
    path.write_text(text.replace("my_flow", name), encoding="utf-8")
    registry = load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
    return check_model(registry, "myflow", slow=False)


MISTAKES = {
    "list": ((LAYERS, "self.layers = layers"), "make it an nn.ModuleList"),
    "dict": (
        (LAYERS, f"{LAYERS}\n        self.d = {{1: nn.Linear(1, 1)}}"),
        "make it an nn.ModuleDict",
    ),
    "parameters": (
        (LAYERS, f"{LAYERS}\n        self.p = [nn.Parameter(torch.ones(1))]"),
        "make it an nn.ParameterList",
    ),
    "no pair": ((PAIR, "return x"), "return (z,), ladj"),
    "one latent": ((PAIR, "return x, ladj"), "return (z,), ladj"),
    "layer without ladj": (
        ("flip(1), log_scale.sum(dim=1)", "flip(1)"),
        "each layer its values and its ladj",
    ),
    "to_latents": (("def to_latent(", "def to_latents("), "did you mean that by to_latents?"),
    "from_latnet": (
        ("def from_latent(", "def from_latnet("),
        "write def from_latent(self, latents",
    ),
    "initialise": (
        (HOOK, f"    def initialise(self, batch, *, generator):\n        pass\n\n\n{HOOK}"),
        "did you mean initialize?",
    ),
    "class": ((':MyFlow"', ':MyFlwo"'), "did you mean 'MyFlow'?"),
    "sample": (
        (HOOK, f"    def sample(self, n):\n        return torch.randn(n, 2)\n\n\n{HOOK}"),
        "the harness calls def sample(self, num, context=None, *, settings, generator)",
    ),
    "loss": (
        (HOOK, f"    def loss(self, x):\n        return 0\n\n\n{HOOK}"),
        "the harness calls def loss(self, batch, step)",
    ),
    "super": (
        ("super().__init__(config, data)", "super().__init__()"),
        "super().__init__(config, data)",
    ),
    "cuda": ((LAYERS, f"{LAYERS}.cuda()"), "the harness chooses"),
    "own generator": (
        (
            LAYERS,
            f"{LAYERS}\n        import numpy\n        "
            "self.b = nn.Buffer(torch.tensor(numpy.random.default_rng().normal()))",
        ),
        "draw weights with torch",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_the_sentence_that_teaches(tmp_path: Path, mistake: str) -> None:
    change, sentence = MISTAKES[mistake]
    report = _report(tmp_path, change)
    (failure,) = report.failures  # its consequences are no failures, on no case
    assert sentence in failure.detail


def test_what_a_failure_blocks_is_one_line_after_it(tmp_path: Path) -> None:
    lines = list(_report(tmp_path, MISTAKES["list"][0]).lines())
    (at,) = [i for i, line in enumerate(lines) if "FAIL" in line and "construction" in line]
    first_case = lines[: next(i for i, line in enumerate(lines[1:], 1) if line.startswith("  on"))]
    assert [line.split()[0] for line in first_case[at:]] == ["FAIL", "checked:", "look", "skip"]
    assert re.search(r"skip  \d+ checks +not checked, because construction failed", first_case[-1])


def test_weights_drawn_from_the_global_generator_of_numpy_are_seeded(tmp_path: Path) -> None:
    draws = f"{LAYERS}\n        import numpy\n        numpy.random.seed"
    drawn = "self.b = nn.Buffer(torch.tensor(numpy.random.normal()))"
    report = _report(tmp_path, (LAYERS, f"{draws.rpartition(chr(10))[0]}\n        {drawn}"))
    assert report.status == "passed", "\n".join(report.lines())


def test_a_name_that_the_api_does_not_have_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "misspelt_import.py"
    path.write_text("from flowbench.api import InvertableModel\n", encoding="utf-8")
    with pytest.raises(
        PluginLoadError, match="no 'InvertableModel'; did you mean 'InvertibleModel'"
    ):
        load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
