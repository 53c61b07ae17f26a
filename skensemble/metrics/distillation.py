"""What a student kept of its teacher, and what teaching adds to pruning."""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, check_sample_weight, validate_params
from skensemble._seeding import as_random_state
from skensemble.metrics.fidelity import divergence
from skensemble.metrics.probabilities import check_proba

# So many counts of a bootstrap at a time.
_MOST_COUNTS = 2**22


@dataclass(frozen=True)
class Retention:
    """What a student kept of its teacher, as :func:`retention` measures it.

    Losses are mean log losses, in nats. What asks for a plain network is NaN without one.

    Attributes
    ----------
    teacher_loss, student_loss, plain_loss : float
        Log loss of each; infinite where one gives zero to a true class.
    teacher_accuracy, student_accuracy, plain_accuracy : float
        Share of rows whose largest probability is that of the true class.
    agreement : float
        Share of rows on which teacher and student choose the same class.
    divergence : float
        Mean ``KL(teacher || student)``, in nats.
    kept : float
        ``(plain_loss - student_loss) / (plain_loss - teacher_loss)``: 1 is the teacher, 0 the
        plain network; NaN unless the teacher is better than the plain network.
    kept_interval : tuple of float
        Of 95 %, from a bootstrap of the rows; NaN where the teacher is not better in at least
        39 of 40 draws, so that there is too little to keep for a share of it.
    """

    teacher_loss: float
    student_loss: float
    plain_loss: float
    teacher_accuracy: float
    student_accuracy: float
    plain_accuracy: float
    agreement: float
    divergence: float
    kept: float
    kept_interval: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name.

        Returns
        -------
        dict of str to float, and to a tuple for the interval
            The numbers.
        """
        return asdict(self)


@validate_params(
    {"n_bootstrap": [Interval(numbers.Integral, 0, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def retention(
    y_true: Any,
    student_proba: Any,
    teacher_proba: Any,
    plain_proba: Any = None,
    *,
    labels: Any = None,
    sample_weight: Any = None,
    n_bootstrap: int = 1000,
    random_state: Any = 0,
) -> Retention:
    """Measure how much of its teacher a student kept, on rows that neither was trained on.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    student_proba, teacher_proba : array-like of shape (n_samples, n_classes)
        Probabilities of both.
    plain_proba : array-like of shape (n_samples, n_classes), default=None
        Those of the student's network trained on the labels alone, without which it cannot be
        said what the teacher's share is.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts.
    n_bootstrap : int, default=1000
        How often rows are drawn for the interval; 0 for none.
    random_state : int, RandomState instance or None, default=0
        Draws the rows, the same for all networks.

    Returns
    -------
    Retention
        Losses, accuracies, agreement, divergence and the share that was kept.

    Examples
    --------
    >>> from skensemble.metrics import retention
    >>> teacher, plain = [[0.8, 0.2], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]
    >>> found = retention([0, 1], [[0.7, 0.3], [0.3, 0.7]], teacher, plain)
    >>> round(found.kept, 3), found.agreement
    (0.716, 1.0)
    """
    given = {"teacher": teacher_proba, "student": student_proba, "plain": plain_proba}
    proba: dict[str, np.ndarray] = {}
    for name, one in given.items():
        if one is not None or name != "plain":
            y, one = check_proba(y_true, one, labels, f"{name}_proba")
            proba[name] = one.astype(np.float64)
    with naming("sample_weight", "be one number of at least 0 a row"):
        weight = check_sample_weight(
            as_numpy(sample_weight), proba["student"], dtype=np.float64, ensure_non_negative=True
        )
        if not (weight > 0).any():  # a number that is none for all rows gets here too
            raise ValueError("Got none above 0")
    used = weight > 0  # else what is infinite would count, zero times
    y, weight = y[used], weight[used]
    proba = {name: one[used] for name, one in proba.items()}
    with np.errstate(divide="ignore"):
        losses = {name: -np.log(one[np.arange(len(y)), y]) for name, one in proba.items()}
    chosen = {name: one.argmax(1) for name, one in proba.items()}
    found = {f"{name}_loss": float(np.average(one, weights=weight)) for name, one in losses.items()}
    found |= {
        f"{name}_accuracy": float(np.average(one == y, weights=weight))
        for name, one in chosen.items()
    }
    found = {"plain_loss": np.nan, "plain_accuracy": np.nan, **found}
    kept, interval = np.nan, (np.nan, np.nan)
    if plain_proba is not None and all(np.isfinite(one).all() for one in losses.values()):
        gains = np.stack([losses["plain"] - losses[name] for name in ("student", "teacher")])
        kept = float(_share(np.average(gains, 1, weights=weight)))
        if n_bootstrap and np.isfinite(kept):
            interval = _interval(gains * weight, int(n_bootstrap), random_state)
    agree = chosen["teacher"] == chosen["student"]
    apart = divergence(proba["teacher"], proba["student"])
    return Retention(
        **found,
        agreement=float(np.average(agree, weights=weight)),
        divergence=float(np.average(apart, weights=weight)),
        kept=kept,
        kept_interval=interval,
    )


def _share(gains: np.ndarray) -> np.ndarray:
    """Return what part the student's gain is of the teacher's, NaN where that is none."""
    student, teacher = gains
    some = teacher > 0
    return np.where(some, student / np.where(some, teacher, 1.0), np.nan)


def _interval(gains: np.ndarray, n_bootstrap: int, random_state: Any) -> tuple[float, float]:
    """Return the middle 95 % of the share over rows drawn with replacement.

    `gains` are those of student and teacher, times the weight of each row.
    """
    rng = as_random_state(random_state)
    n_rows = gains.shape[1]
    at_a_time = max(1, _MOST_COUNTS // n_rows)
    shares = []
    for start in range(0, n_bootstrap, at_a_time):
        n_draws = min(at_a_time, n_bootstrap - start)
        drawn = rng.randint(n_rows, size=(n_draws, n_rows))
        drawn += np.arange(n_draws)[:, None] * n_rows
        counts = np.bincount(drawn.ravel(), minlength=n_draws * n_rows).reshape(n_draws, n_rows)
        shares.append(_share(gains @ counts.T.astype(np.float64)))
    drawn_shares = np.concatenate(shares)
    known = drawn_shares[~np.isnan(drawn_shares)]
    if len(known) < 0.975 * n_bootstrap:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


@validate_params(
    {
        name: [numbers.Real]
        for name in ("self_distilled", "finetuned", "unpruned_distilled", "unpruned")
    },
    prefer_skip_nested_validation=True,
)
def surplus(
    self_distilled: float, finetuned: float, unpruned_distilled: float, unpruned: float
) -> float:
    """Return what distillation adds to pruning beyond what it adds to the unpruned network.

    ``(self_distilled - finetuned) - (unpruned_distilled - unpruned)``: positive where a teacher
    helps a pruned network more than an unpruned one.

    Parameters
    ----------
    self_distilled : float
        Accuracy of the network trained by distillation, pruned, and taught by its unpruned self
        (``PrunedClassifier(distill="self")``).
    finetuned : float
        Accuracy of the network trained, pruned and fine-tuned on the labels alone.
    unpruned_distilled : float
        Accuracy of the unpruned network trained by distillation.
    unpruned : float
        Accuracy of the unpruned network trained on the labels alone.

    Returns
    -------
    float
        In the unit of the accuracies.

    References
    ----------
    Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other techniques",
    2020, section 4.

    Examples
    --------
    >>> surplus(74.0, 71.5, 73.25, 72.0)
    1.25
    """
    return (self_distilled - finetuned) - (unpruned_distilled - unpruned)
