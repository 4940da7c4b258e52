"""Pages of the site that are written from the specs and the commands; a hook of mkdocs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from flowbench.api import Paper
from flowbench.cli.app import app
from flowbench.registry import PluginSelection, Registry, load_registry


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the generated pages to the site."""
    registry = load_registry(PluginSelection(only=("flowbench",)))
    pages = {
        "reference/models.md": models_page(registry),
        "reference/datasets.md": datasets_page(registry),
        "reference/metrics.md": metrics_page(registry),
        "reference/cli.md": commands_page(),
        "reference/api.md": api_page(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def models_page(registry: Registry) -> str:
    """Every shipped model with its presets."""
    parts = ["# Models\n\n`flowbench show NAME:PRESET --dataset DATASET` prints a configuration.\n"]
    for name, entry in registry.models.items():
        spec = entry.spec
        config = entry.resolve(spec.config)
        rows = [(f"`{n}`", p.summary, p.source) for n, p in config.presets.items()]
        parts.append(f"## {name}\n\n{_cell(spec.summary)}.{_cited(spec.paper)}\n")
        parts.append(f"Data: {', '.join(sorted(spec.modalities))}.\n")
        parts.append(_table(("preset", "what it is", "chosen by"), rows))
    return "\n".join(parts)


def datasets_page(registry: Registry) -> str:
    """Every shipped dataset."""
    parts = ["# Datasets\n\n`flowbench list datasets` prints them, too.\n"]
    for name, entry in registry.datasets.items():
        spec = entry.spec
        levels = "real values" if spec.levels is None else f"{spec.levels} levels"
        sizes = f"{spec.num_train:,} training and {spec.num_test:,} test examples"
        shape = "x".join(map(str, spec.event_shape))
        parts.append(f"## {name}\n\n{_cell(spec.summary)}.{_cited(spec.paper)}\n")
        parts.append(f"{shape} {spec.modality}, {levels}; {sizes}. Licence: {spec.licence}.\n")
        parts.append(f"{spec.notes}\n")
    return "\n".join(parts)


def metrics_page(registry: Registry) -> str:
    """Every shipped metric."""
    rows = [
        (f"`{name}`", entry.spec.summary, entry.spec.unit or "-", entry.spec.direction)
        for name, entry in registry.metrics.items()
    ]
    return "# Metrics\n\n" + _table(("metric", "what it is", "unit", "better"), rows)


# The API in three rings, each for whom the one before is not enough, and what clusters and
# trackers need beside them; together they are all of it.
RINGS = {
    "A flow": ("ModelSpec hookimpl ModelConfig Preset InvertibleModel DatasetInfo Context Latents"),
    "Its training and its likelihood": (
        "GenerativeModel DensityModel Batch Step PhaseStart Info WithInfo split_info "
        "standard_normal_log_prob bits_per_dim nats_from_bits_per_dim Preprocessing "
        "UniformDequantization GaussianNoise Scale Logit Standardise Likelihood NoLikelihood "
        "Training Phase Group Ema LastK SampleSettings SamplingOptions NoTemperature Paper "
        "report_progress mean_over_devices API_VERSION ConfigError NotInvertibleError ShapeError"
    ),
    "Data and metrics": (
        "DatasetSpec Target ContextInput RemoteFile Split DataSplits Ragged Manifold Chart "
        "Artifact MetricSpec MetricValue Limits ClosedForm MetricSettings TrainedModel "
        "LikelihoodResult Samples DataError DataMissingError density_mass Mass"
    ),
    "Where jobs run": (
        "Executor ExecutorSpec ExecutorSettings Submission JobState Slot Lifeline ExecutorError"
    ),
    "Whom a run is told to": "TrackerSpec TrackerSettings TrackedJob Validation JobOutcome",
}
READERS = "Archive open_archive read_images center_square"


def api_page() -> str:
    """Every public name of the API, ring by ring."""
    parts = [
        "# flowbench.api\n\nAll that a plugin may import, besides "
        "[`flowbench.errors`](errors.md). Nothing else is stable.\n"
    ]
    for title, names in RINGS.items():
        parts.append(f"## {title}\n")
        parts += [f"::: flowbench.api.{name}\n" for name in names.split()]
    parts.append("## Readers\n\nOf published files, in `flowbench.api.readers`.\n")
    parts += [f"::: flowbench.api.readers.{name}\n" for name in READERS.split()]
    return "\n".join(parts)


def commands_page() -> str:
    """Every command with its arguments and options."""
    parts = ["# Command line\n\nEvery command explains itself: `flowbench COMMAND --help`.\n"]
    for path, command in _commands(typer.main.get_command(app), ("flowbench",)):
        parts.append(f"## {' '.join(path)}\n\n{_cell(command.help or '')}\n")
        rows = [_parameter(p) for p in command.params if p.name != "help"]
        parts.append(_table(("argument or option", "is", "default"), rows) if rows else "")
    return "\n".join(parts)


def _commands(
    command: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, child in (inner or {}).items():
        yield from _commands(child, (*path, name))


def _parameter(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    names = (
        [parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    )
    given = parameter.default
    shown = "" if given in (None, False, ()) or callable(given) else f"`{given}`"
    return ", ".join(f"`{name}`" for name in names), getattr(parameter, "help", "") or "", shown


def _cited(paper: Paper | None) -> str:
    if paper is None:
        return ""
    url = f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else paper.url
    words = ", ".join(str(part) for part in (paper.authors, paper.title, paper.year) if part)
    return f" {_cell(words)}{f' [[paper]({url})]' if url else ''}."


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;")
