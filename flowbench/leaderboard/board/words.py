"""How facts are said in words: statuses, likelihoods, shapes, budgets, hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flowbench.api.specs import Direction
from flowbench.budget import COUNTS
from flowbench.leaderboard.board.numbers import NO_BREAK, duration
from flowbench.store.checks import CheckRow
from flowbench.store.records import CONTENDED_SHARE, Tuning

_STATUS = {
    "timeout": "× timed out",
    "oom": "× out of memory",
    "diverged": "× diverged",
    "crashed": "× crashed",
    "killed": "× killed",
    "preempted": "× preempted",
    "pruned": "– pruned",
    "failed": "× failed",
    "skipped": "– skipped",
    "unavailable": "– unavailable",
}
BADGES = {
    "contract ×": "the model fails its contract check",
    "refuted ×": "a witness refutes a run",
    "stale": "newer code has run, or flowbench has changed since",
    "mixed code": "the runs are not by the same code",
    "contended": f"a run waited for a core for more than {100 * CONTENDED_SHARE:.0f}{NO_BREAK}% of "
    "its training, on a busy machine",
}
"""Short warnings about a row, and what they say."""

STANDINGS = {
    "verified": "submitted, and a run of the row measured again by those who keep the board",
    "self-reported": "as submitted; nobody else has measured it",
    "published": "a paper's values alone",
}
"""Whose word a row is, on boards that others send results to, and what that says."""

_UNITS = {"gpuh": "GPU-h", "s": "s"}

# Escape sequences, other controls and direction marks could rewrite what stands around them.
_UNPRINTABLE = re.compile(
    "\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def printable(text: str) -> str:
    """Takes out what a terminal would obey or what reorders the text around it; one line."""
    return _UNPRINTABLE.sub("", text.replace("\n", " "))


def status(name: str) -> str:
    """What stands in place of a value: a mark and a word; nothing for what was not measured."""
    return _STATUS.get(name, "" if name in ("ok", "none") else f"× {name}")


def sign(protocol: Mapping[str, Any], direction: Direction) -> str:
    """How a value relates to what it estimates.

    Args:
        protocol: Protocol of the measurement; only likelihoods say what they estimate.
        direction: Which way is better: the bound of a likelihood can only understate the model.

    Returns:
        ``=``, ``≤``, ``≥`` or ``≈``; empty for what is simply measured.
    """
    if "bound" not in protocol:
        return ""
    if protocol["bound"]:
        return "≥" if direction == "higher" else "≤"
    is_exact = protocol["noise"] == "none" and protocol["tolerance"] is None
    return "=" if is_exact else "≈"


def likelihood(facts: Mapping[str, Any] | None) -> str:
    """A stored likelihood in words, e.g. ``"uniform bound, 16 draws"``; empty without one."""
    if not facts:
        return ""
    kind, dequantization = _estimated(facts), str(facts.get("dequantization", "none"))
    text = f"{dequantization} {kind}" if dequantization != "none" else kind
    if facts.get("measure") != "discrete":
        text += f", {facts.get('measure')} density"
    draws = facts.get("draws", 1)
    if draws > 1:
        text += f", {draws}{NO_BREAK}draws"
    given = facts.get("given", ())
    return f"{text}, given {' and '.join(given)}" if given else text


def precision(config: Mapping[str, Any]) -> str:
    """What a model was trained in, unless it is float32; it is never evaluated in anything else."""
    given = config.get("training", {}).get("precision", "float32")
    return "" if given == "float32" else f"trained in {given}"


def likelihood_facts(facts: Mapping[str, Any] | None) -> dict[str, str]:
    """The same facts apart, each in words."""
    if not facts:
        return {}
    draws = facts.get("draws", 1)
    noise = {"weights": "averaged as weights", "estimates": "averaged as estimates"}
    noisy, tolerance = noise.get(facts.get("noise", "none")), facts.get("tolerance")
    return {
        "Measure": f"{facts.get('measure')}, dequantization {facts.get('dequantization', 'none')}",
        "Noise": f"{count(draws, 'draw')} {noisy}" if noisy else "none",
        "Bound": "yes, from below" if facts.get("bound") else "no",
        "Tolerance": "none, no solver" if tolerance is None else f"{tolerance:g}, of its solver",
        "Given": " and ".join(facts.get("given", ())) or "nothing",
    }


def _estimated(facts: Mapping[str, Any]) -> str:
    if facts.get("noise", "none") == "estimates":
        return "evidence bound" if facts.get("bound") else "stochastic estimate"
    if facts.get("bound"):
        return "bound"
    return "exact" if facts.get("tolerance") is None else "numerical"


def shape(event_shape: Sequence[int]) -> str:
    """The shape of an example, e.g. ``"8×8"`` or ``"2-D"``; empty if it is not known."""
    if len(event_shape) == 1:
        return f"{event_shape[0]}-D"
    return "×".join(str(size) for size in event_shape[-2:]) if len(event_shape) == 3 else ""


def manifold(reference: str | None) -> str:
    """The manifold that a dataset names, e.g. ``"sphere"``; empty without one."""
    return (reference or "").rpartition(":")[2].lower()


def budget(text: str) -> str:
    """The canonical text of a budget as people say it, e.g. ``"60 s or 5,000 steps"``."""
    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)([a-z]+)", part)  # 2 epochs are no 2e
        if match is None:
            parts.append(part)
            continue
        unit = _UNITS.get(match[2], match[2])
        if float(match[1]) == 1 and unit in COUNTS.values():
            unit = unit.removesuffix("s")
        parts.append(f"{float(match[1]):,.12g}{NO_BREAK}{unit}")
    return " or ".join(parts)


def best_of(tuning: Tuning | None) -> str:
    """What a sweep took, e.g. ``"best of 20 trials, 6 pruned, 0.5 h in all"``; of none nothing."""
    if tuning is None or tuning.sweep is None:
        return ""
    ends = {"pruned": tuning.pruned, "failed": tuning.failed}
    parts = [f"best of {count(tuning.trials, 'trial')}"]
    parts += [f"{number} {how}" for how, number in ends.items() if number]
    return ", ".join([*parts, f"{duration(tuning.charged_s)} in all"])


def tuning(found: Tuning | None) -> str:
    """What it took to find a configuration, in a sentence; nothing where that is not known."""
    if found is None:
        return ""
    parts = []
    if found.preset:
        parts.append(f"{count(found.preset, 'configuration')} tried for the preset")
    if found.sweep is not None:
        drawn = ", ".join(f"{key}={text}" for key, text in found.space.items())
        parts.append(f"{best_of(found)}, of {drawn}, chosen on validation")
    return "; then ".join(parts)


def better(direction: Direction) -> str:
    """Which way is better, in words; nothing for what is no contest."""
    return "" if direction == "none" else f"{direction} is better"


def contract(check: CheckRow | None) -> str:
    """The outcome of a contract check in words, of None that there was none.

    E.g. ``"10 checks passed, 4 skipped"``, ``"failed: inverse, ladj"``.
    """
    if check is None:
        return "not checked here (flowbench check)"
    outcomes = [str(one.get("status")) for one in check.checks]
    failed = [str(one["name"]) for one in check.checks if one.get("status") == "failed"]
    if check.status == "failed" and failed:
        return f"failed: {', '.join(failed)}"
    if "passed" not in outcomes:
        return check.status
    passed = f"{count(outcomes.count('passed'), 'check')} passed"
    skipped = outcomes.count("skipped")
    return f"{passed}, {skipped} skipped" if skipped else passed


def count(number: int, noun: str) -> str:
    """A number of things, e.g. ``"1 run"``, ``"3 runs"``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def with_unit(name: str, unit: str, joint: str) -> str:
    """A quantity with its unit, unless its name says it.

    Args:
        name: The quantity, e.g. ``"NLL"``.
        unit: Its unit as it is shown, e.g. ``"nats/dim"``.
        joint: What joins them.

    Returns:
        E.g. ``"NLL, nats per dim"``; ``"Bits per dim"`` as it is for ``bits/dim``.
    """
    spelt = unit.replace("/", " per ")
    is_told = {"h": "hours"}.get(unit, spelt) in name.lower()
    return name if not unit or is_told else f"{name}{joint}{spelt}"


def lower_first(text: str) -> str:
    """A text as it stands within a sentence: names in capitals stay as they are."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
