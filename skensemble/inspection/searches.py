"""The scores of a search over two parameters, as a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skensemble.inspection.display import Display


class SearchHeatMapDisplay(Display):
    """Mean scores of a grid search over two of its parameters; over others it is the best one.

    Parameters
    ----------
    scores : array-like of shape (n_first, n_second)
        The best mean score of each pair of values; NaN where there is none.
    values : tuple of list
        The values of the first and of the second parameter.
    names : tuple of str
        The two parameters.
    score_name : str, default="mean test score"
        What is measured.

    Examples
    --------
    >>> from skensemble.inspection import SearchHeatMapDisplay
    >>> SearchHeatMapDisplay([[0.9, 0.8]], ([1], [2, 4]), ("alpha", "temperature")).frame()
       alpha  temperature  score
    0      1            2    0.9
    1      1            4    0.8
    """

    def __init__(
        self,
        scores: Any,
        values: tuple[list[Any], list[Any]],
        names: tuple[str, str],
        score_name: str = "mean test score",
    ) -> None:
        self.scores = np.asarray(scores, float)
        self.values = values
        self.names = names
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        first: str | None = None,
        second: str | None = None,
        *,
        metric: str = "score",
        ax: Any = None,
    ) -> SearchHeatMapDisplay:
        """Draw a fitted search, of ours or of scikit-learn's.

        Parameters
        ----------
        search : object
            Fitted, with ``cv_results_``.
        first, second : str, default=None
            Parameters of the rows and of the columns, by their names or the last part of these;
            the two that were searched, if not given.
        metric : str, default="score"
            Which score, where there are several.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if not given.

        Returns
        -------
        SearchHeatMapDisplay
            The drawn display.
        """
        check_is_fitted(search, "cv_results_")
        params, results = search.cv_results_["params"], search.cv_results_
        searched = sorted({name for one in params for name in one})
        if (first is None or second is None) and len(searched) != 2:
            raise ValueError(
                "The 'first' and 'second' must be two of the parameters that were searched, "
                f"{searched}; they can be left out where these are two."
            )
        names = _named(first or searched[0], searched), _named(second or searched[1], searched)
        key = f"mean_test_{metric}"
        if key not in results:
            known = [one[10:] for one in results if one.startswith("mean_test_")]
            raise ValueError(f"The 'metric' must be one of {known}. Got {metric!r}.")
        rows, columns = (_distinct(one.get(name) for one in params) for name in names)
        values = rows, columns
        scores = np.full((len(values[0]), len(values[1])), np.nan)
        for one, score in zip(params, results[key], strict=True):
            at = tuple(
                _place(value, one.get(name)) for name, value in zip(names, values, strict=True)
            )
            scores[at] = np.fmax(scores[at], score)
        said = "mean test score" if metric == "score" else f"mean test {metric}".replace("_", " ")
        return cls(scores, values, names, said).plot(ax)

    def _columns(self) -> dict[str, Any]:
        first, second = self.values
        return {
            self.names[0]: [a for a in first for _ in second],
            self.names[1]: [b for _ in first for b in second],
            "score": self.scores.ravel(),
        }

    def _draw(self, ax: Any) -> None:
        drawn = ax.imshow(np.ma.masked_invalid(self.scores), aspect="auto")
        ax.figure.colorbar(drawn, ax=ax, label=self.score_name)
        for axis, name, values in zip((ax.yaxis, ax.xaxis), self.names, self.values, strict=True):
            axis.set_ticks(range(len(values)), [_short(value) for value in values])
            axis.set_label_text(name.rpartition("__")[2])
        if self.scores.size <= 64:
            middle = (np.nanmin(self.scores) + np.nanmax(self.scores)) / 2
            for (i, j), score in np.ndenumerate(self.scores):
                if np.isfinite(score):
                    colour = "black" if score > middle else "white"
                    ax.text(j, i, f"{score:.3f}", ha="center", va="center", color=colour, size=8)


def _named(name: str, searched: list[str]) -> str:
    """Return the one searched parameter of that name, or whose last part it is."""
    found = [one for one in searched if one == name or one.rpartition("__")[2] == name]
    if len(found) != 1:
        raise ValueError(
            f"The 'first' and 'second' must each be one of the parameters that were searched, "
            f"{searched}. Got {name!r}."
        )
    return found[0]


def _distinct(values: Any) -> list[Any]:
    """Return values in the order that they come in, numbers sorted."""
    found: list[Any] = []
    for value in values:
        if not any(_same(value, one) for one in found):
            found.append(value)
    try:
        return sorted(found)
    except TypeError:  # names, objects, None among numbers
        return found


def _same(a: Any, b: Any) -> bool:
    return a is b or bool(np.all(a == b))


def _place(values: list[Any], value: Any) -> int:
    return next(at for at, one in enumerate(values) if _same(one, value))


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else text[:17] + "..."
