"""What a file says of fitted networks: their parameters, recipes and weights, and back."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np

from skensemble._engine.results import MemberResult
from skensemble._files.errors import within
from skensemble._files.format import (
    State,
    member_state,
    plain_extra,
    plain_labels,
    shared_names,
    to_json,
)
from skensemble._files.recipes import (
    describe_recipe,
    distinct,
    is_ours,
    place_of,
    read_recipes,
    rebuild_source,
)
from skensemble._files.registry import class_of
from skensemble._files.schema import array_of
from skensemble._files.weights import check_values, check_weights, require_members
from skensemble._forgotten import ForgottenRecipe
from skensemble._parameters import Parameters
from skensemble._private import validate_parameter_constraints
from skensemble._recipes.recipe import Recipe
from skensemble.augmentation.names import describe_augmentation, rebuild_augmentation
from skensemble.nn._heads import share_backbone
from skensemble.nn._states import extra_state, is_extra, versions


def plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON has them."""
    params = dict(params)
    if "checkpoint" in params:
        params["checkpoint"] = None  # of a fit that is done; a file names no folder
    if "augmentation" in params:
        params["augmentation"] = describe_augmentation(params["augmentation"])
    if "random_state" in params:
        params["random_state"] = _plain_seed(params["random_state"])
    if isinstance(params.get("class_weight"), dict):
        labels = list(params["class_weight"])
        values = list(params["class_weight"].values())
        params["class_weight"] = [plain_labels(np.array(labels)), values]
    for name, value in params.items():
        to_json(value, f"the parameter {name!r}")
    return params


def _plain_seed(seed: Any) -> int | None:
    """Return a seed as JSON has it; a generator, which no file holds, is None."""
    return int(seed) if isinstance(seed, numbers.Integral) else None


