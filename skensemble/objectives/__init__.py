"""Objectives: what the engine minimises, as functions of ``(logits, batch)``.

An `Objective` returns one loss a member; the engine adds them up, so that each member
gets the gradient it would get alone. A new method brings an objective, never a loop.
Distillation is cross-entropy with the labels plus a `Term` that compares the student with
its teacher. Terms are what ``DistilledClassifier(objective=...)`` takes; one of your own
subclasses `Term`.
"""

from skensemble.objectives.base import Objective, Term
from skensemble.objectives.layer_terms import (
    AttentionTerm,
    FeatureTerm,
    HintTerm,
    LayerTerm,
    RelationTerm,
)
from skensemble.objectives.terms import (
    AdaptiveTerm,
    ConfidenceTerm,
    DirichletTerm,
    LabelTerm,
    LogitTerm,
    OneToOneTerm,
    PermutedTerm,
    ProxyDirichletTerm,
    TruncatedTerm,
)

__all__ = [
    "AdaptiveTerm",
    "AttentionTerm",
    "ConfidenceTerm",
    "DirichletTerm",
    "FeatureTerm",
    "HintTerm",
    "LabelTerm",
    "LayerTerm",
    "LogitTerm",
    "Objective",
    "OneToOneTerm",
    "PermutedTerm",
    "ProxyDirichletTerm",
    "RelationTerm",
    "Term",
    "TruncatedTerm",
]
