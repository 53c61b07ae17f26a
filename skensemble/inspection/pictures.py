"""Images as matplotlib draws them."""

from __future__ import annotations

from typing import Any

import numpy as np

# Shares of the channels in how light a colour looks (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


def as_pictures(images: np.ndarray, each: bool = False) -> np.ndarray:
    """Return images ``(..., C, H, W)`` as colours ``(..., H, W, 3)`` from 0 to 1.

    Darkest and lightest are those of all images together, or of each. Three channels are red,
    green and blue; of any other number the mean is grey.
    """
    images = np.asarray(images, dtype=np.float64)
    axes = (-3, -2, -1) if each else None
    low = images.min(axes, keepdims=True)
    span = images.max(axes, keepdims=True) - low
    shown = np.moveaxis((images - low) / np.where(span > 0, span, 1.0), -3, -1)
    if shown.shape[-1] == 3:
        return shown
    return np.repeat(shown.mean(-1, keepdims=True), 3, -1)


def overlaid(images: np.ndarray, strength: np.ndarray, cmap: str) -> np.ndarray:
    """Return images ``(..., C, H, W)`` in grey under maps ``(..., H, W)`` from 0 to 1.

    Colour covers an image as far as the map is strong, so that the image stays in sight.
    """
    import matplotlib

    grey = as_pictures(images) @ _LUMA
    colours = matplotlib.colormaps[cmap](strength)[..., :3]
    cover = 0.75 * strength[..., None]
    return (1 - cover) * 0.8 * grey[..., None] + cover * colours


def draw(ax: Any, picture: np.ndarray) -> Any:
    """Draw one picture and no frame."""
    drawn = ax.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return drawn


def panes(shape: tuple[int, ...], side: float) -> tuple[Any, Any]:
    """Return a new figure and its axes for pictures ``(row, column, height, width)``.

    The longer side of a picture is `side` inches.
    """
    import matplotlib.pyplot as plt

    n_rows, n_columns, *lengths = shape
    height, width = (side * length / max(lengths) for length in lengths)
    size = (n_columns * (width + 0.1) + 1.3, n_rows * (height + 0.25) + 0.7)
    return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
