"""What a fit was given."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

Steps = Generator[Any, None, Any]


@dataclass(frozen=True)
class Given:
    """What a fit was given.

    Attributes
    ----------
    X, y, sample_weight : array-like
        As they arrived.
    rows : ndarray of int or None
        The rows of this fit, where it is one of several on the same data.
    shared : dict
        What such fits remember for each other.
    options : dict
        Further arguments of ``fit``.
    groups : array-like or None
        Groups of rows, for splitters.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    rows: np.ndarray | None = None
    shared: dict[Any, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    groups: Any = None

    def part(self) -> tuple[Any, Any, Any]:
        """Return rows, labels and weights of this fit alone, as they arrived."""
        whole = self.X, self.y, self.sample_weight
        if self.rows is None:
            return whole
        x, y, w = (None if one is None else _safe_indexing(one, self.rows) for one in whole)
        return x, y, w

    def recall(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for `key`, or make it."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]
