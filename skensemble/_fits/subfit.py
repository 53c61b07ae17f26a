"""Estimators that a fit wants to have fitted, and remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
from sklearn import get_config
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from skorch import NeuralNet

from skensemble._arguments import naming
from skensemble._fits.given import Given
from skensemble._records.folder import active
from skensemble._seeding import torch_seeded

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@dataclass
class Subfit:
    """An estimator that a fit wants to have fitted on its own rows.

    Attributes
    ----------
    estimator : estimator
        Unfitted, with its seed resolved.
    given : Given
        The data of the fit that wants it.
    memory : joblib.Memory
        Where fits are remembered.
    result : estimator
        The fitted estimator.
    """

    estimator: Any
    given: Given
    memory: joblib.Memory = field(default_factory=lambda: joblib.Memory(None))
    result: Any = None

    def run(self) -> None:
        """Fit it, or find it in the memory; who comes second waits for the first."""
        arguments = (self.estimator, *self.given.part(), self.given.part_of_groups())
        with _numbered(self.memory.location, arguments), locked(self.memory.location, arguments):
            self.result = self.memory.cache(fit_estimator)(*arguments)

    def key(self) -> Any:
        """Return what is equal for fits that would give the same estimator."""
        given = self.given
        parts = (self.estimator, given.rows, given.sample_weight)
        return id(given.X), id(given.y), *map(joblib.hash, parts)

    def parts(self) -> list[Subfit]:
        """Return the fits that are wanted, here itself alone."""
        return [self]


@dataclass
class Subfits:
    """Several estimators that a fit wants to have fitted, together where that can be.

    Attributes
    ----------
    wanted : list of Subfit
        In the order in which they are run where they are not run together.
    """

    wanted: list[Subfit]

    def parts(self) -> list[Subfit]:
        """Return the fits that are wanted."""
        return self.wanted


@contextmanager
def _numbered(location: Any, arguments: Any) -> Iterator[None]:
    """Give the trainings of a fit their own numbers, as a memory may spare them next time."""
    folder = active()
    if folder is None or location is None:
        yield
        return
    with folder.within(f"fit-{joblib.hash(arguments)}"):
        yield


@contextmanager
def locked(folder: Any, arguments: Any) -> Iterator[None]:
    """Keep other processes and threads from doing the same work in a memory's folder."""
    if folder is None or fcntl is None:
        yield
        return
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with (path / f"skensemble-{joblib.hash(arguments)}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed
        yield


def aside(estimator: Any) -> AbstractContextManager[None]:
    """Keep skorch's nets, which draw from torch's global generator, to draws of their own."""
    params: dict[str, Any] = getattr(estimator, "get_params", dict)()
    nets = [one for one in (estimator, *params.values()) if isinstance(one, NeuralNet)]
    return torch_seeded(0) if nets else nullcontext()


def fit_estimator(estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> Any:
    """Fit a clone of any classifier; joblib's memory remembers calls of this function."""
    if hasattr(estimator, "_steps"):  # ours, which say themselves what is wrong
        return _fit_clone(estimator, X, y, sample_weight, groups)
    with aside(estimator), naming("teacher", "be able to learn the rows"):
        return _fit_clone(estimator, X, y, sample_weight, groups)


def _fit_clone(estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> Any:
    estimator = clone(estimator)
    passed = {"sample_weight": sample_weight, "groups": groups}
    passed = {name: value for name, value in passed.items() if value is not None}
    if not passed:
        return estimator.fit(X, y)
    last, path, inside = estimator, "", []
    while isinstance(last, Pipeline | GridSearchCV | RandomizedSearchCV):
        if not isinstance(last, Pipeline):
            last = last.estimator
        else:
            inside += [step for _, step in last.steps[:-1]]
            path, last = f"{path}{last.steps[-1][0]}__", last.steps[-1][1]
    if sample_weight is not None and not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"The teacher must take 'sample_weight' in fit, since there are weights. "
            f"{type(last).__name__} does not; pass it fitted, in a FrozenEstimator."
        )
    if last is not estimator and get_config()["enable_metadata_routing"]:
        _route(last, inside, list(passed))
        path = ""
    return estimator.fit(X, y, **{f"{path}{name}": value for name, value in passed.items()})


def _route(last: Any, inside: list[Any], names: list[str]) -> None:
    """Ask for weights and groups where nobody has: for the classifier, and for it alone."""
    for step in (last, *inside):
        requests = getattr(step, "get_metadata_routing", None)
        for name in names:
            if not has_fit_parameter(step, name) or requests is None:
                continue
            if requests().fit.requests.get(name) is None:
                step.set_fit_request(**{name: step is last})
    if hasattr(last, "set_score_request"):
        asked = last.get_metadata_routing().score.requests
        if asked.get("sample_weight", False) is None:  # which a search scores by
            last.set_score_request(sample_weight=True)
