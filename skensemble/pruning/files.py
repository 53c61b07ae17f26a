"""What a file says of a pruned estimator, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone

from skensemble._base.states import plain_params
from skensemble._files.format import State, is_json
from skensemble._files.recipes import describe_recipe, rebuild_source, recipe_of
from skensemble._files.registry import class_of
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble.distillation.files import plain_without_teacher
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
    is_recipe = not hasattr(source, "_steps")
    about = {
        "class": type(estimator).__name__,
        "params": plain_params(plain_without_teacher(params)),
        "missing": missing,
        "is_recipe": is_recipe,
        # As the user wrote it, and not as the networks were trained on.
        "written": describe_recipe(read_recipe(source), source) if is_recipe else None,
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
    pruned = class_of(inner.about.get("class"), state.path)._from_state(inner)
    params = cls._params_of(about["params"])
    for name in about["missing"]:
        params[name] = ForgottenRecipe((name,))
    source = pruned._recipe_source() if about["is_recipe"] else clone(pruned)
    if about.get("written") is not None:
        told = recipe_of(about["written"], pruned._recipe.module)
        source = rebuild_source(about["written"], told)
    estimator = cls(source, **params)
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
