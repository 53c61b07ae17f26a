"""A recipe as the plain JSON of a file, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import skensemble.nn as architectures
from skensemble._files.errors import Misfit, must, within
from skensemble._files.format import is_json, plain_array, to_json
from skensemble._files.schema import array_of
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS
from skensemble._recipes.fields import named
from skensemble._recipes.pretrained import asked_for_weights
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.training import TrainingSettings
from skensemble._recipes.wraps import describe_wraps, rebuild_wraps
from skensemble._recipes.writing import write_net
from skensemble._tables.preprocessor import TablePreprocessor

_OPTIMIZERS = {cls.__name__: cls for cls in ELEMENTWISE_OPTIMIZERS}


# What a network started from.
_WEIGHTS = "pretrained weights"
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def describe_recipe(recipe: Recipe, source: Any) -> dict[str, Any]:
    """Describe a recipe, and list the parts of it that the file cannot carry."""
    training = recipe.training_as_given()
    about: dict[str, Any] = {
        name: getattr(one, name)
        for one in (recipe, training)
        for name in named(one, "file", "plain")
    }
    is_instance = isinstance(recipe.module, nn.Module)
    maker = type(recipe.module) if is_instance else recipe.module
    about["module"] = f"{maker.__module__}.{getattr(maker, '__qualname__', maker)}"
    asked = asked_for_weights(recipe.module, recipe.module_kwargs)
    # A file has weights, and its module is made without others.
    kwargs = {name: one for name, one in recipe.module_kwargs.items() if name not in asked}
    about["module_kwargs"] = kwargs
    for name, value in kwargs.items():
        to_json(value, f"the module's argument {name!r}")
    about["dtype"] = "float64" if recipe.dtype == torch.float64 else "float32"
    about["wraps"] = describe_wraps(recipe.wraps)
    about["table"] = None if recipe.table is None else _describe_table(recipe.table)
    weight = training.class_weight
    about["class_weight"] = None if weight is None else weight.tolist()
    about["optimizer"] = getattr(training.optimizer, "__name__", "?")
    about["optimizer_kwargs"] = training.optimizer_kwargs
    about["was_none"] = source is None
    about["missing"] = _missing(training, recipe, source)
    if "optimizer" in about["missing"]:
        about["optimizer_kwargs"] = {}
    return about


def _missing(training: TrainingSettings, recipe: Recipe, source: Any) -> list[str]:
    missing = []
    pretrained = recipe.origin is not None and recipe.origin.keeps
    if pretrained or (isinstance(source, ForgottenRecipe) and _WEIGHTS in source.missing):
        missing.append(_WEIGHTS)
    if training.optimizer not in ELEMENTWISE_OPTIMIZERS or not is_json(training.optimizer_kwargs):
        missing.append("optimizer")
    if training.callbacks():
        missing.append("callbacks")
    if training.train_split is not None:
        missing.append("train_split")
    if training.compile:
        missing.append("compile")
    return missing


def distinct(modules: list[Any]) -> list[Any]:
    """Return modules without repetitions; two of one name may differ."""
    found: list[Any] = []
    for module in modules:
        if place_of(module, found) is None:
            found.append(module)
    return found


def place_of(module: Any, modules: list[Any]) -> int | None:
    """Return where a module, or an instance with the same layers, stands in a list."""
    layers = (type(module), repr(module)) if isinstance(module, nn.Module) else None
    for place, one in enumerate(modules):
        if one is module or (layers is not None and layers == (type(one), repr(one))):
            return place
    return None


# -- read --------------------------------------------------------------------------------


def read_recipes(about: dict[str, Any], module: Any) -> tuple[Recipe, list[Recipe], list[Any]]:
    """Read the estimator's recipe and those of its members.

    Also return what a user would have written for each member whose recipe is not the
    estimator's: parameters for ``set_params``.
    """
    shared, place, entries = about["recipe"], about["module"], about["members"]
    described = [{**shared, **entry["recipe"]} for entry in entries]
    numbers = [entry["module"] for entry in entries]
    makers = _architectures([one["module"] for one in described], numbers, module)
    with within("members"):
        recipes = [recipe_of(*each) for each in zip(described, makers, strict=True)]
    # A recipe that came after the last training is no member's, and its module not asked for.
    maker = makers[numbers.index(place)] if place in numbers else _ours(shared["module"])
    with within("recipe"):
        recipe = recipe_of(shared, maker)
    sources = [
        {"estimator": rebuild_source(one, own)} if entry["recipe"] or number != place else {}
        for entry, number, one, own in zip(entries, numbers, described, recipes, strict=True)
    ]
    return recipe, recipes, sources


def _ours(full_name: str) -> Any:
    """Return the module class of `skensemble.nn` that has a name; nothing is imported."""
    package, _, name = full_name.rpartition(".")
    if package.startswith(architectures.__name__ + ".") and name in architectures.__all__:
        found = getattr(architectures, name)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
    return None


def is_ours(module: Any) -> bool:
    """Whether a recipe's module is a class of `skensemble.nn`, which keeps its rules."""
    name = getattr(module, "__name__", "")
    return isinstance(module, type) and module is getattr(architectures, name, None)


