"""How a fit runs: alone, or side by side with others that differ in a few numbers.

An estimator's fit is a generator. It yields what it wants, a `Training` of networks or a
`Subfit` of another estimator, and goes on once that is done. `fit_alone` does what is
wanted at once. `fit_together` runs many fits in step: it trains the networks of all of
them in common stacks, and fits an estimator that several of them want only once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skensemble._engine.bar import bar_shown
from skensemble._engine.lost import WorkerLostError
from skensemble._engine.training import Training
from skensemble._fits.callbacks import told_of
from skensemble._fits.checkpointed import checkpointed
from skensemble._fits.given import Given, Steps
from skensemble._fits.prepared import rows_key, take_over
from skensemble._fits.subfit import Subfit, Subfits
from skensemble._private import is_inside


def fit_alone(estimator: Any, given: Given) -> None:
    """Run one fit, or take over one that was made beforehand.

    An error before any network is trained leaves the estimator as it was, and so does an
    interrupt of one that was fitted, unless a warm start is to keep what there is of the new fit.
    """
    start = time.perf_counter()
    with told_of(estimator, given):
        if take_over(estimator, lambda: rows_key(given)):
            return
        # In a search of scikit-learn's there are many, of which none is to stay.
        verbose, leave = getattr(estimator, "verbose", 0), not is_inside(estimator)
        with (
            bar_shown(verbose, type(estimator).__name__, leave),
            checkpointed(estimator, given) as known,
        ):
            _run_alone(estimator, known)
        estimator._fit_seconds = time.perf_counter() - start


def _run_alone(estimator: Any, given: Given) -> None:
    before, trained = dict(vars(estimator)), False
    keeps = _is_fitted(estimator) and not getattr(estimator, "warm_start", False)
    steps = estimator._steps(given)
    try:
        wanted = next(steps)
        while True:
            trained = trained or isinstance(wanted, Training)
            try:
                if isinstance(wanted, Subfits):
                    run_subfits(wanted)
                else:
                    wanted.run()
            except BaseException as error:
                wanted = steps.throw(error)
            else:
                wanted = next(steps)
    except StopIteration:
        return
    except BaseException as error:
        if not trained or (keeps and not isinstance(error, Exception)):
            vars(estimator).clear()
            vars(estimator).update(before)
        raise


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


@dataclass
class Outcome:
    """What became of one of several fits: its seconds, and its error if it failed."""

    seconds: float = 0.0
    error: Exception | None = None


class _Fit:
    """A fit that is under way."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.outcome = Outcome()
        self.wanted: Any = None
        self.advance()

    def advance(self, error: Exception | None = None) -> None:
        """Go on to the next thing that is wanted; an error ends this fit alone."""
        start = time.perf_counter()
        try:
            self.wanted = next(self.steps) if error is None else self.steps.throw(error)
        except StopIteration:
            self.wanted = None
        except Exception as failure:  # kept, for the caller to report
            self.wanted, self.outcome.error = None, failure
        self.outcome.seconds += time.perf_counter() - start


def fit_together(
    fits: Sequence[Steps], n_jobs: int | None = None, verbose: int = 0
) -> list[Outcome]:
    """Run many fits side by side; members that can be are trained in one stack.

    A fit's seconds are its share of the time that the common work took.
    """
    running = [_Fit(steps) for steps in fits]
    while waiting := [fit for fit in running if fit.wanted is not None]:
        subfits = [fit for fit in waiting if isinstance(fit.wanted, Subfit | Subfits)]
        if subfits:  # students wait for all teachers, so that they can train together
            _run_subfits(subfits, n_jobs, verbose)
        else:
            _run_trainings(waiting, n_jobs, verbose)
    return [fit.outcome for fit in running]


def side_by_side(
    fits: Sequence[Steps], stack: int | str = "auto", n_jobs: int | None = None
) -> Steps:
    """Run fits in step as a part of another one, which yields what they want trained.

    What can train in one stack is yielded as one `Training`. Errors are returned, one a fit.
    """
    running = [_Fit(steps) for steps in fits]
    while waiting := [fit for fit in running if fit.wanted is not None]:
        for group in _alike(waiting):
            together = _join([fit.wanted for fit in group])
            together = replace(together, stack=stack, n_jobs=n_jobs)
            error = None
            try:
                yield together
            except Exception as failure:  # is told to those it concerns
                error = failure
            else:
                _deal([fit.wanted for fit in group], together)
            for fit in group:
                fit.advance(error)
    return [fit.outcome.error for fit in running]


