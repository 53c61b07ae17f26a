"""Terms by name, and in files."""

from __future__ import annotations

from typing import Any

from skensemble import _parameters
from skensemble.objectives.base import Term
from skensemble.objectives.layer_terms import AttentionTerm, FeatureTerm, HintTerm, RelationTerm
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

TERMS: dict[str, type[Any]] = {
    "label": LabelTerm,
    "logit": LogitTerm,
    "feature": FeatureTerm,
    "hint": HintTerm,
    "attention": AttentionTerm,
    "relation": RelationTerm,
    "truncated": TruncatedTerm,
    "adaptive": AdaptiveTerm,
    "dirichlet": DirichletTerm,
    "proxy-dirichlet": ProxyDirichletTerm,
}

# What a file can describe.
_DESCRIBED: dict[str, type[Any]] = {
    **TERMS,
    "one-to-one": OneToOneTerm,
    "confidence": ConfidenceTerm,
    "permuted": PermutedTerm,
}


def read_term(given: Any) -> Term:
    """Return the term of a name, or the one that was given, checked."""
    return _parameters.read(given, TERMS)


def describe_term(given: Any) -> Any:
    """Describe a term in plain numbers and names, for a file; a user's own stays as it is."""
    return _parameters.describe(given, _DESCRIBED)


def rebuild_term(about: Any) -> Any:
    """Return the term that a file describes."""
    return _parameters.rebuild(about, _DESCRIBED)
