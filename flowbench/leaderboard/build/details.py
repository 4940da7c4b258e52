"""Everything behind a row: what its values are, how they came about, and how to get them again."""

from __future__ import annotations

import json
import shlex
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from statistics import fmean
from typing import Any

from flowbench.api.protocol import MetricSettings
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import half_width
from flowbench.leaderboard.board.table import Curve, Details, Failure, SampleGrid
from flowbench.leaderboard.build.evidence import Method, hardware, swept, values
from flowbench.leaderboard.build.monitoring import monitored
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.bundles import SUBMISSION
from flowbench.store.kept import thinned
from flowbench.store.records import RUNG, AttemptRow, MeasurementRow
from flowbench.suite.load import flatten
from flowbench.suite.settings import setting_text

PICTURE = "image/png"
_HASH_CHARS = 12
_LOG_CHARS = 4000  # the end of a log that a page can carry for each failure
_HEAT_MAPS = {
    2: ": test data, samples",
    3: ": test data, samples, density",
}
_REMEDIES = {
    "oom": "A smaller preset needs less memory, as does --on-oom half-batch.",
    "timeout": "A longer --timeout, or fewer evaluation draws, lets it end.",
    "diverged": "A lower learning rate or stronger clipping; --rerun failed tries again.",
    "killed": "The machine ended it; --rerun failed tries again.",
    "preempted": "The same command goes on from its checkpoint.",
    "crashed": "The log says where; --rerun failed tries again once that is mended.",
}


def details(
    method: Method,
    contents: Mapping[str, AttemptContents],
    metrics: Sequence[str] | None = None,
) -> Details:
    """Gathers everything behind the runs of a row.

    Args:
        method: The row's runs.
        contents: Attempts in full, by id; those that are not there have no curves and samples.
        metrics: What the board's suite measures, if it says so.
    """
    found = [contents[r.attempt_id] for r in method.records if r.attempt_id in contents]
    seconds = sum((Counter(r.ledger) for r in method.records), Counter[str]())  # those above 0
    job = method.first.job
    drawn = next((c for c in found if c.artifacts), None)
    return Details(
        values=tuple(_values(method)),
        failures=tuple(_failures(method)),
        curves=tuple(curve for c in found if (curve := _curve(c)) is not None),
        ledger=tuple(sorted(seconds.items(), key=lambda item: (-item[1], item[0]))),
        samples=_samples(drawn),
        artifacts=tuple(a for a in drawn.artifacts if a.media_type != PICTURE) if drawn else (),
        command=command(method, metrics),
        facts=(*_facts(method), *(("Monitoring", text) for text in monitored(found))),
        config=tuple((k, _json(v), k in job.overrides) for k, v in flatten(job.config)),
        dataset=job.dataset,
    )


def _values(method: Method) -> Iterator[tuple[str, str, str]]:
    """All values of all metrics: name, text, and n or the reason why there is none."""
    measured: dict[str, list[MeasurementRow]] = defaultdict(list)
    for record in method.ended_well:
        for name, m in values(record).items():
            measured[name].append(m)
    for name, tried in measured.items():
        had = [m for m in tried if m.value is not None]
        if had:
            yield name.replace("_", " "), *_mean(had)
        else:
            yield name.replace("_", " "), words.status(tried[0].status), tried[0].reason or ""


def _mean(had: Sequence[MeasurementRow]) -> tuple[str, str]:
    """The mean of values in words, and what it is a mean of."""
    first, runs = had[0], words.count(len(had), "run")
    factor, unit = numbers.scale(first.unit)
    scaled = [m.value / factor for m in had if m.value is not None]
    open_ = first.decimals is None
    decimals = numbers.decimals_for(scaled, unit) if open_ else first.decimals or 0
    half = half_width(scaled)
    spread = numbers.interval(half, decimals) if half else ""
    parts = (words.sign(first.protocol, first.direction), numbers.number(fmean(scaled), decimals))
    text = " ".join(part for part in (*parts, spread) if part)
    what = f"{first.split} examples" if first.split else "repeats"
    of = runs if first.n is None else f"{runs}, {first.n:,} {what}"
    return f"{text}{numbers.NO_BREAK}{unit}" if unit else text, of


