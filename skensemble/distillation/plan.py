"""What the parameters of a student come to, where some of them were left to rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skensemble._arguments import naming
from skensemble._base.checks import ROWS
from skensemble._data.rows import FitData

__all__ = ["Plan"]

# Hinton's, for a recipe of the user's; and what students of the rules learn most of, on tables.
_TEMPERATURE, _TEMPERATURE_OF_TABLES = 4.0, 1.0
_SAMPLER_OF_TABLES = "munge"
# How many times a plain network's epochs a student of the rules may take.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Plan:
    """Parameters of a student with nothing left at "auto".

    Attributes
    ----------
    by_rules : bool
        Whether network and training are chosen by rules, as the user gave no recipe.
    alters : bool
        Whether rows are altered before the student sees them.
    temperature : float
        Of the teacher's term.
    transfer : str, object or None
        What makes transfer rows.
    teacher_cv : int, splitter, "auto" or None
        How the teacher's twins leave rows out; "auto" is a teacher's own affair.
    patience : float
        How many times its recipe's epochs a student may take.
    """

    by_rules: bool
    alters: bool
    temperature: float
    transfer: Any
    teacher_cv: Any
    patience: float

    @classmethod
    def of(
        cls,
        student: Any,
        *,
        by_rules: bool,
        X: Any,
        altered_by: str,
        layers: bool,
        teacher_share: float,
        given_logits: bool,
    ) -> Plan:
        """Read the parameters of a student, and refuse what cannot be."""
        transfer, cv = student.transfer, student.teacher_cv
        shape = getattr(X, "shape", None)
        with naming("X", ROWS):
            is_table = len(shape if isinstance(shape, tuple) else np.asarray(X).shape) <= 2
        can_sample = is_table and not issparse(X)
        asks_freely = not (altered_by or layers or given_logits) and teacher_share > 0
        if given_logits and not _open(transfer):
            raise ValueError(
                "Rows of 'transfer' are made here and a teacher is asked about them, so "
                f"'teacher_logits' are not enough. Got transfer={transfer!r}; pass 'teacher', or "
                "transfer=None."
            )
        if not _open(cv):
            _check_left_out(cv, altered_by, layers, given_logits, student)
        if _is(transfer, "auto"):
            transfer = _SAMPLER_OF_TABLES if by_rules and can_sample and asks_freely else None
        if _is(cv, "auto"):
            cv = "auto" if by_rules and asks_freely else None
        temperature, patience = student.temperature, student.patience
        if _is(temperature, "auto"):
            temperature = _TEMPERATURE_OF_TABLES if by_rules and is_table else _TEMPERATURE
        if _is(patience, "auto"):
            patience = _PATIENCE if by_rules and teacher_share > 0 else 1.0
        return cls(by_rules, bool(altered_by), float(temperature), transfer, cv, float(patience))

    def summary(self, n_more: int, n_twins: int) -> str:
        """Say in a line what a student hears."""
        made = f"{n_more} rows made by {self.transfer!r}" if n_more else "no further rows"
        twins = f"{n_twins} twins of the teacher" if n_twins else "the teacher"
        return f"training rows heard of from {twins}, {made}, temperature {self.temperature:g}"

    @property
    def holds_transfer(self) -> bool:
        """Whether transfer rows are held out in the place of training rows."""
        return self.by_rules and self.transfer is not None and not self.alters

    def holds_out(self, data: FitData) -> bool:
        """Whether transfer rows tell when a student agrees with its teacher."""
        if self.transfer is None or self.alters or data.valid is not None:
            return False
        return self.by_rules or self.patience > 1

    def can_stop(self, data: FitData) -> bool:
        """Whether any rows are held out."""
        return data.valid is not None or self.holds_out(data)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, str) and value == name


def _open(value: Any) -> bool:
    return value is None or _is(value, "auto")


def _check_left_out(
    cv: Any, altered_by: str, layers: bool, given_logits: bool, student: Any
) -> None:
    why = ""
    if altered_by:
        why = f"{altered_by} asks the teacher about rows that nobody has seen"
    elif layers:
        why = f"objective={student.objective!r} compares layers, which twins have others of"
    elif given_logits:
        why = "'teacher_logits' are what a teacher says already"
    if why:
        raise ValueError(
            f"With teacher_cv={cv!r} rows are left out, but {why}. Use 'auto' or None."
        )
