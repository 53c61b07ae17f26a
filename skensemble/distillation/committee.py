"""Several teachers that teach together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data
from skorch import NeuralNetClassifier

from skensemble._arguments import as_numpy, naming
from skensemble._base.fitted import is_fitted, unwrap
from skensemble._fits.subfit import aside, fit_estimator
from skensemble._private import VisualBlock, check_sample_weight, fit_context
from skensemble.ensembles.network import NetworkClassifier

__all__ = ["TeacherCommittee", "voices_of"]

# No probability is taken for less, so that it has a logarithm.
_FLOOR = float(np.finfo(np.float32).eps)


class TeacherCommittee(ClassifierMixin, BaseEstimator):
    """Several classifiers of any kind as one teacher: the mean of their probabilities.

    A `DistilledClassifier` makes one of a list that it is given as its teacher; use the class
    itself to weigh them. Each teacher has one voice, so that ``objective="adaptive"`` weighs
    them for every batch.

    Parameters
    ----------
    teachers : list of classifiers
        Unfitted ones are cloned and fitted; fitted ones are used as they are.
    weights : array-like of shape (n_teachers,), default=None
        How much each counts. With weights the committee has a single voice, the weighted mean.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    teachers_ : list of classifiers
        The fitted teachers.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skensemble import DistilledClassifier, TeacherCommittee
    >>> X, y = load_iris(return_X_y=True)
    >>> both = [RandomForestClassifier(random_state=0), LogisticRegression(max_iter=1000)]
    >>> teacher = TeacherCommittee(both, weights=[2, 1])
    >>> DistilledClassifier(teacher, random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "teachers": [list, tuple],
        "weights": ["array-like", None],
    }

    def __init__(self, teachers: Sequence[Any], weights: Any = None) -> None:
        self.teachers = teachers
        self.weights = weights

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of teacher number 0 as ``0__name``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include those of the teachers.

        Returns
        -------
        dict of str to object
            The parameters.
        """
        found: dict[str, Any] = super().get_params(deep=False)
        for at, one in enumerate(self.teachers) if deep and isinstance(self.teachers, list) else ():
            if hasattr(one, "get_params") and not isinstance(one, type):
                found.update({f"{at}__{name}": value for name, value in one.get_params().items()})
        return found

    def _sk_visual_block_(self) -> Any:
        teachers = getattr(self, "teachers_", None) or self.teachers
        return VisualBlock(
            "parallel",
            list(teachers),
            names=[f"{at}: {type(one).__name__}" for at, one in enumerate(teachers)],
            name_details=[str(one) for one in teachers],
        )

    def set_params(self, **params: Any) -> TeacherCommittee:
        """Set parameters, those of teacher number 0 as ``0__name``.

        Parameters
        ----------
        **params : dict of str to object
            The parameters.

        Returns
        -------
        TeacherCommittee
            The committee itself.
        """
        inner: dict[int, dict[str, Any]] = {}
        own = {name: value for name, value in params.items() if not name[:1].isdigit()}
        super().set_params(**own)
        known = self.get_params()
        for name in params.keys() - own.keys():
            if name not in known:
                raise ValueError(
                    f"A parameter of {type(self).__name__} must be one of {sorted(known)}. Got "
                    f"{name!r} instead."
                )
            at, _, rest = name.partition("__")
            inner.setdefault(int(at), {})[rest] = params[name]
        for number, values in inner.items():
            self.teachers[number].set_params(**values)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TeacherCommittee:
        """Fit the teachers that are not fitted yet.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows, as the teachers take them.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; every teacher that is fitted must take them.

        Returns
        -------
        TeacherCommittee
            The fitted committee.
        """
        self._check_weights()
        self._check_teachers()
        with naming("X", "be rows that the teachers take"):
            validate_data(self, X, skip_check_array=True)
        if sample_weight is not None:  # of which a tree would make what are no probabilities
            with naming("sample_weight", "be one number of at least 0 a row"):
                sample_weight = check_sample_weight(
                    as_numpy(sample_weight), np.empty((_num_samples(y), 1)),
                    ensure_non_negative=True,
                )  # fmt: skip
        teachers = [
            one if is_fitted(one) else fit_estimator(_as_ours(one), X, y, sample_weight)
            for one in self.teachers
        ]
        self._sit(teachers)
        return self

    def _sit(self, teachers: list[Any]) -> None:
        """Take fitted teachers, which know the same classes."""
        known = [unwrap(one).classes_.tolist() for one in teachers]
        for one, classes in zip(teachers, known, strict=True):
            if set(classes) != set(known[0]):
                raise ValueError(
                    f"The teachers must have the same classes. Got {known[0]} of "
                    f"{type(unwrap(teachers[0])).__name__} and {classes} of "
                    f"{type(unwrap(one)).__name__}."
                )
        self.teachers_, self.classes_ = teachers, np.unique(unwrap(teachers[0]).classes_)

    def _check_teachers(self) -> None:
        for one in self.teachers:
            inner = unwrap(one)
            if isinstance(inner, type) or not all(
                hasattr(inner, name) for name in ("fit", "predict_proba")
            ):
                raise TypeError(
                    "The 'teachers' must be classifiers with fit and predict_proba. Got "
                    f"{inner!r} of type {type(inner).__name__} instead."
                )

    def _check_weights(self) -> np.ndarray | None:
        if len(self.teachers) == 0:
            raise ValueError("The 'teachers' must be at least one classifier. Got an empty list.")
        if self.weights is None:
            return None
        with naming("weights", "be one number of zero or more for each of the teachers"):
            weights = np.asarray(as_numpy(self.weights), dtype=float)
        fine = weights.shape == (len(self.teachers),) and np.isfinite(weights).all()
        if not fine or weights.min() < 0 or weights.sum() == 0:
            raise ValueError(
                "The 'weights' must be one number of zero or more for each of the "
                f"{len(self.teachers)} teachers, not all of them zero. Got {self.weights!r} "
                "instead."
            )
        return weights / weights.sum()

    def predict_teachers(self, X: Any) -> np.ndarray:
        """Predict the probabilities of each teacher.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_teachers, n_samples, n_classes)
            Probabilities, columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        said = []
        for one in self.teachers_:
            order = np.argsort(np.asarray(unwrap(one).classes_))
            said.append(_said(unwrap(one), X)[:, order])
        return np.stack(said)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the mean of the teachers' probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, columns in the order of ``classes_``.
        """
        return np.average(self.predict_teachers(X), axis=0, weights=self._check_weights())

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _count_voices(self) -> int:
        return len(self.teachers) if self.weights is None else 1

    def __sklearn_tags__(self) -> Tags:
        """Say that what all teachers take is taken."""
        tags = super().__sklearn_tags__()
        inner = [get_tags(one).input_tags for one in self.teachers]
        for name in ("sparse", "allow_nan", "string", "categorical"):
            setattr(tags.input_tags, name, all(getattr(one, name) for one in inner))
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether all teachers can be asked."""
        return hasattr(self, "teachers_")


