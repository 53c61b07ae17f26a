"""What a file says of a pruned estimator, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone

from skensemble._base.estimator import BaseNetworks
from skensemble._base.fitted import unwrap
from skensemble._base.states import innermost, made, plain_params
from skensemble._files.errors import within
from skensemble._files.format import State, is_json
from skensemble._files.recipes import describe_recipe, rebuild_source, recipe_of
from skensemble._files.registry import class_of
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.pruning.choosing import Widths
from skensemble.pruning.costs import Change

_COSTS = ("n_parameters_", "n_flops_", "sparsity_")


def to_state(estimator: Any) -> State:
    """Describe what was pruned, and what pruning found out beside it."""
    inner = estimator.pruned_._to_state()
    params = estimator.get_params(deep=False)
    source = params.pop("estimator")
    params["skip"] = list(params["skip"])
    missing = [name for name in ("method", "finetune") if not is_json(params[name])]
    for name in missing:
        params[name] = None
    is_recipe = not hasattr(unwrap(source), "_steps")
    written = innermost(unwrap(source))
    about = {
        "class": type(estimator).__name__,
        "params": plain_params(_plain_prototype(params)),
        "missing": missing,
        "is_recipe": is_recipe,
        # As the user wrote it, and not as the networks were trained on.
        "written": None if written is None else describe_recipe(read_recipe(written), written),
        "costs": {name: vars(getattr(estimator, name)) for name in _COSTS},
        "kept": [
            {name: vars(widths) for name, widths in one.items()} for one in estimator.kept_channels_
        ],
        "left_alone": estimator.left_alone_,
        "pruned": inner.about,
    }
    return State(about, inner.tensors)


def from_state(cls: Any, state: State) -> Any:
    """Rebuild the estimator around what was pruned."""
    about = state.about
    inner = replace(state, about=about["pruned"])
    with within("pruned"):
        pruned = class_of(inner.about["class"])._from_state(inner)
    with within("params"):
        params = cls._params_of(about["params"])
    for name in about["missing"]:
        params[name] = ForgottenRecipe((name,))
    source = pruned._recipe_source() if about["is_recipe"] else clone(pruned)
    if "written" in about:  # which format 1 had not
        with within("written"):
            source = _with_source(source, _source_of(about["written"], pruned._recipe.module))
    estimator = made(cls, params, source)
    pruned._share_fitted(estimator)
    estimator.pruned_, estimator.estimators_ = pruned, pruned._prunable()
    estimator._recipe, estimator.teacher_ = pruned._recipe, None
    for name in _COSTS:
        setattr(estimator, name, Change(**about["costs"][name]))
    estimator.kept_channels_ = [
        {name: Widths(**widths) for name, widths in one.items()} for one in about["kept"]
    ]
    estimator.left_alone_ = about["left_alone"]
    return estimator


def _source_of(written: dict[str, Any] | None, module: Any) -> Any:
    return None if written is None else rebuild_source(written, recipe_of(written, module))


def _with_source(source: Any, written: Any) -> Any:
    """Give an estimator, or what it is to hold instead of one, the recipe the user wrote."""
    if not isinstance(source, BaseNetworks):
        return written
    owner = source
    while isinstance(owner._recipe_source(), BaseNetworks):
        owner = owner._recipe_source()
    owner.set_params(**{owner._recipe_parameter: written})
    return source


# -- the prototype of who learns -------------------------------------------------------------

_FLAT = ("teacher", "objective", "temperature", "alpha", "beta")


def _plain_prototype(params: dict[str, Any]) -> dict[str, Any]:
    prototype = params["distill"]
    return {
        **params,
        "memory": None,  # which no file may name
        "distill": None if prototype is None else prototype._plain_params(),
    }


def params_of_prototype(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with the prototype rebuilt; in format 1 what it says stood flat."""
    params = dict(params)
    told = params["distill"]
    if "beta" in params:
        flat = {name: params.pop(name) for name in _FLAT}
        params["protocol"] = told or "post"
        told = told and {**_of_format_1, **flat}
    params["distill"] = told and DistilledClassifier(**DistilledClassifier._params_of(told))
    return params


# What `DistilledClassifier` took beside them then, at its defaults.
_of_format_1: dict[str, Any] = {
    "perturbation": None, "tau": "auto", "one_sided": True, "cap": 0.6, "layers": "last",
    "step": 1 / 255, "input_range": "auto", "memory": None,
}  # fmt: skip
