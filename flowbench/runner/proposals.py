"""What a sweep tries next: Optuna's tree-structured Parzen estimator, which is asked here alone.

A proposal is a function of what is given: nothing else is kept between two of them, so that a sweep
that is taken up again goes on as if it had not stopped.

References:
    Bergstra et al. (2011), Algorithms for hyper-parameter optimization, NeurIPS 24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from flowbench.errors import SuiteError
from flowbench.suite.space import Distribution

if TYPE_CHECKING:
    import optuna

_DIGITS = 4  # of a real number: more tell nothing, and people read and type them


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a trial came to.

    Attributes:
        values: The settings that it tried.
        score: Its validation value, lower is better; None where it has none.
        curve: The best validation value so far by part of the budget.
    """

    values: Mapping[str, Any]
    score: float | None = None
    curve: Mapping[float, float] = field(default_factory=dict)


def propose(
    space: Mapping[str, Distribution],
    told: Sequence[Told],
    *,
    seed: tuple[int, ...],
    at_random: bool = False,
) -> dict[str, Any]:
    """Draws settings that may do better.

    Args:
        space: What each is drawn from.
        told: Trials so far, in order. Those without a score count as worse than all with one:
            the longer their curve the better.
        seed: Numbers that decide the draw.
        at_random: Draw from the space itself, whatever trials came to.

    Returns:
        A value for each setting; real numbers have four significant digits.

    Raises:
        SuiteError: Optuna is not installed.
    """
    optuna = load_optuna()
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    samplers = optuna.samplers
    sampler = samplers.RandomSampler(state) if at_random else samplers.TPESampler(seed=state)
    study = optuna.create_study(sampler=sampler)
    distributions = {name: _distribution(optuna, one) for name, one in space.items()}
    study.add_trials([_trial(optuna, space, distributions, one) for one in told])
    drawn = study.ask(distributions).params
    return {name: _value(space[name], value) for name, value in drawn.items()}


def load_optuna() -> ModuleType:
    """Imports Optuna, which then says nothing of its own accord.

    Raises:
        SuiteError: It is not installed.
    """
    try:
        import optuna
    except ImportError as exc:
        raise SuiteError(
            "--sweep needs Optuna, which is not installed; pip install 'flowbench[sweep]'"
        ) from exc
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(
    optuna: ModuleType, drawn_from: Distribution
) -> optuna.distributions.BaseDistribution:
    made = optuna.distributions
    if drawn_from.kind == "choice":  # by their places: Optuna has no lists as values
        return made.CategoricalDistribution(range(len(drawn_from.choices)))  # type: ignore[no-any-return]
    if drawn_from.kind == "int":
        return made.IntDistribution(int(drawn_from.low or 0), int(drawn_from.high or 0))  # type: ignore[no-any-return]
    return made.FloatDistribution(drawn_from.low, drawn_from.high, log=drawn_from.kind == "log")  # type: ignore[no-any-return]


def _value(drawn_from: Distribution, drawn: Any) -> Any:
    if drawn_from.kind == "choice":
        return drawn_from.choices[drawn]
    if drawn_from.kind == "int":
        return drawn
    rounded = float(f"{drawn:.{_DIGITS}g}")
    return min(max(rounded, drawn_from.low or 0.0), drawn_from.high or 0.0)


def _trial(
    optuna: ModuleType,
    space: Mapping[str, Distribution],
    distributions: Mapping[str, Any],
    told: Told,
) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    values = {
        name: one.place_of(told.values[name]) if one.kind == "choice" else told.values[name]
        for name, one in space.items()
    }
    return optuna.trial.create_trial(  # type: ignore[no-any-return]
        # A failed one too: left out, the same would be proposed again.
        state=states.PRUNED if told.score is None else states.COMPLETE,
        value=told.score,
        params=values,
        distributions=dict(distributions),
        intermediate_values={round(1000 * at): value for at, value in told.curve.items()},
    )
