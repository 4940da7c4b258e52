"""Claims with their runs, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.build.claimed import judge_claims
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.from_claims import board_of_claims
from flowbench.store.records import AttemptRow
from flowbench.suite.claims import ClaimsFile
from tests.store.attempts import attempt, failed, job, measured

RUNS = {
    name: {"label": name.title(), "model": f"{name}:small", "budget": "50steps"}
    for name in ("glow", "nice", "maf")
}
GREATER = {
    "kind": "greater",
    "runs": ["glow", "nice"],
    "metric": "bpd",
    "direction": "lower",
    "at_least": 0.05,
    "apart": "The model.",
}
GOOD = {"glow": [2.0, 2.01, 1.99], "nice": [2.2, 2.19, 2.21]}


def file_of(*tests: Mapping[str, Any], **runs: Any) -> ClaimsFile:
    claims = [
        {"id": f"c{i}", "paper": "denseflow", "place": "Table 4", "says": "It is so.", "test": test}
        for i, test in enumerate(tests)
    ]
    return ClaimsFile.model_validate({"seeds": (0, 1, 2), "runs": RUNS | runs, "claim": claims})


def records(
    values: Mapping[str, Sequence[float | str]], name: str = "bpd", **fields: Any
) -> list[AttemptRow]:
    """One attempt a seed: a value, or how it ended."""
    protocol = file_of(GREATER).runs["glow"].protocol
    asked = {"budget": "50steps", "protocol": protocol.model_dump(mode="json")}
    found = []
    for model, some in values.items():
        for seed, value in enumerate(some):
            row = job(model, seed, **asked)
            if isinstance(value, str):
                found.append(failed(row, value))
            else:
                m = measured(name, value, "bits/dim", role="quality", **fields)
                found.append(attempt(row, measurements=(m,)))
    return found


CLAIMS = ClaimsFile.model_validate(
    {
        "seeds": (0, 1, 2),
        "runs": RUNS,
        "claim": [
            {
                "id": "better",
                "paper": "denseflow",
                "place": "Table 4",
                "says": "Glow <beats> NICE.",
                "published": [
                    {"table": "denseflow-4", "row": 6, "metric": "bpd"},
                    {"table": "denseflow-4", "row": 5, "metric": "bpd"},
                ],
                "note": "At a small size.",
                "test": GREATER,
            },
            {
                "id": "worse",
                "paper": "denseflow",
                "place": "Table 4",
                "says": "NICE beats Glow.",
                "published": [
                    {"table": "denseflow-4", "row": 5, "metric": "bpd"},
                    {"table": "denseflow-4", "row": 4, "metric": "bpd"},
                ],
                "test": {**GREATER, "runs": ["nice", "glow"]},
            },
            {
                "id": "maf",
                "paper": "X",
                "place": "",
                "says": "MAF, too.",
                "test": {**GREATER, "runs": ["maf", "nice"]},
            },
            {"id": "none", "paper": "X", "place": "", "says": "It flies.", "untestable": "wings"},
        ],
    }
)


def claimed() -> Board:
    """A board with every verdict, of claims with and without published values."""
    source = Source(records=records(GOOD))
    return board_of_claims(CLAIMS, judge_claims(CLAIMS, source), source)
