"""What corruptions of images are made of: draws, filters and fields, for whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """One generator an image, so that an image is altered the same whatever comes with it."""

    generators: list[np.random.Generator]

    def __call__(self, draw: Callable[[np.random.Generator], np.ndarray | float]) -> Tensor:
        """Return what each image draws, ``(image, ...)``."""
        found = np.stack([np.asarray(draw(one)) for one in self.generators])
        return torch.from_numpy(found).to(torch.float32)


def gaussian(sigma: float, radius: int | None = None) -> Tensor:
    """Return the weights of a Gaussian on a line, up to four deviations if not told."""
    radius = math.ceil(4 * sigma) if radius is None else radius
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel of images ``(n, c, h, w)``; the border is repeated outside."""
    rows, columns = kernel.shape
    flat = x.reshape(-1, 1, *x.shape[-2:])
    padded = F.pad(flat, [columns // 2] * 2 + [rows // 2] * 2, mode="replicate")
    return F.conv2d(padded, kernel[None, None]).reshape(x.shape)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian, first along one axis and then along the other."""
    line = gaussian(sigma)
    return filtered(filtered(x, line[None, :]), line[:, None])


def sampled(x: Tensor, down: Tensor, right: Tensor, outside: str = "border") -> Tensor:
    """Return what images have at fractional places, given as ``(n, h, w)`` in pixels."""
    height, width = x.shape[-2:]
    grid = torch.stack([2 * right / (width - 1) - 1, 2 * down / (height - 1) - 1], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=outside, align_corners=True)


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of each pixel, ``(1, h, w)``."""
    down, right = (torch.arange(n, dtype=torch.float32) for n in x.shape[-2:])
    grid = torch.meshgrid(down, right, indexing="ij")
    return grid[0][None], grid[1][None]


def moved(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Blur along a line, each image at its own angle, with a tail to one side."""
    weights = torch.exp(-0.5 * (torch.arange(2 * radius + 1) / sigma) ** 2)
    down, right = places(x)
    sine, cosine = (value.reshape(-1, 1, 1) for value in (angle.sin(), angle.cos()))
    out = torch.zeros_like(x)
    for step, weight in enumerate(weights / weights.sum()):
        out += weight * sampled(x, down + step * sine, right + step * cosine)
    return out


def zoomed(x: Tensor, factor: float) -> Tensor:
    """Enlarge images around their middle, to the same size."""
    down, right = places(x)
    middle = [(n - 1) / 2 for n in x.shape[-2:]]
    at = [(p - m) / factor + m for p, m in zip((down, right), middle, strict=True)]
    n_rows = len(x)
    return sampled(x, at[0].expand(n_rows, -1, -1), at[1].expand(n_rows, -1, -1))


def boxes(n_from: int, n_to: int) -> Tensor:
    """Return weights ``(n_to, n_from)`` that average the pixels whose centre is in a larger one."""
    owner = ((torch.arange(n_from) + 0.5) * (n_to / n_from)).long()
    found = (owner == torch.arange(n_to)[:, None]).to(torch.float32)
    return found / found.sum(1, keepdim=True)


def clouds(draws: Draws, shape: tuple[int, int], decay: float) -> Tensor:
    """Return fractal noise in [0, 1], ``(n, 1, h, w)``; each octave is `decay` times weaker."""
    total, weight, size = 0.0 * draws(lambda g: 0.0).reshape(-1, 1, 1, 1), 1.0, 2
    while size <= 2 * max(shape):
        noise = draws(lambda g, n=size: g.uniform(size=(1, n, n)))  # type: ignore[misc]
        grown = F.interpolate(noise, size=shape, mode="bicubic", align_corners=True)
        total, weight, size = total + weight * grown, weight / decay, 2 * size
    low, high = total.amin((1, 2, 3), keepdim=True), total.amax((1, 2, 3), keepdim=True)
    return (total - low) / (high - low).clamp_min(1e-6)
