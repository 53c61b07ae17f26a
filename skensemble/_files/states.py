"""Save fitted estimators as safetensors and JSON, and load them without executing anything.

One file: tensors are named ``member/parameter``; all else is JSON in the file's metadata.
Classes are never looked up by a name found in a file, but for the architectures of
:mod:`skensemble.nn`, the augmentations of :mod:`skensemble.augmentation` and torch's own
elementwise optimisers; any other module is named by the caller.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import Tensor

from skensemble._engine.net import MemberResult
from skensemble._files.format import (
    _KEY,
    FORMAT,
    READABLE,
    _array,
    _labels,
    _member_state,
    _plain_extra,
    is_json,
    to_json,
)
from skensemble._files.recipes import (
    describe_recipe,
    distinct,
    member_entries,
    place_of,
    read_recipes,
    rebuild_source,
)
from skensemble._forgotten import ForgottenRecipe
from skensemble.augmentation.names import describe_augmentation, rebuild_augmentation
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.generations import SelfDistiller
from skensemble.distillation.old_files import upgrade_params
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.nn._states import extra_state, is_extra, versions
from skensemble.ntk.classifier import NTKClassifier
from skensemble.objectives.names import describe_term, rebuild_term
from skensemble.perturbation import describe_perturbation, rebuild_perturbation
from skensemble.pruning.choosing import Widths
from skensemble.pruning.classifier import PrunedClassifier
from skensemble.pruning.costs import Change
from skensemble.pruning.members import networks_of

_CLASSES = {
    cls.__name__: cls
    for cls in (
        NetworkClassifier,
        DeepEnsembleClassifier,
        DistilledClassifier,
        SelfDistiller,
        BatchEnsembleClassifier,
        NTKClassifier,
        PrunedClassifier,
    )
}


# Where a fitted estimator keeps its networks; one that is missing here is its own network.
_MEMBERS = {
    "DeepEnsembleClassifier": "estimators_",
    "DistilledClassifier": "estimators_",
    "SelfDistiller": "generations_",
    "NTKClassifier": "estimators_",
}


# What `fit` found out and no network holds.
_FOUND = ("reg_", "temperature_", "layers_", "n_iter_", "generation_scores_")


# What a pruned estimator counted.
_COSTS = ("n_parameters_", "n_flops_", "sparsity_")


# -- save --------------------------------------------------------------------------------
def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; see ``BaseNetworkClassifier.save``."""
    around = None
    if isinstance(estimator, PrunedClassifier):
        estimator, around = estimator.pruned_, _about_pruning(estimator)
    members = getattr(estimator, _MEMBERS.get(type(estimator).__name__, ""), [estimator])
    shared = members[0] is not estimator and isinstance(members[0], BatchEnsembleClassifier)
    if members[0] is not estimator and not (shared or type(members[0]) is NetworkClassifier):
        raise ValueError(
            f"save() does not write students that are {type(members[0]).__name__}s inside of a "
            f"{type(estimator).__name__}. Save the student itself, estimators_[0].save(path), or "
            "use pickle or joblib."
        )
    states = [member.module_.state_dict() for member in members]
    tensors = {
        f"{number}/{name}": value.detach().cpu().contiguous().clone()
        for number, state in enumerate(states)
        for name, value in state.items()
        if not is_extra(name)
    }
    params, recipe = _params(estimator), describe_recipe(estimator._recipe, _source(estimator))
    modules = distinct([member._recipe.module for member in members])
    about = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "params": params,
        "classes": _labels(estimator.classes_),
        "n_features_in": estimator.n_features_in_,
        "feature_names": getattr(estimator, "feature_names_in_", np.array([])).tolist(),
        "recipe": recipe,
        "module": place_of(estimator._recipe.module, modules),
        "members": [_about_member(member, recipe, params, modules) for member in members],
        "around": around,
        "shared": _params(estimator._recipe_source()) if shared else None,
        "root": getattr(estimator, "_root", None),
        "numbers": getattr(estimator, "_numbers", list(range(len(members)))),
        "found": {name: getattr(estimator, name) for name in _FOUND if hasattr(estimator, name)},
        "seeds": [member.random_state for member in members],
        "histories": [member.history_ for member in members],
        "versions": [versions(state) for state in states],
        "extra": [_plain_extra(extra_state(state)) for state in states],
    }
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / "file"
        save_file(tensors, file, metadata={_KEY: to_json(about, "the estimator")})
        os.replace(file, path)


