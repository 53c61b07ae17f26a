"""What a teacher says of rows that it has not seen.

On rows that it was trained on a teacher says what it was told, and a student learns nothing
of it but labels. So its twins are fitted on folds, each of which leaves a part of the rows out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable

from skensemble._arguments import naming
from skensemble._base.calibration import fit_temperature
from skensemble._base.fitted import unwrap
from skensemble._base.folds import Folds, check_groups, is_splitter, make_folds
from skensemble._data.rows import FitData
from skensemble._fits.given import Given
from skensemble._fits.subfit import Subfit
from skensemble.distillation.teachers import last_step, said_by

# Folds where nobody says how many.
_FOLDS = 5
# The logarithm of a chance that a teacher does not know of.
_UNHEARD = float(np.log(np.finfo(np.float32).eps))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What was said of training rows by those who had not seen them.

    Attributes
    ----------
    logits : ndarray of shape (n_samples, n_teachers, n_classes)
        Of all rows of `X`; NaN where a row was not left out.
    temperature : float
        What the teacher's logits are divided by, where it is surer of rows that it has not
        seen than it is right; at least one.
    n_twins : int
        How many they are.
    """

    logits: np.ndarray
    temperature: float = 1.0
    n_twins: int = 0

    def put(self, logits: torch.Tensor, start: int) -> torch.Tensor:
        """Put these words in the place of a teacher's own about the rows from `start` on."""
        if logits.shape[1] != self.logits.shape[1]:  # of which these are the mean
            logits = logits.softmax(-1).mean(1, keepdim=True).log()
        own = torch.from_numpy(self.logits[start : start + len(logits)]).to(logits)
        heard = torch.where(own.isnan(), logits[: len(own)], own)
        return torch.cat([heard, logits[len(own) :]])


def wanted_folds(cv: Any, data: FitData, seed: int, groups: Any = None) -> Folds:
    """Deal all rows of a fit, those that the student holds out among them."""
    rows = data.rows
    if data.valid is not None and data.valid.X is data.X:
        rows = np.concatenate([rows, data.valid.rows])
    whole = replace(data, rows=np.sort(rows), valid=None)
    if isinstance(cv, str):
        cv = min(_FOLDS, len(rows))
    elif isinstance(cv, (int, np.integer)) and cv > len(rows):
        raise ValueError(
            f"The 'teacher_cv' must be at most the number of rows, {len(rows)}. Got {cv} instead."
        )
    n_folds = cv
    if not isinstance(cv, (int, np.integer)):
        own = None if groups is None else check_groups(groups, len(data.X))[whole.rows]
        with naming("teacher_cv", "be able to split the rows"):
            n_folds = check_cv(cv).get_n_splits(np.empty((len(rows), 1)), data.y[whole.rows], own)
    return make_folds(cv, int(n_folds), whole, groups, seed, "teacher_cv")


def require_some_splitter(cv: Any, teacher: Any, groups: Any) -> None:
    """Refuse groups that neither the teacher's folds nor those it leaves out keep together."""
    if groups is None or is_splitter(cv) or _splits(teacher):
        return
    raise ValueError(
        "The 'groups' of fit need a splitter as 'teacher_cv', or as the 'cross_fit' of a teacher "
        f"that is fitted here, such as GroupKFold(5). Got teacher_cv={cv!r} instead."
    )


def for_teacher(given: Given, teacher: Any) -> Given:
    """Return the data of a teacher's fit, with groups where it has folds to keep them together."""
    return given if _splits(teacher) else replace(given, groups=None)


def _splits(teacher: Any) -> bool:
    return is_splitter(getattr(last_step(teacher), "cross_fit", None))


def twins(teacher: Any, folds: Folds, given: Given, memory: Any) -> list[Subfit]:
    """Return the fits of a teacher that leave out a fold each."""
    return [Subfit(teacher, replace(given, rows=rows), memory) for rows in folds.train]


def said_by_twins(
    fits: list[Subfit], folds: Folds, classes: np.ndarray, data: FitData, given: Given
) -> LeftOut:
    """Ask each twin about the rows that it has not seen."""
    logits = None
    for one, rows in zip(fits, folds.held_out, strict=True):
        said = _in_classes(one.result, _safe_indexing(indexable(given.X)[0], rows), classes)
        if logits is None:
            logits = np.full((len(data.X), *said.shape[1:]), np.nan, np.float32)
        logits[rows] = said
    assert logits is not None
    return calibrated(logits, data, len(fits))


def said_by_ensemble(teacher: Any, data: FitData, given: Given) -> LeftOut:
    """Return what a cross-fitted ensemble's members said of rows that they had left out.

    At the temperature of all its words, where it calibrates.
    """
    ensemble = last_step(teacher)
    rows = np.arange(len(data.X)) if given.rows is None else given.rows
    logits = np.full((len(data.X), 1, len(ensemble.classes_)), np.nan, np.float32)
    temperature = ensemble.temperature_ if ensemble._calibrates() else 1.0
    logits[rows, 0] = np.log(np.maximum(ensemble.oof_proba_, np.exp(_UNHEARD))) / temperature
    return LeftOut(logits, n_twins=len(ensemble))


def calibrated(logits: np.ndarray, data: FitData, n_twins: int) -> LeftOut:
    """Find the temperature at which a teacher's words are as sure as they are right."""
    rows = data.rows[np.isfinite(logits[data.rows, 0, 0])]
    mean = torch.from_numpy(logits[rows]).double().softmax(-1).mean(1).log().numpy()
    weight = None if data.weight is None else data.weight[rows]
    return LeftOut(logits, max(1.0, fit_temperature(mean, data.y[rows], weight)), n_twins)


def _in_classes(twin: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return what a twin says, ``(sample, voice, class)``; its fold may lack rare classes."""
    inner = unwrap(twin)
    known = np.asarray(inner.classes_)
    said = said_by(inner, X).swapaxes(0, 1)
    if not set(known.tolist()) <= set(classes.tolist()):
        raise ValueError(
            "The teacher's classes must be those of y. Got "
            f"{sorted(set(known.tolist()) - set(classes.tolist()), key=str)} beside them."
        )
    places = np.searchsorted(classes, known)
    if len(known) == len(classes):
        out = np.empty_like(said)
        out[..., places] = said
        return out
    own = torch.from_numpy(np.ascontiguousarray(said)).log_softmax(-1).numpy()
    out = np.full((*said.shape[:-1], len(classes)), _UNHEARD, own.dtype)
    out[..., places] = np.maximum(own, _UNHEARD)
    return out
