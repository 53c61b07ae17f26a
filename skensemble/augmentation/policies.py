"""Lists of pairs of operations on images, drawn at random instead of learned.

Operations and their ranges are those that Cubuk et al. (2019) search, but for cutout and the
pairing of samples, which torchvision's learned lists lack too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# Pairs of a list, sizes of an operation, and probabilities to draw from, as in the paper.
N_PAIRS, N_SIZES, CHANCES = 25, 10, np.linspace(0, 1, 11)


class Operation(NamedTuple):
    """An operation at one of its sizes.

    Attributes
    ----------
    name : str
        One of `OPERATIONS`.
    chance : float
        How likely it is done.
    size : int
        From 0, the least, to 9.
    """

    name: str
    chance: float
    size: int


def _moved(x: Tensor, **move: Any) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    still: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(x, **{**still, **move})


def _of_functional(name: str) -> Callable[..., Tensor]:
    def run(x: Tensor, *args: Any) -> Tensor:
        from torchvision.transforms.v2 import functional as F  # takes a second to import

        return getattr(F, name)(x, *args)

    return run


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def _signed(largest: float) -> Callable[[int], float]:
    return lambda size: largest * size / (N_SIZES - 1)


# By name: what is done with a number, which number a size is, and whether its sign is drawn.
OPERATIONS: dict[str, tuple[Callable[..., Tensor], Callable[[int], float] | None, bool]] = {
    "shear-x": (
        lambda x, n: _moved(x, shear=[_degrees(n), 0.0], center=[0, 0]), _signed(0.3), True,
    ),
    "shear-y": (
        lambda x, n: _moved(x, shear=[0.0, _degrees(n)], center=[0, 0]), _signed(0.3), True,
    ),
    "shift-x": (
        lambda x, n: _moved(x, translate=[int(n * x.shape[-1]), 0]), _signed(150 / 331), True,
    ),
    "shift-y": (
        lambda x, n: _moved(x, translate=[0, int(n * x.shape[-2])]), _signed(150 / 331), True,
    ),
    "rotate": (_of_functional("rotate"), _signed(30.0), True),
    "brightness": (
        lambda x, n: _of_functional("adjust_brightness")(x, 1 + n), _signed(0.9), True,
    ),
    "color": (lambda x, n: _of_functional("adjust_saturation")(x, 1 + n), _signed(0.9), True),
    "contrast": (lambda x, n: _of_functional("adjust_contrast")(x, 1 + n), _signed(0.9), True),
    "sharpness": (lambda x, n: _of_functional("adjust_sharpness")(x, 1 + n), _signed(0.9), True),
    "posterize": (
        lambda x, n: _of_functional("posterize")(x, int(n)), lambda size: 8 - round(size * 4 / 9),
        False,
    ),
    "solarize": (
        lambda x, n: _of_functional("solarize")(x, 255 * n), lambda size: 1 - size / 9, False,
    ),
    "autocontrast": (_of_functional("autocontrast"), None, False),
    "equalize": (_of_functional("equalize"), None, False),
    "invert": (_of_functional("invert"), None, False),
}  # fmt: skip


def draw_pairs(seed: int) -> list[tuple[Operation, Operation]]:
    """Draw a list of pairs, each operation, chance and size as likely as any other."""
    rng = np.random.default_rng(seed)
    names = list(OPERATIONS)

    def operation() -> Operation:
        name = names[rng.integers(len(names))]
        return Operation(name, float(rng.choice(CHANCES)), int(rng.integers(N_SIZES)))

    return [(operation(), operation()) for _ in range(N_PAIRS)]


class RandomPolicy:
    """Does one of the pairs to images of bytes; what it draws, it draws from torch.

    Parameters
    ----------
    seed : int
        Of the list of pairs.
    """

    def __init__(self, seed: int) -> None:
        self.pairs = draw_pairs(seed)

    def __call__(self, x: Tensor) -> Tensor:
        """Alter an image, or a batch of them alike."""
        for one in self.pairs[int(torch.randint(len(self.pairs), ()))]:
            if torch.rand(()) >= one.chance:
                continue
            run, number_of, signed = OPERATIONS[one.name]
            if number_of is None:
                x = run(x)
                continue
            number = number_of(one.size)
            x = run(x, -number if signed and torch.rand(()) < 0.5 else number)
        return x
