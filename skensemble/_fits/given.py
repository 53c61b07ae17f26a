"""What a fit was given."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, indexable

from skensemble._arguments import as_numpy, naming
from skensemble._seeding import root_seed

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
    teacher_logits : array-like or None
        What a teacher says of the rows, where it is not to be asked.
    X_unlabelled : array-like or None
        Further rows, of which the teacher alone says something.
    taught : tuple of ndarray and float, or None
        Probabilities that a kernel machine learns, and how much they count beside the labels.
    groups : array-like or None
        Groups of rows, for splitters.
    several : bool
        Whether several fits share what is remembered.
    root : tuple of estimator and int, or None
        The seed of a fit that is gone on with, and whose fit that is.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    rows: np.ndarray | None = None
    shared: dict[Any, Any] = field(default_factory=dict)
    teacher_logits: Any = None
    X_unlabelled: Any = None
    taught: tuple[np.ndarray, float] | None = None
    groups: Any = None
    several: bool = False
    root: tuple[Any, int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.X, np.ma.MaskedArray):  # which joblib cannot hash
            with naming("X", "be rows whose entries are all there"):
                object.__setattr__(self, "X", as_numpy(self.X))

    @property
    def is_alone(self) -> bool:
        """Whether nobody else will ask for what this fit finds out."""
        return self.rows is None and not self.several

    def root_of(self, estimator: Any) -> int:
        """Return the seed that an estimator's random numbers come from in this fit."""
        if self.root is not None and self.root[0] is estimator:
            return self.root[1]
        return root_seed(estimator.random_state)

    def part(self) -> tuple[Any, Any, Any]:
        """Return rows, labels and weights of this fit alone, as they arrived."""
        whole = self.X, self.y, self.sample_weight
        if self.rows is None:
            return whole
        x, y, w = (
            None if one is None else _safe_indexing(one, self.rows) for one in indexable(*whole)
        )
        return x, y, w

    def part_of_groups(self) -> Any:
        """Return the groups of the rows of this fit alone."""
        if self.groups is None or self.rows is None:
            return self.groups
        return _safe_indexing(indexable(self.groups)[0], self.rows)

    def without_lesson(self, sample_weight: Any) -> Given:
        """Return the data alone, with other weights, for a fit that learns from labels."""
        nothing: dict[str, Any] = {"teacher_logits": None, "X_unlabelled": None, "taught": None}
        return replace(self, sample_weight=sample_weight, **nothing)

    def recall(
        self,
        name: str,
        make: Callable[[], Any],
        owners: tuple[Any, ...] = (),
        values: tuple[Any, ...] = (),
    ) -> Any:
        """Return what was made under this name of these owners and values, or make it.

        Owners are compared by identity and kept, since an identity may be given again to
        another object once its own is gone; values are compared by equality.
        """
        key = (name, tuple(map(id, owners)), values)
        if key not in self.shared:
            self.shared[key] = owners, make()
        return self.shared[key][1]
