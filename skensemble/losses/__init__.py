"""Losses as pure functions of tensors that obey the axis law ``(member, sample, class)``.

Every loss is a sum over classes and a weighted mean over samples, one number a
member: ``sum_i w_i l_i / sum_i w_i``. Nothing here keeps state or knows an estimator.
"""

from skensemble.losses.classification import cross_entropy, mean_logits, weighted_mean
from skensemble.losses.distillation import (
    adaptive_distillation,
    confidence_weights,
    label_distillation,
    logit_regression,
    min_norm_weights,
    per_member,
    permute_dark_knowledge,
    project_capped_simplex,
    soften,
    truncated_distillation,
    truncated_logit,
)
from skensemble.losses.distributions import (
    dirichlet_nll,
    dirichlet_proba,
    member_divergence,
    proxy_dirichlet,
    proxy_dirichlet_target,
)
from skensemble.losses.features import (
    attention_map,
    attention_transfer,
    feature_distillation,
    hint,
    match_size,
    relation,
)

__all__ = [
    "adaptive_distillation",
    "attention_map",
    "attention_transfer",
    "confidence_weights",
    "cross_entropy",
    "dirichlet_nll",
    "dirichlet_proba",
    "feature_distillation",
    "hint",
    "label_distillation",
    "logit_regression",
    "match_size",
    "mean_logits",
    "member_divergence",
    "min_norm_weights",
    "per_member",
    "permute_dark_knowledge",
    "project_capped_simplex",
    "proxy_dirichlet",
    "proxy_dirichlet_target",
    "relation",
    "soften",
    "truncated_distillation",
    "truncated_logit",
    "weighted_mean",
]
