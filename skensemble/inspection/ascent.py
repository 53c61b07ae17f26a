"""Images of limited norm and limited contrast that make a function as large as possible."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from skensemble._data.rows import Rows
from skensemble._seeding import numbered
from skensemble.inspection.networks import chunks

# Images that climb in one pass.
_CHUNK_IMAGES = 64
# How far from the mean row the ascent starts, in shares of the norm.
_START = 0.1


def _waves(length: int) -> tuple[Tensor, Tensor]:
    """Return the orthonormal cosines of a line of pixels, and their penalties.

    They are eigenvectors of the sum of squared differences of neighbours.
    """
    number = torch.arange(length, dtype=torch.float64)[:, None]
    place = torch.arange(length, dtype=torch.float64)[None]
    cosines = (math.pi * number * (place + 0.5) / length).cos() * math.sqrt(2 / length)
    cosines[0] /= math.sqrt(2)
    return cosines, 2 - 2 * (math.pi * number[:, 0] / length).cos()


class Smooth:
    """The norm ``|d|² + smoothness sum (differences of neighbours)²`` as that of coordinates.

    Parameters
    ----------
    like : Tensor
        Images of that height, width and dtype on that device.
    smoothness : float
        The penalty of differences.
    """

    def __init__(self, like: Tensor, smoothness: float) -> None:
        (rows, down), (columns, right) = (_waves(length) for length in like.shape[-2:])
        self._rows, self._columns = rows.to(like), columns.to(like)
        self._root = (1 + smoothness * (down[:, None] + right)).sqrt().to(like)

    def coordinates(self, images: Tensor) -> Tensor:
        """Return coordinates of images ``(..., height, width)``."""
        return self._between(images, self._root)

    def images(self, coordinates: Tensor) -> Tensor:
        """Return images of coordinates, the inverse."""
        return self._between(coordinates, 1 / self._root)

    def _between(self, one: Tensor, factor: Tensor) -> Tensor:
        waves = self._rows @ one @ self._columns.T
        return self._rows.T @ (waves * factor) @ self._columns


class Ball:
    """Images at most a norm away from the mean of rows.

    Parameters
    ----------
    rows : Rows
        Images.
    smooth : Smooth
        The norm's measure.
    norm : float or None
        The norm; None for the root mean square of that of the rows.
    """

    def __init__(self, rows: Rows, smooth: Smooth, norm: float | None) -> None:
        self._smooth = smooth
        total = torch.stack([x.sum(0, dtype=torch.float64) for x in chunks(rows)]).sum(0)
        self._mean = (total / len(rows)).to(rows.dtype)
        if norm is None:
            away = [
                smooth.coordinates(x - self._mean).double().square().sum() for x in chunks(rows)
            ]
            norm = math.sqrt(float(sum(away)) / len(rows))
        if norm == 0:
            raise ValueError("The 'X' must have rows that differ, or a 'norm' must be given.")
        self.norm = norm

    def start(self, seed: int, number: int, n_starts: int) -> Tensor:
        """Draw coordinates near the mean, ``(start, channel, height, width)``."""
        drawn = numbered(seed, number).normal(size=(n_starts, *self._mean.shape))
        z = torch.from_numpy(drawn).to(self._mean)
        return _START * self.norm * z / z.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)

    def climb(
        self, function: Callable[[Tensor, Tensor], Tensor], z: Tensor, own: Tensor,
        n_steps: int, rate: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the best images of an ascent and what `function` says of them.

        Parameters
        ----------
        function : callable
            Of images and their own numbers `own` to what is to be large, one number an image.
        z : Tensor of shape (image, channel, height, width)
            Coordinates to start from.
        own : Tensor of shape (image,)
            What of each image is asked.
        n_steps, rate
            See `channel_images`.
        """
        found = []
        for some, about in zip(z.split(_CHUNK_IMAGES), own.split(_CHUNK_IMAGES), strict=True):
            found.append(self._climb(function, some, about, n_steps, rate))
        images, values = zip(*found, strict=True)
        return torch.cat(images), torch.cat(values)

    def _climb(
        self, function: Callable[[Tensor, Tensor], Tensor], z: Tensor, own: Tensor,
        n_steps: int, rate: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        best, most = z, torch.full_like(z[:, 0, 0, 0], -math.inf)
        for _ in range(n_steps + 1):
            z = z.detach().requires_grad_()
            with torch.enable_grad():
                values = function(self._mean + self._smooth.images(z), own)
                (slope,) = torch.autograd.grad(values.sum(), z)
            better = values > most
            best = torch.where(better.reshape(-1, 1, 1, 1), z, best).detach()
            most = torch.where(better, values, most).detach()
            size = slope.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            # What answers to nothing near the image stays where it is.
            goal = torch.where(size > 0, self.norm * slope / size, z)
            z = (1 - rate) * z + rate * goal
        return (self._mean + self._smooth.images(best)).detach(), most
