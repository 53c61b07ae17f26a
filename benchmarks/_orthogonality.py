"""What `orthogonality.py` trains: networks, ways of pruning, sizes, and the source's figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from skensemble.nn import VGG, CifarResNet, DenseNet, PreActResNet, PyramidNet

# Accuracies and surplus as the source prints them; None where they are not at hand. The columns of
# the row that is whole are told by its surplus; of two surpluses the first is the label's.
SOURCE: dict[str, dict[str, float | None]] = {
    "ResNet-56, l1-filter 40/70/90, label": {"surplus": 0.71},
    "ResNet-56, l1-filter 40/70/90, feature": {"surplus": 0.38},
    "VGG-19, slimming 50, label": {"surplus": -0.20},
    "pre-activation ResNet-56, slimming 50, label": {
        "Unpruned scratch": 73.07, "Finetuned": 72.45, "Unpruned KD": 74.52, "Pre-Distill": 74.32,
        "Post-Distill": 73.25, "Pre-Post": 74.39, "Self-Distill": 74.78, "surplus": 0.88,
    },
    "ResNet-110, magnitude 40, label": {"surplus": 0.64},
    "ResNet-110, magnitude 40, feature": {"surplus": 0.59},
}  # fmt: skip


@dataclass(frozen=True)
class Pruning:
    """One way of pruning: what the row is called, the method and the share to keep."""

    name: str
    method: str
    keep: Any
    strength: float = 1e-4


@dataclass(frozen=True)
class Architecture:
    """A network and the ways in which it is pruned."""

    name: str
    module: type[nn.Module]
    arguments: dict[str, Any]
    prunings: tuple[Pruning, ...] = ()
    augmented: bool = False


@dataclass(frozen=True)
class Preset:
    """Sizes of one reproduction, and how batches are altered in training and in fine-tuning."""

    architectures: tuple[Architecture, ...]
    n_train: int
    n_test: int
    epochs: int
    finetune_epochs: int
    finetune_lr: float
    seeds: int
    batch_size: int = 64
    weight_decay: float = 1e-4
    pool: int = 1
    augmentation: str | None = None
    finetune_augmentation: str | None = None
    feature_weight: float = 0.1


def per_stage(n_blocks: int, *shares: float) -> dict[str, float]:
    """Return the share to keep of each block of a residual network, the same in a stage."""
    return {f"blocks.{at}": shares[at // n_blocks] for at in range(3 * n_blocks)}


def filters(n_blocks: int, *shares: float) -> Pruning:
    """Return pruning of filters by stages."""
    name = "l1-filter " + "/".join(f"{100 * share:.0f}" for share in shares)
    return Pruning(name, "l1-filter", per_stage(n_blocks, *shares))


def slimming(keep: float, strength: float) -> Pruning:
    """Return pruning by the scales of batch normalisation."""
    return Pruning(f"slimming {100 * keep:.0f}", "slimming", keep, strength)


def magnitude(keep: float) -> Pruning:
    """Return pruning of single weights."""
    return Pruning(f"magnitude {100 * keep:.0f}", "magnitude", keep)


def residual(depth: int, width: int, *prunings: Pruning, augmented: bool = False) -> Architecture:
    """Return a residual network."""
    arguments = {"depth": depth, "width": width}
    return Architecture(f"ResNet-{depth}", CifarResNet, arguments, prunings, augmented)


def pyramid(depth: int, alpha: int) -> Architecture:
    """Return a network of the augmentation tables alone."""
    arguments = {"depth": depth, "alpha": alpha}
    return Architecture(f"PyramidNet-{depth}-{alpha}", PyramidNet, arguments, augmented=True)


PRESETS = {
    "cpu": Preset(
        (
            residual(20, 8, filters(3, 0.4, 0.7, 0.9), slimming(0.6, 1e-5), magnitude(0.3),
                     augmented=True),
        ),
        2_500, 5_000, 8, 2, 0.01, 3, pool=2,
    ),
    "paper": Preset(
        (
            residual(56, 16, filters(9, 0.4, 0.7, 0.9), filters(9, 0.5, 0.6, 0.7), augmented=True),
            residual(110, 16, filters(18, 0.8, 0.8, 0.8), filters(18, 0.5, 0.6, 0.7),
                     magnitude(0.4)),
            Architecture("VGG-19", VGG, {"depth": 19}, (slimming(0.5, 1e-4),)),
            Architecture("pre-activation ResNet-56", PreActResNet, {"depth": 56},
                         (slimming(0.5, 1e-5),)),
            Architecture("DenseNet-40-12", DenseNet, {"depth": 40, "growth": 12},
                         (slimming(0.3, 1e-5),)),
            pyramid(110, 64),
            pyramid(200, 240),
        ),
        50_000, 10_000, 160, 40, 1e-3, 3, augmentation="crop-flip",
    ),
    "quick": Preset(
        (
            residual(8, 4, filters(1, 0.4, 0.7, 0.9), slimming(0.6, 1e-5), magnitude(0.3),
                     augmented=True),
        ),
        64, 48, 1, 1, 0.01, 1, 32, pool=2, augmentation="crop-flip",
    ),
}  # fmt: skip
