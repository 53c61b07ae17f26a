"""What to take out of one trained module: the methods, as plans that nothing has acted on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skensemble.nn.narrowing import CONVOLUTIONS
from skensemble.pruning.choosing import (
    Operation,
    PruningSettings,
    Widths,
    _keep_one,
    _share,
    choose,
    kinds,
    listed,
    named_by,
    nothing_found,
    scores_by,
    shares,
)
from skensemble.pruning.scores import filter_l1, magnitude_masks, scale_size
from skensemble.pruning.surgery import (
    CannotPrune,
    Channels,
    Group,
    find_channels,
    make_cuts,
    without,
)

__all__ = ["plan_operation"]


def plan_operation(module: nn.Module, sample: Tensor, how: PruningSettings) -> Operation:
    """Decide what stays of a module.

    Parameters
    ----------
    module : Module
        Trained, on the CPU.
    sample : Tensor of shape (n_few, ...)
        At least two rows of what it takes.
    how : PruningSettings
        What is asked for.
    """
    if how.method == "magnitude":
        return _plan_masks(module, how)
    if how.coupled:
        from skensemble.pruning.coupled import plan_coupled

        return plan_coupled(module, sample, how)
    channels = _eligible(find_channels(module, sample), module, how)
    scores = {group.layer: _score(group, module, how.method) for group in channels.groups}
    chosen = choose(scores, how)
    widths = {layer: Widths(len(scores[layer]), len(kept)) for layer, kept in chosen.items()}
    cuts = make_cuts(channels.groups, chosen)
    return Operation(cuts, {}, widths, channels.left_alone)


def _eligible(channels: Channels, module: nn.Module, how: PruningSettings) -> Channels:
    """Leave alone what the method or the user wants to be."""
    slimming = how.method == "slimming"
    if not slimming:
        picked = [group for group in channels.groups if group.kind == "norm"]
        channels = Channels([g for g in channels.groups if g not in picked], channels.left_alone)
    wanted = kinds(module, how.layers)
    other = [
        group
        for group in channels.groups
        if group.kind != "norm" and not isinstance(module.get_submodule(group.layer), wanted)
    ]
    channels = without(channels, other, f"layers={how.layers!r} leaves its kind whole")
    if slimming:
        bare = [group for group in channels.groups if _scale_of(group, module) is None]
        channels = without(channels, bare, "no batch normalisation with a scale follows it")
    skipped = [g for g in channels.groups if any(named_by(g.layer, p) for p in how.skip)]
    channels = without(channels, skipped, "'skip' names it")
    if not channels.groups and not skipped:
        asked = f"method={how.method!r}"
        raise nothing_found(asked, module, channels.left_alone, "Use method='magnitude'")
    return channels


def _scale_of(group: Group, module: nn.Module) -> Tensor | None:
    if group.scale is None:
        return None
    norm: Any = module.get_submodule(group.scale)
    return norm.weight


def _score(group: Group, module: nn.Module, method: Any) -> Tensor:
    layer: Any = module.get_submodule(group.layer)
    with torch.no_grad():
        if method == "slimming":
            scale = _scale_of(group, module)
            assert scale is not None
            return scale_size(scale)
        if method == "l1-filter":
            return filter_l1(layer.weight)
        norm = None if group.scale is None else module.get_submodule(group.scale)
        return scores_by(method, layer, norm, group.layer, group.n_channels)


# -- single weights --------------------------------------------------------------------------
def _plan_masks(module: nn.Module, how: PruningSettings) -> Operation:
    """Mask single weights of convolutions, by one threshold or by one a layer."""
    wanted = kinds(module, how.layers)
    weights: dict[str, Tensor] = {}
    left: dict[str, str] = {}
    for name, part in module.named_modules():
        if not isinstance(part, (nn.Linear, *CONVOLUTIONS)):
            continue
        if any(named_by(name, prefix) for prefix in how.skip):
            left[name] = "'skip' names it"
        elif not isinstance(part, wanted):
            left[name] = f"layers={how.layers!r} leaves its kind whole"
        elif "weight" not in part._parameters:
            left[name] = "its weights are parametrised"
        else:
            weights[name] = part.weight.detach()
    if not weights and "'skip' names it" not in left.values():
        raise CannotPrune(
            f"method='magnitude' finds no layer with weights to mask in this "
            f"{type(module).__name__}. Left alone are "
            f"{listed(left)}."
        )
    masks: dict[str, Tensor] = {}
    for prefix, names in shares(list(weights), how.keep).items():
        share = _share(how.keep, prefix)
        pools = [names] if how.threshold == "global" and names else [[name] for name in names]
        for pool in pools:
            found = magnitude_masks([weights[name] for name in pool], share)
            masks.update(zip(pool, found, strict=True))
    _keep_one(masks, weights)
    return Operation({}, {f"{name}.weight": mask for name, mask in masks.items()}, {}, left)
