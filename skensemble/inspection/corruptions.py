"""How a classifier does on rows that are worse than those it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring

from skensemble.datasets import corrupt_images, corrupt_table
from skensemble.inspection.display import Display

_SEVERITIES = (1, 2, 3, 4, 5)


class CorruptionDisplay(Display):
    """Scores against the severity of corruptions, one line each; 0 are the rows as they are.

    Parameters
    ----------
    scores : dict of str to array-like of shape (6,)
        By corruption, the score on rows as they are and at severities 1 to 5.
    score_name : str, default="accuracy"
        What is measured.

    Examples
    --------
    >>> from skensemble.inspection import CorruptionDisplay
    >>> display = CorruptionDisplay({"noise": [0.9, 0.88, 0.8, 0.7, 0.6, 0.5]})
    >>> round(display.mean(), 3)
    0.696
    """

    def __init__(self, scores: dict[str, Any], score_name: str = "accuracy") -> None:
        self.scores = {name: np.asarray(one, float) for name, one in scores.items()}
        self.score_name = score_name

    def mean(self) -> float:
        """Return the mean over corruptions and severities, without the rows as they are.

        Returns
        -------
        float
            The mean.
        """
        return float(np.mean([one[1:] for one in self.scores.values()]))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        corruptions: Sequence[str] = ("noise", "missing", "shift"),
        *,
        scoring: Any = None,
        random_state: Any = 0,
        ax: Any = None,
    ) -> CorruptionDisplay:
        """Corrupt rows at five severities, and score a fitted classifier on them.

        Parameters
        ----------
        estimator : object
            A fitted classifier.
        X : array-like
            A table, or bytes of images ``(n_samples, channels, height, width)``.
        y : array-like of shape (n_samples,)
            Labels.
        corruptions : sequence of str, default=("noise", "missing", "shift")
            Of `corrupt_table`, or for images of `corrupt_images`.
        scoring : str or callable, default=None
            A scorer; accuracy if not given.
        random_state : int, RandomState instance or None, default=0
            Draws the corruptions.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        CorruptionDisplay
            The drawn display.
        """
        scorer = check_scoring(estimator, scoring)
        corrupt = corrupt_images if np.ndim(X) > 2 else corrupt_table
        plain = scorer(estimator, X, y)
        scores = {}
        for name in corruptions:
            worse = [
                corrupt(X, name, severity=severity, random_state=random_state)
                for severity in _SEVERITIES
            ]
            scores[name] = [plain, *(scorer(estimator, one, y) for one in worse)]
        said = scoring.replace("_", " ") if isinstance(scoring, str) else "score"
        return cls(scores, "accuracy" if scoring is None else said).plot(ax)

    def _columns(self) -> dict[str, Any]:
        return {"severity": (0, *_SEVERITIES), **self.scores}

    def _draw(self, ax: Any) -> None:
        for name, one in self.scores.items():
            ax.plot((0, *_SEVERITIES), one, "o-", markersize=4, label=name.replace("_", " "))
        ax.set(xlabel="severity", ylabel=self.score_name)
        ax.legend()
