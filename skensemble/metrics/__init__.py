"""Measures of accuracy, of the honesty of probabilities, and of what scores can tell apart."""

from skensemble.metrics.detection import fpr_at_tpr, ood_auroc
from skensemble.metrics.distillation import Retention, retention, surplus
from skensemble.metrics.members import disagreement, pairwise_kl
from skensemble.metrics.probabilities import expected_calibration_error, negative_log_likelihood

__all__ = [
    "Retention",
    "disagreement",
    "expected_calibration_error",
    "fpr_at_tpr",
    "negative_log_likelihood",
    "ood_auroc",
    "pairwise_kl",
    "retention",
    "surplus",
]
