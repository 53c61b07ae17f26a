"""How members learned, and how many of them it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_is_fitted

from skensemble._base.fitted import unwrap
from skensemble.inspection.display import Display


class TrainingCurvesDisplay(Display):
    """What each network recorded epoch by epoch, one line a network.

    Parameters
    ----------
    curves : dict of str to list of ndarray
        By name of the record, such as "train_loss", the numbers of each network.

    Examples
    --------
    >>> from skensemble.inspection import TrainingCurvesDisplay
    >>> display = TrainingCurvesDisplay({"train_loss": [[1.0, 0.5], [1.1, 0.4, 0.3]]})
    >>> display.frame()
       network  epoch      record  value
    0        0      1  train_loss    1.0
    1        0      2  train_loss    0.5
    2        1      1  train_loss    1.1
    3        1      2  train_loss    0.4
    4        1      3  train_loss    0.3
    """

    def __init__(self, curves: dict[str, list[Any]]) -> None:
        self.curves = {name: [np.asarray(one) for one in each] for name, each in curves.items()}

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, records: Any = ("train_loss", "valid_loss"), ax: Any = None
    ) -> TrainingCurvesDisplay:
        """Draw the records of a fitted estimator of ours.

        Parameters
        ----------
        estimator : estimator of skensemble
            Fitted; its networks have a ``history_``.
        records : sequence of str, default=("train_loss", "valid_loss")
            Which; those that no network has are left out.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        TrainingCurvesDisplay
            The drawn display.
        """
        inner = unwrap(estimator)
        check_is_fitted(inner)
        members = inner._members() if hasattr(inner, "_members") else [inner]
        histories = [getattr(one, "history_", []) for one in members]
        curves = {
            name: [[row[name] for row in one if row.get(name) is not None] for one in histories]
            for name in records
        }
        curves = {name: each for name, each in curves.items() if any(each)}
        if not curves:
            known = sorted({name for one in histories for row in one for name in row})
            raise ValueError(
                f"The 'records' must be among those of the networks' history_: {known}. Got "
                f"{list(records)}."
            )
        return cls(curves).plot(ax)

    def _columns(self) -> dict[str, Any]:
        rows = [
            (number, epoch, name, value)
            for name, each in self.curves.items()
            for number, curve in enumerate(each)
            for epoch, value in enumerate(curve, 1)
        ]
        names = ("network", "epoch", "record", "value")
        return {name: [row[at] for row in rows] for at, name in enumerate(names)}

    def _draw(self, ax: Any) -> None:
        for colour, (name, each) in enumerate(self.curves.items()):
            for number, curve in enumerate(each):
                label = name.replace("_", " ") if number == 0 else None
                epochs = np.arange(1, len(curve) + 1)
                ax.plot(epochs, curve, color=f"C{colour}", alpha=0.6, linewidth=1, label=label)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()


class EnsembleSizeDisplay(Display):
    """The score of the first members of an ensemble, against how many they are.

    Parameters
    ----------
    sizes : array-like of shape (n_sizes,)
        Numbers of members.
    scores : array-like of shape (n_sizes,)
        The score of the first members.
    members : array-like of shape (n_members,)
        The score of each member by itself.
    score_name : str, default="score"
        What is measured.

    Examples
    --------
    >>> from skensemble.inspection import EnsembleSizeDisplay
    >>> EnsembleSizeDisplay([1, 2], [0.9, 0.95], [0.9, 0.91]).frame()
       size  score
    0     1   0.90
    1     2   0.95
    """

    def __init__(self, sizes: Any, scores: Any, members: Any, score_name: str = "score") -> None:
        self.sizes = np.asarray(sizes)
        self.scores = np.asarray(scores)
        self.members = np.asarray(members)
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls, ensemble: Any, X: Any, y: Any, *, scoring: Any = None, ax: Any = None
    ) -> EnsembleSizeDisplay:
        """Ask the first one, two, three, ... members.

        Parameters
        ----------
        ensemble : DeepEnsembleClassifier
            Fitted.
        X : array-like of shape (n_samples, ...)
            Rows that it has not seen.
        y : array-like of shape (n_samples,)
            Their labels.
        scoring : str or callable, default=None
            A scorer; accuracy if not given.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        EnsembleSizeDisplay
            The drawn display.
        """
        check_is_fitted(ensemble)
        if not hasattr(ensemble, "estimators_") or not hasattr(ensemble, "__getitem__"):
            raise TypeError(
                "The 'ensemble' must be a fitted DeepEnsembleClassifier, whose slices are smaller "
                f"ones. Got {type(ensemble).__name__}."
            )
        scorer = check_scoring(ensemble, scoring)
        sizes = range(1, len(ensemble) + 1)
        scores = [scorer(ensemble[:size], X, y) for size in sizes]
        members = [scorer(member, X, y) for member in ensemble]
        if isinstance(scoring, str):
            name = scoring.replace("_", " ")
        else:
            name = "accuracy" if scoring is None else "score"
        return cls(sizes, scores, members, name).plot(ax)

    def _columns(self) -> dict[str, Any]:
        return {"size": self.sizes, "score": self.scores}

    def _draw(self, ax: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        ax.plot(self.sizes, self.scores, "o-", markersize=4, label="the first members together")
        ax.scatter(
            np.ones(len(self.members)), self.members, marker="_", color="gray",
            label="each member",
        )  # fmt: skip
        ax.axhline(self.members.mean(), linestyle=":", color="gray", label="their mean")
        ax.set(xlabel="members", ylabel=self.score_name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
