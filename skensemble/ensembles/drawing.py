"""Which rows a member of an ensemble learns, where it draws them."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from skensemble._seeding import Purpose, purpose_seed


def drawn_rows(ensemble: Any, rows: np.ndarray, seed: int) -> np.ndarray | None:
    """Return the rows that a member of a seed draws, or None where it learns all."""
    if not ensemble.bootstrap and ensemble.max_samples is None:
        return None
    size: Any = len(rows) if ensemble.max_samples is None else ensemble.max_samples
    if not isinstance(size, numbers.Integral):
        size = max(1, round(size * len(rows)))
    if size > len(rows) and not ensemble.bootstrap:
        raise ValueError(
            f"Without bootstrap 'max_samples' must be at most the number of rows, "
            f"{len(rows)}. Got {size} instead."
        )
    draw = np.random.default_rng(purpose_seed(seed, Purpose.BOOTSTRAP))
    return rows[draw.choice(len(rows), int(size), replace=ensemble.bootstrap)]
