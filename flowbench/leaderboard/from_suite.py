"""Lays out a board of our own whose columns a suite names, over several data sets."""

from __future__ import annotations

from flowbench.leaderboard.evidence import Source
from flowbench.leaderboard.frame import (
    Frame,
    FrameCell,
    FrameRow,
    how_ours_were_made,
    quantity,
    shared_unit,
)
from flowbench.leaderboard.standing import Chosen, choose
from flowbench.leaderboard.table import Column
from flowbench.suite.schema import BoardColumn, BoardLayout, OurValue, Suite


def frame_of_suite(suite: Suite, source: Source) -> Frame:
    """One row a model of the suite, in its order."""
    layout = suite.board or BoardLayout()
    pairs = [(column.dataset, model) for model in suite.models for column in layout.columns]
    chosen = choose(suite, source, pairs)
    columns = tuple(_column(column, chosen) for column in layout.columns)

    def cell(model: str, asked: BoardColumn, column: Column) -> FrameCell:
        return FrameCell(
            contest=(column.key,),
            dataset=column.dataset,
            metric=column.metric,
            direction=column.direction,
            decimals=column.decimals,
            role=column.role,
            ours=OurValue(name=column.metric, per=asked.per),
            model=model,
            method=chosen.methods.get((column.dataset, model)),
        )

    rows = tuple(
        FrameRow(
            label=model,
            cells=tuple(cell(model, *both) for both in zip(layout.columns, columns, strict=True)),
        )
        for model in suite.models
    )
    return Frame(
        slug=suite.name,
        suite=suite.name,
        title=suite.title or suite.name,
        description=how_ours_were_made("Every model was", chosen.records),
        columns=columns,
        rows=rows,
        noun="model",
        row_header="Model",
        shared_unit=shared_unit(columns),
        metrics=suite.metrics,
        waiting=chosen.waiting,
        left_out=chosen.left_out,
    )


def _column(asked: BoardColumn, chosen: Chosen) -> Column:
    found = (
        method.measured(asked.metric)
        for (dataset, _), method in chosen.methods.items()
        if dataset == asked.dataset
    )
    return Column(
        key=f"{asked.dataset}/{asked.metric}",
        label=asked.header,
        detail=asked.detail,
        dataset=asked.dataset,
        metric=asked.metric,
        direction=asked.better,
        decimals=asked.decimals,
        **quantity(next((m for m in found if m is not None), None)),
    )
