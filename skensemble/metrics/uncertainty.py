"""What is uncertain about predictions: the data, or the model that was chosen."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import special
from sklearn.utils import check_array

from skensemble._arguments import as_numpy, naming
from skensemble.metrics.members import check_members

# Nodes of the integral for which class a Dirichlet's draw has its largest share.
_NODES = 64
# Beyond this sum a Dirichlet is a point, and the gamma function's inverse loses its digits.
_LARGEST = 1e9


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainty of every sample, in nats where it is an entropy.

    Attributes
    ----------
    total : ndarray of shape (n_samples,)
        Entropy of the mean probabilities.
    aleatoric : ndarray of shape (n_samples,)
        Mean entropy of the members, which is there however many rows are learned from.
    epistemic : ndarray of shape (n_samples,)
        Mutual information of label and member, ``total - aleatoric``: what members do not agree
        about.
    variation_ratio : ndarray of shape (n_samples,)
        Share of members that do not choose the class that most of them choose.
    confidence : ndarray of shape (n_samples,)
        Largest mean probability.
    """

    total: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray
    variation_ratio: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.total)

    def as_dict(self) -> dict[str, np.ndarray]:
        """Return the columns by name.

        Returns
        -------
        dict of str to ndarray
            The columns.
        """
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def frame(self, index: Any = None) -> Any:
        """Return the columns as a data frame of pandas.

        Parameters
        ----------
        index : array-like of shape (n_samples,), default=None
            Of the frame, such as that of the rows which were predicted.

        Returns
        -------
        DataFrame of shape (n_samples, 5)
            One row a sample.
        """
        import pandas as pd

        return pd.DataFrame(self.as_dict(), index=index)


def entropy(proba: np.ndarray) -> np.ndarray:
    """Return ``-sum_k p_k log p_k`` over the last axis, with ``0 log 0 = 0``."""
    return special.entr(proba).sum(-1)


def uncertainty_of_members(members: Any) -> Uncertainty:
    """Split the uncertainty of an ensemble's predictions.

    ``total = H(mean_m p_m)``, ``aleatoric = mean_m H(p_m)`` and ``epistemic`` their difference.

    Parameters
    ----------
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.

    Returns
    -------
    Uncertainty
        Five numbers a sample.

    See Also
    --------
    uncertainty_of_dirichlet : Of one network that predicts a distribution.

    References
    ----------
    Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning for efficient and
    risk-sensitive learning", 2018.

    Examples
    --------
    >>> found = uncertainty_of_members([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    >>> found.aleatoric.round(2).tolist(), found.epistemic.round(2).tolist()
    ([0.0, 0.69], [0.69, 0.0])
    """
    p = check_members(members).astype(np.float64)
    mean, aleatoric = p.mean(0), entropy(p).mean(0)
    counts = (p.argmax(-1)[..., None] == np.arange(p.shape[-1])).sum(0)
    return _split(mean, aleatoric, 1 - counts.max(-1) / len(p))


def uncertainty_of_dirichlet(concentration: Any) -> Uncertainty:
    """Split the uncertainty of predictions that are Dirichlet distributions.

    Draws of the distribution are what members are in an ensemble: with ``a_0 = sum_k a_k`` and the
    mean ``p = a / a_0``, ``aleatoric = sum_k p_k (psi(a_0 + 1) - psi(a_k + 1))``.

    Parameters
    ----------
    concentration : array-like of shape (n_samples, n_classes) or (n_members, n_samples, n_classes)
        Positive numbers, as ``predict_concentration`` returns. Several members are a mixture of
        their distributions.

    Returns
    -------
    Uncertainty
        Five numbers a sample. The variation ratio is the chance that a draw has its largest
        share elsewhere than most draws.

    References
    ----------
    Malinin and Gales, "Predictive uncertainty estimation via prior networks", 2018.

    Examples
    --------
    >>> flat, sure = uncertainty_of_dirichlet([[1.0, 1.0], [1000.0, 1000.0]]).epistemic
    >>> print(round(flat, 3), round(sure, 3))
    0.193 0.0
    """
    with naming("concentration", "be positive numbers of shape (n_samples, n_classes)"):
        alpha = check_array(as_numpy(concentration), dtype=np.float64, allow_nd=True)
        if not (alpha > 0).all() or alpha.ndim > 3:
            raise ValueError(f"{alpha.min()} in shape {alpha.shape}")
    alpha = alpha.reshape(-1, *alpha.shape[-2:])
    total = alpha.sum(-1, keepdims=True)
    mean = alpha / total
    gap = special.digamma(total + 1) - special.digamma(alpha + 1)
    aleatoric = (mean * gap).sum(-1).mean(0)
    chance = np.mean([_chance_of_largest(one) for one in alpha], axis=0)
    return _split(mean.mean(0), aleatoric, 1 - chance.max(-1))


def _split(mean: np.ndarray, aleatoric: np.ndarray, ratio: np.ndarray) -> Uncertainty:
    total = entropy(mean)
    # By Jensen's inequality they are in order, but for the last bits.
    aleatoric = np.clip(aleatoric, 0.0, total)
    return Uncertainty(total, aleatoric, total - aleatoric, ratio, mean.max(1))


def _chance_of_largest(alpha: np.ndarray) -> np.ndarray:
    """Return the chance that a draw of a Dirichlet has its largest share in each class.

    Shares are gamma variables over their sum, so it is ``E[prod_{j != k} F_j(x)]`` over x of the
    k-th variable: an integral over the quantiles of that one.
    """
    alpha = alpha * np.minimum(1.0, _LARGEST / alpha.sum(1, keepdims=True))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    at, weights = (nodes + 1) / 2, weights / 2
    chance = np.empty_like(alpha)
    for k in range(alpha.shape[1]):
        x = special.gammaincinv(alpha[:, k, None], at)
        others = np.delete(alpha, k, axis=1)
        below = special.gammainc(others[:, None, :], x[:, :, None]).prod(-1)
        chance[:, k] = below @ weights
    return chance / chance.sum(1, keepdims=True)
