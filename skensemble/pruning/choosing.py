"""Which channels or weights stay."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._arguments import naming
from skensemble.nn.narrowing import CONVOLUTIONS, Cuts
from skensemble.pruning.scores import largest, n_kept, widen
from skensemble.pruning.surgery import CannotPrune, perform

Score = Callable[[nn.Module, nn.Module | None], Tensor]
# Reasons that an error gives, and layers that it names for each.
_MOST_REASONS, _MOST_NAMES = 4, 2


@dataclass(frozen=True)
class PruningSettings:
    """Which channels or weights are to stay; the parameters of `PrunedClassifier`."""

    method: str | Score = "l1-filter"
    keep: float | dict[str, float] = 0.5
    skip: tuple[str, ...] = ()
    layers: str = "auto"
    threshold: str = "global"
    coupled: bool = False
    min_channels: int = 1
    round_to: int = 1

    def check(self) -> None:
        """Refuse shares that are none, and methods that do not go together."""
        for prefix, share in self.keep.items() if isinstance(self.keep, dict) else ():
            if not isinstance(share, (int, float, np.number)) or not 0 < share <= 1:
                raise ValueError(
                    "The shares in 'keep' must be numbers in the range (0, 1]. "
                    f"Got {share!r} for {prefix!r}."
                )
        if self.coupled and self.method in ("magnitude", "slimming"):
            raise ValueError(
                "coupled=True is for method='l1-filter' and score functions. "
                f"Got method={self.method!r}."
            )


@dataclass(frozen=True)
class Widths:
    """How many channels a layer had, and has."""

    before: int
    after: int


@dataclass(frozen=True)
class Operation:
    """What is to be done to a module.

    Attributes
    ----------
    cuts : dict
        Channels that stay, by layer; see `skensemble.nn.narrowing`.
    masks : dict of Tensor
        Weights that stay, by parameter.
    widths : dict of Widths
        Channels of the layers that were looked at.
    left_alone : dict of str
        Layers that stay whole, and why.
    """

    cuts: Cuts = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    widths: dict[str, Widths] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)

    def perform(self, module: nn.Module, sample: Tensor) -> nn.Module:
        """Return a pruned copy of a module."""
        narrow = perform(module, self.cuts, sample)
        with torch.no_grad():
            for name, mask in self.masks.items():
                narrow.get_parameter(name).mul_(mask)
        return narrow


# -- which channels ------------------------------------------------------------------------
def named_by(name: str, prefix: str) -> bool:
    """Whether a prefix names a layer, or a part of the network that it is in."""
    return prefix == "" or name == prefix or name.startswith(f"{prefix}.")


def kinds(module: nn.Module, layers: str) -> tuple[type, ...]:
    """Return the types of layers to be pruned; "auto" is convolutions where there are any."""
    if layers == "auto":
        has_conv = any(isinstance(part, CONVOLUTIONS) for part in module.modules())
        layers = "conv" if has_conv else "linear"
    return {"conv": CONVOLUTIONS, "linear": (nn.Linear,), "all": (*CONVOLUTIONS, nn.Linear)}[layers]


def listed(left_alone: dict[str, str]) -> str:
    """Say which layers stay whole, and why: the reasons of most of them, with the first of each.

    >>> listed({"c": "'skip' names it", "a": "it is odd", "b": "it is odd"})
    "a, b: it is odd; c: 'skip' names it"
    """
    reasons: dict[str, list[str]] = {}
    for name, why in left_alone.items():
        reasons.setdefault(why, []).append(name)
    most = sorted(reasons.items(), key=lambda one: -len(one[1]))
    told = [f"{_first(names)}: {why}" for why, names in most[:_MOST_REASONS]]
    others = sum(len(names) for _, names in most[_MOST_REASONS:])
    return "; ".join(told + [f"{others} for other reasons"] * bool(others)) or "none"


def _first(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def nothing_found(
    asked: str, module: nn.Module, left_alone: dict[str, str], instead: str
) -> CannotPrune:
    """Return the error of a module that has no channels for what was asked."""
    return CannotPrune(
        f"{asked} finds no channels to take out of this {type(module).__name__}. Left alone are "
        f"{listed(left_alone)}. {instead}, or set 'layers'."
    )


def scores_by(
    method: Any, layer: nn.Module, norm: nn.Module | None, name: str, n_channels: int
) -> Tensor:
    """Ask a score function of the user's, and check what it returned."""
    with naming("method", f"be able to score the channels of {name!r}"):
        scores = torch.as_tensor(method(layer, norm)).detach()
    if scores.shape != (n_channels,) or not bool(scores.isfinite().all()):
        raise ValueError(
            "A score function as 'method' must return one finite number a channel, shape "
            f"({n_channels},) for {name!r}. Got shape {tuple(scores.shape)}"
            + ("." if scores.shape != (n_channels,) else " with NaN or infinity.")
        )
    return scores


# -- how many ------------------------------------------------------------------------------
def shares(names: Sequence[str], keep: float | dict[str, float]) -> dict[str, list[str]]:
    """Return which prefix of `keep` has a say on which layers; the longest one has."""
    if not isinstance(keep, dict):
        return {"": list(names)}
    said: dict[str, list[str]] = {prefix: [] for prefix in keep}
    for name in names:
        fitting = [prefix for prefix in keep if named_by(name, prefix)]
        if fitting:
            said[max(fitting, key=len)].append(name)
    idle = [prefix for prefix in keep if not any(named_by(name, prefix) for name in names)]
    if idle:
        raise ValueError(
            f"The 'keep' names {idle[0]!r}, which is no layer that can be pruned, nor a part of "
            f"the network with one. There are {', '.join(names) or 'none'}."
        )
    return said


def _share(keep: float | dict[str, float], prefix: str) -> float:
    return keep[prefix] if isinstance(keep, dict) else keep


def choose(scores: dict[str, Tensor], how: PruningSettings) -> dict[str, list[int]]:
    """Return the channels of each layer that stay, with at least `min_channels` of them."""
    kept: dict[str, list[int]] = {}
    for prefix, names in shares(list(scores), how.keep).items():
        share = _share(how.keep, prefix)
        if how.method == "slimming":  # one threshold for all
            n = n_kept(sum(len(scores[name]) for name in names), share)
            parts = largest([scores[name] for name in names], n) if names else []
            kept.update(zip(names, parts, strict=True))
        else:
            for name in names:
                kept[name] = largest([scores[name]], n_kept(len(scores[name]), share))[0]
    _warn_empty([name for name, at in kept.items() if not at], f"{how.min_channels} channels")
    return {
        name: widen(scores[name], at, how.min_channels, how.round_to) for name, at in kept.items()
    }


def _warn_empty(names: list[str], rest: str) -> None:
    if names:
        warnings.warn(
            f"Nothing would be left of {', '.join(names)}; their largest {rest} are kept. Raise "
            "'keep', or name the layers in 'skip'.",
            UserWarning,
            stacklevel=2,
        )


def _keep_one(masks: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Leave at least the largest weight of every layer."""
    empty = [name for name, mask in masks.items() if not bool(mask.any())]
    _warn_empty(empty, "single weights")
    for name in empty:
        masks[name].view(-1)[weights[name].abs().argmax()] = 1.0
