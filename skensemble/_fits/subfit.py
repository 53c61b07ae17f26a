"""Estimators that a fit wants to have fitted, and remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skensemble._fits.given import Given

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
        arguments = (self.estimator, *self.given.part())
        with locked(self.memory.location, arguments):
            self.result = self.memory.cache(fit_estimator)(*arguments)

    def key(self) -> Any:
        """Return what is equal for fits that would give the same estimator."""
        parts = (self.estimator, self.given.rows, self.given.sample_weight)
        return tuple(joblib.hash(part) for part in parts)


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


def fit_estimator(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    """Fit a clone of any classifier; joblib's memory remembers calls of this function."""
    if sample_weight is None:
        return clone(estimator).fit(X, y)
    last, path = estimator, ""
    while isinstance(last, Pipeline):
        path, last = f"{path}{last.steps[-1][0]}__", last.steps[-1][1]
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"The teacher must take 'sample_weight' in fit, since there are weights. "
            f"{type(last).__name__} does not; pass it fitted, in a FrozenEstimator."
        )
    return clone(estimator).fit(X, y, **{f"{path}sample_weight": sample_weight})
