"""The images of the benchmarks, and the small residual network that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from skensemble.nn import CifarResNet, Normalize

# Means and standard deviations of the colours of CIFAR, rounded; networks normalise by them.
STATISTICS = ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def load_images(path: Path) -> dict[str, np.ndarray]:
    """Return bytes ``(n, 3, 32, 32)`` and labels of an npz file of CIFAR-10 or CIFAR-100.

    It holds ``X_train, y_train, X_test, y_test``, images as bytes ``(n, 32, 32, 3)``.
    """
    with np.load(path) as file:
        images = {k: np.ascontiguousarray(file[k].transpose(0, 3, 1, 2)) for k in file if "X" in k}
        labels = {k: file[k].astype(np.int64) for k in file if "y" in k}
    return images | labels


def image_parts(
    path: Path | None, n_train: int, n_valid: int, n_test: int
) -> dict[str, np.ndarray]:
    """Return the first training rows, held-out rows after them, and test rows.

    Without a file they are noise of ten classes, to see whether all runs.
    """
    n = n_train + n_valid
    file: dict[str, np.ndarray]
    if path is None:
        rng = np.random.default_rng(0)
        X = rng.integers(0, 256, (n + n_test, 3, 32, 32), dtype=np.uint8)
        y = np.arange(len(X)) % 10
        file = {"X_train": X[:n], "y_train": y[:n], "X_test": X[n:], "y_test": y[n:]}
    else:
        file = load_images(path)
    for part, wanted in (("train", n), ("test", n_test)):
        if len(file[f"y_{part}"]) < wanted:
            raise SystemExit(
                f"The preset wants {wanted} rows in X_{part}. {path} has {len(file[f'y_{part}'])}."
            )
    X, y = file["X_train"], file["y_train"]
    return {
        "X": X[:n_train], "y": y[:n_train], "X_valid": X[n_train:n], "y_valid": y[n_train:n],
        "X_test": file["X_test"][:n_test], "y_test": file["y_test"][:n_test],
    }  # fmt: skip


def pooled(images: np.ndarray, side: int) -> np.ndarray:
    """Return bytes of which each is the mean of a square of pixels."""
    n, channels, height, width = images.shape
    squares = images.reshape(n, channels, height // side, side, width // side, side)
    return np.round(squares.mean((3, 5))).astype(np.uint8)


class ImageNetwork(nn.Module):
    """A residual network that takes images in [0, 1], after pooling them."""

    def __init__(
        self, in_shape: tuple[int, ...], n_classes: int, depth: int, width: int, pool: int = 1
    ) -> None:
        super().__init__()
        self.normalize = Normalize(*STATISTICS)
        self.pool = pool
        channels, height, side = in_shape
        self.body = CifarResNet((channels, height // pool, side // pool), n_classes, depth, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.normalize(x)
        return self.body(F.avg_pool2d(x, self.pool) if self.pool > 1 else x)


def load_pooled(
    path: Path | None, n_rows: int, n_test: int, side: int, seed: int
) -> dict[str, np.ndarray]:
    """Return training rows that `seed` draws, and the first test rows, pooled; else noise."""
    rng = np.random.default_rng(seed)
    if path is None:  # to see whether all runs
        n = n_rows + n_test
        X, y = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10
        file = {"X_train": X[:n_rows], "y_train": y[:n_rows],
                "X_test": X[n_rows:], "y_test": y[n_rows:]}  # fmt: skip
    else:
        file = load_images(path)
    at = rng.permutation(len(file["X_train"]))[:n_rows]
    return {
        "X": pooled(file["X_train"][at], side), "y": file["y_train"][at],
        "X_test": pooled(file["X_test"][:n_test], side), "y_test": file["y_test"][:n_test],
    }  # fmt: skip
