"""The loss around the weights that a network has learned."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from skensemble._private import Interval, Options, validate_params
from skensemble._seeding import as_random_state
from skensemble.inspection.display import Display
from skensemble.inspection.networks import (
    Network,
    check_member,
    inside,
    networks_of,
    own_logits,
    positions,
)
from skensemble.nn._costs import count_macs

_CHUNK_ROWS = 512
# Weights and inputs of the points that run in one pass, at most.
_MOST_NUMBERS = 1 << 20
# Multiply-adds of one point, at most: beyond them its own work is more than what a pass costs, and
# convolutions, which vmap turns into grouped ones, take two to five times as long.
_MOST_MACS = {"cpu": 10e6, "cuda": 2e9}


@dataclass(frozen=True)
class LossLandscape:
    """The loss on a line or a square around the weights of a network.

    Attributes
    ----------
    steps : ndarray of shape (n_steps,)
        How far each point is along a direction; the length of a direction is 1.
    loss : ndarray of shape (n_steps,) or (n_steps, n_steps)
        Mean log loss at each point, rows along the first direction.
    centre : float
        The loss of the network as it is.
    """

    steps: np.ndarray
    loss: np.ndarray
    centre: float

    def rise(self, radius: float = 0.5) -> float:
        """Return by how much the loss rises near the centre, a measure of sharpness.

        The mean of the loss above that of the centre, over the points of the grid that are at
        most `radius` away from it and not the centre itself.

        Parameters
        ----------
        radius : float, default=0.5
            In lengths of the directions.

        Returns
        -------
        float
            In nats; less than zero where the network is not in a valley.
        """
        axes = np.meshgrid(*[self.steps] * self.loss.ndim, indexing="ij")
        distance = np.sqrt(sum(axis**2 for axis in axes))
        near = (distance > 0) & (distance <= radius * (1 + 1e-9))  # despite rounded steps
        if not near.any():
            raise ValueError(
                f"The 'radius' must reach a point of the grid, of which the next are "
                f"{distance[distance > 0].min():.3g} away. Got {radius!r}."
            )
        return float(self.loss[near].mean() - self.centre)


@validate_params(
    {
        "member": [Interval(numbers.Integral, 0, None, closed="left")],
        "dims": [Options(numbers.Integral, {1, 2})],
        "n_steps": [Interval(numbers.Integral, 2, None, closed="left")],
        "span": [Interval(numbers.Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def loss_landscape(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    member: int = 0,
    dims: int = 2,
    n_steps: int = 21,
    span: float = 1.0,
    random_state: Any = 0,
) -> LossLandscape:
    """Measure the loss of a fitted network along random directions of its weights.

    Directions are Gaussian and normalised filter by filter [1]_: each slice of a weight along its
    first axis is given the norm of the network's own slice, so that what a step means hangs
    neither on the layer nor on its scale. Parameters of one axis (biases, normalisation) stay, as
    do the statistics of normalisation layers; the network is in evaluation mode. The
    estimator is left as it is.

    Parameters
    ----------
    estimator : estimator of skensemble
        Fitted, and made of networks.
    X : array-like of shape (n_samples, ...)
        Rows of the shape seen in `fit`.
    y : array-like of shape (n_samples,)
        Their labels.
    member : int, default=0
        Which member of an ensemble.
    dims : {1, 2}, default=2
        How many directions.
    n_steps : int, default=21
        Points along each direction; of an odd number the middle one is the network itself.
    span : float, default=1.0
        How far they go, ``[-span, span]``.
    random_state : int, RandomState instance or None, default=0
        Draws the directions; the first is the same whatever `dims`.

    Returns
    -------
    LossLandscape
        Steps, losses, and the loss in the centre.

    See Also
    --------
    LossLandscapeDisplay : Draws it.

    References
    ----------
    .. [1] Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape of neural
       nets", 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DeepEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepEnsembleClassifier(n_estimators=2, random_state=0).fit(X, y)
    >>> loss_landscape(ensemble, X, y, member=1, n_steps=5).loss.shape
    (5, 5)
    """
    inner = inside(estimator, "loss_landscape")
    X, y = inner._check_X(X, reset=False), positions(inner, y, len(X))
    network, target = check_member(member, networks_of(inner)), torch.from_numpy(y)
    n_steps, dims = int(n_steps), int(dims)
    steps = span * (2 * np.arange(n_steps) - (n_steps - 1)) / (n_steps - 1)
    points = np.stack(np.meshgrid(*[steps] * dims, indexing="ij"), -1).reshape(-1, dims)
    plane = _Plane(network, dims, random_state)
    loss = plane.losses(torch.from_numpy(points), X, target)
    logits = own_logits(inner, X)[int(member)]  # True would add an axis
    centre = float(_total(logits[None], target)[0] / len(target))
    loss[(points == 0).all(1)] = centre  # without the rounding of another way to compute it
    return LossLandscape(steps, loss.reshape([n_steps] * dims), centre)


def _total(logits: Tensor, y: Tensor) -> Tensor:
    """Return the summed log loss of logits ``(point, sample, class)``, one a point."""
    log_p = logits.to(torch.float64).log_softmax(-1)
    return -log_p.gather(-1, y.to(log_p.device).expand(len(logits), -1)[..., None]).sum((1, 2))


class _Plane:
    """A network's weights and directions from there: a function of points to losses."""

    def __init__(self, network: Network, dims: int, random_state: Any) -> None:
        rng = as_random_state(random_state)
        self.network, self.dims = network, dims
        self.weights = {
            name: one.detach() for name, one in network.module.named_parameters() if one.dim() > 1
        }
        if not self.weights:
            raise ValueError("The 'estimator' must have networks with weights of two axes or more.")
        drawn = [{k: _direction(w, rng) for k, w in self.weights.items()} for _ in range(dims)]
        self.directions = {k: torch.stack([one[k] for one in drawn]) for k in self.weights}

    def losses(self, points: Tensor, X: Any, y: Tensor) -> np.ndarray:
        """Return the mean loss at each point ``(point, dims)``."""
        rows = self.network.rows(X)
        size = self._at_a_time(rows.slice(0, 2), min(len(rows), _CHUNK_ROWS))
        total = np.zeros(len(points))
        for start in range(0, len(rows), _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, len(rows))
            x = rows.slice(start, stop)
            for first in range(0, len(points), size):
                some = points[first : first + size]
                with torch.no_grad():
                    logits = self.alone(some, x) if size == 1 else self.together(some, x)
                    total[first : first + size] += _total(logits, y[start:stop]).cpu().numpy()
        return total / len(rows)

    def alone(self, points: Tensor, x: Tensor) -> Tensor:
        """Return logits ``(point, sample, class)``, one point after the other."""
        return torch.stack([self.network.logits(x, self._moved(point)) for point in points])

    def together(self, points: Tensor, x: Tensor) -> Tensor:
        """Return what `alone` does, in one pass."""
        return vmap(lambda point: self.network.logits(x, self._moved(point)))(points)

    def _moved(self, point: Tensor) -> dict[str, Tensor]:
        return {
            name: weight + torch.tensordot(point.to(weight), self.directions[name], 1)
            for name, weight in self.weights.items()
        }

    def _at_a_time(self, x: Tensor, n_rows: int) -> int:
        """Return how many points run in one pass: those there is room for, if it is the same."""
        n_weights = sum(weight.numel() for weight in self.weights.values())
        size = max(1, _MOST_NUMBERS // (n_weights + n_rows * x[0].numel()))
        most = _MOST_MACS.get(x.device.type, _MOST_MACS["cpu"])
        is_large = n_rows * count_macs(self.network.module, x) > most
        if size == 1 or is_large or self.network.recipe.precision is not None:
            return 1
        points = torch.tensor([[0.0], [0.5]]).expand(2, self.dims)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # a rule that is missing costs time, torch says
            expected = self.alone(points, x)
            try:
                found = self.together(points, x)
            except Exception:  # whatever vmap or the user's forward raises
                return 1
        same = found.shape == expected.shape and torch.allclose(found, expected, 1e-3, 1e-4)
        return size if same else 1


def _direction(weight: Tensor, rng: np.random.RandomState) -> Tensor:
    """Draw a direction whose filters have the norms of the weight's."""
    drawn = torch.from_numpy(rng.normal(size=tuple(weight.shape))).to(weight)
    own, norm = weight.flatten(1).norm(dim=1), drawn.flatten(1).norm(dim=1)
    return drawn * (own / norm).reshape(-1, *[1] * (weight.dim() - 1))


class LossLandscapeDisplay(Display):
    """The loss around a network as a line, or as a map with the network in its middle.

    Parameters
    ----------
    landscape : LossLandscape
        What `loss_landscape` returns.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        Its figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.inspection import LossLandscape, LossLandscapeDisplay
    >>> steps = np.linspace(-1, 1, 5)
    >>> LossLandscapeDisplay(LossLandscape(steps, 1 + steps**2, 1.0)).landscape.rise()
    0.25
    """

    def __init__(self, landscape: LossLandscape) -> None:
        self.landscape = landscape

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, ax: Any = None, **kwargs: Any
    ) -> LossLandscapeDisplay:
        """Measure the loss around a network, and draw it.

        Parameters
        ----------
        estimator : estimator of skensemble
            Fitted.
        X : array-like of shape (n_samples, ...)
            Rows.
        y : array-like of shape (n_samples,)
            Their labels.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.
        **kwargs
            Of `loss_landscape`.

        Returns
        -------
        LossLandscapeDisplay
            The drawn display.
        """
        return cls(loss_landscape(estimator, X, y, **kwargs)).plot(ax=ax)

    def plot(self, ax: Any = None, *, n_levels: int = 24) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where; a new figure if not given.
        n_levels : int, default=24
            How many steps of colour a map has: of equal ratio where the loss spans more than a
            factor of ten, else of equal width.

        Returns
        -------
        LossLandscapeDisplay
            Itself.
        """
        self._n_levels = n_levels
        return super().plot(ax)

    def _columns(self) -> dict[str, Any]:
        one = self.landscape
        places = np.meshgrid(*[one.steps] * one.loss.ndim, indexing="ij")
        names = ("first", "second")
        columns = {name: at.ravel() for name, at in zip(names, places, strict=False)}
        return {**columns, "loss": one.loss.ravel()}

    def _draw(self, ax: Any) -> None:
        one = self.landscape
        if one.loss.ndim == 1:
            ax.plot(one.steps, one.loss)
            ax.plot([0], [one.centre], "o", color="black", markersize=4)
            ax.set_ylabel("mean log loss")
        else:
            self._map(ax, self._n_levels)
        ax.set_xlabel("first direction")
        ax.set_title(f"mean log loss, {one.centre:.3g} in the centre")

    def _map(self, ax: Any, n_levels: int) -> None:
        from matplotlib.ticker import FuncFormatter

        steps = self.landscape.steps
        loss = np.ma.masked_invalid(self.landscape.loss.T)  # the first direction goes right
        low, high = float(loss.min()), float(loss.max())
        spans = low > 0 and high > 10 * low
        ends = (low, high) if high > low else (low - 0.5, low + 0.5)
        levels = (np.geomspace if spans else np.linspace)(*ends, n_levels + 1)
        shown = np.clip(loss, levels[0], levels[-1])  # what rounding puts outside
        drawn = ax.contourf(steps, steps, shown, levels=levels, norm="log" if spans else None)
        ax.contour(steps, steps, shown, levels=levels[::4], colors="white", linewidths=0.5)
        bar = ax.figure.colorbar(drawn, ax=ax, ticks=levels[::4])
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        bar.ax.minorticks_off()
        ax.plot([0], [0], "+", color="white", markersize=9)
        ax.set_ylabel("second direction")
        ax.set_aspect("equal")