def _source(estimator: Any) -> Any:
    """Return what the user gave as the recipe of a network."""
    source = getattr(estimator, _recipe_name(estimator))
    return source.estimator if isinstance(source, BatchEnsembleClassifier) else source


def _about_member(
    member: Any, recipe: dict[str, Any], params: dict[str, Any], modules: list[Any]
) -> dict[str, Any]:
    """Describe where a member differs from its ensemble, as it may after a warm start."""
    own = describe_recipe(member._recipe, _source(member))
    settings = {name: value for name, value in _params(member).items() if name in params}
    settings.pop("random_state")  # stands among the seeds
    return {
        "recipe": {name: value for name, value in own.items() if value != recipe[name]},
        "params": {name: value for name, value in settings.items() if value != params[name]},
        "module": place_of(member._recipe.module, modules),
    }


def _about_pruning(estimator: PrunedClassifier) -> dict[str, Any]:
    """Describe a pruned estimator, but for the networks and the recipe, which are elsewhere."""
    params = estimator.get_params(deep=False)
    source = params.pop("estimator")
    params["skip"] = list(params["skip"])
    missing = [name for name in ("method", "finetune") if not is_json(params[name])]
    for name in missing:
        params[name] = None
    return {
        "params": _plain(params),
        "missing": missing,
        "is_recipe": not hasattr(source, "fit") or isinstance(source, NeuralNetClassifier),
        "costs": {name: vars(getattr(estimator, name)) for name in _COSTS},
        "kept": [
            {name: vars(widths) for name, widths in one.items()} for one in estimator.kept_channels_
        ],
        "left_alone": estimator.left_alone_,
    }


