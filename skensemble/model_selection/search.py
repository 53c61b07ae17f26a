"""How a search of scikit-learn's trains its candidates and folds in common stacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import _num_samples

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import ROWS, require_real
from skensemble._engine.bar import Bar, bar_shown, tell
from skensemble._fits.given import Steps
from skensemble._fits.prepared import asking, estimator_key, offered
from skensemble._fits.running import Outcome, fit_together
from skensemble._private import check_y, is_inside
from skensemble._records.fingerprint import data_of, told
from skensemble._records.folder import opened
from skensemble._seeding import as_random_state
from skensemble.model_selection.candidates import (
    Candidate,
    FixedFolds,
    Folds,
    TrainedTogether,
    as_candidate,
)
from skensemble.model_selection.chains import network_of


@dataclass
class _UnderWay:
    """The fit of a search that is under way in this context.

    Attributes
    ----------
    estimator : estimator
        What is searched, as the user gave it.
    X, y : array-like
        As they arrived.
    in_turn : ExitStack
        While it is open, joblib does one thing after the other.
    bar : Bar or None
        What shows how far it is.
    routed : Bunch
        What scikit-learn passes to estimator, scorer and splitter, once that is known.
    """

    estimator: Any
    X: Any
    y: Any
    in_turn: ExitStack
    bar: Bar | None = None
    routed: Any = None


_under_way: ContextVar[_UnderWay | None] = ContextVar("under_way", default=None)


class StackedSearch:
    """Fits all candidates on all folds side by side and leaves the rest to scikit-learn.

    It is scikit-learn's `fit` that runs. Where it asks for the candidates to be evaluated they
    are trained first; the `fit` of each of them then takes over what was trained.
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Train all candidates on all folds, then the best one on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        **params : dict of str to object
            Parameters of the estimator's ``fit``, the scorer and the splitter, as in
            :class:`~sklearn.model_selection.GridSearchCV`.

        Returns
        -------
        object
            The fitted search.

        Raises
        ------
        WorkerLostError
            If a worker was killed or crashed while it trained.
        """
        self._require_names()
        with naming("X", ROWS):
            _num_samples(X)
        stacks = self._can_stack()
        verbose: int = self.verbose if stacks else 0  # type: ignore[attr-defined]
        with (
            self._kept_in_folder(X, y, params),
            bar_shown(verbose, type(self).__name__, not is_inside(self)) as bar,
            ExitStack() as in_turn,
        ):
            estimator = self.estimator  # type: ignore[attr-defined]
            under_way = _UnderWay(estimator, X, y, in_turn, bar) if stacks else None
            token = _under_way.set(under_way)
            try:
                if under_way is None:
                    super().fit(X, y, **params)  # type: ignore[misc]
                else:
                    self._require_rows(X, y)
                    # Workers would not find what was trained here.
                    in_turn.enter_context(joblib.parallel_config("sequential"))
                    with self._asking():
                        super().fit(X, y, **params)  # type: ignore[misc]
            finally:
                _under_way.reset(token)
        return self

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Let clones that scikit-learn makes of a pipeline ask for what was trained.

        Estimators of ours do so anyway.
        """
        search: Any = self
        estimator = search.estimator
        asks = type(estimator) is Pipeline
        with asking(estimator) if asks else nullcontext(estimator) as search.estimator:
            try:
                yield
            finally:
                search.estimator = estimator

    def _require_rows(self, X: Any, y: Any) -> None:
        """Refuse rows and labels of which scikit-learn's searches only speak as values."""
        with naming("X", ROWS):
            require_real(indexable(X)[0])
        with naming("y", "be one label a row"):
            y = check_y(as_numpy(y), estimator=self)
            if y.dtype.kind == "O":
                np.unique(y)  # which labels that cannot be compared do not have

    def _require_names(self) -> None:
        """Refuse what scikit-learn lets pass, and then stumbles over."""
        search: Any = self
        search._validate_params()
        if search.n_jobs == 0:
            raise ValueError(
                "The 'n_jobs' must be a number of workers, or -1 for all: n_jobs == 0 in Parallel "
                "has no meaning."
            )
        halves = hasattr(search.cv, "split") and not hasattr(search.cv, "get_n_splits")
        if halves and not isinstance(search.cv, str):  # a tensor, or bytes
            raise ValueError(f"The 'cv' must be folds. Got {search.cv!r} instead.")
        name = "param_grid" if hasattr(self, "param_grid") else "param_distributions"
        grids = getattr(self, name)
        grids = grids if isinstance(grids, list | tuple) else [grids]
        for grid in (one for one in grids if isinstance(one, Mapping)):
            strange = [key for key in grid if not isinstance(key, str)]
            if strange:
                raise TypeError(
                    f"The {name!r} must have names of parameters. Got {strange[0]!r} instead."
                )

    @contextmanager
    def _kept_in_folder(self, X: Any, y: Any, params: dict[str, Any]) -> Iterator[None]:
        """Keep all that is trained where `checkpoint` says, if it does."""
        search: Any = self
        if search.checkpoint is not None:
            self._require_repeats()

        def about() -> dict[str, Any]:
            data = {"X": X, "y": y, **params}
            return {"search": told(self), "data": {k: data_of(v) for k, v in data.items()}}

        with opened(search.checkpoint, about, lambda: 0):
            yield

    def _require_repeats(self) -> None:
        """Refuse to keep a search that would ask for other networks the next time."""
        search: Any = self
        search._validate_params()
        network, why = network_of(search.estimator), ""
        if network is None:
            why = f"an estimator of skensemble. Got a {type(search.estimator).__name__}"
        elif getattr(network, "checkpoint", None) is not None:
            why = "an estimator without a 'checkpoint' of its own, which would hold one fold"
        elif getattr(search, "random_state", 0) is None:
            why = "a 'random_state' of the search that is a number. Got None"
        elif network.get_params(deep=False).get("random_state", 0) is None:
            why = "an estimator with a number as its 'random_state', on which a grid may set others"
        elif drawn := _unseeded(search.estimator):
            why = f"transformers that repeat. Got {drawn}=None"
        if why:
            raise ValueError(f"A 'checkpoint' of a {type(self).__name__} needs {why}.")

    def _can_stack(self) -> bool:
        """Whether the estimator is ours or may end in one, and has a key; say so where not."""
        estimator = self.estimator  # type: ignore[attr-defined]
        if network_of(estimator) is None and not self._searches_steps():
            self._say(
                f"{type(estimator).__name__} is not an estimator of skensemble; "
                "candidates are fitted one by one"
            )
            return False
        try:
            estimator_key(clone(estimator))
        except Exception as error:  # scikit-learn reports those that concern it
            self._say(f"candidates are fitted one by one because of {error!r}")
            return False
        return True

    def _searches_steps(self) -> bool:
        """Whether a pipeline may end in one of ours once a grid has set its last step."""
        search: Any = self
        if type(search.estimator) is not Pipeline:
            return False
        grids = getattr(search, "param_grid", getattr(search, "param_distributions", None))
        grids = grids if isinstance(grids, list | tuple) else [grids]
        values = [each for grid in grids if isinstance(grid, Mapping) for each in grid.values()]
        listed = [each for each in values if isinstance(each, list | tuple)]
        return any(network_of(one) is not None for each in listed for one in each)

    def _get_routed_params_for_fit(self, params: dict[str, Any]) -> Any:
        """Keep what scikit-learn routes, which warns if it is asked twice."""
        routed = super()._get_routed_params_for_fit(params)  # type: ignore[misc]
        under_way = _under_way.get()
        if under_way is not None:
            under_way.routed = routed
        return routed

    def _get_scorers(self) -> Any:
        """Say of scorers that cannot be which parameter they are."""
        with naming("scoring", "be scorers"):
            return super()._get_scorers()  # type: ignore[misc]

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any) -> None:
        """Train the candidates, then let scikit-learn evaluate them.

        Without a seed nothing is drawn from NumPy's global generator.
        """
        own: Any = self
        seed = getattr(own, "random_state", 0)
        if seed is None:
            own.random_state = as_random_state(None)
        try:
            self._run_stacked(evaluate_candidates, callback_ctx)
        finally:
            if seed is None:
                own.random_state = None

    def _run_stacked(self, evaluate_candidates: Callable[..., Any], callback_ctx: Any) -> None:
        search: Any = super()
        under_way = _under_way.get()
        if under_way is None:
            search._run_search(evaluate_candidates, callback_ctx=callback_ctx)
            return
        under_way.in_turn.close()  # scikit-learn's loop is made; what trains uses all workers

        def evaluate(candidates: Any, cv: Any = None, **more: Any) -> Any:
            candidates = list(candidates)
            cv = self._checked_cv_orig if cv is None else cv  # type: ignore[attr-defined]
            X, y = indexable(under_way.X, under_way.y)
            with naming("cv", "give pairs of rows to train and to test on"):
                asked = cv.split(X, y, **under_way.routed.splitter.split)
                folds = FixedFolds.of(asked, _num_samples(X))
            trained = self._train_together(under_way, candidates, folds.splits)
            if under_way.bar is not None:
                under_way.bar.hide()  # scikit-learn prints what it scores
            with offered(trained.prepared):
                results = evaluate_candidates(candidates, cv=folds, **more)
            if n_left := trained.prepared.n_left:
                self._say(f"{n_left} fits were trained in vain: other rows were asked for")
            _set_times(results, trained.seconds)
            return results

        search._run_search(evaluate, callback_ctx=callback_ctx)

    def _train_together(
        self, under_way: _UnderWay, candidates: list[dict[str, Any]], splits: list[Any]
    ) -> TrainedTogether:
        """Train all that can be in step."""
        start = time.perf_counter()
        folds = Folds(under_way.X, under_way.y, splits, under_way.routed.estimator.fit, self._say)
        made = [
            self._make_candidate(under_way.estimator, number, one, len(splits))
            for number, one in enumerate(candidates)
        ]
        run = partial(self._run_fits, under_way.bar)
        trained = TrainedTogether(folds, made, run, self.n_jobs)  # type: ignore[attr-defined]
        if trained.n_fits:
            self._say(
                f"{np.isfinite(trained.seconds).any(1).sum()} candidates on {len(splits)} folds in "
                f"{time.perf_counter() - start:.1f} s"
            )
        return trained

    def _run_fits(self, bar: Bar | None, steps: list[Steps]) -> list[Outcome]:
        """Run the fits of all candidates; the last one, on all rows, has room in the bar."""
        search: Any = self
        if bar is not None and search.refit is not False and steps:
            bar.reserve(1 / len(steps))  # as much as a fit takes in the mean
        outcomes = fit_together(steps, search.n_jobs, max(0, search.verbose - 1))
        if bar is not None:
            bar.work_is_known()
        return outcomes

    def _make_candidate(
        self, unset: Any, number: int, parameters: dict[str, Any], n_folds: int
    ) -> Candidate | None:
        """Return a candidate, or None if it cannot be one."""
        made = [clone(unset).set_params(**clone(parameters, safe=False)) for _ in range(n_folds)]
        if self.error_score == "raise":  # type: ignore[attr-defined]
            for network in filter(None, map(network_of, made)):
                network._validate_params()
        return as_candidate(number, made, f"the candidate {parameters}", self._say)

    def _say(self, what: str) -> None:
        if self.verbose:  # type: ignore[attr-defined]
            tell(type(self).__name__, what)


def _unseeded(estimator: Any) -> str:
    """Return the name of a transformer's random state that nobody has set, if there is one."""
    path, last = "", estimator
    while type(last) is Pipeline:
        name, last = last.steps[-1]
        path += f"{name}__"
    for name, value in estimator.get_params().items():
        is_seed = name.rpartition("__")[2] == "random_state"
        if is_seed and value is None and not name.startswith(path):
            return str(name)
    return ""


def _set_times(results: dict[str, Any], seconds: np.ndarray) -> None:
    """Put each fit's share of the common training into the results, where it was trained so."""
    known = np.isfinite(seconds).all(1)
    for name, found in (("mean_fit_time", seconds.mean(1)), ("std_fit_time", seconds.std(1))):
        results[name][-len(seconds) :][known] = found[known]
