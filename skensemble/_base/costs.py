"""What a fitted estimator has cost, for its diagram in a notebook."""

from __future__ import annotations

import contextlib
from typing import Any

from sklearn.utils.validation import check_is_fitted


def cost_of(estimator: Any) -> dict[str, Any]:
    """Return members, parameters and seconds of a fit, where they are known.

    Seconds are those of the fit itself, in a stacked search its share of the common time. A file
    does not hold them.
    """
    found: dict[str, Any] = {}
    # Of one that is not fitted, as parts of a fitted whole may be, or cannot predict as it is set.
    with contextlib.suppress(ValueError):
        check_is_fitted(estimator)
        networks = estimator._networks()
        found["members"] = sum(getattr(network, "n_members", 1) for network in networks)
        found["parameters"] = sum(one.numel() for each in networks for one in each.parameters())
    if hasattr(estimator, "_fit_seconds"):
        found["seconds"] = estimator._fit_seconds
    return found
