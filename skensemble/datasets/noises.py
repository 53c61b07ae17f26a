"""Corruptions by noise and blur, after CIFAR-C (Hendrycks and Dietterich, 2019)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from skensemble.datasets.pixels import Draws, blurred, filtered, gaussian, moved, zoomed


def gaussian_noise(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Add noise of standard deviation `level`."""
    return x + level * draws(lambda g: g.normal(size=x.shape[1:]))


def shot_noise(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Count photons, `level` of them where a pixel is white."""
    images = iter(x.double().numpy())
    return draws(lambda g: g.poisson(next(images) * level) / level)


def impulse_noise(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Make a share `level` of the numbers black or white."""
    chance = draws(lambda g: g.uniform(size=x.shape[1:]))
    return torch.where(chance < level / 2, 0.0, torch.where(chance > 1 - level / 2, 1.0, x))


def defocus_blur(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Blur by a disc of a radius, whose edge is smoothed by three pixels of a Gaussian."""
    radius, sigma = level
    side = math.ceil(radius) + 1
    at = torch.arange(-side, side + 1)
    disc = ((at[:, None] ** 2 + at**2) <= radius**2).to(torch.float32)[None, None]
    line = gaussian(sigma, 1)
    kernel = filtered(disc, line[:, None] * line)[0, 0]
    return filtered(x, kernel / kernel.sum())


def glass_blur(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Let pixels change places with a neighbour, one after the other, between two slight blurs."""
    sigma, share, times = level
    x = blurred(x, sigma)
    height, width = x.shape[-2:]
    every = torch.arange(len(x))
    for _ in range(times):
        jumps = draws(lambda g: g.integers(-1, 2, size=(2, height, width))).long()
        jumps *= draws(lambda g: g.uniform(size=(1, height, width)) < share).long()
        for i in range(height - 2, 0, -1):
            for j in range(width - 2, 0, -1):
                other = (every, slice(None), i + jumps[:, 0, i, j], j + jumps[:, 1, i, j])
                here = x[:, :, i, j].clone()
                x[:, :, i, j] = x[other]
                x[other] = here
    return blurred(x, sigma)


def motion_blur(x: Tensor, level: Any, draws: Draws) -> Tensor:
    """Blur along a line of a random angle within 45 degrees of the horizontal."""
    radius, sigma = level
    return moved(x, radius, sigma, draws(lambda g: g.uniform(-math.pi / 4, math.pi / 4)))


def zoom_blur(x: Tensor, level: float, draws: Draws) -> Tensor:
    """Average the image with itself enlarged, in steps of a hundredth up to `level`."""
    n_steps = round(100 * (level - 1))
    return (x + sum(zoomed(x, 1 + step / 100) for step in range(n_steps + 1))) / (n_steps + 2)
