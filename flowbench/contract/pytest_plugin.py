"""The fixture ``flowbench_contract``: an author's whole test file is three lines.

::

    def test_contract(flowbench_contract):
        flowbench_contract.model("myflow")

pytest imports this module in every session, so it imports nothing heavy itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowbench.api import ClosedForm
    from flowbench.contract import CheckReport
    from flowbench.registry import Registry


class Contract:
    """Checks installed plugins, or those of a local file; each method fails the test with a report.

    Args:
        plugin_files: Python files to load as plugins, besides those that are installed.
    """

    def __init__(self, *plugin_files: str | Path) -> None:
        self._files = tuple(Path(path) for path in plugin_files)
        self._registry: Registry | None = None

    def plugin_file(self, path: str | Path) -> Contract:
        """The same for a plugin that is a local file.

        Returns:
            A contract that knows its plugins too.
        """
        return Contract(*self._files, path)

    def model(self, name: str, *, dataset: str | None = None, slow: bool = True) -> CheckReport:
        """Checks a model.

        Args:
            name: ``name`` or ``name:preset``.
            dataset: Check it on random data of this dataset's form.
            slow: Whether to run the checks that train it as well.

        Returns:
            The report, if it holds.
        """
        from flowbench.contract import check_model

        return _held(check_model(self.registry, name, dataset=dataset, slow=slow))

    def dataset(self, name: str, *, data_dir: str | Path | None = None) -> CheckReport:
        """Checks a dataset.

        Args:
            data_dir: Where prepared data are; by default as on the command line.

        Returns:
            The report, if it holds.
        """
        from flowbench import paths
        from flowbench.contract import check_dataset

        folder = paths.data_dir(None if data_dir is None else Path(data_dir))
        return _held(check_dataset(self.registry, name, folder))

    def metric(self, name: str, *, closed_forms: Sequence[ClosedForm] = ()) -> CheckReport:
        """Checks a metric.

        Args:
            closed_forms: Cases whose value was worked out by hand, besides those of its spec.

        Returns:
            The report, if it holds.
        """
        from flowbench.contract import check_metric

        return _held(check_metric(self.registry, name, closed_forms=closed_forms))

    @property
    def registry(self) -> Registry:
        """All plugins, loaded once."""
        if self._registry is None:
            from flowbench.registry import PluginSelection, load_registry

            self._registry = load_registry(PluginSelection.from_environment(files=self._files))
        return self._registry


def _held(report: CheckReport) -> CheckReport:
    if report.status != "passed":
        words = "breaks the contract" if report.failures else "could not be checked"
        lines = "\n".join(report.lines())
        pytest.fail(f"{report.kind} {report.name!r} {words}\n{lines}", pytrace=False)
    return report


@pytest.fixture(scope="session")
def flowbench_contract() -> Contract:
    """Holds models, datasets and metrics to flowbench's plugin contract."""
    return Contract()
