"""The pages that a server shows besides boards; each says all that a file of the folder says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowbench.cli.quantities import clock_text, percent_text, rate_text, score_text
from flowbench.leaderboard.figures.curves import Series, curves
from flowbench.leaderboard.render.html.samples import address, recording, room, text_of
from flowbench.leaderboard.render.html.shell import render_page
from flowbench.runner.survey import Survey, UnderWay, log_lines
from flowbench.store.attempt_files import CURVES, AttemptContents, read_curves
from flowbench.store.records import CurvePoint

LAST = 200  # attempts on the first page
LOG_LINES = 40


def overview(
    results: Path,
    survey: Survey,
    attempts: Sequence[Mapping[str, Any]],
    listed: Sequence[tuple[str, str]],
    narrowed: Mapping[str, str],
) -> str:
    """What is under way, boards, and the latest attempts.

    Args:
        survey: What is under way.
        attempts: Those of `queries.list_attempts` that the address asks for.
        listed: Name and title of each board.
        narrowed: What it asks for.
    """
    alive = [one for one in survey.under_way if not one.is_gone]
    content = {
        "folder": results.name,
        "under_way": [_doing(one) for one in alive],
        "waiting": len(survey.waiting),
        "ended": sorted(survey.ended.items()),
        "boards": listed,
        "attempts": [_listed(attempt) for attempt in reversed(attempts[-LAST:])],
        "num_attempts": len(attempts),
        "narrowed": narrowed,
    }
    return _rendered("overview.html.j2", content)


def _doing(one: UnderWay) -> dict[str, str]:
    beat = one.heartbeat
    row = one.order.job
    said = {
        "id": one.attempt_id,
        "name": f"{row.model}:{row.preset}",
        "on": f"{row.dataset}, seed {row.seed}",
        "phase": beat.doing if beat else "starting",
    }
    if beat is None:
        return said | dict.fromkeys(("progress", "share", "rate", "score", "left"), "")
    return said | {
        "progress": f"{beat.progress:.4f}",
        "share": percent_text(beat.progress),
        "rate": rate_text(beat.steps_per_s) if beat.steps_per_s else "",
        "score": "" if beat.score is None else score_text(beat.score, beat.score_unit),
        "left": "" if beat.left_s is None else clock_text(beat.left_s),
    }


def _listed(attempt: Mapping[str, Any]) -> dict[str, Any]:
    marks = [mark for mark in ("stale", "contended") if attempt[mark]]
    marks += ["refuted"] if attempt["refuted"] else []
    likelihood = attempt["likelihood"]
    return {
        "id": attempt["name"],
        "job": attempt["job_id"],
        "name": f"{attempt['model']}:{attempt['preset']}",
        "set": ", ".join(f"{key}={value}" for key, value in attempt["overrides"].items()),
        "dataset": attempt["dataset"],
        "seed": attempt["seed"],
        "budget": attempt["budget"],
        "status": attempt["status"],
        "marks": marks,
        "reason": attempt["reason"] or "",
        "value": score_text(likelihood["value"], likelihood["unit"]) if likelihood else "",
        "started": _minute(attempt["started"]),
    }


def _minute(moment: str) -> str:
    """A moment of UTC, to the minute."""
    return f"{moment[:16].replace('T', ' ')} UTC"


def ended(contents: AttemptContents, log: Sequence[str]) -> str:
    """An attempt with a record: curve, samples, values, configuration, log."""
    record = contents.record
    values = [
        (name, "–" if row.value is None else f"{row.value:.6g}", row.unit, row.reason or "")
        for name, row in record.values_by_name().items()
    ]
    facts = {
        "status": record.status,
        "why": record.reason or "",
        "budget": record.job.budget,
        "steps": f"{record.steps:,}",
        "charged": clock_text(record.charged_s),
        "device": record.device_name or "",
        "begun": _minute(record.started),
    }
    most = room(1)
    content = {
        "id": record.attempt_id,
        "job": record.job.job_id,
        "title": record.job.label,
        "facts": {name: said for name, said in facts.items() if said},
        "curve": drawn(contents.curves),
        "values": values,
        "pictures": [
            (a.name, address(a.thumbnail or a.content, 400_000))
            for a in contents.artifacts
            if a.thumbnail or a.media_type.startswith("image/")
        ],
        "sounds": [
            (a.name, heard)
            for a in contents.artifacts
            if a.media_type.startswith("audio/") and (heard := recording(a, most))
        ],
        "texts": [
            (a.name, text_of(a)) for a in contents.artifacts if a.media_type.startswith("text/")
        ],
        "config": flat(record.job.config),
        "log": log,
    }
    return _rendered("attempt.html.j2", content, sounds=bool(content["sounds"]))


def under_way(one: UnderWay) -> str:
    """An attempt that has no record yet."""
    doing = _doing(one)
    silent = f"no sign of life for {clock_text(one.silent_s)}" if one.is_gone else ""
    facts = {
        "status": silent or "under way",
        "phase": doing["phase"],
        "of budget": doing["share"],
        "steps/s": doing["rate"],
        "validation": doing["score"],
        "left": doing["left"],
        "budget": one.order.job.budget,
    }
    content = {
        "id": one.attempt_id,
        "job": one.job_id,
        "title": one.order.job.label,
        "facts": {name: said for name, said in facts.items() if said},
        "curve": drawn(_curve(one.attempt.path)),
        "values": [],
        "pictures": [],
        "sounds": [],
        "texts": [],
        "config": flat(one.order.job.config),
        "log": last_lines(one.attempt),
    }
    return _rendered("attempt.html.j2", content)


def missing(which: str) -> str:
    """What is shown of an address that leads nowhere."""
    return _rendered("missing.html.j2", {"which": which})


def last_lines(attempt: Any) -> list[str]:
    """The end of an attempt's log."""
    return list(log_lines(attempt, follow=False))[-LOG_LINES:]


def _curve(folder: Path) -> tuple[CurvePoint, ...]:
    try:
        return read_curves(folder / CURVES)
    except (OSError, ValueError):  # none yet
        return ()


def drawn(points: Sequence[CurvePoint]) -> str:
    """Learning curves of raw and averaged weights as ``svg``; empty without two points."""
    series = []
    for weights, label in (("raw", "raw"), ("ema", "averaged")):
        scores = [(p.charged_s, s[0]) for p in points if (s := p.score(weights)) is not None]
        if len(scores) > 1:
            series.append(Series(points=scores, label=label, lead=weights == "ema"))
    if not series:
        return ""
    return curves(series, prefix="curve", title="Validation while it trained")


def flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested configuration by dotted keys."""
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            lines += flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", str(value)))
    return lines


def _rendered(template: str, content: dict[str, Any], *, sounds: bool = False) -> str:
    return render_page(f"view/{template}", content, sounds=sounds, live=True)
