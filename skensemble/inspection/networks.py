"""The networks inside an estimator, as twins that can be looked at in any way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skensemble._base.checks import check_labels
from skensemble._base.estimator import BaseNetworks
from skensemble._base.features import first_parameter
from skensemble._base.fitted import unwrap
from skensemble._data.rows import Rows
from skensemble._recipes.recipe import Recipe
from skensemble.nn._outputs import log_proba
from skensemble.nn._twins import twin
from skensemble.nn.batch_ensemble import BatchEnsemble

_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Network:
    """One member: a module of its own over weights that are shared, and how it is run.

    Attributes
    ----------
    module : Module
        In evaluation mode.
    recipe : Recipe
        What turns a batch into outputs.
    """

    module: nn.Module
    recipe: Recipe

    def logits(self, x: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """Return logits ``(sample, class)``, of other weights where they are given."""

        def run(rows: Tensor) -> Tensor:
            return torch.func.functional_call(self.module, weights or {}, (rows,))

        outputs = self.recipe.forward(run, x)  # type: ignore[arg-type]
        return log_proba(outputs) if self.recipe.outputs_proba else outputs

    def rows(self, X: Any) -> Rows:
        """Return checked rows as the network takes them, where it is."""
        return Rows(X, self.recipe.dtype, first_parameter(self.module).device)


def chunks(rows: Rows) -> Iterator[Tensor]:
    """Yield rows as batches for which gradients are asked, in order."""
    for start in range(0, len(rows), _CHUNK_ROWS):
        yield rows.slice(start, min(start + _CHUNK_ROWS, len(rows)))


def inside(estimator: Any, owner: str) -> BaseNetworks:
    """Return the fitted estimator itself, after saying what is wrong with it for `owner`."""
    inner = unwrap(estimator)
    if not isinstance(inner, BaseNetworks):
        is_chain = isinstance(inner, Pipeline)
        hint = "; give pipe[-1], and pipe[:-1].transform(X) as rows" if is_chain else ""
        raise ValueError(
            f"The 'estimator' parameter of {owner} must be an estimator of skensemble that is made "
            f"of networks. Got {type(inner).__name__} instead{hint}."
        )
    check_is_fitted(inner)
    if inner._learns_targets or not all(one.is_network for one in inner._recipes()):
        raise ValueError(
            f"The 'estimator' parameter of {owner} must be made of networks of layers. Got the "
            f"kernel machines of {type(inner).__name__} instead."
        )
    return inner


def networks_of(inner: BaseNetworks) -> list[Network]:
    """Return the members, those that share their layers each folded into a network."""
    found = []
    for module, recipe in zip(inner._networks(), inner._recipes(), strict=True):
        if isinstance(module, BatchEnsemble):
            folded = [module.member(number) for number in range(module.n_members)]
        else:
            folded = [twin(module)]
        found += [Network(one.eval(), recipe) for one in folded]
    return found


def own_logits(inner: BaseNetworks, X: Any) -> Tensor:
    """Return logits ``(member, sample, class)`` of checked rows, as the estimator computes them."""
    twins = [twin(module).eval() for module in inner._networks()]
    return torch.cat([part for _, _, part in inner._run(X, twins, inner._recipes())], 1)


def positions(inner: BaseNetworks, y: Any, n_rows: int) -> np.ndarray:
    """Return the places of checked labels in ``classes_``."""
    y = check_labels(y, n_rows, inner)
    classes: np.ndarray = inner.classes_  # type: ignore[attr-defined]
    strange = ~np.isin(y, classes)
    if strange.any():
        raise ValueError(
            f"The 'y' must have labels that were seen in fit. Got {y[strange].tolist()[0]!r}."
        )
    return np.searchsorted(classes, y)


def check_member(member: int, networks: Sequence[Network]) -> Network:
    """Return one member by its number."""
    if member >= len(networks):
        raise ValueError(
            f"The 'member' must be the number of one of {len(networks)} networks. Got {member}."
        )
    return networks[member]
