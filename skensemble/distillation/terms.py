"""What a student is told: the term it minimises, and what its teacher says of the rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skensemble._fits.given import Given
from skensemble.distillation.teachers import count_teachers
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.objectives import (
    AdaptiveTerm,
    AttentionTerm,
    DirichletTerm,
    FeatureTerm,
    HintTerm,
    LabelTerm,
    LogitTerm,
    OneToOneTerm,
    ProxyDirichletTerm,
    RelationTerm,
    Term,
    TruncatedTerm,
)

# Weight of the teacher's term where it stands beside the full cross-entropy.
BETA = {"feature": 1.0, "hint": 100.0, "attention": 1000.0, "relation": 1.0, "truncated": 1.0}


OBJECTIVES = {*BETA, "label", "logit", "adaptive", "dirichlet", "proxy-dirichlet"}


# -- the term --------------------------------------------------------------------------------
def teacher_share(student: Any) -> float:
    """Return the weight of the teacher's term."""
    if not adds_term(student):
        return float(student.alpha)
    return BETA[student.objective] if student.beta == "auto" else float(student.beta)


def adds_term(student: Any) -> bool:
    """Whether the term is added to the full cross-entropy, weighed by `beta`."""
    return isinstance(student.objective, str) and student.objective in BETA


def term_of(student: Any, n_classes: int) -> Term:
    """Return the term of the student's objective."""
    if isinstance(student.objective, Term):
        return student.objective
    tau = 1 / math.log(n_classes) ** 2 if student.tau == "auto" else student.tau
    temperature = float(student.temperature)
    terms: dict[str, Term] = {
        "label": _label_term(student, temperature),
        "logit": LogitTerm(),
        "feature": FeatureTerm(),
        "hint": HintTerm(),
        "attention": AttentionTerm(),
        "relation": RelationTerm(),
        "truncated": TruncatedTerm(float(tau), student.one_sided),
        "adaptive": AdaptiveTerm(temperature, student.cap),
        "dirichlet": DirichletTerm(temperature),
        "proxy-dirichlet": ProxyDirichletTerm(),
    }
    return terms[student.objective]


def _label_term(student: Any, temperature: float) -> Term:
    averaging = student.averaging
    if averaging == "auto":
        shares = isinstance(student._recipe_source(), BatchEnsembleClassifier)
        averaging = "one-to-one" if shares else "proba"
    if averaging != "one-to-one":
        return LabelTerm(temperature, averaging)
    if not isinstance(student._recipe_source(), BatchEnsembleClassifier):
        raise ValueError(
            "averaging='one-to-one' needs a student with members, a BatchEnsembleClassifier. "
            f"Got student={student.student!r}; use 'proba' or 'logit'."
        )
    return OneToOneTerm(temperature)


def layer_names(layers: Any) -> dict[str, str]:
    """Return the teacher's layer for each of the student's."""
    if isinstance(layers, dict):
        return dict(layers)
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise ValueError("The 'layers' to compare must be at least one. Got none.")
    return {name: name for name in names}


# -- what cannot be --------------------------------------------------------------------------
def check_members(student: Any, term: Term, n_members: int, given: Given) -> None:
    """Refuse what a student of many members cannot learn."""
    if term.uses_layers:
        raise ValueError(
            f"objective={student.objective!r} compares layers, which the members of a "
            "BatchEnsembleClassifier share. Use objective='label'."
        )
    if not isinstance(term, OneToOneTerm):
        return
    said = given.options.get("teacher_logits")
    if said is None:
        n_teachers = count_teachers(student.teacher_)
    else:
        n_teachers = len(said) if np.ndim(said) == 3 else 1
    if n_teachers != n_members:
        raise ValueError(
            "One-to-one distillation needs as many members in the teacher as in the student. "
            f"Got {n_teachers} and {n_members}; set n_estimators={n_teachers} for the student, "
            "or averaging='proba' so that all members learn from the teacher's mean."
        )


def check_kernel_student(student: Any, given: Given) -> None:
    """Refuse what a student that is fitted in closed form cannot do."""
    if student.objective != "label" or student.perturbation is not None or student.report_diversity:
        raise ValueError(
            "An NTKClassifier learns from its teacher's probabilities alone. Got "
            f"objective={student.objective!r}, perturbation={student.perturbation!r}, "
            f"report_diversity={student.report_diversity}; use 'label', None and False."
        )
    if student.augmentation is not None:
        raise ValueError(
            "An NTKClassifier is fitted in closed form, without batches to alter. Got "
            f"augmentation={student.augmentation!r}; use None."
        )
    if student.averaging == "one-to-one" or student.precision is not None:
        raise ValueError(
            "An NTKClassifier learns from the mean of its teacher, in full precision. Got "
            f"averaging={student.averaging!r}, precision={student.precision!r}; use 'proba' or "
            "'logit', and None."
        )
    if given.options.get("X_unlabelled") is not None:
        raise ValueError("An NTKClassifier as the student does not take 'X_unlabelled'.")
