"""Gaussian-like data, on which ensembles do not help."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._arguments import require_dtype
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import as_random_state, torch_seeded

__all__ = ["LABELLERS", "make_labelled_gaussian"]

LABELLERS = ("linear", "fc2", "fc3", "res3", "conv2", "conv3", "resconv3")


@validate_params(
    {
        "n_samples": [Interval(numbers.Integral, 1, None, closed="left")],
        "shape": [Interval(numbers.Integral, 1, None, closed="left"), list, tuple],
        "n_classes": [Interval(numbers.Integral, 2, None, closed="left")],
        "labeller": [StrOptions(set(LABELLERS))],
        "mixture": ["boolean"],
        "rejection": ["boolean"],
        "margin": ["boolean"],
        "label_noise": [Interval(numbers.Real, 0, 1, closed="both")],
        "return_clean": ["boolean"],
        "labeller_state": [Interval(numbers.Integral, 0, 2**32 - 1, closed="both")],
    },
    prefer_skip_nested_validation=True,
)
def make_labelled_gaussian(
    n_samples: int = 1000,
    *,
    shape: int | Sequence[int] = (3, 8, 8),
    n_classes: int = 10,
    labeller: str = "linear",
    mixture: bool = False,
    rejection: bool = False,
    margin: bool = False,
    label_noise: float = 0.0,
    return_clean: bool = False,
    dtype: Any = np.float64,
    labeller_state: int = 0,
    random_state: Any = None,
) -> Any:
    """Gaussian rows labelled by a random network: data on which ensembles should not help.

    The grid of Figure 3 of Allen-Zhu and Li [1]_: rows of ``N(0, I)``, or of a mixture with one of
    ten centres, are given the class of the largest output of a random network.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    shape : int or sequence of int, default=(3, 8, 8)
        Shape of a row; three numbers for the convolutional labellers.
    n_classes : int, default=10
        Number of classes.
    labeller : {"linear", "fc2", "fc3", "res3", "conv2", "conv3", "resconv3"}, default="linear"
        The network that labels: one, two or three layers, fully connected, convolutional or
        residual, with He's initial weights.
    mixture : bool, default=False
        Whether rows are ``0.7 N(0, I)`` plus one of ten centres of ``N(0, I)``.
    rejection : bool, default=False
        Whether classes are balanced by rejecting rows; otherwise they come as they are.
    margin : bool, default=False
        Whether only the half of the rows with the larger gap between the two largest
        outputs is kept.
    label_noise : float, default=0.0
        Share of rows whose label is then replaced by another class.
    return_clean : bool, default=False
        Whether to return the labels before that noise as well.
    dtype : dtype, default=numpy.float64
        Of `X`.
    labeller_state : int, default=0
        Seed of the labeller and the centres: calls with the same one have a concept in common.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows and the noise.

    Returns
    -------
    X : ndarray of shape (n_samples, ...)
        The rows.
    y : ndarray of shape (n_samples,)
        Classes.
    clean : ndarray of shape (n_samples,)
        If `return_clean`: the labeller's own.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from skensemble.datasets import make_labelled_gaussian
    >>> X, y = make_labelled_gaussian(100, labeller="conv2", random_state=0)
    >>> X.shape
    (100, 3, 8, 8)
    """
    n_samples, n_classes = int(n_samples), int(n_classes)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if not shape or not all(isinstance(n, numbers.Integral) and n >= 1 for n in shape):
        raise ValueError(f"The 'shape' must be ints of at least 1. Got {shape!r} instead.")
    require_dtype(dtype)
    if "conv" in labeller and len(shape) != 3:
        raise ValueError(
            f"labeller={labeller!r} needs rows of shape (channels, height, width). Got {shape}."
        )
    rng = as_random_state(random_state)
    concept = np.random.RandomState(labeller_state)
    shape = tuple(int(n) for n in shape)
    with torch_seeded(0):  # for layers that draw weights, which are replaced
        score = _labeller(labeller, shape, n_classes, concept)
    centres = concept.normal(size=(10, *shape)) if mixture else None

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(size=(n, *shape))
        if centres is not None:
            X = 0.7 * X + centres[rng.randint(10, size=n)]
        scores = score(X)
        y = scores.argmax(1)
        if margin:
            top = np.sort(scores, 1)
            gap = top[:, -1] - top[:, -2]
            kept = gap >= np.median(gap)
            X, y = X[kept], y[kept]
        return X, y

    X, clean = _gather(draw, n_samples, n_classes, rejection)
    y = clean.copy()
    wrong = rng.uniform(size=n_samples) < label_noise
    y[wrong] = (y[wrong] + rng.randint(1, n_classes, size=int(wrong.sum()))) % n_classes
    X = X.astype(dtype, copy=False)
    return (X, y, clean) if return_clean else (X, y)


def _gather(
    draw: Any, n_samples: int, n_classes: int, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw until there are enough rows, of each class where they are to be balanced."""
    wanted = np.full(n_classes, n_samples // n_classes)
    wanted[: n_samples % n_classes] += 1
    rows: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    have, counts = 0, np.zeros(n_classes, dtype=int)
    for _ in range(2000):
        X, y = draw(max(256, n_samples))
        if balanced:
            # The place of each row among those of its class, after those that are kept already.
            place = np.zeros(len(y), dtype=int)
            for c in range(n_classes):
                at = np.flatnonzero(y == c)
                place[at] = counts[c] + np.arange(len(at))
            kept = place < wanted[y]
        else:
            kept = np.arange(len(y)) < n_samples - have
        rows.append(X[kept])
        labels.append(y[kept])
        counts += np.bincount(y[kept], minlength=n_classes)
        have += int(kept.sum())
        if have == n_samples:
            return np.concatenate(rows), np.concatenate(labels)
    raise ValueError(
        f"Classes {np.flatnonzero(counts < wanted).tolist()} hardly ever come up under this "
        "labeller; choose another 'labeller_state', fewer classes, or rejection=False."
    )


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _labeller(kind: str, shape: tuple[int, ...], n_classes: int, rng: Any) -> Any:
    """Return a random network as a function of rows; weights ``N(0, 2 / fan in)``."""
    n_in = math.prod(shape)
    width = 2 * n_in
    if kind == "linear":
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(n_in, n_classes)]
    elif kind in ("fc2", "fc3"):
        more = [nn.Linear(width, width), nn.ReLU()] if kind == "fc3" else []
        layers = [nn.Flatten(), nn.Linear(n_in, width), nn.ReLU(), *more]
        layers.append(nn.Linear(width, n_classes))
    elif kind == "res3":
        block = nn.Sequential(nn.ReLU(), nn.Linear(width, width))
        layers = [nn.Flatten(), nn.Linear(n_in, width), _Residual(block), nn.ReLU()]
        layers.append(nn.Linear(width, n_classes))
    else:
        channels = 4 * shape[0]
        layers = [nn.Conv2d(shape[0], channels, 3, padding=1)]
        second = nn.Conv2d(channels, channels, 3, padding=1)
        if kind == "conv3":
            layers += [nn.ReLU(), second]
        elif kind == "resconv3":
            layers.append(_Residual(nn.Sequential(nn.ReLU(), second)))
        layers += [nn.ReLU(), nn.Flatten()]
        layers.append(nn.Linear(channels * shape[1] * shape[2], n_classes))
    network = nn.Sequential(*layers).double().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.zero_()
        else:
            scale = math.sqrt(2 / math.prod(parameter.shape[1:]))
            parameter.copy_(torch.from_numpy(scale * rng.normal(size=tuple(parameter.shape))))

    def score(X: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(X).split(4096)
        return torch.cat([network(part) for part in parts]).numpy()

    return score
