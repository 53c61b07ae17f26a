"""How much members differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from skensemble._arguments import as_numpy, naming


def _check_members(members: Any) -> np.ndarray:
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
    members = _check_members(members)
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
    p = _check_members(members).astype(np.float64)
    n_members = len(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.log(p)
        own = np.where(p > 0, p * log_p, 0.0).sum((0, 2))
        # The sum over ordered pairs of sum_k p_i log p_j, without its diagonal.
        others = p.sum(0, keepdims=True) - p
        cross = np.where(others > 0, others * log_p, 0.0).sum((0, 2))
    total = (n_members - 1) * own - cross
    return float(np.maximum(total / (n_members * (n_members - 1)), 0.0).mean())
