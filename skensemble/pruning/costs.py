"""What networks cost before and after."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from skensemble.ensembles.network import NetworkClassifier
from skensemble.nn._costs import count_macs, measure_sparsity
from skensemble.nn._twins import twin


@dataclass(frozen=True)
class Change:
    """A number of the unpruned networks and of the pruned ones.

    Attributes
    ----------
    before, after : float
        Summed over the networks that predict.
    """

    before: float
    after: float


def changes(
    networks: list[NetworkClassifier], pruned: list[NetworkClassifier]
) -> tuple[Change, Change, Change]:
    """Compare parameters, multiply-adds and the share of zeros."""
    before, after = costs(networks), costs(pruned)
    return Change(before[0], after[0]), Change(before[1], after[1]), Change(before[2], after[2])


def costs(networks: list[NetworkClassifier]) -> tuple[int, int, float]:
    """Count parameters, multiply-adds of a row, and the share of zeros."""
    n_parameters = n_flops = zeros = total = 0
    for network in networks:
        module, recipe = twin(network.module_), network._recipe  # which hooks count on
        n_parameters += sum(p.numel() for p in module.parameters())
        like = next(module.parameters())
        n_flops += int(count_macs(module, torch.zeros(1, *recipe.in_shape).to(like)))
        some, of = measure_sparsity(module)
        zeros, total = zeros + some, total + of
    return n_parameters, n_flops, zeros / max(1, total)