def _architectures(names: list[str], numbers: list[int], module: Any) -> list[Any]:
    """Return the architecture of each member, from the reader where it is not ours."""
    known = [_ours(name) for name in names]
    strangers = {n: name for n, name, own in zip(numbers, names, known, strict=True) if own is None}
    if isinstance(module, (list, tuple)):
        if len(module) != len(names):
            raise Misfit(
                "", f"The 'module' of load() must be one module, or one a member, here "
                f"{len(names)}. Got {len(module)} of them instead.",
            )  # fmt: skip
        known = [own if one is None else one for own, one in zip(known, module, strict=True)]
    elif module is not None and len(strangers) < 2:
        return [module if own is None or not strangers else own for own in known]
    missing = [name for name, own in zip(names, known, strict=True) if own is None]
    if not missing:
        return known
    if len(strangers) == 1 and module is None:
        raise Misfit(
            "recipe.module", f"The file's network is of the class {missing[0]}, which load() does "
            f"not import by itself. Pass it: load(path, module={missing[0].rpartition('.')[2]}).",
        )  # fmt: skip
    each = ", ".join(
        name.rpartition(".")[2] if number in strangers else "None"
        for number, name in zip(numbers, names, strict=True)
    )
    raise Misfit(
        "members", f"The file's networks are of {len(strangers)} modules that load() does not "
        f"import by itself. Pass one a member: load(path, module=[{each}]).",
    )  # fmt: skip


def recipe_of(about: dict[str, Any], module: Any) -> Recipe:
    """Rebuild a recipe of a known architecture."""
    weight = about["class_weight"]
    table = None if about["table"] is None else _table(about)
    training = TrainingSettings(
        class_weight=None if weight is None else torch.tensor(weight),
        optimizer=_OPTIMIZERS.get(about["optimizer"], torch.optim.Adam),
        optimizer_kwargs=about["optimizer_kwargs"],
        **_plain(TrainingSettings, about),
    )
    return Recipe(
        module,
        module_kwargs=about["module_kwargs"],
        training=training,
        wraps=rebuild_wraps(about["wraps"]),
        dtype=_DTYPES[about["dtype"]],
        table=table,
        **_plain(Recipe, about),
    )


def _describe_table(table: TablePreprocessor) -> dict[str, Any]:
    about, arrays = table._to_state()
    return {**about, "arrays": {name: plain_array(values) for name, values in arrays.items()}}


def _table(about: dict[str, Any]) -> TablePreprocessor:
    """Rebuild what reads a recipe's table, which must put out what its network takes."""
    told = about["table"]
    with within("table"):
        arrays = {name: array_of(values) for name, values in told["arrays"].items()}
        table = TablePreprocessor._from_state(told, arrays)
    layout: dict[str, Any] = {**table.layout_}
    layout["cardinalities"] = list(layout["cardinalities"])
    n_out = layout["numeric"] + layout["flags"] + len(layout["cardinalities"])
    if about["in_shape"] != [max(1, n_out)]:
        raise must("in_shape", f"[{max(1, n_out)}], as the table is read", about["in_shape"])
    for name in ("numeric", "cardinalities"):
        told = about["module_kwargs"].get(name, layout[name])
        if told != layout[name]:
            raise must(f"module_kwargs.{name}", f"{layout[name]}, as the table is read", told)
    return table


def _plain(kind: type, about: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that JSON holds as they are, but for tuples."""
    values = {name: about[name] for name in named(kind, "file", "plain")}
    return {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}


def rebuild_source(about: dict[str, Any], recipe: Recipe) -> Any:
    """Rebuild the recipe the user gave, as far as the file carries it."""
    if about["was_none"]:
        return None
    missing = [*about["missing"], *(["module"] if recipe.module is None else [])]
    if missing:
        return ForgottenRecipe(tuple(missing))
    with within("recipe"):
        net = write_net(recipe)
        read_recipe(net)
    return net
