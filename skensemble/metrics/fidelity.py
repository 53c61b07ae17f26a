"""How much a student says what its teacher says."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from skensemble._arguments import as_numpy, naming


def check_pair(first: Any, second: Any, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return two tables of probabilities of the same rows and classes."""
    found = []
    for name, one in zip(names, (first, second), strict=True):
        with naming(name, "be probabilities of shape (n_samples, n_classes)"):
            found.append(check_array(as_numpy(one), dtype=np.float64, input_name=name))
    if found[0].shape != found[1].shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must be of the same rows and classes. Got shapes "
            f"{found[0].shape} and {found[1].shape}."
        )
    return found[0], found[1]


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return ``KL(p || q)`` of each row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0)
    return np.maximum(terms.sum(1), 0.0)


def agreement(teacher_proba: Any, student_proba: Any) -> float:
    """Share of samples for which teacher and student choose the same class.

    Parameters
    ----------
    teacher_proba, student_proba : array-like of shape (n_samples, n_classes)
        Probabilities of both, columns in the same order.

    Returns
    -------
    float
        A number in [0, 1].

    References
    ----------
    Stanton et al., "Does knowledge distillation really work?", 2021.

    Examples
    --------
    >>> agreement([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]])
    0.5
    """
    teacher, student = check_pair(teacher_proba, student_proba, ("teacher_proba", "student_proba"))
    return float((teacher.argmax(1) == student.argmax(1)).mean())


def teacher_kl(teacher_proba: Any, student_proba: Any) -> float:
    """Mean Kullback-Leibler divergence of the student from its teacher, ``KL(teacher || student)``.

    Parameters
    ----------
    teacher_proba, student_proba : array-like of shape (n_samples, n_classes)
        Probabilities of both, columns in the same order.

    Returns
    -------
    float
        The mean, in nats; zero where both say the same, infinite where the student gives zero to
        a class to which the teacher gives more.

    Examples
    --------
    >>> teacher_kl([[0.5, 0.5]], [[0.5, 0.5]])
    0.0
    >>> round(teacher_kl([[1.0, 0.0]], [[0.5, 0.5]]), 4)
    0.6931
    """
    teacher, student = check_pair(teacher_proba, student_proba, ("teacher_proba", "student_proba"))
    return float(divergence(teacher, student).mean())
