"""Objectives: what the engine minimises, as functions of ``(logits, batch)``.

An `Objective` returns one loss a member; the engine adds them up, so that each member
gets the gradient it would get alone. A new method brings an objective, never a loop.
Distillation is the objective `Distilled`: cross-entropy with the labels plus a `Term`
that compares the student with its teacher. A term of your own subclasses `Term`.
"""

from skensemble.objectives.augmented import Augmented
from skensemble.objectives.base import (
    Around,
    CrossEntropy,
    Objective,
    SumCrossEntropy,
    Term,
    merge,
)
from skensemble.objectives.distilled import (
    TEACHER_DIVERSITY,
    Asked,
    Distilled,
    Perturbed,
    SharedWeights,
    Watched,
)
from skensemble.objectives.sparse import Slimmed, scale_names, scaled_norms
from skensemble.objectives.terms import (
    AdaptiveTerm,
    AttentionTerm,
    ConfidenceTerm,
    DirichletTerm,
    FeatureTerm,
    HintTerm,
    LabelTerm,
    LogitTerm,
    OneToOneTerm,
    PermutedTerm,
    ProxyDirichletTerm,
    RelationTerm,
    TruncatedTerm,
)

__all__ = [
    "TEACHER_DIVERSITY",
    "AdaptiveTerm",
    "Around",
    "Asked",
    "AttentionTerm",
    "Augmented",
    "ConfidenceTerm",
    "CrossEntropy",
    "DirichletTerm",
    "Distilled",
    "FeatureTerm",
    "HintTerm",
    "LabelTerm",
    "LogitTerm",
    "Objective",
    "OneToOneTerm",
    "PermutedTerm",
    "Perturbed",
    "ProxyDirichletTerm",
    "RelationTerm",
    "SharedWeights",
    "Slimmed",
    "SumCrossEntropy",
    "Term",
    "TruncatedTerm",
    "Watched",
    "merge",
    "scale_names",
    "scaled_norms",
]
