"""Finds plugins and knows every model, dataset and metric by name."""

from __future__ import annotations

from flowbench.registry.entry_points import PluginSelection
from flowbench.registry.registry import Entry, Registry, load_registry

__all__ = ["Entry", "PluginSelection", "Registry", "load_registry"]