def run_subfits(wanted: Subfits) -> None:
    """Fit several estimators for one fit: ours side by side, unless a memory is asked for each."""
    parts = wanted.parts()
    if any(one.memory.location is not None for one in parts):
        for one in parts:
            one.run()
        return
    for outcome in _fit_parts(parts, None, 0).values():
        if outcome.error is not None:
            raise outcome.error


def _run_subfits(fits: list[_Fit], n_jobs: int | None, verbose: int) -> None:
    parts = [part for fit in fits for part in fit.wanted.parts()]
    outcomes = _fit_parts(parts, n_jobs, verbose)
    sharers = Counter(part.key() for part in parts)
    for fit in fits:
        error = None
        for part in fit.wanted.parts():
            key = part.key()
            fit.outcome.seconds += outcomes[key].seconds / sharers[key]
            error = error or outcomes[key].error
        fit.advance(error)


def _fit_parts(parts: list[Subfit], n_jobs: int | None, verbose: int) -> dict[Any, Outcome]:
    """Fit what is wanted, equal things once and ours in common stacks; say what became of it."""
    wanted: dict[Any, list[Subfit]] = {}
    for part in parts:
        wanted.setdefault(part.key(), []).append(part)
    ours = {key: each for key, each in wanted.items() if _runs_in_step(each[0].estimator)}
    estimators = {key: clone(each[0].estimator) for key, each in ours.items()}
    steps = [estimators[key]._steps(each[0].given) for key, each in ours.items()]
    outcomes = dict(zip(ours, fit_together(steps, n_jobs, verbose), strict=True))
    for key, one in estimators.items():
        one._fit_seconds = outcomes[key].seconds
    for key, each in wanted.items():
        if key in ours:
            result = estimators[key]
        else:
            start, error = time.perf_counter(), None
            try:
                each[0].run()
            except Exception as failure:  # kept, for the caller to report
                error = failure
            result, outcomes[key] = each[0].result, Outcome(time.perf_counter() - start, error)
        for part in each:
            part.result = result
    return outcomes


def _runs_in_step(estimator: Any) -> bool:
    """Whether a fit can share stacks with others: one of ours that has no folder of its own."""
    return hasattr(estimator, "_steps") and getattr(estimator, "checkpoint", None) is None


def _alike(fits: list[_Fit]) -> list[list[_Fit]]:
    """Group fits whose networks can train in common stacks."""
    groups: dict[Any, list[_Fit]] = {}
    for fit in fits:
        training = fit.wanted
        keys = {member.key() for member in training.members}
        alone = training.members[0].objective.shared_batches or len(keys) != 1
        key = object() if alone else (training.stack, keys.pop())
        groups.setdefault(key, []).append(fit)
    return list(groups.values())


def _run_trainings(fits: list[_Fit], n_jobs: int | None, verbose: int) -> None:
    for fit in fits:  # of all of them before the first begins
        fit.wanted.announce()
    for group in _alike(fits):
        start, error = time.perf_counter(), None
        try:
            _train_group([fit.wanted for fit in group], n_jobs, verbose)
        except WorkerLostError:  # which is no fault of any of them
            raise
        except Exception as failure:
            error = failure
        seconds = time.perf_counter() - start
        n_members = sum(len(fit.wanted.members) for fit in group)
        for fit in group:
            fit.outcome.seconds += seconds * len(fit.wanted.members) / n_members
            fit.advance(error)


def _train_group(trainings: list[Training], n_jobs: int | None, verbose: int) -> None:
    """Train the members of all in common and hand each its own."""
    together = replace(_join(trainings), n_jobs=n_jobs, verbose=verbose)
    together.run()
    _deal(trainings, together)


def _join(trainings: list[Training]) -> Training:
    """Make one training of several."""
    if len(trainings) == 1:
        return trainings[0]
    members = [member for training in trainings for member in training.members]
    numbered = [replace(member, number=at) for at, member in enumerate(members)]
    announced = sum(training.announced for training in trainings)
    return replace(trainings[0], members=numbered, announced=announced, preview=None)


def _deal(trainings: list[Training], together: Training) -> None:
    """Hand the results of a joint training to those it was made of."""
    if len(trainings) == 1:
        trainings[0].results = together.results
        return
    places = [(training, member) for training in trainings for member in training.members]
    for at, (training, member) in enumerate(places):
        training.results[member.number] = together.results[at]
