"""The global random generators, which belong to the whole process, and so to no plugin."""

from __future__ import annotations
