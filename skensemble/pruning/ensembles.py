"""Ensembles of fewer members, chosen on rows that were held out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import check_weights
from skensemble._base.fitted import unwrap
from skensemble._private import StrOptions, validate_params
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.pruning.classifier import PrunedClassifier
from skensemble.pruning.costs import costs

__all__ = ["EnsemblePruning", "prune_ensemble"]

_METHODS = ("greedy", "ranking")


@dataclass(frozen=True)
class EnsemblePruning:
    """Which members were chosen, and what ensembles of each size are worth.

    Attributes
    ----------
    ensemble : classifier
        The smaller ensemble, fitted.
    order : ndarray of shape (n_members,)
        The members in the order in which they are chosen; the first are in `ensemble`.
    n_estimators : ndarray of shape (n_members,)
        Sizes, from one member to all.
    nll, accuracy : ndarray of shape (n_members,)
        Of the ensemble of each size, on the validation rows.
    n_parameters, n_flops : ndarray of shape (n_members,)
        What the ensemble of each size costs.
    """

    ensemble: Any
    order: np.ndarray
    n_estimators: np.ndarray
    nll: np.ndarray
    accuracy: np.ndarray
    n_parameters: np.ndarray
    n_flops: np.ndarray


@validate_params(
    {"method": [StrOptions(set(_METHODS))]},
    prefer_skip_nested_validation=True,
)
def prune_ensemble(
    ensemble: Any, X_val: Any, y_val: Any, *, keep: Any = "best", method: str = "greedy",
    sample_weight: Any = None,
) -> EnsemblePruning:  # fmt: skip
    """Choose members of a fitted ensemble by what they say of validation rows.

    The rows must be none of those that the ensemble was trained on, nor those that the
    result is judged by.

    Parameters
    ----------
    ensemble : DeepEnsembleClassifier, DistilledClassifier or PrunedClassifier
        Fitted, with several networks. It stays as it is.
    X_val : array-like of shape (n_samples, ...)
        Validation rows.
    y_val : array-like of shape (n_samples,)
        Their labels.
    keep : int, float or "best", default="best"
        Members to keep: how many, which share, or as many as have the least negative
        log-likelihood.
    method : {"greedy", "ranking"}, default="greedy"
        "greedy" adds, one after the other, the member with which the ensemble's negative
        log-likelihood is least [1]_; "ranking" takes members by their own.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the validation rows.

    Returns
    -------
    EnsemblePruning
        The smaller ensemble, and the curve of cost and worth over all sizes.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of
       models", 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DeepEnsembleClassifier
    >>> from skensemble.pruning import prune_ensemble
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepEnsembleClassifier(n_estimators=4, random_state=0).fit(X[::2], y[::2])
    >>> len(prune_ensemble(ensemble, X[1::2], y[1::2], keep=2).ensemble)
    2
    """
    inner = _check_ensemble(ensemble)
    logits, position, weight = _look(inner, X_val, y_val, sample_weight)
    n_members = len(logits)
    n_keep = None if isinstance(keep, str) and keep == "best" else _how_many(keep, n_members)
    order = (_greedy if method == "greedy" else _ranked)(inner, logits, position, weight)
    nll, accuracy = _curve(inner, logits[order], position, weight)
    each = np.array([costs([member])[:2] for member in inner.estimators_])[order].cumsum(0)
    if n_keep is None:
        n_keep = int(nll.argmin()) + 1
    return EnsemblePruning(
        _part(inner, order[:n_keep]),
        order,
        np.arange(1, n_members + 1),
        nll,
        accuracy,
        each[:, 0],
        each[:, 1],
    )


def _check_ensemble(ensemble: Any) -> Any:
    inner = unwrap(ensemble)
    with naming("ensemble", "be a fitted ensemble"):
        check_is_fitted(inner)
    if isinstance(inner, PrunedClassifier):
        inner = inner.pruned_
    if not isinstance(inner, (DeepEnsembleClassifier, DistilledClassifier)):
        raise TypeError(
            "The 'ensemble' must be a DeepEnsembleClassifier, a DistilledClassifier with several "
            f"students, or a PrunedClassifier of one. Got {type(inner).__name__}."
        )
    if isinstance(inner, DeepEnsembleClassifier) and inner.joint:
        raise ValueError(
            "The members of an ensemble with joint=True are parts of one network, none of which "
            "can be left out. Prune an ensemble with joint=False."
        )
    if len(inner.estimators_) != len(inner._networks()):
        raise TypeError("The ensemble's students must be networks of one member each.")
    return inner


def _look(inner: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return member logits, class positions and weights of the validation rows."""
    with naming("X_val", "be rows of the shape that the ensemble learned"):
        logits = torch.from_numpy(inner._collect(X, lambda logits: logits, axis=1)).double()
    with naming("y_val", "be one label a row"):
        y = column_or_1d(as_numpy(y))
        check_consistent_length(range(logits.shape[1]), y)
        at = np.minimum(np.searchsorted(inner.classes_, y), len(inner.classes_) - 1)
    if not np.array_equal(inner.classes_[at], y):
        unknown = sorted(set(y.tolist()) - set(inner.classes_.tolist()), key=str)
        raise ValueError(f"y_val has labels that the ensemble does not know: {unknown}.")
    weight = check_weights(sample_weight, len(y), np.empty((len(y), 1)))
    weight = np.ones(len(y)) if weight is None else weight
    if not weight.any():
        raise ValueError("'sample_weight' must be non-negative, with at least one above zero.")
    return logits, torch.from_numpy(at), torch.from_numpy(weight / weight.sum())