def _as_ours(teacher: Any) -> Any:
    """Return a copy of a teacher; a skorch net is wrapped, as it is where it teaches alone."""
    teacher = clone(teacher)
    return NetworkClassifier(teacher) if isinstance(teacher, NeuralNetClassifier) else teacher


def as_teacher(teacher: Any) -> Any:
    """Make one teacher of a list; of fitted ones it is fitted itself."""
    if not isinstance(teacher, (list, tuple)):
        return teacher
    committee = TeacherCommittee(list(teacher))
    if teacher and all(is_fitted(one) for one in teacher):
        committee._sit(list(teacher))
    return committee


def _said(teacher: Any, X: Any) -> np.ndarray:
    """Return the probabilities of any classifier, of which there must be one a class."""
    if hasattr(teacher, "_steps"):  # ours, which say themselves what is wrong
        return np.asarray(teacher.predict_proba(X))
    with aside(teacher), naming("teacher", "be able to predict the rows of X"):
        proba = np.asarray(teacher.predict_proba(X))
    wanted = (len(proba), len(unwrap(teacher).classes_))
    if proba.shape != wanted or not np.isfinite(proba).all():
        raise ValueError(
            f"The teacher {type(unwrap(teacher)).__name__} must predict finite probabilities of "
            f"shape (n_samples, n_classes), here {wanted}. Got shape {proba.shape} instead, or NaN."
        )
    return proba


def voices_of(teacher: Any, X: Any) -> np.ndarray:
    """Return logarithms of probabilities ``(voice, sample, class)`` of any classifier."""
    if isinstance(teacher, TeacherCommittee) and teacher.weights is None:
        proba = teacher.predict_teachers(X)
    else:
        proba = _said(teacher, X)[None]
    return np.log(np.maximum(proba, _FLOOR))
