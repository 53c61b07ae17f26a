"""What a student kept of its teacher, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from skensemble._base.fitted import unwrap
from skensemble.inspection.display import Display
from skensemble.metrics import Retention

_WHO = ("plain", "student", "teacher")


class RetentionDisplay(Display):
    """Log loss of a plain network, of the student and of the teacher, and the share that was kept.

    Parameters
    ----------
    losses : dict of str to float
        Of "plain", "student" and "teacher".
    accuracies : dict of str to float
        Of the same.
    kept : float
        The share of the teacher's gain, see :class:`skensemble.metrics.Retention`.
    kept_interval : tuple of float
        Of 95 %.

    Examples
    --------
    >>> from skensemble.inspection import RetentionDisplay
    >>> losses = {"plain": 0.5, "student": 0.42, "teacher": 0.4}
    >>> RetentionDisplay(losses, losses, 0.8, (0.6, 1.0)).frame()
           who  log_loss  accuracy
    0    plain      0.50      0.50
    1  student      0.42      0.42
    2  teacher      0.40      0.40
    """

    def __init__(
        self,
        losses: dict[str, float],
        accuracies: dict[str, float],
        kept: float,
        kept_interval: tuple[float, float],
    ) -> None:
        self.losses = losses
        self.accuracies = accuracies
        self.kept = kept
        self.kept_interval = kept_interval

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None) -> RetentionDisplay:
        """Draw a report.

        Parameters
        ----------
        report : Retention or dict
            What :func:`skensemble.metrics.retention` returns, or a student's ``report_``.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        RetentionDisplay
            The drawn display.
        """
        told = report.as_dict() if isinstance(report, Retention) else report
        return cls(
            {who: told[f"{who}_loss"] for who in _WHO},
            {who: told[f"{who}_accuracy"] for who in _WHO},
            told["kept"],
            tuple(told["kept_interval"]),
        ).plot(ax)

    @classmethod
    def from_estimator(cls, student: Any, *, ax: Any = None) -> RetentionDisplay:
        """Draw the report of a student that was fitted with ``report=True``.

        Parameters
        ----------
        student : DistilledClassifier
            Fitted.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        RetentionDisplay
            The drawn display.
        """
        report = getattr(unwrap(student), "report_", None)
        if report is None:
            raise ValueError(
                "The 'student' must be a DistilledClassifier that was fitted with report=True. Got "
                f"{type(unwrap(student)).__name__} without a report_."
            )
        return cls.from_report(report, ax=ax)

    def _columns(self) -> dict[str, Any]:
        return {
            "who": list(_WHO),
            "log_loss": [self.losses[who] for who in _WHO],
            "accuracy": [self.accuracies[who] for who in _WHO],
        }

    def _draw(self, ax: Any) -> None:
        losses = [self.losses[who] for who in _WHO]
        # Of who gives zero to a true class, as forests do, the loss is infinite and has no bar.
        heights = [loss if np.isfinite(loss) else 0.0 for loss in losses]
        bars = ax.bar(["plain network", "student", "teacher"], heights, color=["C7", "C0", "C1"])
        said = [
            f"{self.accuracies[who]:.1%}" + ("" if np.isfinite(loss) else ", infinite loss")
            for who, loss in zip(_WHO, losses, strict=True)
        ]
        ax.bar_label(bars, said, padding=2)
        ax.set_ylabel("log loss on rows left out, accuracy above")
        ax.margins(y=0.15)
        low, high = self.kept_interval
        if np.isfinite(self.kept):
            within = f" ({low:.0%} to {high:.0%})" if np.isfinite(low) else ""
            ax.set_title(f"the student kept {self.kept:.0%}{within} of the gain")
        else:
            ax.set_title("the teacher is not better, so there is no gain to keep")
