"""Fits that keep what they have done, and go on from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from skensemble._fits.given import Given
from skensemble._records.fingerprint import data_of, told
from skensemble._records.folder import opened


@contextmanager
def checkpointed(estimator: Any, given: Given) -> Iterator[Given]:
    """Keep the trainings of a fit where its `checkpoint` says; yield the data, and its seed."""

    def about() -> dict[str, Any]:
        data = {name: data_of(getattr(given, name)) for name in _DATA}
        return {"estimator": told(estimator), "data": data}

    place = getattr(estimator, "checkpoint", None)
    with opened(place, about, lambda: given.root_of(estimator)) as folder:
        yield given if folder is None else replace(given, root=(estimator, folder.root))


_DATA = ("X", "y", "sample_weight", "groups", "teacher_logits", "X_unlabelled")
