"""How much members differ."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from sklearn.utils import check_array

from skensemble._arguments import as_numpy, naming
from skensemble.metrics.probabilities import check_proba


def check_members(members: Any) -> np.ndarray:
    """Return probabilities of members, after saying what is wrong with them."""
    with naming("members", "be probabilities of shape (n_members, n_samples, n_classes)"):
        members = check_array(as_numpy(members), dtype=[np.float64, np.float32], allow_nd=True)
    if members.ndim != 3 or len(members) < 2:
        raise ValueError(
            "The 'members' must be probabilities of shape (n_members, n_samples, n_classes) from "
            f"at least 2 members, as predict_members returns. Got shape {members.shape} instead."
        )
    return members


def disagreement(members: Any) -> float:
    """Share of samples on which two members choose different classes, mean over pairs.

    Parameters
    ----------
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.

    Returns
    -------
    float
        A number in [0, 1].

    Examples
    --------
    >>> disagreement([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])
    0.5
    """
    members = check_members(members)
    chosen = members.argmax(-1)
    n_members, n_classes = len(members), members.shape[-1]
    # Pairs that agree on a sample, from how many chose each class there.
    counts = (chosen[:, :, None] == np.arange(n_classes)).sum(0)
    agree = (counts * (counts - 1)).sum(-1) / (n_members * (n_members - 1))
    return float(1 - agree.mean())


def pairwise_kl(members: Any) -> float:
    """Kullback-Leibler divergence between members, mean over ordered pairs and samples.

    ``mean over i != j of sum_k p_ik log(p_ik / p_jk)``; infinite where a member gives
    zero to a class to which another gives more.

    Parameters
    ----------
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.

    Returns
    -------
    float
        The mean, in nats; zero if and only if all members say the same.

    Examples
    --------
    >>> pairwise_kl([[[0.5, 0.5]], [[0.5, 0.5]]])
    0.0
    """
    p = check_members(members).astype(np.float64)
    n_members = len(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.log(p)
        own = np.where(p > 0, p * log_p, 0.0).sum((0, 2))
        # The sum over ordered pairs of sum_k p_i log p_j, without its diagonal.
        others = p.sum(0, keepdims=True) - p
        cross = np.where(others > 0, others * log_p, 0.0).sum((0, 2))
    total = (n_members - 1) * own - cross
    return float(np.maximum(total / (n_members * (n_members - 1)), 0.0).mean())


def q_statistic(y_true: Any, members: Any, *, labels: Any = None) -> float:
    """Yule's Q of who is right, mean over pairs of members.

    ``Q = (N11 N00 - N01 N10) / (N11 N00 + N01 N10)`` of two members, where N01 counts samples on
    which only the second is right. Members that are right on the same samples have 1, those
    whose errors have nothing to do with each other about 0.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [-1, 1]. A pair of which both products are zero has no Q and is left out; NaN
        where there is no other pair.

    References
    ----------
    Kuncheva and Whitaker, "Measures of diversity in classifier ensembles and their relationship
    with the ensemble accuracy", 2003.

    Examples
    --------
    >>> first, second = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]]
    >>> q_statistic([0, 1, 1], [first, second])
    1.0
    """
    members = check_members(members)
    position, _ = check_proba(y_true, members[0], labels, "members[0]")
    right = (members.argmax(-1) == position).astype(np.int64)
    found = []
    for a, b in combinations(right, 2):
        same = int(a @ b) * int((1 - a) @ (1 - b))
        other = int(a @ (1 - b)) * int((1 - a) @ b)
        if same + other:
            found.append((same - other) / (same + other))
    return float(np.mean(found)) if found else float("nan")