def params_of(about: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as an estimator takes them."""
    params = dict(about)
    for name in ("memory", "checkpoint"):
        if name in params:
            params[name] = None  # what lies in a memory is unpickled: no file may name a folder
    if "augmentation" in params:
        params["augmentation"] = rebuild_augmentation(params["augmentation"])
    if isinstance(params.get("class_weight"), list):
        labels, weights = params["class_weight"]
        params["class_weight"] = dict(zip(array_of(labels).tolist(), weights, strict=True))
    return params


# -- give --------------------------------------------------------------------------------


def to_state(estimator: Any) -> State:
    """Describe an estimator by its parameters and the networks inside."""
    members = estimator._members()
    strangers = [type(one).__name__ for one in members if one._members() != [one]]
    if strangers:
        raise ValueError(
            f"save() does not write students that are {strangers[0]}s inside of a "
            f"{type(estimator).__name__}. Save the student itself, estimators_[0].save(path), or "
            "use pickle or joblib."
        )
    states = [member.module_.state_dict() for member in members]
    for number, (member, state) in enumerate(zip(members, states, strict=True)):
        with within(f"save() cannot write members[{number}]"):
            check_values(member.module_, state, is_ours(member._recipe.module))
    shared = [shared_names(states[0], state) for state in states]
    tensors = {
        f"{number}/{name}": value.detach().cpu().contiguous().clone()
        for number, state in enumerate(states)
        for name, value in state.items()
        if not is_extra(name) and name not in shared[number]
    }
    params, source = estimator._plain_params(), estimator._recipe_source()
    inner = innermost(source)
    recipe = describe_recipe(estimator._recipe, inner)
    modules = distinct([member._recipe.module for member in members])
    about = {
        "class": type(estimator).__name__,
        "params": params,
        "fitted": estimator._plain_fitted(),
        "recipe": recipe,
        "module": place_of(estimator._recipe.module, modules),
        "members": [_about_member(member, recipe, params, modules) for member in members],
        # Of pruned members nothing is left of what they were members of.
        "source": _about_source(source) if type(members[0]) is type(source) else None,
        "found": {
            name: getattr(estimator, name) for name in estimator._found if hasattr(estimator, name)
        },
        "seeds": [_plain_seed(member.random_state) for member in members],
        "histories": [member.history_ for member in members],
        "versions": [versions(state) for state in states],
        "extra": [plain_extra(extra_state(state)) for state in states],
    }
    if any(shared):
        about["shared"] = shared
    return State(about, tensors)


def innermost(source: Any) -> Any:
    """Return what the user gave as the recipe of a network; an estimator holds its own."""
    while hasattr(source, "_recipe_source") and not isinstance(source, type):
        source = source._recipe_source()
    return source


def _about_source(source: Any) -> dict[str, Any]:
    return {"class": type(source).__name__, "params": source._plain_params()}


def _about_member(
    member: Any, recipe: dict[str, Any], params: dict[str, Any], modules: list[Any]
) -> dict[str, Any]:
    """Describe where a member differs from its ensemble, as it may after a warm start."""
    own = describe_recipe(member._recipe, innermost(member._recipe_source()))
    settings = {name: value for name, value in member._plain_params().items() if name in params}
    settings.pop("random_state")  # stands among the seeds
    return {
        "recipe": {name: value for name, value in own.items() if value != recipe[name]},
        "params": {name: value for name, value in settings.items() if value != params[name]},
        "module": place_of(member._recipe.module, modules),
    }


# -- take --------------------------------------------------------------------------------


def from_state(cls: Any, state: State) -> Any:
    """Rebuild an estimator of a class from what it said of itself."""
    about = state.about
    recipe, recipes, sources = read_recipes(about, state.module)
    source = rebuild_source(about["recipe"], recipe)
    if about["source"] is not None:
        with within("source"):
            kind = class_of(about["source"]["class"])
            source = made(kind, kind._params_of(about["source"]["params"]), source)
    with within("params"):
        estimator = made(cls, cls._params_of(about["params"]), source)
    with within("fitted"):
        estimator._take_fitted(about["fitted"])
    members = list(_members(estimator, recipe, recipes, state))
    if members != [estimator]:
        for number, entry in enumerate(about["members"]):
            with within(f"members[{number}].params"):
                own = {**params_of(entry["params"]), **sources[number]}
                require_params(members[number].set_params(**own))
    with within("found"):
        estimator._take_found(about["found"])
    return estimator


def made(cls: Any, params: dict[str, Any], source: Any) -> Any:
    """Make an estimator of what it is a recipe of, with parameters that `fit` would take."""
    estimator = cls(**{cls._recipe_parameter: source}, **params)
    require_params(estimator)
    return estimator


def require_params(estimator: Any) -> None:
    """Refuse parameters that `fit` would refuse, but for what no file holds."""
    constraints = getattr(estimator, "_parameter_constraints", {})  # as scikit-learn's own check
    params = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name in constraints and not isinstance(value, ForgottenRecipe)
    }
    validate_parameter_constraints(constraints, params, type(estimator).__name__)
    for value in params.values():
        if isinstance(value, Parameters):
            value.check_params()


def _members(estimator: Any, recipe: Recipe, recipes: list[Recipe], state: State) -> Iterator[Any]:
    """Give an estimator its networks back."""
    about = state.about
    states = [member_state(about, state.tensors, number) for number in range(len(recipes))]
    require_members(state.tensors, len(recipes))
    for number, (own, weights) in enumerate(zip(recipes, states, strict=True)):
        with within(f"members[{number}]"):
            check_weights(own, weights, is_ours(own.module))
    results = [MemberResult(*one) for one in zip(states, about["histories"], strict=True)]
    if estimator._members_attribute is None:
        with within("members[0].weights"):
            (own,), (result,) = recipes, results
            estimator._set_result(own, result)
        yield estimator
        return
    estimator._recipe = recipe
    members: list[Any] = []
    with within("weights"):
        for own, seed, result in zip(recipes, about["seeds"], results, strict=True):
            members.append(estimator._make_member(own, seed, result))
            if own.frozen_but is not None:  # so that there are no more than two backbones
                share_backbone([members[0].module_, members[-1].module_], own.frozen_but)
    setattr(estimator, estimator._members_attribute, members)
    yield from members
