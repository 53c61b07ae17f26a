"""What displays share: an object that holds numbers, draws them, and hands them out as a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self


class Display(ABC):
    """Abstract picture: made of numbers, drawn by `plot`, which may be called again.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    """

    ax_: Any
    figure_: Any

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where; a new figure if not given.

        Returns
        -------
        Display
            Itself.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(5.0, 4.0), layout="constrained")
        self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @abstractmethod
    def _draw(self, ax: Any) -> None:
        """Draw on axes."""

    @abstractmethod
    def _columns(self) -> dict[str, Any]:
        """Return what is drawn, as columns of one length."""

    def frame(self) -> Any:
        """Return the numbers as a data frame of pandas.

        Returns
        -------
        DataFrame
            One row a point.
        """
        import pandas as pd

        return pd.DataFrame(self._columns())


class PredictionsDisplay(Display):
    """Abstract picture of labels and predicted probabilities, which `from_predictions` draws."""

    from_predictions: ClassVar[Callable[..., Any]]

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, **kwargs: Any) -> Any:
        """Draw what a fitted classifier says of rows that it has not seen.

        Parameters
        ----------
        estimator : object
            A fitted classifier with `predict_proba`.
        X : array-like of shape (n_samples, ...)
            Rows.
        y : array-like of shape (n_samples,)
            Their labels.
        **kwargs
            Of `from_predictions`.

        Returns
        -------
        Display
            The drawn display.
        """
        options = {"name": type(estimator).__name__, "labels": estimator.classes_, **kwargs}
        return cls.from_predictions(y, estimator.predict_proba(X), **options)
