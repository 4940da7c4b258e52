"""Stands in for layers that the released training normalises after a step."""

from __future__ import annotations

from torch import nn


class InducedNormConv2d(nn.Module):
    """There are none: our own layers are normalised by the model."""


class InducedNormLinear(nn.Module):
    """As `InducedNormConv2d`."""
