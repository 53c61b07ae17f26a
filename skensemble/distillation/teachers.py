"""What teachers say: logits and layers of any fitted classifier, in the student's classes."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from skorch import NeuralNetClassifier
from torch import nn

from skensemble._arguments import naming
from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.features import first_parameter
from skensemble._base.fitted import unwrap
from skensemble._base.states import innermost
from skensemble._data.rows import Rows
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import run_networks
from skensemble.distillation.committee import as_teacher, voices_of
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.nn._twins import twin

_SEED_NAMES = ("random_state",)


def ready_to_fit(teacher: Any, student: Any, seed: int | None) -> Any:
    """Return an unfitted teacher whose seeds are numbers.

    ``None`` is an ensemble of five of the student's recipe; a skorch net is wrapped, so
    that labels and shapes are taken care of.
    """
    teacher = as_teacher(teacher)
    if teacher is None:
        teacher = DeepEnsembleClassifier(student, n_estimators=5)
    elif isinstance(teacher, NeuralNetClassifier):
        teacher = NetworkClassifier(teacher)
    with naming("teacher", "be such that it can be cloned"):
        teacher = clone(teacher)
    if seed is None:
        return teacher
    open_seeds = {
        name: seed
        for name, value in teacher.get_params(deep=True).items()
        if name.split("__")[-1] in _SEED_NAMES and value is None
    }
    return teacher.set_params(**open_seeds)


def check_known_teacher(teacher: Any) -> None:
    """Refuse a teacher that a file did not hold."""
    if isinstance(teacher, ForgottenRecipe):
        raise ValueError(
            "What this estimator was loaded from does not hold its teacher. It can predict; to "
            "fit it, bring a teacher with set_params(teacher=...) or pass 'teacher_logits'."
        )


def last_step(teacher: Any) -> Any:
    """Return the classifier at the end of a pipeline, or a teacher as it is."""
    inner = unwrap(teacher)
    while isinstance(inner, Pipeline):
        inner = unwrap(inner.steps[-1][1])
    return inner


def has_own_folds(teacher: Any) -> bool:
    """Whether a teacher's members leave rows out, each others."""
    inner = last_step(teacher)
    return isinstance(inner, DeepEnsembleClassifier) and inner._cross_fit() is not None


def stops_early(teacher: Any) -> bool:
    """Whether a teacher does not learn its rows by heart: it stops by rows that it holds out."""
    inner = last_step(teacher)
    if not isinstance(inner, BaseNetworkClassifier) or inner._learns_targets:
        return False
    recipe = read_recipe(innermost(inner))
    return recipe.module is None or recipe.training.early_stopping() is not None


def check_same_reading(table: Any, teacher: Any) -> None:
    """Raise unless a teacher can be asked about rows of a raw table that are read already."""
    if table is None:
        return
    own = getattr(getattr(unwrap(teacher), "_recipe", None), "table", None)
    if own is None or joblib.hash(own._to_state()) != joblib.hash(table._to_state()):
        raise ValueError(
            "Layers are compared, and rows altered, as the student reads the table, so the teacher "
            "must read it alike: an estimator without a recipe of its own, fitted on the same "
            f"rows. Got {type(unwrap(teacher)).__name__}; give teacher and student one recipe and "
            "put a TablePreprocessor before them, or leave layers and alterations out."
        )


def member_recipe(teacher: Any) -> Any:
    """Return the recipe of a teacher's member, for a student without one of its own."""
    inner = unwrap(teacher)
    if isinstance(inner, NeuralNetClassifier):
        return clone(inner)
    if isinstance(inner, BaseNetworkClassifier):  # not yet fitted perhaps
        return getattr(inner, inner._recipe_parameter)
    return None


def count_teachers(teacher: Any) -> int:
    """Return how many networks a teacher's logits have."""
    inner = unwrap(teacher)
    return inner._count_voices() if hasattr(inner, "_count_voices") else 1


