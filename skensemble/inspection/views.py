"""Which views of each class networks have learned."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skensemble._arguments import as_numpy, naming
from skensemble._private import HasMethods, Interval, validate_params

__all__ = ["LearnedViews", "LearnedViewsDisplay", "learned_views"]


@dataclass(frozen=True)
class LearnedViews:
    """Which features of which class each member has learned.

    Attributes
    ----------
    response : ndarray of shape (n_members, n_classes, n_views)
        The logit of a class for a row that holds one of its features and nothing else,
        above the class's logit for an empty row.
    learned : ndarray of bool, same shape
        Where the response is at least `threshold` times the class's largest, and at least `least`.
    classes : ndarray of shape (n_classes,)
        Labels.
    """

    response: np.ndarray
    learned: np.ndarray
    classes: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """What at least one member has learned, ``(n_classes, n_views)``."""
        return np.asarray(self.learned.any(0))


@validate_params(
    {
        "estimator": [HasMethods(["_collect"])],
        "features": ["array-like"],
        "strength": [Interval(numbers.Real, 0, None, closed="neither")],
        "threshold": [Interval(numbers.Real, 0, 1, closed="both")],
    },
    prefer_skip_nested_validation=True,
)
def learned_views(
    estimator: Any,
    features: Any,
    *,
    strength: float = 1.5,
    threshold: float = 0.5,
    least: float = 0.5,
) -> LearnedViews:
    """Find which views of each class a network, or each member of an ensemble, has learned.

    The set ``𝓜`` of Theorem 1 of Allen-Zhu and Li [1]_, read off the trained network: a
    class has learned a view if its logit answers to that feature alone, and not much less than
    to the class's other features. A class that answers to none has learned none.

    Parameters
    ----------
    estimator : estimator of skensemble
        Fitted to rows of shape (n_patches, patch_dim).
    features : array-like of shape (n_classes, n_views, patch_dim)
        The features, classes in the order of ``classes_``; see
        `skensemble.datasets.make_multiview_classification`.
    strength : float, default=1.5
        What the feature is multiplied with.
    threshold : float, default=0.5
        Share of the class's largest response from which a view counts as learned.
    least : float, default=0.5
        Logits that the response must reach besides. A trained network's are several; those of its
        initial weights, whose largest is also the largest of something, a small part of one.

    Returns
    -------
    LearnedViews
        Responses, and what counts as learned.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from skensemble import DeepEnsembleClassifier
    >>> from skensemble.datasets import make_multiview_classification
    >>> from skensemble.nn import MultiViewNet
    >>> X, y, views = make_multiview_classification(60, n_classes=3, return_views=True)
    >>> ensemble = DeepEnsembleClassifier(MultiViewNet, 2, random_state=0).fit(X, y)
    >>> learned_views(ensemble, views.features).learned.shape
    (2, 3, 2)
    """
    check_is_fitted(estimator)
    with naming("features", "be an array of numbers"):
        features = check_array(as_numpy(features), dtype=np.float64, allow_nd=True)
    n_patches, dim = _patch_shape(estimator)
    n_classes = len(estimator.classes_)
    if features.ndim != 3 or features.shape[0] != n_classes or features.shape[2] != dim:
        raise ValueError(
            f"The 'features' must have shape (n_classes, n_views, patch_dim) = ({n_classes}, any, "
            f"{dim}). Got shape {features.shape}."
        )
    n_views = features.shape[1]
    rows = np.zeros((n_classes * n_views + 1, n_patches, dim))
    rows[:-1, 0] = strength * features.reshape(-1, dim)  # the last row stays empty
    logits = _member_logits(estimator, rows)
    above = logits[:, :-1] - logits[:, -1:]
    above = above.reshape(len(logits), n_classes, n_views, n_classes)
    response = np.einsum("mcvc->mcv", above)
    largest = response.max(-1, keepdims=True)
    learned = (response >= threshold * largest) & (response >= least)
    return LearnedViews(response, learned, np.asarray(estimator.classes_))


def _patch_shape(estimator: Any) -> tuple[int, int]:
    shape = estimator._recipe.in_shape
    if len(shape) != 2:
        raise ValueError(
            "The 'estimator' of learned_views must be one of rows of shape (n_patches, patch_dim). "
            f"Got one of rows of shape {shape}."
        )
    return shape[0], shape[1]


def _member_logits(estimator: Any, rows: np.ndarray) -> np.ndarray:
    def keep(logits: Tensor) -> Tensor:
        return logits.to(torch.float64)

    return estimator._collect(rows, keep, axis=1)


class LearnedViewsDisplay:
    """Members by views, a mark where a member has learned a view; their union beside them.

    Parameters
    ----------
    views : LearnedViews
        What `learned_views` returns.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        Its figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.inspection import LearnedViews, LearnedViewsDisplay
    >>> learned = np.array([[[True, False], [True, True]]])
    >>> views = LearnedViews(learned * 1.0, learned, np.array(["cat", "dog"]))
    >>> LearnedViewsDisplay(views).views.union.tolist()
    [[True, False], [True, True]]
    """

    ax_: Any
    figure_: Any

    def __init__(self, views: LearnedViews) -> None:
        self.views = views

    @classmethod
    def from_estimator(
        cls, estimator: Any, features: Any, *, ax: Any = None, **kwargs: Any
    ) -> LearnedViewsDisplay:
        """Look what an estimator has learned, and draw it.

        Parameters
        ----------
        estimator : estimator of skensemble
            Fitted.
        features : array-like of shape (n_classes, n_views, patch_dim)
            The features.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.
        **kwargs
            Of `learned_views`.

        Returns
        -------
        LearnedViewsDisplay
            The drawn display.
        """
        return cls(learned_views(estimator, features, **kwargs)).plot(ax=ax)

    def plot(
        self, ax: Any = None, *, names: Sequence[str] | None = None, union: bool = True
    ) -> LearnedViewsDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where; a new figure if not given.
        names : sequence of str, default=None
            What the members are called; they are numbered if not given.
        union : bool, default=True
            Whether to show below what they have learned together.

        Returns
        -------
        LearnedViewsDisplay
            Itself.
        """
        import matplotlib.pyplot as plt

        learned = self.views.learned
        n_members, n_classes, n_views = learned.shape
        if names is not None and len(names) != n_members:
            raise ValueError(
                f"The 'names' must be one for each of {n_members} members. Got {len(names)}."
            )
        if ax is None:
            size = (0.32 * n_classes * n_views + 1.8, 0.32 * (n_members + 2) + 2.0)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        shown = learned.reshape(n_members, -1).astype(float)
        labels = [str(m) for m in range(n_members)] if names is None else list(names)
        places = list(range(n_members))
        if union:  # below a gap
            gap, together = np.full((1, n_classes * n_views), np.nan), self.views.union
            shown = np.concatenate([shown, gap, together.reshape(1, -1)])
            labels, places = [*labels, "all"], [*places, n_members + 1]
        ax.imshow(shown, cmap="Blues", vmin=-0.15, vmax=1.4, aspect="equal")
        for edge in range(n_views, n_classes * n_views, n_views):
            ax.axvline(edge - 0.5, color="white", linewidth=2.5)
        ax.set_xticks(np.arange(n_classes) * n_views + (n_views - 1) / 2)
        ax.set_xticklabels([str(label) for label in self.views.classes])
        ax.set_yticks(places)
        ax.set_yticklabels(labels)
        ax.set_xlabel(f"class, {n_views} views of each")
        if names is None:
            ax.set_ylabel("member")
        share = learned.mean(), self.views.union.mean()
        rest = f", all have {share[1]:.0%}" if union else ""
        ax.set_title(f"a member has {share[0]:.0%} of the views{rest}")
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
