"""Candidates on folds: made so that their networks train side by side, and handed on when asked.

What is one of ours learns rows of the whole data; what ends a pipeline learns what the transformers
before it make of a fold's rows. All that can share a stack does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.utils.validation import _num_samples

from skensemble._fits.given import Given, Steps
from skensemble._fits.prepared import Prepared, estimator_key, fold_key, rows_key
from skensemble._fits.running import Outcome
from skensemble.model_selection.chains import Chains, Front, network_of

# Rows that transformers made are kept until this many bytes wait to be learned.
_WAITING_BYTES = 1 << 30


@dataclass(frozen=True)
class Candidate:
    """An estimator that is to be fitted on each fold.

    Attributes
    ----------
    number : int
        Its place in the results.
    key : str
        Under which it is found.
    estimators : list of estimator
        One a fold.
    told : str
        What it is called.
    is_ours : bool
        Whether it ends in networks that can share stacks.
    """

    number: int
    key: str
    estimators: list[Any]
    told: str
    is_ours: bool = True


@dataclass(frozen=True)
class FixedFolds:
    """Folds that have been asked for, since some can be asked for only once."""

    splits: list[Any]

    @classmethod
    def of(cls, folds: Any, n_rows: int) -> FixedFolds:
        """Take the folds, which must be pairs of rows that there are."""
        rows = np.arange(n_rows)
        splits = [(train, test) for train, test in folds]
        for pair in splits:
            for one in pair:
                rows[np.asarray(one)]
        return cls(splits)

    def split(self, X: Any, y: Any = None, groups: Any = None, **params: Any) -> list[Any]:
        """Return the folds."""
        return self.splits

    def get_n_splits(self, *args: Any, **params: Any) -> int:
        """Return how many there are."""
        return len(self.splits)


@dataclass(frozen=True)
class _Fit:
    """A candidate on a fold: its place in the results, and the key under which it is found."""

    place: tuple[int, int]
    key: tuple[str, str]
    estimator: Any
    steps: Steps
    front: Front | None = None


@dataclass
class Folds:
    """The data that candidates are fitted on, as scikit-learn will ask for it.

    Parameters
    ----------
    X, y : array-like
        As they arrived.
    splits : list of tuple
        Rows to train and to test on.
    params : dict
        What `fit` is passed.
    say : callable
        Who is told of what is not trained together.
    """

    X: Any
    y: Any
    splits: list[Any]
    params: dict[str, Any]
    say: Callable[[str], None]
    _keys: dict[tuple[int, bool], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        every = np.arange(_num_samples(self.X))
        # Masks and places from the end are rows too.
        self.rows = [every[np.asarray(train)] for train, _ in self.splits]
        self.chains = Chains(self.X, self.y, self.rows, self.params)
        self._shared: dict[Any, Any] = {}
        self._given: dict[int, Given] = {}

    def given(self, number: int) -> Given:
        """Return the rows of a fold for an estimator of ours, as a part of the whole data."""
        if number not in self._given:
            rows, shared = self.rows[number], self._shared
            self._given[number] = Given(self.X, self.y, rows=rows, shared=shared, **self.params)
        return self._given[number]

    def key(self, number: int, whole: bool) -> str:
        """Return what a fold's rows are found by, in a fit of ours or of a `whole` pipeline."""
        if (number, whole) not in self._keys:
            made = fold_key(*self.chains.fold(number)) if whole else rows_key(self.given(number))
            self._keys[number, whole] = made
        return self._keys[number, whole]


