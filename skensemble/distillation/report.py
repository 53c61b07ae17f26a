"""A student beside its teacher and a plain network, on rows that none of them has seen."""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, indexable

from skensemble import metrics
from skensemble._base.fitted import unwrap
from skensemble._fits.given import Given
from skensemble._fits.running import fit_together
from skensemble.distillation.kernels import learns_targets
from skensemble.distillation.left_out import wanted_folds
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier

_FOLDS = 5
# Rows that predictions are timed on, and how often.
_TIMED_ROWS, _ROUNDS = 1000, 3


def out_of_fold_report(student: Any, given: Given, source: Any, root: int) -> dict[str, Any]:
    """Fit student, teacher and plain network on folds; tell how they do on rows left out.

    Parameters
    ----------
    student : DistilledClassifier
        Fitted; its parameters are what is fitted again.
    given : Given
        What its fit was given.
    source : object
        The student's recipe.
    root : int
        The student's seed.
    """
    data = student._check_fit(given)
    n_folds = _FOLDS if student.report is True else int(student.report)
    folds = wanted_folds(min(n_folds, len(data.rows)), data, root)
    fits = [replace(given, rows=rows) for rows in folds.train]
    settings = {"report": False, "keep_teacher": True, "random_state": root}
    students = [clone(student).set_params(**settings) for _ in fits]
    plain = [_plain(student, source, root) for _ in fits]
    several = [*zip(students, fits, strict=True), *zip(plain, fits, strict=True)]
    outcomes = fit_together([one._steps(own) for one, own in several], student.n_jobs)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    said = np.full((3, len(data.X), len(student.classes_)), np.nan)
    for one, beside, rows in zip(students, plain, folds.held_out, strict=True):
        X = _safe_indexing(indexable(given.X)[0], rows)
        for at, classifier in enumerate((one, one.teacher_, beside)):
            said[at, rows] = _proba(classifier, X, student.classes_)
    rows = np.sort(np.unique(np.concatenate(folds.held_out)))
    weight = None if data.weight is None else data.weight[rows]
    found = metrics.retention(
        data.y[rows], *(one[rows] for one in said), labels=np.arange(len(student.classes_)),
        sample_weight=weight, random_state=root,
    )  # fmt: skip
    report = {
        **found.as_dict(),
        **dict(_costs(student, plain[0], _safe_indexing(indexable(given.X)[0], rows))),
    }
    if not report["teacher_loss"] < report["plain_loss"]:
        warnings.warn(
            "The teacher is no better than a plain network of the student's recipe, on rows that "
            f"neither has seen: a log loss of {report['teacher_loss']:.3g} and "
            f"{report['plain_loss']:.3g}. There is nothing that a student could keep.",
            UserWarning,
            stacklevel=2,
        )
    return report


def check_report(student: Any, given: Given) -> None:
    """Refuse to report on a teacher that cannot be fitted on folds."""
    if given.teacher_logits is not None or unwrap(student.teacher) is not student.teacher:
        raise ValueError(
            f"report={student.report!r} fits teachers on folds, so the 'teacher' must be a "
            "classifier that can be. Got one that is frozen, or 'teacher_logits' in its place; "
            "use metrics.retention on rows that it has not seen."
        )


def _plain(student: Any, source: Any, root: int) -> Any:
    """Return a network of the student's recipe that learns labels alone."""
    settings: dict[str, Any] = {"class_weight": student.class_weight, "random_state": root}
    if learns_targets(source):
        return clone(source).set_params(**settings)
    recipe = source.estimator if isinstance(source, BatchEnsembleClassifier) else source
    settings.update(augmentation=student.augmentation, precision=student.precision)
    return NetworkClassifier(recipe, **settings)


def _proba(classifier: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return probabilities in the student's classes, of which a fold may lack rare ones.

    None is zero, as those of forests are and logarithms are not.
    """
    inner = unwrap(classifier)
    said = np.zeros((len(X), len(classes)))
    said[:, np.searchsorted(classes, inner.classes_)] = inner.predict_proba(X)
    said = np.maximum(said, np.finfo(np.float32).eps)
    return said / said.sum(1, keepdims=True)


def _costs(student: Any, plain: Any, X: Any) -> Iterator[tuple[str, Any]]:
    """Yield bytes of pickles and seconds of predictions."""
    some = X[:_TIMED_ROWS] if not hasattr(X, "iloc") else X.iloc[:_TIMED_ROWS]
    students = student.estimators_[0] if len(student.estimators_) == 1 else student.estimators_
    contents = {"student": students, "teacher": student.teacher_, "plain": plain}
    for name, one in contents.items():
        yield f"{name}_bytes", len(pickle.dumps(one))
    for name, one in {**contents, "student": student}.items():
        seconds = []
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            unwrap(one).predict_proba(some)
            seconds.append(time.perf_counter() - start)
        yield f"{name}_seconds_per_row", float(np.median(seconds)) / len(some)
