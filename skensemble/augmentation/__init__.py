"""Augmentations: batches altered anew in every epoch, and their labels with them.

``augmentation=`` of the estimators takes the name of one of these, an object, a callable of
``torchvision.transforms.v2`` or of your own, or a list of several, applied in turn. Every
random number comes from the member's own seed. An augmentation of your own subclasses
`Augmentation`.
"""

from skensemble.augmentation.base import Augmentation, InTurn, mixed
from skensemble.augmentation.images import CropFlip, CutMix, Cutout, MixUp
from skensemble.augmentation.transforms import AutoAugment, RandAugment, Transform

__all__ = [
    "Augmentation",
    "AutoAugment",
    "CropFlip",
    "CutMix",
    "Cutout",
    "InTurn",
    "MixUp",
    "RandAugment",
    "Transform",
    "mixed",
]
