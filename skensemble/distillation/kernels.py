"""Students that are fitted in closed form, to targets instead of batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone

from skensemble._fits.given import Given, Steps
from skensemble.objectives import LabelTerm, Term


def learns_targets(source: Any) -> bool:
    """Whether a recipe's owner is fitted to targets in closed form, as kernel machines are."""
    return bool(getattr(source, "_learns_targets", False))


def kernel_student(
    source: Any,
    seed: int,
    given: Given,
    taught: tuple[np.ndarray, float] | None,
    class_weight: Any,
) -> Steps:
    """Fit a clone of a kernel machine to labels and to what a teacher says of all rows.

    Its targets are ``(1 - alpha) y + alpha p``, `p` the teacher's probabilities at the
    temperature: what squared errors from either, weighed so, have as their minimum. `taught`
    is `p` and `alpha`.
    """
    student = clone(source).set_params(random_state=seed, class_weight=class_weight)
    given = replace(given.without_lesson(given.sample_weight), taught=taught)
    yield from student._steps(given)
    return student


def check_kernel_student(student: Any, term: Term, given: Given) -> None:
    """Refuse what a student that is fitted in closed form cannot do."""
    altered = student.perturbation is not None or student.report_diversity
    if not (isinstance(term, LabelTerm) or term.targets_of_members) or altered:
        raise ValueError(
            "An NTKClassifier learns from its teacher's probabilities alone. Got "
            f"objective={student.objective!r}, perturbation={student.perturbation!r}, "
            f"report_diversity={student.report_diversity}; use 'label', None and False."
        )
    check_no_batches(student.augmentation)
    if term.targets_of_members or student.precision is not None:
        raise ValueError(
            "An NTKClassifier learns from the mean of its teacher, in full precision. Got "
            f"averaging={student.averaging!r}, precision={student.precision!r}; use 'proba' or "
            "'logit', and None."
        )
    made = None if student.transfer == "auto" else student.transfer
    if made is not None or student.patience not in ("auto", 1):
        raise ValueError(
            "An NTKClassifier as the student learns no rows but those of X, in no epochs. Got "
            f"transfer={student.transfer!r} and patience={student.patience!r}; use None and 1."
        )
    if given.X_unlabelled is not None:
        raise ValueError("An NTKClassifier as the student does not take 'X_unlabelled'.")


def check_no_batches(augmentation: Any) -> None:
    """Refuse to alter batches where there are none."""
    if augmentation is not None:
        raise ValueError(
            "An NTKClassifier is fitted in closed form, without batches to alter. Got "
            f"augmentation={augmentation!r}; use None."
        )
