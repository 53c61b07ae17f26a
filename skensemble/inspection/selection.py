"""Errors among the surest predictions, as a curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from skensemble.inspection.display import PredictionsDisplay
from skensemble.metrics import risk_coverage_curve


class RiskCoverageDisplay(PredictionsDisplay):
    """Error rate among the answered rows, against the share that is answered, the surest first.

    Parameters
    ----------
    coverage, risk : array-like of shape (n_samples,)
        As :func:`skensemble.metrics.risk_coverage_curve` returns them.
    name : str, default=""
        Of the classifier.

    Examples
    --------
    >>> from skensemble.inspection import RiskCoverageDisplay
    >>> RiskCoverageDisplay([0.5, 1.0], [0.0, 0.1]).aurc
    0.05
    """

    def __init__(self, coverage: Any, risk: Any, name: str = "") -> None:
        self.coverage = np.asarray(coverage)
        self.risk = np.asarray(risk)
        self.name = name

    @property
    def aurc(self) -> float:
        """The area under the curve."""
        return float(self.risk.mean())

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        score: Any = None,
        labels: Any = None,
        name: str = "",
        ax: Any = None,
    ) -> RiskCoverageDisplay:
        """Draw from probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Predicted probabilities.
        score : array-like of shape (n_samples,), default=None
            How sure each prediction is; the largest probability if not given.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; the sorted labels of `y_true` if not given.
        name : str, default=""
            For the legend.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        RiskCoverageDisplay
            The drawn display.
        """
        curve = risk_coverage_curve(y_true, y_proba, score=score, labels=labels)
        return cls(curve.coverage, curve.risk, name).plot(ax)

    def _columns(self) -> dict[str, Any]:
        return {"coverage": self.coverage, "risk": self.risk}

    def _draw(self, ax: Any) -> None:
        label = f"{self.name}, area {self.aurc:.4f}".lstrip(", ")
        ax.plot(self.coverage, self.risk, drawstyle="steps-post", label=label)
        ax.set(xlabel="share of rows answered, surest first", ylabel="errors among them")
        ax.set_xlim(0, 1)
        ax.set_ylim(bottom=0)
        ax.legend(loc="upper left")
