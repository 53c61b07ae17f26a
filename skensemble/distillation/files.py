"""What a file says of a student beside its networks: its term, and that there was a teacher."""

from __future__ import annotations

from typing import Any

from skensemble._forgotten import ForgottenRecipe
from skensemble.objectives.names import describe_term, read_term, rebuild_term
from skensemble.perturbation import (
    describe_perturbation,
    read_perturbation,
    rebuild_perturbation,
)
from skensemble.transfer.names import describe_transfer, rebuild_transfer

# The parameter of a term, and what it was called.
_OF_TERMS = {
    "weight": "beta",
    "tau": "tau",
    "one_sided": "one_sided",
    "cap": "cap",
    "layers": "layers",
}
_OF_PERTURBATIONS = {"step": "step", "input_range": "input_range"}


def upgrade_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a `DistilledClassifier` with what was flat moved to its objects."""
    if "beta" not in params:
        return params
    flat = {*_OF_TERMS.values(), *_OF_PERTURBATIONS.values()}
    upgraded = {name: value for name, value in params.items() if name not in flat}
    objective, perturbation = params["objective"], params["perturbation"]
    upgraded["objective"] = _unless_plain(objective, read_term(objective), _OF_TERMS, params)
    if perturbation is not None:
        made = read_perturbation(perturbation)
        upgraded["perturbation"] = _unless_plain(perturbation, made, _OF_PERTURBATIONS, params)
    return upgraded


def _unless_plain(name: Any, plain: Any, names: dict[str, str], params: dict[str, Any]) -> Any:
    """Return the object that has the flat parameters, or its name where that says it all."""
    own = {new: params[old] for new, old in names.items() if new in plain.get_params()}
    if own.get("weight") == "auto":
        del own["weight"]
    made = type(plain)(**own)
    return name if made == plain else made


def plain_without_teacher(params: dict[str, Any]) -> dict[str, Any]:
    """Describe terms, and leave out what a file does not hold: other estimators and memories."""
    plain = {**params, "teacher": params["teacher"] is not None}
    plain["memory"] = None  # which no file may name
    plain["objective"] = describe_term(params["objective"])
    if "perturbation" in params:
        plain["perturbation"] = describe_perturbation(params["perturbation"])
    if "transfer" in params:
        plain["transfer"] = describe_transfer(params["transfer"])
    return plain


def params_with_teacher(params: dict[str, Any]) -> dict[str, Any]:
    """Rebuild terms; a teacher that the file does not hold is asked for by the next fit."""
    teacher = ForgottenRecipe(("teacher",)) if params["teacher"] else None
    own = {**params, "teacher": teacher, "objective": rebuild_term(params["objective"])}
    if "perturbation" in params:
        own["perturbation"] = rebuild_perturbation(params["perturbation"])
    if "transfer" in params:
        own["transfer"] = rebuild_transfer(params["transfer"])
    return own
