"""The diagram of a student in a notebook: its teacher, and itself."""

from __future__ import annotations

from typing import Any

from skensemble._forgotten import ForgottenRecipe
from skensemble._private import VisualBlock, visual_block
from skensemble.distillation.committee import as_teacher
from skensemble.distillation.teachers import member_recipe
from skensemble.ensembles.ensemble import DeepEnsembleClassifier


def diagram_of_student(student: Any) -> Any:
    """Return the block of a student: who teaches, fitted where that is kept, and its recipe."""
    parts = {"teacher": _teacher(student), "student": _recipe(student)}
    return VisualBlock(
        "serial",  # in which scikit-learn writes parameters and cost of a block that has blocks
        [_with_role(one) for one in parts.values()],
        names=[f"{role}: {_name(one)}" for role, one in parts.items()],
        name_details=[str(one) for one in parts.values()],
    )


def _with_role(one: Any) -> Any:
    """Put a frame around what has no blocks inside, or its class would be all of its label."""
    if visual_block(one).kind != "single":
        return one
    return VisualBlock("serial", [one], dash_wrapped=False)


def _teacher(student: Any) -> Any:
    fitted = getattr(student, "teacher_", None)
    if fitted is not None:
        return fitted
    if isinstance(student.teacher, ForgottenRecipe):
        return "not kept"
    if student.teacher is None:
        return DeepEnsembleClassifier(_given(student), n_estimators=5)
    return as_teacher(student.teacher)  # one of several


def _given(student: Any) -> Any:
    return member_recipe(student.teacher) if student.student is None else student.student


def _recipe(student: Any) -> Any:
    source = _given(student)
    if source is None:
        return "chosen by rules"
    return source if hasattr(source, "get_params") else _name(source)


def _name(one: Any) -> str:
    if isinstance(one, str):
        return one
    return str(getattr(one, "__name__", type(one).__name__))
