"""A fitted estimator as one module, in float32 on the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skensemble._recipes.recipe import run_networks
from skensemble._tables.reader import TableReader

__all__ = ["Fused", "require_network"]

# Terms of the asymptotic series of the digamma function, B_2k / 2k.
_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240)
_SHIFT = 6


def require_network(estimator: Any, what: str) -> None:
    """Refuse what predicts otherwise than by a forward pass."""
    if not estimator._recipe.is_network:
        raise ValueError(
            f"A linearised network predicts with its gradients, which {what} has no graph for. Use "
            "save() or pickle; or distil it into a network and export that."
        )


class Fused(nn.Module):
    """The networks of an estimator and its fusion.

    Parameters
    ----------
    estimator : BaseNetworkClassifier
        Fitted; its networks are copied.
    preprocessed : bool
        Whether it is given what ``preprocessor_.transform`` returns.
    uncertainty : bool
        Whether uncertainties are returned too.
    scores : bool
        Whether confidence scores are returned in the place of probabilities; of two classes those
        of ``decision_function`` and their negatives.
    """

    def __init__(
        self,
        estimator: Any,
        preprocessed: bool = False,
        uncertainty: bool = False,
        scores: bool = False,
    ) -> None:
        super().__init__()
        table = estimator._recipe.table
        self.read = nn.Identity() if table is None or preprocessed else TableReader(table)
        modules = [copy.deepcopy(module).cpu().float() for module in estimator._networks()]
        self.members = nn.ModuleList(modules).eval()
        self.eval()
        # A graph has its own layout and is exact.
        self._recipes = [
            replace(recipe, precision=None, channels_last=False) for recipe in estimator._recipes()
        ]
        # In a tuple, so that no module is looked for in it.
        self._owner = (estimator,)
        self.uncertainty, self.scores = uncertainty, scores
        raw = isinstance(self.read, TableReader)
        self.in_shape = (estimator.n_features_in_,) if raw else estimator._recipe.in_shape

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return probabilities, and ``(total, aleatoric, epistemic)`` a row if asked for."""
        (owner,) = self._owner
        logits = run_networks(list(self.members), self._recipes, self.read(x))
        proba = _scores(owner, logits) if self.scores else owner._fuse_proba(logits)
        if not self.uncertainty:
            return proba
        return proba, uncertainty_of(owner, logits)


def _scores(owner: Any, logits: Tensor) -> Tensor:
    scores: Tensor = owner._fuse_score(logits)
    if scores.shape[-1] > 2:
        return scores
    second = scores[:, 1:] - scores[:, :1]
    return torch.cat([-second, second], 1)


def uncertainty_of(owner: Any, logits: Tensor) -> Tensor:
    """Return total, aleatoric and epistemic uncertainty, as `skensemble.metrics` defines them."""
    if owner._concentration is not None:
        alpha = owner._concentration(logits)
        sums = alpha.sum(-1, keepdim=True)
        members = alpha / sums
        gap = _digamma(sums + 1) - _digamma(alpha + 1)
        aleatoric = (members * gap).sum(-1).mean(0)
    else:
        members = owner._teaching(logits).softmax(-1)
        aleatoric = _entropy(members).mean(0)
    total = _entropy(members.mean(0))
    aleatoric = torch.minimum(aleatoric.clamp_min(0.0), total)
    # Concentrations are of float64.
    return torch.stack([total, aleatoric, total - aleatoric], -1).to(logits.dtype)


def _entropy(proba: Tensor) -> Tensor:
    return -(proba * proba.clamp_min(torch.finfo(proba.dtype).tiny).log()).sum(-1)


def _digamma(x: Tensor) -> Tensor:
    """Return the digamma function of numbers of one and more, which ONNX and C do not have."""
    below = torch.zeros_like(x)
    for k in range(_SHIFT):
        below = below + 1 / (x + k)
    x = x + _SHIFT
    square = 1 / (x * x)
    tail = torch.zeros_like(x)
    for term in reversed(_SERIES):
        tail = square * (tail + term)
    return x.log() - 0.5 / x - tail - below