# -- logits ------------------------------------------------------------------------------
def teacher_logits(teacher: Any, X: Any, classes: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return the logits of each network of a teacher, shape ``(sample, teacher, class)``.

    Of a classifier that is no network they are the logarithms of its probabilities.
    """
    inner = unwrap(teacher)
    columns = _columns(inner, classes)
    values = said_by(inner, X)[:, :, columns]
    return torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1))).to(dtype)


def said_by(inner: Any, X: Any) -> np.ndarray:
    """Return the logits of each network ``(network, sample, class)``, in the teacher's order."""
    if isinstance(inner, BaseNetworkClassifier):
        return inner._collect(X, inner._teaching, axis=1)
    if not hasattr(inner, "predict_proba"):
        raise TypeError(
            f"The 'teacher' must have predict_proba. Got {type(inner).__name__}, which has not; "
            "wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    if isinstance(inner, NeuralNetClassifier) and getattr(X, "dtype", None) == np.float64:
        X = X.astype(np.float32)
    return voices_of(inner, X)


def _columns(teacher: Any, classes: np.ndarray) -> np.ndarray:
    """Return where the teacher keeps each of the student's classes."""
    if not hasattr(teacher, "classes_"):
        raise TypeError(
            f"The 'teacher' must be a classifier. Got {type(teacher).__name__}, which knows no "
            "classes_."
        )
    known = np.asarray(teacher.classes_)
    if set(known.tolist()) != set(classes.tolist()):
        only_teacher = sorted(set(known.tolist()) - set(classes.tolist()), key=str)
        only_y = sorted(set(classes.tolist()) - set(known.tolist()), key=str)
        raise ValueError(
            "Teacher and student must have the same classes. Got "
            f"{only_teacher} known to the teacher alone and {only_y} in y alone."
        )
    order = np.argsort(known)
    return order[np.searchsorted(known[order], classes)]


def check_given_logits(
    values: Any, n_rows: int, n_classes: int, dtype: torch.dtype
) -> torch.Tensor:
    """Check logits that the user brings; return them as ``(sample, teacher, class)``."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"'teacher_logits' must be real numbers. Got the dtype {array.dtype} instead."
        )
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (n_rows, n_classes):
        raise ValueError(
            f"'teacher_logits' must have shape (n_samples, n_classes) = ({n_rows}, {n_classes}), "
            "unlabelled rows last, or that with the teachers in front. "
            f"Got {np.shape(values)} instead."
        )
    if not np.isfinite(array).all():
        raise ValueError("'teacher_logits' must be finite. Got NaN or infinity.")
    return torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1))).to(dtype)


def check_differentiable(teacher: Any, why: str) -> None:
    """Raise unless a teacher can be differentiated by its input."""
    inner = unwrap(teacher)
    if not isinstance(inner, BaseNetworkClassifier) or not inner._recipe.is_network:
        raise ValueError(
            f"{why} differentiates the teacher by its input, so it must be made of networks of "
            f"skensemble. Got {type(inner).__name__}; leave 'perturbation' out."
        )


class Teacher:
    """The networks of a fitted teacher as one function of a batch.

    Maps rows ``(sample, ...)`` to logits ``(network, sample, class)`` in the student's
    classes. It is asked in evaluation mode.
    """

    def __init__(self, teacher: Any, classes: np.ndarray) -> None:
        self._inner = unwrap(teacher)
        self._columns = torch.from_numpy(_columns(self._inner, classes))
        # Others may use the teacher meanwhile, in whatever mode it is.
        self._modules = [twin(module).eval() for module in self._inner._networks()]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each network says of a batch."""
        inner, modules = self._inner, self._modules
        logits = run_networks(modules, inner._recipes(), x.to(first_parameter(modules[0])))
        return inner._teaching(logits)[:, :, self._columns.to(logits.device)].to(x)


class OutsideTeacher:
    """Any other classifier with `predict_proba` as one function of a batch, as `Teacher` is.

    It is asked about arrays, or about frames like the one it would have been given.
    """

    def __init__(self, teacher: Any, classes: np.ndarray, X: Any) -> None:
        self._inner = unwrap(teacher)
        self._classes = classes
        _columns(self._inner, classes)
        self._like = X.head(0) if hasattr(X, "columns") and hasattr(X, "head") else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the classifier says of a batch."""
        rows: Any = x.cpu().numpy()
        if self._like is not None:
            names = {"columns" if hasattr(self._like, "iloc") else "schema": self._like.columns}
            rows = type(self._like)(rows, **names)
        logits = teacher_logits(self._inner, rows, self._classes, x.dtype)
        return logits.transpose(0, 1).to(x.device)


def ask_teacher(teacher: Any, classes: np.ndarray, X: Any, rows: Rows) -> Any:
    """Return what maps altered rows to a teacher's logits ``(network, sample, class)``."""
    inner = unwrap(teacher)
    if isinstance(inner, BaseNetworkClassifier):
        return Teacher(inner, classes)
    if rows.scale is not None:
        raise ValueError(
            "Altered images are floats in [0, 1], and X holds bytes, which a teacher of type "
            f"{type(inner).__name__} has to tell apart itself. Pass floats, X / 255, to teacher "
            "and student, or a teacher made of skensemble's networks."
        )
    return OutsideTeacher(inner, classes, X)


# -- layers ------------------------------------------------------------------------------
def teacher_modules(teacher: Any, name: str) -> list[nn.Module]:
    """Return the networks a teacher is made of; `name` is the objective's."""
    inner = unwrap(teacher)
    if isinstance(inner, BaseNetworkClassifier) and inner._recipe.is_network:
        return list(inner._networks())
    if isinstance(inner, NeuralNetClassifier):
        return [inner.module_]
    raise ValueError(
        f"objective={name} compares layers, so the teacher must be made of networks that "
        f"see the same X (an estimator of skensemble or a skorch net). Got "
        f"{type(inner).__name__}; use objective='label', which needs probabilities only."
    )
