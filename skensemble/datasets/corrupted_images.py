"""Images as they are met outside of the training set."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import numbered, root_seed
from skensemble.datasets import noises, weather
from skensemble.datasets.pixels import Draws

__all__ = ["CORRUPTIONS", "corrupt_images"]

# What each corruption is told at severities 1 to 5. Those of glass, frost and the elastic transform
# are ours, as are the fourth of motion and the third of snow: a severity is to change more than
# the one before it.
_LEVELS: dict[Callable[..., Any], tuple[Any, ...]] = {
    noises.gaussian_noise: (0.04, 0.06, 0.08, 0.09, 0.1),
    noises.shot_noise: (500, 250, 100, 75, 50),
    noises.impulse_noise: (0.01, 0.02, 0.03, 0.05, 0.07),
    noises.defocus_blur: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    noises.glass_blur: ((0.1, 0.25, 1), (0.1, 0.5, 1), (0.1, 0.75, 1), (0.25, 1, 1), (0.25, 1, 2)),
    noises.motion_blur: ((6, 1), (6, 1.5), (6, 2), (8, 2.25), (9, 2.5)),
    noises.zoom_blur: (1.05, 1.1, 1.15, 1.2, 1.25),
    weather.snow: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.5, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    weather.frost: ((1, 0.2), (0.95, 0.35), (0.9, 0.5), (0.85, 0.65), (0.8, 0.8)),
    weather.fog: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    weather.brightness: (0.05, 0.1, 0.15, 0.2, 0.3),
    weather.contrast: (0.75, 0.5, 0.4, 0.3, 0.15),
    weather.elastic_transform: (
        (0, 0.1, 0.02), (0.01, 0.1, 0.03), (0.015, 0.09, 0.04), (0.02, 0.08, 0.05),
        (0.025, 0.07, 0.06),
    ),
    weather.pixelate: (0.95, 0.9, 0.85, 0.75, 0.65),
    weather.jpeg_compression: (80, 65, 58, 50, 40),
}  # fmt: skip
_KINDS = {kind.__name__: kind for kind in _LEVELS}

#: Names of the corruptions of `corrupt_images`, those of CIFAR-C.
CORRUPTIONS: tuple[str, ...] = tuple(_KINDS)

_CHUNK_ROWS = 256
_LEAST_SIDE = 8


@validate_params(
    {
        "corruption": [StrOptions(set(CORRUPTIONS))],
        "severity": [Interval(numbers.Integral, 1, 5, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def corrupt_images(
    X: Any, corruption: str, *, severity: int = 3, random_state: Any = None
) -> np.ndarray:
    """Corrupt images as CIFAR-C does, to see what a classifier makes of them.

    The fifteen corruptions of [1]_ at their five severities, written anew for batches: noise
    ("gaussian_noise", "shot_noise", "impulse_noise"), blur ("defocus_blur", "glass_blur",
    "motion_blur", "zoom_blur"), weather ("snow", "frost", "fog", "brightness") and processing
    ("contrast", "elastic_transform", "pixelate", "jpeg_compression"). Most constants are those
    published for images of 32 × 32, and lengths are in pixels whatever the size. Frost is drawn
    instead of photographed, fog is a sum of octaves, and glass, motion, snow and the elastic
    transform have other constants where a higher severity was no larger change. So accuracies
    are not to be compared with those on the published files.

    Parameters
    ----------
    X : array-like of shape (n_samples, channels, height, width)
        Images of one or three channels and at least 8 pixels a side: bytes, or floats in [0, 1].
    corruption : str
        One of `CORRUPTIONS`.
    severity : int, default=3
        From 1 to 5.
    random_state : int, RandomState instance or None, default=None
        Seed. What an image draws hangs on the seed and its number, not on the images with it,
        nor, where it can be, on the severity.

    Returns
    -------
    ndarray of the shape and dtype of `X`
        Bytes, or floats in [0, 1].

    References
    ----------
    .. [1] Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions
       and perturbations", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.datasets import CORRUPTIONS, corrupt_images
    >>> X = np.full((2, 3, 32, 32), 128, np.uint8)
    >>> foggy = corrupt_images(X, "fog", severity=5, random_state=0)
    >>> foggy.shape, foggy.dtype, len(CORRUPTIONS)
    ((2, 3, 32, 32), dtype('uint8'), 15)
    """
    X = _check_images(X)
    kind, root = _KINDS[corruption], root_seed(random_state)
    level = _LEVELS[kind][severity - 1]
    out = np.empty(X.shape, X.dtype)
    scale = 255 if X.dtype == np.uint8 else 1
    for start in range(0, len(X), _CHUNK_ROWS):
        part = X[start : start + _CHUNK_ROWS]
        numbers = range(start, start + len(part))
        draws = Draws([numbered(root, number) for number in numbers])
        x = torch.from_numpy(part.astype(np.float32) / np.float32(scale))
        found = scale * kind(x, level, draws).clamp(0, 1).numpy()
        out[start : start + len(part)] = found.round() if scale == 255 else found
    return out


def _check_images(X: Any) -> np.ndarray:
    with naming("X", "be images that can be read as an array"):
        X = np.asarray(as_numpy(X))
    shape = X.shape
    if X.ndim != 4 or shape[1] not in (1, 3) or min(shape[2:]) < _LEAST_SIDE:
        raise ValueError(
            "The 'X' must be images of shape (n_samples, channels, height, width), of 1 or 3 "
            f"channels and at least {_LEAST_SIDE} pixels a side. Got shape {shape}."
        )
    if X.dtype == np.uint8:
        return X
    if X.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"The 'X' must be bytes, or floats of 32 or 64 bits in [0, 1]. Got {X.dtype}."
        )
    if len(X) and not (X.min() >= 0 and X.max() <= 1):  # which NaN is not either
        raise ValueError(
            f"The 'X' must be bytes, or floats in [0, 1]. Got {X.min():.3g} to {X.max():.3g}."
        )
    return X
