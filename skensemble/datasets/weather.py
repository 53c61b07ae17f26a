"""Corruptions by weather and by processing, after CIFAR-C (Hendrycks and Dietterich, 2019)."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skensemble.datasets.pixels import (
    Draws,
    blurred,
    boxes,
    clouds,
    moved,
    places,
    sampled,
    zoomed,
)

# Share of the pixels from which needles of ice grow.
_SEEDS = 0.03


def snow(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Whiten the image and let flakes fall, blurred along their way, and once more upside down."""
    mean, spread, size, least, radius, sigma, kept = level
    shape = x.shape[-2:]
    flakes = draws(lambda g: g.normal(mean, spread, size=(1, *shape)))
    flakes = zoomed(flakes, size)
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    angle = draws(lambda g: g.uniform(-0.75 * math.pi, -0.25 * math.pi))
    flakes = moved(flakes, radius, sigma, angle)
    grey = (1.5 * x.mean(1, keepdim=True) + 0.5).clamp(max=1.0)
    return kept * x + (1 - kept) * torch.maximum(x, grey) + flakes + flakes.flip(-1, -2)


def frost(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Lay ice over the image: six needles from each of some seeds, and a haze between them.

    CIFAR-C has photographs of frosted glass; this is drawn, bluish where there are colours.
    """
    kept, share = level
    shape = (x.shape[-2], x.shape[-1])
    seeds = draws(lambda g: g.uniform(size=(1, *shape)) < _SEEDS)
    first = draws(lambda g: g.uniform(0, math.pi / 3))
    needles = [moved(seeds, 4, 2.5, first + k * math.pi / 3) for k in range(6)]
    crystals = (1.2 * torch.stack(needles).sum(0)).clamp(max=1.0)
    ice = 0.65 * crystals + 0.55 * clouds(draws, shape, 2.0)
    tint = torch.tensor([0.86, 0.95, 1.0] if x.shape[1] == 3 else [0.94])
    return kept * x + share * ice * tint[:, None, None]


def fog(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Add clouds, and darken so that the brightest pixel stays as bright."""
    thickness, decay = level
    most = x.amax((1, 2, 3), keepdim=True)
    misty = x + thickness * clouds(draws, (x.shape[-2], x.shape[-1]), decay)
    return misty * most / (most + thickness)


def brightness(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Raise the largest channel by `level`, and the others with it: the V of HSV."""
    value = x.amax(1, keepdim=True)
    brighter = (value + level).clamp(max=1.0)
    return torch.where(value > 0, x * brighter / value.clamp_min(1e-6), brighter)


def contrast(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Bring each channel closer to its mean."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + level * (x - mean)


def elastic_transform(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Shear and stretch the image, and let its pixels stray together with their neighbours."""
    strength, smooth, shear = (value * min(x.shape[-2:]) for value in level)
    down, right = places(x)
    middle, size = [(n - 1) / 2 for n in x.shape[-2:]], x.shape[-2:]
    corners = draws(lambda g: g.uniform(-shear, shear, size=(2, 3, 1, 1)))
    across = (right - middle[1]) / size[1], (down - middle[0]) / size[0]
    field = corners[:, :, 0] + corners[:, :, 1] * across[0] + corners[:, :, 2] * across[1]
    if strength > 0:
        noise = draws(lambda g: g.uniform(-1, 1, size=(2, *x.shape[-2:])))
        noise = blurred(noise, smooth)
        field = field + strength * noise / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return sampled(x, down + field[:, 0], right + field[:, 1], "reflection")


def pixelate(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Shrink the image to a share `level` of its sides, and enlarge it again."""
    rows, columns = (boxes(n, int(n * level)) for n in x.shape[-2:])
    return F.interpolate(rows @ x @ columns.T, x.shape[-2:], mode="nearest-exact")


def jpeg_compression(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Compress to JPEG of a quality, and back."""
    from PIL import Image  # comes with torchvision, and takes time to import

    images = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    out = np.empty_like(images)
    for number, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            file, "JPEG", quality=level
        )
        out[number] = np.asarray(Image.open(file)).reshape(image.shape)
    return torch.from_numpy(out).permute(0, 3, 1, 2).to(torch.float32) / 255
