"""How differently a network treats the rows it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skensemble._private import StrOptions, validate_params
from skensemble._seeding import root_seed, torch_seeded
from skensemble.inspection.networks import Network, inside, networks_of

# What keeps the logarithm of an eigenvalue of zero finite, as in the source.
_K = 1e-5


@validate_params(
    {"mode": [StrOptions({"eval", "train"})], "random_state": ["random_state"]},
    prefer_skip_nested_validation=True,
)
def diversity_score(
    estimator: Any, X: Any, *, mode: str = "eval", random_state: Any = 0
) -> np.ndarray:
    """Score how little the gradients of rows have in common, for each network.

    With ``J_i`` the gradient of the summed outputs of all rows by row `i`, and ``σ`` the
    eigenvalues of the correlations of these gradients, it is ``-sum_i [log(σ_i + k) + 1 / (σ_i +
    k)]`` with ``k = 1e-5``: the score of [1]_, by which [2]_ compares networks. It is at
    most ``-n_samples``, where no two gradients are correlated, and far below where some are the
    same, as all are in a linear network. Scores of different numbers of rows cannot be compared.

    Parameters
    ----------
    estimator : estimator of skensemble
        Fitted, and made of networks.
    X : array-like of shape (n_samples, ...)
        At least two rows of the shape seen in `fit`; they are one batch, so not too many.
    mode : {"eval", "train"}, default="eval"
        How dropout and batch normalisation behave. In "train" rows share the batch's statistics;
        those that were learned stay as they are.
    random_state : int, RandomState instance or None, default=0
        Seed of what is drawn in "train".

    Returns
    -------
    ndarray of shape (n_members,)
        One score a network; of one network an array of one number.

    References
    ----------
    .. [1] Mellor, Turner, Storkey and Crowley, "Neural architecture search without training",
       first version, 2020.
    .. [2] Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other
       techniques", 2020, Table 6.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DeepEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepEnsembleClassifier(n_estimators=3, random_state=0).fit(X, y)
    >>> diversity_score(ensemble, X[::10]).shape
    (3,)
    """
    inner = inside(estimator, "diversity_score")
    X = inner._check_X(X, reset=False)
    if len(X) < 2:
        raise ValueError(f"The 'X' must have at least 2 rows to compare. Got {len(X)}.")
    seed = root_seed(random_state)
    networks = networks_of(inner)
    found = [_gradients(network, X, mode == "train", seed) for network in networks]
    return np.array([_score(one, number) for number, one in enumerate(found)])


def _gradients(network: Network, X: Any, training: bool, seed: int) -> Tensor:
    """Return the gradient of the summed outputs by each row, ``(sample, number)``."""
    rows = network.rows(X)
    x = rows.slice(0, len(rows)).clone().requires_grad_()
    network.module.train(training)
    # Statistics are written into copies: the twin has those of the estimator.
    buffers = {name: one.clone() for name, one in network.module.named_buffers()}
    with torch.enable_grad(), torch_seeded(seed, x.device):
        total = network.logits(x, buffers).sum()
        (found,) = torch.autograd.grad(total, x, materialize_grads=True)
    return found.flatten(1)


def _score(gradients: Tensor, member: int) -> float:
    J = gradients.cpu().numpy()
    limit = 8 * np.finfo(J.dtype).eps * np.abs(J).max(1)  # what rounding alone makes
    alike = np.flatnonzero(np.ptp(J, axis=1) <= limit)
    if len(alike):
        raise ValueError(
            "The 'X' must have rows whose gradients have correlations. Got the same slope by "
            f"each input for row {alike[0]} in network {member}, {len(alike)} such rows in all; "
            "leave them out."
        )
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(J.astype(np.float64))) + _K
    return float(-(np.log(eigenvalues) + 1 / eigenvalues).sum())
