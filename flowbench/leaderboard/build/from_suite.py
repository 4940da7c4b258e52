"""Lays out a board of our own whose columns a suite names, over several data sets."""

from __future__ import annotations

from dataclasses import replace

from flowbench.leaderboard.board.table import Board, Column, Row
from flowbench.leaderboard.build import frame
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.frame import Frame, FrameCell, FrameRow
from flowbench.leaderboard.build.standing import Chosen, choose
from flowbench.suite.schema import BoardColumn, OurValue, Suite


def frame_of_suite(suite: Suite, source: Source) -> Frame:
    """One row a model of the suite, in its order; by family once all have run."""
    asked = suite.board.columns if suite.board else ()
    chosen = choose(suite, source, [(a.dataset, model) for model in suite.models for a in asked])
    columns = tuple(_column(one, chosen) for one in asked)

    def cell(model: str, one: BoardColumn, column: Column) -> FrameCell:
        ours = OurValue(name=one.metric, per=one.per)
        method = chosen.methods.get((one.dataset, model))
        return FrameCell.of(column, ours=ours, model=model, method=method)

    rows = [
        FrameRow(
            row=Row(name=model),
            cells=tuple(cell(model, one, c) for one, c in zip(asked, columns, strict=True)),
        )
        for model in suite.models
    ]
    board = Board(
        slug=suite.name,
        suite=suite.name,
        title=suite.title or suite.name,
        description=frame.how_ours_were_made("Every model was", chosen.records),
        columns=columns,
        caveats=suite.board.caveats if suite.board else (),
        row_header="Model",
        shared_unit=frame.shared_unit(columns),
    )
    # Until then the families of some are not known.
    if not chosen.waiting:
        rows, groups = frame.by_family(rows)
        board = replace(board, groups=groups)
    return Frame(board=board, rows=rows, noun="model", metrics=suite.metrics, chosen=chosen)


def _column(asked: BoardColumn, chosen: Chosen) -> Column:
    on_data = (m for (dataset, _), m in chosen.methods.items() if dataset == asked.dataset)
    found = (method.measured(asked.metric) for method in on_data)
    return Column(
        key=f"{asked.dataset}/{asked.metric}",
        label=asked.header,
        detail=asked.detail,
        dataset=asked.dataset,
        metric=asked.metric,
        direction=asked.better,
        decimals=asked.decimals,
        **frame.quantity(next((m for m in found if m is not None), None)),
    )