def _failures(method: Method) -> Iterator[Failure]:
    for record in (r for r in method.records if r.status != "ok"):
        log = record.log_tail or ""
        yield Failure(
            title=f"Seed {record.job.seed} {words.status(record.status)}",
            reason=record.reason or "",
            log_tail=log if len(log) <= _LOG_CHARS else "…" + log[-_LOG_CHARS:],
            remedy=_REMEDIES.get(record.status, ""),
        )


def _curve(contents: AttemptContents) -> Curve | None:
    """Validation values of the weights that were measured, against charged seconds.

    Points are thinned before those without a value are left out, as they are where a curve is kept
    as text.
    """
    record = contents.record
    scores = [(p.charged_s, p.score(record.weights)) for p in thinned(contents.curves)]
    units = [score[1] for _, score in scores if score is not None]
    if not units:
        return None
    points = ((seconds, score[0]) for seconds, score in scores if score and score[1] == units[0])
    unit = "nats/dim" if record.data.get("ragged") else units[0]
    if unit == "bits/dim" and record.data["modality"] == "sequence":
        unit = "bits/char"  # a dimension of text is a character
    return Curve(seed=record.job.seed, unit=unit, points=tuple(points), devices=record.num_devices)


def _samples(drawn: AttemptContents | None) -> SampleGrid | None:
    pictures = [a for a in drawn.artifacts if a.media_type == PICTURE] if drawn else []
    if drawn is None or not pictures:
        return None
    job, png = drawn.record.job, pictures[0].content
    temperature = job.protocol.get("sample", {}).get("temperature")
    at = f", temperature {temperature:g}" if isinstance(temperature, int | float) else ""
    # In a plane it holds as many heat maps as it is wide: older ones show samples alone.
    width, height = struct.unpack(">II", png[16:24])
    in_plane = drawn.record.data["modality"] in ("vector", "manifold")
    maps = _HEAT_MAPS.get(width // height, "") if in_plane else ""
    return SampleGrid(caption=f"seed {job.seed}{at}{maps}", png=png)


def command(method: Method, metrics: Sequence[str] | None = None) -> str:
    """The shell command that runs a row again.

    Args:
        method: The row's runs.
        metrics: What to measure; None takes what the runs were asked for.
    """
    job = method.first.job
    parts = ["flowbench", "run", "--models", method.name, "--datasets", job.dataset]
    parts += ["--budget", job.budget, "--seeds", _seeds(method)]
    for key, value in sorted(job.overrides.items()):
        parts += ["--set", f"{job.model}.{key}={setting_text(value)}"]
    # What was evaluated, and not what the defaults are by now.
    parts += _protocol_flags(job.protocol)
    given = _given(method.first.provenance, "--metrics")
    asked = ",".join(metrics or ()) or (given[-1] if given else "")
    parts += ["--metrics", asked] if asked else []
    climbed = any(RUNG in m.protocol for m in method.first.measurements)
    parts += ["--ladder"] if climbed else []
    for file in _given(method.first.provenance, "--plugin-file"):
        # The name alone: folders of another machine help nobody.
        parts += ["--plugin-file", PurePath(file).name]
    return shlex.join(parts)


def _protocol_flags(protocol: Mapping[str, Any]) -> Iterator[str]:
    """A protocol as the command line takes it; of samples only what is not as usual."""
    usual = MetricSettings()
    if "eval_draws" in protocol:
        yield from ("--eval-draws", str(protocol["eval_draws"]))
    if protocol.get("num_samples", usual.num_samples) != usual.num_samples:
        yield from ("--num-samples", str(protocol["num_samples"]))
    sample = protocol.get("sample", {})
    wanted = dict(sample.get("options", {}))
    if sample.get("temperature", usual.sample.temperature) != usual.sample.temperature:
        wanted = {"temperature": sample["temperature"], **wanted}
    for key, value in wanted.items():
        yield from ("--sample", f"{key}={setting_text(value)}")


def _given(provenance: Mapping[str, Any], flag: str) -> list[str]:
    """What the command line gave for a flag, each time it did."""
    parts = [str(part) for part in provenance.get("command") or ()]
    named = [value for name, value in pairwise(parts) if name == flag]
    return named + [part.partition("=")[2] for part in parts if part.startswith(f"{flag}=")]


def _seeds(method: Method) -> str:
    """Seeds as the command line takes them: ``0-2`` or ``0,3``."""
    seeds = sorted({r.job.seed for r in method.records})
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(str(seed) for seed in seeds)


def _facts(method: Method) -> Iterator[tuple[str, str]]:
    record = method.first
    machines = sorted({name for r in method.records if (name := hardware(r))})
    versions = record.provenance.get("versions")
    pairs = sorted(versions.items()) if isinstance(versions, Mapping) else ()
    facts = {
        "Likelihood": words.likelihood(record.likelihood),
        **words.likelihood_facts(record.likelihood),
        "Parameters": _parameters(record),
        "Weights": _weights(record),
        "Tuning": words.tuning(swept(method.records) or record.tuning),
        "Hardware": "; ".join(machines),
        "Waited for a core": _waited(method.ended_well),
        "Data": f"{record.job.dataset}, sha256 {record.job.dataset_sha256[:_HASH_CHARS]}",
        "Code": _code(record),
        "Submitted": _submission(record),
        "Versions": ", ".join(f"{name} {version}" for name, version in pairs),
        "Jobs": ", ".join(r.job.job_id for r in method.records),
    }
    return ((name, fact) for name, fact in facts.items() if fact)


def _waited(records: Sequence[AttemptRow]) -> str:
    """The most that a run waited; nothing where no run knows it, or none waited."""
    shares = [r.run_delay_s / r.charged_s for r in records if r.run_delay_s and r.charged_s]
    return f"{100 * max(shares):.0f}{numbers.NO_BREAK}% of training" if shares else ""


def _parameters(record: AttemptRow) -> str:
    """How many there are, and how many training has where these are more."""
    used, trained = record.num_parameters, record.num_parameters_training
    more = f" ({trained:,} in training)" if trained not in (None, used) else ""
    return f"{used:,}{more}" if used else ""


def _code(record: AttemptRow) -> str:
    """The code that ran, and where it can be found."""
    git = record.provenance.get("git")
    git = git if isinstance(git, Mapping) else {}
    commit = str(git.get("commit", ""))[:_HASH_CHARS]
    changed = ", with changes" if git.get("dirty") else ""
    sha256 = f"sha256 {record.code_sha256[:_HASH_CHARS]}" if record.code_sha256 else ""
    return ", ".join(part for part in (sha256, f"commit {commit}{changed}" * bool(commit)) if part)


def _submission(record: AttemptRow) -> str:
    """Who sent the row, in which bundle, and what was measured again of it."""
    said = record.provenance.get(SUBMISSION)
    if not isinstance(said, Mapping):
        return ""
    by = f"by {said['by']} " if said.get("by") else ""
    bundle = f"in {said.get('name')}, sha256 {str(said.get('bundle'))[:_HASH_CHARS]}"
    return "; ".join(str(part) for part in (by + bundle, said.get("why")) if part)


def _weights(record: AttemptRow) -> str:
    weights, step = record.weights, record.best_step
    if weights is None:
        return ""
    average = record.job.config.get("training", {}).get("average") or {}
    averaged = "averaged (EMA)"
    if "count" in average:
        averaged = f"mean of the last {average['count']}, {average['every']:,} steps apart"
    named = {"ema": averaged, "raw": "as trained"}.get(weights, weights)
    return named if step is None else f"{named}, of step {step:,}, best on validation"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
