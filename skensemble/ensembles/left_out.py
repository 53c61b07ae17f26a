"""What members say of rows that they have not seen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from skensemble._base.calibration import fit_temperature
from skensemble._base.folds import Folds
from skensemble._data.rows import FitData
from skensemble._data.sparse import part_of
from skensemble._files.checks import Check, integer, many, maybe, real
from skensemble._private import StrOptions, validate_params
from skensemble.conformal import COVERAGE, ConformalSets

# So few members, averaged, are surer of themselves than all of them are.
_FEW_VOICES = 3

# What an ensemble finds out beside its networks, as a file may say it.
FOUND: dict[str, Check] = {
    "_root": integer(0, 2**32),
    "_numbers": many(integer(0, 2**31)),
    "_n_folds": maybe(integer(2, 2**31)),
    "temperature_": real(1e-15, 1e15),
    "oof_score_": real(0, 1),
}


def require_calibration(ensemble: Any, left_out: bool) -> None:
    """Refuse to calibrate where that was asked for by name and cannot be."""
    if ensemble.calibrate == "auto" or not ensemble.calibrate:
        return
    if not left_out:
        raise ValueError(
            "calibrate=True needs rows that members have not seen. Got "
            f"cross_fit={ensemble.cross_fit!r}; set 'cross_fit' and fit again."
        )
    if ensemble._averaging() == "vote":
        raise ValueError(
            "calibrate=True needs means of probabilities or of logits, which alone have a "
            "temperature. The 'averaging' must be 'auto', 'proba' or 'logit'. Got 'vote' instead."
        )


def left_out_temperature(
    proba: np.ndarray, y: np.ndarray, weight: np.ndarray | None, folds: Folds
) -> float:
    """Return the temperature for an ensemble, of which a row has heard a part alone.

    The more members are averaged the less sure they are, so that the temperature of few is an
    upper bound of that of all. Where it is above one it says nothing, and one is taken.
    """
    with np.errstate(divide="ignore"):
        found = fit_temperature(np.log(proba), y, weight)
    n_members = len(folds.held_out)
    heard = max(1, n_members // folds.n_folds)
    return found if heard >= min(_FEW_VOICES, n_members) else min(found, 1.0)


def left_out_proba(ensemble: Any, folds: Folds, data: FitData) -> np.ndarray:
    """Return each row's probabilities by the members that did not see it, fused as they are.

    Of shape ``(n_samples, n_classes)`` for all rows of `data`; NaN where no member left a row out.
    """
    n_classes = len(ensemble.classes_)
    total, count = np.zeros((len(data.X), n_classes)), np.zeros(len(data.X))
    by_logit = ensemble._averaging() == "logit"
    for number, member in zip(ensemble._numbers, ensemble.estimators_, strict=True):
        rows = np.sort(folds.held_out[number])
        parts = []
        for _, _, logits in ensemble._run(
            part_of(data.X, rows), member._networks(), member._recipes()
        ):
            own = logits[0] if by_logit else ensemble._fuse_members(logits)
            parts.append(own.double())
        total[rows] += torch.cat(parts).cpu().numpy()
        count[rows] += 1
    with np.errstate(invalid="ignore"):
        mean = total / count[:, None]
    return torch.from_numpy(mean).softmax(-1).numpy() if by_logit else mean


def read_sets(score: Any) -> ConformalSets:
    """Return an own copy of what sets are to be made by."""
    if isinstance(score, ConformalSets):
        return copy.copy(score)
    return ConformalSets(score)


@validate_params(
    {"method": [StrOptions({"plus", "pooled"})], "coverage": COVERAGE},
    prefer_skip_nested_validation=True,
)
def sets_of_left_out(
    ensemble: Any, logits: torch.Tensor, sets: ConformalSets, coverage: float, method: str
) -> np.ndarray:
    """Return sets for rows by the members' logits, from rows that members left out."""
    if not hasattr(ensemble, "_oof_labels"):
        raise ValueError(
            "Sets of classes need rows that members have not seen. Got a fit with "
            f"cross_fit={ensemble.cross_fit!r}, a part of an ensemble, or one from a file; set "
            "'cross_fit' and fit again, or give rows of your own to a ConformalSets."
        )
    proba, labels = ensemble.oof_proba_, ensemble._oof_labels
    known = np.isfinite(proba[:, 0])
    everybody = ensemble._fuse_members(logits).numpy()
    if method == "pooled":
        groups, said = [known], [everybody]
    else:
        groups, said = [], []
        for members, rows in _who_left_out(ensemble.folds_, known):
            groups.append(rows)
            said.append(ensemble._fuse_members(logits[members]).numpy())
    sets._fit_folds([proba[rows] for rows in groups], [labels[rows] for rows in groups])
    return sets._predict_folds(said, coverage, everybody)


def _who_left_out(
    folds: list[np.ndarray], known: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield members and the rows that these, and no others, have left out."""
    left_out = np.zeros((len(folds), len(known)), bool)
    for member, rows in enumerate(folds):
        left_out[member, rows[rows >= 0]] = True
    kinds, which = np.unique(left_out[:, known], axis=1, return_inverse=True)
    rows = np.flatnonzero(known)
    for kind in range(kinds.shape[1]):
        yield np.flatnonzero(kinds[:, kind]), rows[which.ravel() == kind]
