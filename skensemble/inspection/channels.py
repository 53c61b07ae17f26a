"""What single channels of a layer answer to."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import Bunch
from torch import Tensor

from skensemble._data.rows import Rows
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import root_seed
from skensemble.inspection.ascent import Ball, Smooth
from skensemble.inspection.layers import Layer, check_images, find_layer
from skensemble.inspection.networks import check_member, chunks, inside, networks_of
from skensemble.inspection.pictures import as_pictures, draw, overlaid, panes


@validate_params(
    {
        "layer": [str, None],
        "channels": [Interval(numbers.Integral, 1, None, closed="left"), "array-like"],
        "member": [Interval(numbers.Integral, 0, None, closed="left")],
        "n_images": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_synthetic": [Interval(numbers.Integral, 1, None, closed="left")],
        "over": [StrOptions({"mean", "max"})],
        "n_steps": [Interval(numbers.Integral, 1, None, closed="left")],
        "rate": [Interval(numbers.Real, 0, 1, closed="right")],
        "smoothness": [Interval(numbers.Real, 0, None, closed="left")],
        "norm": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def channel_images(
    estimator: Any,
    layer: str | None,
    X: Any,
    *,
    channels: Any = 8,
    member: int = 0,
    n_images: int = 4,
    n_synthetic: int = 1,
    over: str = "mean",
    n_steps: int = 100,
    rate: float = 0.1,
    smoothness: float = 1.0,
    norm: float | None = None,
    random_state: Any = 0,
) -> Bunch:
    """Find and make the images that single channels of a layer answer to most.

    What a channel answers to an image is the mean, or the largest, of its numbers over all
    places. Of the rows those with the largest answers are returned. Besides, images are made by
    gradient ascent [1]_, as views are shown in [2]_: ``x = mean row + d``, where `d` maximises the
    answer among all `d` with ``|d|² + smoothness sum (differences of neighbouring pixels)² <=
    norm²``. In coordinates `z` in which this is a ball, a step is ``z <- (1 - rate) z + rate
    norm g / |g|``, with `g` the gradient by `z` (Frank and Wolfe's step): it needs no rate that
    suits the scale of the network. The best of all steps is kept. For a linear channel and
    ``smoothness=0`` it is the filter itself. The estimator is left as it is.

    Parameters
    ----------
    estimator : estimator of skensemble
        Fitted to images, and made of networks.
    layer : str or None
        Name of a layer that puts out maps, as in ``module_.named_modules()``; None for the last
        convolution whose map has more than one position.
    X : array-like of shape (n_samples, channels, height, width)
        Rows to choose from.
    channels : int or array-like of int, default=8
        Numbers of channels; an int for the first ones, at most so many.
    member : int, default=0
        Which member of an ensemble.
    n_images : int, default=4
        Rows a channel.
    n_synthetic : int, default=1
        Images made a channel, each from noise of its own.
    over : {"mean", "max"}, default="mean"
        Whether the answer is the mean or the largest over places.
    n_steps : int, default=100
        Steps of the ascent.
    rate : float, default=0.1
        How far a step goes, at most 1. After `n_steps` a share ``(1 - rate) ** n_steps`` of the
        noise is left.
    smoothness : float, default=1.0
        Penalty of differences between neighbouring pixels; with 0 all patterns are alike.
    norm : float, default=None
        How far from the mean row the made images may be; if not given, as far as rows are
        (the root of their mean square).
    random_state : int, RandomState instance or None, default=0
        Draws the noise, of each channel by its number.

    Returns
    -------
    Bunch
        layer : str
            The layer.
        channels : ndarray of shape (n_channels,)
            Numbers of the channels.
        rows : ndarray of shape (n_channels, n_images)
            Positions in `X` of the rows with the largest answers, largest first.
        images : ndarray of shape (n_channels, n_images, C, height, width)
            These rows, as the network takes them.
        maps : ndarray of shape (n_channels, n_images, height, width)
            The channel's numbers for them, interpolated to the size of the image.
        answers : ndarray of shape (n_channels, n_images)
            The answers to them.
        synthetic : ndarray of shape (n_channels, n_synthetic, C, height, width)
            Images that were made.
        synthetic_answers : ndarray of shape (n_channels, n_synthetic)
            The answers to them.

    See Also
    --------
    ChannelImagesDisplay : Draws them.
    view_maps : Where members look.

    References
    ----------
    .. [1] Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep
       network", 2009.
    .. [2] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023, Figures 2 and 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skensemble import DeepEnsembleClassifier
    >>> from skensemble.nn import SimpleCNN, gradient_descent
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> X = X.reshape(-1, 1, 8, 8)[:60] / 16
    >>> net = gradient_descent(SimpleCNN, n_steps=3)
    >>> ensemble = DeepEnsembleClassifier(net, 2, random_state=0).fit(X, y[:60])
    >>> found = channel_images(ensemble, None, X, channels=[0, 5], n_steps=5)
    >>> found.images.shape, found.synthetic.shape
    ((2, 4, 1, 8, 8), (2, 1, 1, 8, 8))
    """
    inner = inside(estimator, "channel_images")
    X = check_images(inner, X, "channel_images")
    network = check_member(int(member), networks_of(inner))
    rows = network.rows(X)
    if n_images > len(rows):
        raise ValueError(f"The 'n_images' must be at most the {len(rows)} rows. Got {n_images}.")
    sample = rows.slice(0, 2)
    name = find_layer(network, layer, sample, "channel_images")
    answers = _Answers(Layer(network, name), over)
    wanted = _channels(channels, answers.count(sample), name)
    smooth = Smooth(sample, smoothness)
    ball, seed = Ball(rows, smooth, norm), root_seed(random_state)
    z = torch.cat([ball.start(seed, number, int(n_synthetic)) for number in wanted.tolist()])
    own = torch.from_numpy(np.repeat(wanted, n_synthetic)).to(z.device)
    made, reached = ball.climb(answers.own, z, own, int(n_steps), rate)
    shape = (len(wanted), int(n_synthetic))
    return Bunch(
        layer=name,
        channels=wanted,
        **_top(answers, rows, wanted, int(n_images)),
        synthetic=made.unflatten(0, shape).cpu().numpy(),
        synthetic_answers=reached.unflatten(0, shape).cpu().numpy(),
    )


def _channels(channels: Any, n_channels: int, layer: str) -> np.ndarray:
    """Return the numbers of the channels that are wanted."""
    if isinstance(channels, numbers.Integral):
        return np.arange(min(int(channels), n_channels))
    wanted = np.asarray(channels)
    if wanted.ndim != 1 or not len(wanted) or wanted.dtype.kind not in "iu":
        raise ValueError(f"The 'channels' must be an int, or a list of such. Got {channels!r}.")
    strange = wanted[(wanted < 0) | (wanted >= n_channels)]
    if len(strange):
        raise ValueError(
            f"The 'channels' must be numbers of the {n_channels} channels of {layer!r}, from 0. "
            f"Got {strange[0]}."
        )
    return wanted.astype(np.int64)


class _Answers:
    """What channels of a layer answer to images."""

    def __init__(self, layer: Layer, over: str) -> None:
        self.maps = layer
        self._over = over

    def __call__(self, x: Tensor) -> Tensor:
        """Return answers ``(sample, channel)``."""
        maps = self.maps(x)
        return maps.mean((2, 3)) if self._over == "mean" else maps.amax((2, 3))

    def own(self, x: Tensor, channels: Tensor) -> Tensor:
        """Return the answer of one channel to each image, ``(sample,)``."""
        return self(x).gather(1, channels[:, None])[:, 0]

    def count(self, x: Tensor) -> int:
        """Return how many channels there are."""
        with torch.no_grad():
            return self.maps(x).shape[1]


def _top(answers: _Answers, rows: Rows, channels: np.ndarray, n_images: int) -> dict[str, Any]:
    """Return the rows with the largest answers of each channel."""
    with torch.no_grad():
        found = torch.cat([answers(x)[:, channels].cpu() for x in chunks(rows)]).numpy()
        order = np.argsort(-found, axis=0, kind="stable")[:n_images].T
        images = rows.take(torch.from_numpy(order))
        small = [
            answers.maps(one)[:, [number]] for one, number in zip(images, channels, strict=True)
        ]
    size = list(images.shape[3:])
    maps = [F.interpolate(one, size, mode="bilinear")[:, 0] for one in small]
    return {
        "rows": order,
        "images": images.cpu().numpy(),
        "maps": torch.stack(maps).cpu().numpy(),
        "answers": np.take_along_axis(found.T, order, 1),
    }


class ChannelImagesDisplay:
    """Channels by images: the rows that a channel answers to most, then images made for it.

    Rows are grey under the channel's map, as strong as its largest number in the line; what a
    map has below zero is not shown. Made images have their own darkest and lightest.

    Parameters
    ----------
    found : Bunch
        What `channel_images` returns.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_channels, n_images + n_synthetic)
        Where they are drawn.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.inspection import ChannelImagesDisplay, channel_images
    >>> from skensemble.nn import SimpleCNN, gradient_descent
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> X = X.reshape(-1, 1, 8, 8)[:60] / 16
    >>> net = gradient_descent(SimpleCNN, n_steps=3)
    >>> network = NetworkClassifier(net, random_state=0).fit(X, y[:60])
    >>> found = channel_images(network, None, X, channels=[0, 5], n_steps=5)
    >>> ChannelImagesDisplay(found).found.channels
    array([0, 5])
    """

    axes_: Any
    figure_: Any

    def __init__(self, found: Bunch) -> None:
        self.found = found

    @classmethod
    def from_estimator(
        cls, estimator: Any, layer: str | None, X: Any, *, cmap: str = "inferno", **kwargs: Any
    ) -> ChannelImagesDisplay:
        """Find and make the images of an estimator's channels, and draw them.

        Parameters
        ----------
        estimator : estimator of skensemble
            Fitted to images.
        layer : str or None
            The layer; None for the last convolution.
        X : array-like of shape (n_samples, channels, height, width)
            Rows to choose from.
        cmap : str, default="inferno"
            Colours of the maps.
        **kwargs
            Of `channel_images`.

        Returns
        -------
        ChannelImagesDisplay
            The drawn display.
        """
        return cls(channel_images(estimator, layer, X, **kwargs)).plot(cmap=cmap)

    def plot(self, *, cmap: str = "inferno") -> ChannelImagesDisplay:
        """Draw.

        Parameters
        ----------
        cmap : str, default="inferno"
            Colours of the maps, by matplotlib's names.

        Returns
        -------
        ChannelImagesDisplay
            Itself.
        """
        found = self.found
        maps = np.maximum(found.maps, 0)
        largest = maps.max((1, 2, 3), keepdims=True)
        rows = overlaid(found.images, maps / np.where(largest > 0, largest, 1.0), cmap)
        pictures = np.concatenate([rows, as_pictures(found.synthetic, each=True)], 1)
        answers = np.concatenate([found.answers, found.synthetic_answers], 1)
        figure, axes = panes(pictures.shape[:4], 1.1)
        for place in np.ndindex(*axes.shape):
            draw(axes[place], pictures[place])
            axes[place].set_xlabel(f"{answers[place]:.2g}", fontsize="small", labelpad=2)
        for ax, number in zip(axes[:, 0], found.channels, strict=True):
            ax.set_ylabel(f"channel {number}", fontsize="small")
        axes[0, 0].set_title("rows", loc="left", fontsize="small")
        axes[0, found.rows.shape[1]].set_title("made", loc="left", fontsize="small")
        figure.suptitle(f"what channels of {found.layer} answer to, and how much")
        self.axes_, self.figure_ = axes, figure
        return self
