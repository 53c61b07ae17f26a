"""Measures of accuracy, of the honesty of probabilities, and of what scores can tell apart."""

from skensemble.metrics.calibration import (
    BrierParts,
    brier_decomposition,
    classwise_calibration_error,
    expected_calibration_error,
    smooth_calibration_error,
)
from skensemble.metrics.detection import fpr_at_tpr, ood_auroc
from skensemble.metrics.distillation import Retention, retention, surplus
from skensemble.metrics.evaluation import evaluate
from skensemble.metrics.fidelity import agreement, teacher_kl
from skensemble.metrics.members import disagreement, pairwise_kl, q_statistic
from skensemble.metrics.probabilities import negative_log_likelihood
from skensemble.metrics.scorers import ProbabilityScorer, get_scorer, get_scorer_names
from skensemble.metrics.selective import (
    RiskCoverage,
    abstention_threshold,
    augrc,
    aurc,
    coverage_at_risk,
    risk_at_coverage,
    risk_coverage_curve,
)
from skensemble.metrics.uncertainty import (
    Uncertainty,
    uncertainty_of_dirichlet,
    uncertainty_of_members,
)

__all__ = [
    "BrierParts",
    "ProbabilityScorer",
    "Retention",
    "RiskCoverage",
    "Uncertainty",
    "abstention_threshold",
    "agreement",
    "augrc",
    "aurc",
    "brier_decomposition",
    "classwise_calibration_error",
    "coverage_at_risk",
    "disagreement",
    "evaluate",
    "expected_calibration_error",
    "fpr_at_tpr",
    "get_scorer",
    "get_scorer_names",
    "negative_log_likelihood",
    "ood_auroc",
    "pairwise_kl",
    "q_statistic",
    "retention",
    "risk_at_coverage",
    "risk_coverage_curve",
    "smooth_calibration_error",
    "surplus",
    "teacher_kl",
    "uncertainty_of_dirichlet",
    "uncertainty_of_members",
]
