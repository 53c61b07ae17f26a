"""Reliability: how often the chosen class is right, against how sure the classifier is."""

from __future__ import annotations

from typing import Any

import numpy as np

from skensemble.inspection.display import PredictionsDisplay
from skensemble.metrics import expected_calibration_error
from skensemble.metrics.calibration import bins_of
from skensemble.metrics.probabilities import check_proba


class ReliabilityDisplay(PredictionsDisplay):
    """Accuracy of the chosen class in bins of its probability.

    For two classes scikit-learn's ``CalibrationDisplay`` looks at the positive one; this one looks
    at the chosen class of any number of them, as the expected calibration error does.

    Parameters
    ----------
    confidence, accuracy : array-like of shape (n_bins,)
        Means over each bin that has samples.
    count : array-like of shape (n_bins,)
        How many samples it has.
    ece : float
        The expected calibration error in these bins.
    name : str, default=""
        Of the classifier.

    Examples
    --------
    >>> from skensemble.inspection import ReliabilityDisplay
    >>> display = ReliabilityDisplay([0.6, 0.9], [0.5, 0.95], [10, 30], 0.06)
    >>> display.frame().columns.tolist()
    ['confidence', 'accuracy', 'count']
    """

    def __init__(
        self, confidence: Any, accuracy: Any, count: Any, ece: float, name: str = ""
    ) -> None:
        self.confidence = np.asarray(confidence)
        self.accuracy = np.asarray(accuracy)
        self.count = np.asarray(count)
        self.ece = ece
        self.name = name

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        n_bins: int = 15,
        strategy: str = "uniform",
        labels: Any = None,
        name: str = "",
        ax: Any = None,
    ) -> ReliabilityDisplay:
        """Draw from probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Predicted probabilities.
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equally many samples.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; the sorted labels of `y_true` if not given.
        name : str, default=""
            For the legend.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        ReliabilityDisplay
            The drawn display.
        """
        ece = expected_calibration_error(
            y_true, y_proba, n_bins=n_bins, strategy=strategy, labels=labels
        )
        position, proba = check_proba(y_true, y_proba, labels)
        confidence = proba.max(1).astype(np.float64)
        where = bins_of(confidence, n_bins, strategy)
        count = np.bincount(where)
        some = count > 0
        sums = [np.bincount(where, one)[some] for one in (confidence, proba.argmax(1) == position)]
        confidence, accuracy = (one / count[some] for one in sums)
        return cls(confidence, accuracy, count[some], ece, name).plot(ax)

    def _columns(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "accuracy": self.accuracy, "count": self.count}

    def _draw(self, ax: Any) -> None:
        if not any(line.get_gid() == "calibrated" for line in ax.lines):
            ax.plot([0, 1], [0, 1], ":", color="gray", gid="calibrated", label="calibrated")
        label = f"{self.name}, ECE {self.ece:.3f}".lstrip(", ")
        (line,) = ax.plot(self.confidence, self.accuracy, "-", label=label)
        area = 10 + 150 * self.count / self.count.max()
        ax.scatter(self.confidence, self.accuracy, s=area, color=line.get_color(), alpha=0.5)
        ax.set(xlabel="confidence in the chosen class", ylabel="how often it is right")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.legend(loc="upper left")
