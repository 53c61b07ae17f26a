"""What stands beside rows and labels, one entry a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RowTables:
    """What a method knows of every row beside its label: arrays of a fit, tensors of a batch.

    Attributes
    ----------
    targets : dict of str to array
        What a term made of its teacher's outputs, by the term's own names.
    layers : dict of str to array
        What the teacher's layers put out, by the student's layer.
    labelled : array or None
        The share of a row's weight that has a label; None where all rows have one.
    teacher_diversity : array or None
        How far the networks of the teacher are apart.
    """

    targets: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
    labelled: Any = None
    teacher_diversity: Any = None

    def tables(self) -> dict[tuple[str, str], Any]:
        """Return all arrays by the field they are in and their name there."""
        return dict(self._each())

    def _each(self) -> Iterator[tuple[tuple[str, str], Any]]:
        for one in fields(RowTables):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                for name, array in value.items():
                    yield (one.name, name), array
            elif value is not None:
                yield (one.name, ""), value

    def map_tables(self, change: Callable[..., Any], *others: RowTables) -> dict[str, Any]:
        """Return the fields with every array changed, for `replace` or a constructor.

        `change` is given an array, and those in its place in `others`.
        """
        beside = [one.tables() for one in others]
        changed: dict[str, Any] = {}
        for (name, key), value in self._each():
            value = change(value, *(one[name, key] for one in beside))
            if isinstance(getattr(self, name), dict):
                changed.setdefault(name, {})[key] = value
            else:
                changed[name] = value
        return changed