def _params(estimator: Any) -> dict[str, Any]:
    params = estimator.get_params(deep=False)
    del params[_recipe_name(estimator)]
    return _plain(params)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON has them."""
    if "teacher" in params:  # a file does not hold other estimators
        params["teacher"] = params["teacher"] is not None
        params["memory"] = params["memory"] if isinstance(params["memory"], str) else None
    if "augmentation" in params:
        params["augmentation"] = describe_augmentation(params["augmentation"])
    if "objective" in params:
        params["objective"] = describe_term(params["objective"])
    if "perturbation" in params:
        params["perturbation"] = describe_perturbation(params["perturbation"])
    if not isinstance(params["random_state"], (int, type(None))):
        params["random_state"] = None
    if isinstance(params["class_weight"], dict):
        labels = list(params["class_weight"])
        params["class_weight"] = [_labels(np.array(labels)), list(params["class_weight"].values())]
    for name, value in params.items():
        to_json(value, f"the parameter {name!r}")
    return params


def _recipe_name(estimator: Any) -> str:
    """Return the parameter that holds the recipe."""
    return "student" if isinstance(estimator, DistilledClassifier) else "estimator"


# -- load --------------------------------------------------------------------------------
def load(path: str | os.PathLike[str], module: Any = None) -> Any:
    """Load an estimator written by its ``save``, executing nothing from the file.

    Parameters
    ----------
    path : path-like
        The file.
    module : Module class, factory or instance, or list of them, default=None
        The network's architecture, where it is not one of :mod:`skensemble.nn`; a list, one a
        member, where a warm start gave members several.

    Returns
    -------
    estimator
        The fitted estimator. Teachers, callbacks, ``train_split``, ``compile``, augmentations
        that are not skensemble's, and optimisers that are not torch's elementwise ones are
        not in the file; where there were any, `fit` asks for them to be set again.

    Examples
    --------
    >>> import tempfile, skensemble
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = skensemble.NetworkClassifier(random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/iris.skensemble")
    ...     again = skensemble.load(f"{folder}/iris.skensemble")
    >>> bool((again.predict_proba(X) == net.predict_proba(X)).all())
    True
    """
    about, tensors = _read(path)
    estimator = _load_networks(about, tensors, module, path)
    return estimator if about.get("around") is None else _put_around(estimator, about["around"])


def _put_around(pruned: Any, about: dict[str, Any]) -> PrunedClassifier:
    """Rebuild the estimator that pruned some networks."""
    params = _plain_params(about["params"])
    if params.pop("teacher", False):
        params["teacher"] = ForgottenRecipe(("teacher",))
    for name in about["missing"]:
        params[name] = ForgottenRecipe((name,))
    source = getattr(pruned, _recipe_name(pruned)) if about["is_recipe"] else clone(pruned)
    estimator = PrunedClassifier(source, **params)
    pruned._share_labels(estimator)
    estimator.pruned_, estimator.estimators_ = pruned, networks_of(pruned)
    estimator._recipe, estimator.teacher_ = pruned._recipe, None
    for name, values in about["costs"].items():
        setattr(estimator, name, Change(**values))
    estimator.kept_channels_ = [
        {name: Widths(**widths) for name, widths in one.items()} for one in about["kept"]
    ]
    estimator.left_alone_ = about["left_alone"]
    return estimator


def _load_networks(
    about: dict[str, Any], tensors: dict[str, Tensor], module: Any, path: Any
) -> Any:
    cls = _CLASSES[about["class"]]
    recipe, recipes, sources = read_recipes(about, module)
    params = _plain_params(about["params"])
    if cls is DistilledClassifier:
        params = upgrade_params(params)
    if params.pop("teacher", False):
        params["teacher"] = ForgottenRecipe(("teacher",))
    name = "student" if cls is DistilledClassifier else "estimator"
    source = rebuild_source(about["recipe"], recipe)
    if about["shared"] is not None:
        source = BatchEnsembleClassifier(source, **_plain_params(about["shared"]))
    estimator = cls(**{name: source}, **params)
    estimator.classes_ = _array(about["classes"])
    estimator.n_features_in_ = about["n_features_in"]
    if about["feature_names"]:
        estimator.feature_names_in_ = np.array(about["feature_names"], dtype=object)
    states = [_member_state(about, tensors, number) for number in range(len(about["numbers"]))]
    results = [
        MemberResult(state, history)
        for state, history in zip(states, about["histories"], strict=True)
    ]
    try:
        if about["class"] not in _MEMBERS:
            estimator._set_result(recipes[0], results[0])
            return estimator
        estimator._recipe = recipe
        members = [
            estimator._make_member(own, seed, result)
            for own, seed, result in zip(recipes, about["seeds"], results, strict=True)
        ]
    except RuntimeError as error:  # torch's word for weights that do not fit
        asked = sorted({repr(own.module) for own in recipes})
        raise ValueError(
            f"The weights in {path} do not fit the module {', '.join(asked)}: {error}"
        ) from error
    for member, entry, own in zip(members, member_entries(about), sources, strict=True):
        member.set_params(**_plain_params(entry["params"]), **own)
    setattr(estimator, _MEMBERS[about["class"]], members)
    if cls is DeepEnsembleClassifier:
        estimator._root, estimator._numbers = about["root"], about["numbers"]
    elif cls is DistilledClassifier:
        estimator.teacher_ = None
    for name, value in about["found"].items():
        setattr(estimator, name, value)
    return estimator


def _plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as an estimator takes them."""
    params = dict(params)
    if "augmentation" in params:
        params["augmentation"] = rebuild_augmentation(params["augmentation"])
    if "objective" in params:
        params["objective"] = rebuild_term(params["objective"])
    if "perturbation" in params:
        params["perturbation"] = rebuild_perturbation(params["perturbation"])
    if isinstance(params.get("class_weight"), list):
        labels, weights = params["class_weight"]
        params["class_weight"] = dict(zip(_array(labels).tolist(), weights, strict=True))
    return params


def _read(path: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata[_KEY])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must be a file written by save() of a skensemble estimator. "
            f"Reading it failed: {error!r}."
        ) from error
    if about.get("format") not in READABLE or about.get("class") not in _CLASSES:
        raise ValueError(
            f"{path} must have format {' or '.join(map(str, READABLE))} and one of the classes "
            f"{sorted(_CLASSES)}. Got format {about.get('format')!r} and class "
            f"{about.get('class')!r}; a newer skensemble may read it."
        )
    return about, tensors