def _how_many(keep: Any, n_members: int) -> int:
    if isinstance(keep, (int, np.integer)) and 1 <= keep <= n_members:
        return int(keep)
    if isinstance(keep, (float, np.floating)) and 0 < keep <= 1:
        return max(1, int(keep * n_members + 1e-9))
    raise ValueError(
        f"The 'keep' must be 'best', an int in [1, {n_members}] or a float in (0, 1]. "
        f"Got {keep!r} instead."
    )


def _nll(inner: Any, logits: Tensor, position: Tensor, weight: Tensor) -> float:
    """Return the fused members' mean negative log-likelihood."""
    log_p = inner._fuse_log_proba(logits)
    return float(-(log_p[torch.arange(len(position)), position] * weight).sum())


def _greedy(inner: Any, logits: Tensor, position: Tensor, weight: Tensor) -> np.ndarray:
    order: list[int] = []
    left = list(range(len(logits)))
    while left:
        worth = [_nll(_part(inner, [*order, m]), logits[[*order, m]], position, weight)
                 for m in left]  # fmt: skip
        order.append(left.pop(int(np.argmin(worth))))
    return np.array(order)


def _ranked(inner: Any, logits: Tensor, position: Tensor, weight: Tensor) -> np.ndarray:
    alone = [_nll(_part(inner, [m]), logits[[m]], position, weight) for m in range(len(logits))]
    return np.argsort(alone, kind="stable")


def _curve(
    inner: Any, logits: Tensor, position: Tensor, weight: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    nll, accuracy = [], []
    for size in range(1, len(logits) + 1):
        part = _part(inner, range(size))
        nll.append(_nll(part, logits[:size], position, weight))
        right = part._fuse_score(logits[:size]).argmax(-1) == position
        accuracy.append(float((right * weight).sum()))
    return np.array(nll), np.array(accuracy)


def _part(inner: Any, members: Any) -> Any:
    """Return an ensemble of some of the members."""
    part = copy.copy(inner)
    part.estimators_ = [inner.estimators_[int(m)] for m in members]
    if isinstance(inner, DeepEnsembleClassifier):
        part._numbers = [inner._numbers[int(m)] for m in members]
        part.n_estimators = len(part.estimators_)
    else:
        part.n_students = len(part.estimators_)
    return part
