"""What a file says of a student beside its networks: that there was a teacher."""

from __future__ import annotations

from typing import Any

from skensemble._forgotten import ForgottenRecipe


def without_teacher(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without what a file does not hold: other estimators and memories."""
    memory = params["memory"]
    return {
        **params,
        "teacher": params["teacher"] is not None,
        "memory": memory if isinstance(memory, str) else None,
    }


def with_teacher(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters in which a teacher that the file does not hold is asked for."""
    teacher = ForgottenRecipe(("teacher",)) if params["teacher"] else None
    return {**params, "teacher": teacher}