class TrainedTogether:
    """Candidates that were trained on all folds, for scikit-learn to ask for.

    Parameters
    ----------
    folds : Folds
        The data.
    candidates : sequence of Candidate or None
        What is to be fitted.
    run : callable
        Runs the fits' steps and returns an outcome for each.
    n_jobs : int or None
        Workers for candidates that are not ours.

    Attributes
    ----------
    prepared : Prepared
        The fitted candidates.
    n_fits : int
        How many there are.
    seconds : ndarray of shape (n_candidates, n_folds)
        What each took, its part of common work; NaN where it was not trained.
    """

    def __init__(
        self,
        folds: Folds,
        candidates: Sequence[Candidate | None],
        run: Callable[[list[Steps]], list[Outcome]],
        n_jobs: int | None = None,
    ) -> None:
        self.prepared = Prepared()
        self.n_fits = 0
        self.seconds = np.full((len(candidates), len(folds.splits)), np.nan)
        known = [one for one in candidates if one is not None]
        self._fit_others(folds, [one for one in known if not one.is_ours], n_jobs)
        for fits in _in_waves(folds, [one for one in known if one.is_ours]):
            outcomes = run([fit.steps for fit in fits])
            self.n_fits += len(fits)
            for fit, outcome in zip(fits, outcomes, strict=True):
                own = outcome.seconds
                if fit.front is None:
                    fit.estimator._fit_seconds = own
                else:
                    own += folds.chains.share_of(fit.front)
                self.prepared.add(fit.key, fit.estimator, outcome.error)
                self.seconds[fit.place] = own

    def _fit_others(self, folds: Folds, others: list[Candidate], n_jobs: int | None) -> None:
        """Fit what shares no stacks, by workers, since scikit-learn's loop has none here."""
        places = [(one, number) for one in others for number in range(len(folds.splits))]
        if not places or effective_n_jobs(n_jobs) == 1:
            return
        calls = (
            delayed(_fit_elsewhere)(one.estimators[number], *folds.chains.fold(number))
            for one, number in places
        )
        for (one, number), (fitted, error, seconds) in zip(
            places, Parallel(n_jobs=n_jobs)(calls), strict=True
        ):
            self.prepared.add((one.key, folds.key(number, whole=True)), fitted, error)
            self.seconds[one.number, number] = seconds


def _fit_elsewhere(estimator: Any, X: Any, y: Any, params: dict[str, Any]) -> Any:
    """Fit in a worker; return the estimator, its error if it failed, and its seconds."""
    start, error = time.perf_counter(), None
    try:
        estimator.fit(X, y, **params)
    except Exception as failure:  # scikit-learn reports it in its own way
        error = failure
    return estimator, error, time.perf_counter() - start


def _in_waves(folds: Folds, candidates: list[Candidate]) -> Iterable[list[_Fit]]:
    """Yield fits that train together, in the order of their places.

    All of them at once, unless what transformers made of the rows takes too much room.
    """
    waiting: list[_Fit] = []
    for one in candidates:
        try:
            waiting += [_make_fit(folds, one, number) for number in range(len(folds.splits))]
        except Exception as error:  # scikit-learn reports it in its own way
            folds.say(f"{one.told} is fitted by itself because of {error!r}")
        if folds.chains.nbytes > _WAITING_BYTES:
            yield waiting
            waiting = []
            folds.chains.forget()
    if waiting:
        yield waiting


def _make_fit(folds: Folds, one: Candidate, number: int) -> _Fit:
    estimator = one.estimators[number]
    network: Any = network_of(estimator)
    whole = network is not estimator
    front = folds.chains.fit(estimator, number) if whole else None
    given = folds.given(number) if front is None else front.given
    key = one.key, folds.key(number, whole)
    return _Fit((one.number, number), key, estimator, network._steps(given), front)


def as_candidate(
    number: int, made: list[Any], told: str, say: Callable[[str], None]
) -> Candidate | None:
    """Return a candidate of its unfitted estimators, or None where it cannot be one."""
    try:
        networks = [network_of(one) for one in made]
        if not networks or networks[0] is None:
            say(f"{told} does not end in an estimator of skensemble; it is fitted by itself")
            return Candidate(number, estimator_key(made[0]), made, told, False) if made else None
        for one in (*made, *(each for each in networks if each not in made)):
            one._validate_params()
        return Candidate(number, estimator_key(made[0]), made, told)
    except Exception as error:  # scikit-learn reports it in its own way
        say(f"{told} is fitted by itself because of {error!r}")
        return None
