from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from flowbench.api import API_VERSION, GenerativeModel, ModelConfig, ModelSpec
from flowbench_models.plugin import FLOWBENCH_API_VERSION, register_models

SPECS = {spec.name: spec for spec in register_models()}


def _resolve(reference: str) -> object:
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


def test_plugin_is_written_for_this_api() -> None:
    assert FLOWBENCH_API_VERSION == API_VERSION


def test_listing_models_imports_no_torch() -> None:
    code = (
        "import sys; from flowbench_models.plugin import register_models; register_models(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_configurations_in_files_of_their_own_import_no_torch() -> None:
    modules = [spec.config.partition(":")[0] for spec in SPECS.values()]
    own = [module for module in modules if module.endswith(".config")]
    assert own
    code = f"import sys, {', '.join(own)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_references_resolve_to_a_model_and_its_configuration(spec: ModelSpec) -> None:
    model, config = _resolve(spec.model), _resolve(spec.config)
    assert isinstance(model, type)
    assert issubclass(model, GenerativeModel)
    assert isinstance(config, type)
    assert issubclass(config, ModelConfig)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_model_but_the_baseline_cites_its_paper(spec: ModelSpec) -> None:
    assert (spec.paper is None) == (spec.name in ("histogram", "gaussian"))
    if spec.paper is not None:
        assert str(spec.paper.arxiv) in str(spec.paper.bibtex)
