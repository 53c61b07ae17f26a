"""Where in an image each member of an ensemble looks."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skensemble._base.estimator import BaseNetworks
from skensemble._private import StrOptions, validate_params
from skensemble.inspection.layers import check_images, find_layer
from skensemble.inspection.networks import (
    Network,
    chunks,
    inside,
    networks_of,
    own_logits,
    positions,
)
from skensemble.inspection.pictures import draw, overlaid, panes


@validate_params(
    {"layer": [str, None], "method": [StrOptions({"gradcam", "saliency"})]},
    prefer_skip_nested_validation=True,
)
def view_maps(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    layer: str | None = None,
    method: str = "gradcam",
) -> np.ndarray:
    """Map which places of each image each member's answer comes from.

    Members of an ensemble learn different views of a class [1]_; on images these are often places.
    "gradcam" [2]_ weighs the channels ``A_c`` of a layer by the mean over places of the
    gradient of the class's logit, and keeps what speaks for the class: ``ReLU(sum_c mean(d
    logit / d A_c) A_c)``, interpolated to the size of the image. "saliency" [3]_ is the size
    of the logit's gradient by each pixel, of its channels the largest. Of a module that returns
    probabilities the logit is their logarithm. Both are Captum's: ``pip install
    'skensemble[inspect]'``. The estimator is left as it is.

    Parameters
    ----------
    estimator : estimator of skensemble
        Fitted to images, and made of networks.
    X : array-like of shape (n_samples, channels, height, width)
        Images of the shape seen in `fit`.
    y : array-like of shape (n_samples,), default=None
        The class whose logit is explained; if not given, what each member predicts.
    layer : str, default=None
        Name of the layer that "gradcam" looks at, as in ``module_.named_modules()``; if not
        given, the last convolution of more than 1 x 1 pixels whose map has more than one position.
        Of a layer that runs more than once the last run counts.
    method : {"gradcam", "saliency"}, default="gradcam"
        Which maps.

    Returns
    -------
    ndarray of shape (n_members, n_samples, height, width)
        Of at least zero, in units of the logits.

    See Also
    --------
    ViewMapsDisplay : Draws them.
    channel_images : What single channels answer to.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.
    .. [2] Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
       gradient-based localization", 2017.
    .. [3] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skensemble import DeepEnsembleClassifier
    >>> from skensemble.nn import SimpleCNN, gradient_descent
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> X = X.reshape(-1, 1, 8, 8)[:60] / 16
    >>> net = gradient_descent(SimpleCNN, n_steps=3)
    >>> ensemble = DeepEnsembleClassifier(net, 2, random_state=0).fit(X, y[:60])
    >>> view_maps(ensemble, X[:5]).shape  # doctest: +SKIP
    (2, 5, 8, 8)
    """
    inner, X = _checked(estimator, X, layer, method)
    return _compute(inner, X, _targets(inner, X, y), layer, method)


def _checked(estimator: Any, X: Any, layer: str | None, method: str) -> tuple[BaseNetworks, Any]:
    inner = inside(estimator, "view_maps")
    X = check_images(inner, X, "view_maps")
    if method == "saliency" and layer is not None:
        raise ValueError(
            f"The 'layer' is for method='gradcam'; 'saliency' looks at pixels. Got {layer!r}."
        )
    if importlib.util.find_spec("captum") is None:
        raise ImportError(
            "view_maps needs captum; install it with pip install 'skensemble[inspect]'."
        )
    return inner, X


def _targets(inner: BaseNetworks, X: Any, y: Any) -> Tensor:
    """Return whose logit is explained, as positions of classes ``(member, sample)``."""
    if y is None:
        return own_logits(inner, X).argmax(-1).cpu()
    return torch.from_numpy(positions(inner, y, len(X))).expand(inner._count_voices(), -1)


def _compute(
    inner: BaseNetworks, X: Any, targets: Tensor, layer: str | None, method: str
) -> np.ndarray:
    """Return maps ``(member, sample, height, width)``."""
    found = []
    for network, target in zip(networks_of(inner), targets, strict=True):
        rows = network.rows(X)
        ask = _attribution(network, rows.slice(0, 2), layer, method)
        parts, done = [], 0
        for x in chunks(rows):
            own = target[done : done + len(x)].to(x.device)
            parts.append(ask(x, own).detach().cpu())
            done += len(x)
        found.append(torch.cat(parts))
    return torch.stack(found).numpy()


def _attribution(network: Network, sample: Tensor, layer: str | None, method: str) -> Any:
    """Return a function of images and classes to maps ``(sample, height, width)``."""
    from captum.attr import LayerGradCam, Saliency

    if method == "saliency":
        by_pixel = Saliency(network.logits)
        return lambda x, y: by_pixel.attribute(x.clone().requires_grad_(), y).amax(1)
    name = find_layer(network, layer, sample, "view_maps")
    cam = LayerGradCam(network.logits, network.module.get_submodule(name))

    def ask(x: Tensor, y: Tensor) -> Tensor:
        small = cam.attribute(x, y, relu_attributions=True).to(x.dtype)
        return F.interpolate(small, x.shape[2:], mode="bilinear")[:, 0]

    return ask


class ViewMapsDisplay:
    """Images by members: where each member looks, laid over the image.

    Parameters
    ----------
    maps : ndarray of shape (n_members, n_samples, height, width)
        What `view_maps` returns.
    images : ndarray of shape (n_samples, channels, height, width)
        What the maps are of.
    labels : array-like of shape (n_members, n_samples), default=None
        The classes that the maps explain, written above them.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_samples, n_members)
        Where they are drawn.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.inspection import ViewMapsDisplay
    >>> maps = np.zeros((2, 1, 2, 2))
    >>> maps[0, 0, 0], maps[1, 0, 1] = 1.0, 1.0  # one member looks up, the other down
    >>> ViewMapsDisplay(maps, np.zeros((1, 1, 2, 2))).agreement()
    array([-1.])
    """

    axes_: Any
    figure_: Any

    def __init__(self, maps: np.ndarray, images: np.ndarray, labels: Any = None) -> None:
        self.maps = maps
        self.images = images
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        layer: str | None = None,
        method: str = "gradcam",
        **kwargs: Any,
    ) -> ViewMapsDisplay:
        """Compute the maps of an estimator's members, and draw them.

        Parameters
        ----------
        estimator : estimator of skensemble
            Fitted to images.
        X : array-like of shape (n_samples, channels, height, width)
            A few images.
        y : array-like of shape (n_samples,), default=None
            The classes to explain; if not given, what each member predicts.
        layer, method
            Of `view_maps`.
        **kwargs
            Of `plot`.

        Returns
        -------
        ViewMapsDisplay
            The drawn display.
        """
        maps = view_maps(estimator, X, y, layer=layer, method=method)
        inner = inside(estimator, "view_maps")
        X = check_images(inner, X, "view_maps")
        labels = inner.classes_[_targets(inner, X, y).numpy()]  # type: ignore[attr-defined]
        images = networks_of(inner)[0].rows(X).slice(0, len(X)).cpu().numpy()
        return cls(maps, images, labels).plot(**kwargs)

    def agreement(self) -> np.ndarray:
        """Return how much members look at the same places of each image.

        Returns
        -------
        ndarray of shape (n_samples,)
            The correlation of two members' maps over the places, its mean over all pairs of
            members whose maps are not flat; NaN where there is no such pair.
        """
        maps = np.asarray(self.maps, dtype=np.float64)
        flat = maps.reshape(*maps.shape[:2], -1)
        flat = flat - flat.mean(-1, keepdims=True)
        size = np.linalg.norm(flat, axis=-1, keepdims=True)
        tall = size > 1e-6 * np.abs(maps).max((-2, -1))[..., None]
        unit = np.where(tall, flat / np.where(tall, size, 1.0), 0.0)
        # Of all ordered pairs, without each with itself.
        n_tall = tall.sum((0, 2))
        total = (unit.sum(0) ** 2).sum(-1) - n_tall
        n_pairs = n_tall * (n_tall - 1)
        return np.where(n_pairs > 0, total / np.maximum(n_pairs, 1), np.nan)

    def plot(
        self,
        *,
        names: Sequence[str] | None = None,
        scale: str = "image",
        cmap: str = "inferno",
    ) -> ViewMapsDisplay:
        """Draw.

        Parameters
        ----------
        names : sequence of str, default=None
            What the members are called; they are numbered if not given.
        scale : {"image", "map"}, default="image"
            What the strongest colour stands for: the largest number of all members' maps of
            an image, so that members can be compared, or of each map by itself.
        cmap : str, default="inferno"
            Colours of the maps, by matplotlib's names.

        Returns
        -------
        ViewMapsDisplay
            Itself.
        """
        n_members, n_samples = self.maps.shape[:2]
        if names is not None and len(names) != n_members:
            raise ValueError(
                f"The 'names' must be one for each of {n_members} members. Got {len(names)}."
            )
        pictures = overlaid(self.images[None], self._strength(scale), cmap)
        figure, axes = panes((n_samples, n_members, *self.maps.shape[2:]), 1.3)
        for place in np.ndindex(n_samples, n_members):
            draw(axes[place], pictures[place[::-1]])
            if self.labels is not None:
                axes[place].set_title(f"{self.labels[place[1]][place[0]]}", fontsize="small")
        for member in range(n_members):
            name = f"member {member}" if names is None else names[member]
            axes[-1, member].set_xlabel(name)
        self._colorbar(figure, axes, scale, cmap)
        self.axes_, self.figure_ = axes, figure
        return self

    def _strength(self, scale: str) -> np.ndarray:
        """Return the maps from 0 to 1."""
        axes = {"image": (0, 2, 3), "map": (2, 3)}
        if scale not in axes:
            raise ValueError(f"The 'scale' must be 'image' or 'map'. Got {scale!r} instead.")
        largest = self.maps.max(axes[scale], keepdims=True)
        return self.maps / np.where(largest > 0, largest, 1.0)

    def _colorbar(self, figure: Any, axes: Any, scale: str, cmap: str) -> None:
        from matplotlib.cm import ScalarMappable

        bar = figure.colorbar(ScalarMappable(cmap=cmap), ax=axes, ticks=[0, 1], fraction=0.02)
        of = "of the image's maps" if scale == "image" else "of the map"
        bar.ax.set_yticklabels(["0", "max"])
        bar.set_label(f"share of the largest {of}", fontsize="small")
