"""What the header of a file must look like: names, types, lengths and bounds of every field.

What a field means for the estimator is looked at where it is used: parameters by the table of
constraints that `fit` uses too, module arguments by building the module.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch

from skensemble._files.checks import (
    anything,
    boolean,
    integer,
    many,
    mapping,
    maybe,
    one_of,
    partial,
    real,
    record,
    scalar,
    text,
)
from skensemble._files.errors import Misfit, must, within

# Sizes of samples and numbers of classes: an array's shape has no more.
_SIZE = integer(1, 2**31)
_COUNT = integer(0, 2**31)
_DTYPES = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|U[0-9]{1,7})|object")
# Characters that the labels of a file may take together, of which each is four bytes.
_MOST_CHARACTERS = 1 << 24
_KINDS: dict[str, tuple[type, ...]] = {
    "b": (bool,), "i": (int,), "u": (int,), "f": (int, float), "U": (str,), "o": (str,),
}  # fmt: skip


def array(value: Any) -> None:
    """Require numbers or labels as `plain_labels` and `plain_array` describe them."""
    record({"dtype": text(12), "values": many(scalar)})(value)
    dtype, values = value["dtype"], value["values"]
    if not _DTYPES.fullmatch(dtype):
        raise must("dtype", "a dtype of bool, int, float or str", dtype)
    kind = "o" if dtype == "object" else dtype[1]
    for number, one in enumerate(values):
        fine = isinstance(one, _KINDS[kind]) and (kind == "b" or not isinstance(one, bool))
        fine = fine and (kind != "f" or math.isfinite(one))
        if not fine and not (one is None and kind == "f"):
            raise must(f"values[{number}]", f"of the dtype {dtype}", one)
    if kind == "U" and int(dtype[2:]) * max(1, len(values)) > _MOST_CHARACTERS:
        raise must("dtype", f"of at most {_MOST_CHARACTERS} characters in all", dtype)


def device(value: Any) -> None:
    """Require the name of a device that holds numbers."""
    text(40)(value)
    with within(""):
        kind = torch.device(value).type
    if kind == "meta":
        raise must("", "a device that holds numbers", value)


_TABLE = record({
    "params": mapping(scalar),
    "kinds": many(text(20), 1),
    "encodings": many(text(20), 1),
    "categories": many(many(maybe(text(1_000_000))), 1),
    "feature_names": many(text(1_000_000)),
    "arrays": record({"center": array, "scale": array, "indicators": array}),
})  # fmt: skip


def _wrap(value: Any) -> None:
    """Require a name and a description; names are looked up where wraps are rebuilt."""
    many(anything, 2, 2)(value)
    name, about = value
    text(40)(name)
    with within(name):
        _WRAPS.get(name, mapping())(about)


_CUT = partial(dict.fromkeys(("out", "in", "select"), many(_COUNT, 1)))
_WRAPS = {
    "rank1": record({
        "n_members": integer(1, 2**20), "init": text(20), "around_one": boolean, "gain": real(),
    }),
    "channels": record({"part": integer(0, 2**20), "n_splits": integer(1, 2**20)}),
    "cut": record({"cuts": mapping(_CUT)}),
    "slimming": record({"strength": real(0)}, {"keeps": boolean}),
    "head": record({"layer": text(), "n_outputs": _COUNT}),
    "frozen": record({"parts": many(text(), 0, 10_000), "others": boolean}),
    "rates": record({"factors": many(many(anything, 2, 2), 1, 10_000)}),
    "linear": record({
        "features": text(20), "shapes": many(many(_SIZE, 0, 8), 1, 10_000), "dual": boolean,
    }),
}  # fmt: skip

_RECIPE = {
    "outputs_proba": boolean,
    "in_shape": many(_SIZE, 0, 8),
    "n_outputs": _COUNT,
    "precision": one_of(None, "bf16"),
    "writes_input": boolean,
    "channels_last": boolean,
    "chosen": boolean,
    "label_smoothing": real(0, 1),
    "lr": real(0),
    "max_epochs": integer(1),
    "batch_size": integer(-1),
    "valid_batch_size": integer(-1),
    "shuffle": boolean,
    "drop_last": boolean,
    "device": device,
    "module": text(),
    "module_kwargs": mapping(),
    "dtype": one_of("float32", "float64"),
    "wraps": many(_wrap, 0, 100),
    "table": maybe(_TABLE),
    "class_weight": maybe(many(real(0), 1)),
    "optimizer": text(),
    "optimizer_kwargs": mapping(),
    "was_none": boolean,
    "missing": many(text(40), 0, 10),
}
RECIPE = record(_RECIPE)
_PLACE = maybe(integer(0, 2**31))

_ESTIMATOR = {
    "class": text(),
    "params": mapping(),
    "fitted": record(
        {"n_features_in": _SIZE, "feature_names": many(text(1_000_000))},
        {"classes": array},  # which classifiers alone have, and require
    ),
    "recipe": RECIPE,
    "module": _PLACE,
    "members": many(
        record({"recipe": partial(_RECIPE), "params": mapping(), "module": integer(0, 2**31)}), 1
    ),
    "source": maybe(record({"class": text(), "params": mapping()})),
    "found": mapping(),
    "seeds": many(maybe(integer(0, 2**32)), 1),
    "histories": many(many(mapping()), 1),
    "versions": many(maybe(mapping(mapping())), 1),
    "extra": many(mapping(), 1),
}  # fmt: skip
# Of each member, what is the first one's: files of before had none, and most have none.
_SHARED = {"shared": many(many(text()), 1)}
_CHANGE = record({"before": real(0), "after": real(0)})
_WIDTHS = record({"before": _COUNT, "after": _COUNT})
_PRUNED = {
    "class": text(),
    "params": mapping(),
    "missing": many(text(40), 0, 10),
    "is_recipe": boolean,
    "costs": record(dict.fromkeys(("n_parameters_", "n_flops_", "sparsity_"), _CHANGE)),
    "kept": many(mapping(_WIDTHS)),
    "left_alone": mapping(text()),
    "pruned": record(_ESTIMATOR, _SHARED),
}
_WRITTEN = {"written": maybe(RECIPE)}  # which format 1 had not


def check_header(about: Any) -> None:
    """Refuse a header that no estimator wrote, but for what only its class can know."""
    mapping()(about)
    if "pruned" in about:
        record(_PRUNED, _WRITTEN)(about)
        with within("pruned"):
            _check_fit_together(about["pruned"])
        return
    record(_ESTIMATOR, _SHARED)(about)
    _check_fit_together(about)


def _check_fit_together(about: dict[str, Any]) -> None:
    """Refuse fields of which each is fine, but not beside the others."""
    fitted, recipe = about["fitted"], about["recipe"]
    for name in ("seeds", "histories", "versions", "extra"):
        if len(about[name]) != len(about["members"]):
            raise must(name, f"of the {len(about['members'])} members", about[name])
    shared = about.get("shared", [[]] * len(about["members"]))
    if len(shared) != len(about["members"]) or shared[0]:
        wanted = f"of the {len(about['members'])} members, and empty for the first"
        raise must("shared", wanted, shared)
    if "classes" in fitted:
        classes = fitted["classes"]["values"]
        if len(classes) != recipe["n_outputs"] or len(set(classes)) != len(classes):
            raise must("fitted.classes", f"{recipe['n_outputs']} different labels", classes)
    n_features, names = fitted["n_features_in"], fitted["feature_names"]
    if names and len(names) != n_features:
        raise must("fitted.feature_names", f"the names of {n_features} features", names)
    table, shape = recipe["table"], recipe["in_shape"]
    n_told = (len(table["kinds"]) if table else shape[0]) if shape else 0
    if n_told != n_features:
        raise must("fitted.n_features_in", f"{n_told}, as the recipe says", n_features)
    if table and table["feature_names"] != names:
        raise must("recipe.table.feature_names", f"{names}, as of the estimator", table)
    for number, entry in enumerate(about["members"]):
        _check_member(f"members[{number}].recipe", {**recipe, **entry["recipe"]}, recipe)


def _check_member(field: str, own: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Refuse a member that knows other rows or classes than its estimator."""
    for name in ("in_shape", "n_outputs", "table"):
        if own[name] != recipe[name]:
            raise must(f"{field}.{name}", "that of the estimator", own[name])
    weight = own["class_weight"]
    if weight is not None and len(weight) != own["n_outputs"]:
        raise must(f"{field}.class_weight", "one number a class", weight)


def array_of(value: dict[str, Any]) -> np.ndarray:
    """Return the labels or numbers that were described and checked; NaN for None."""
    dtype = np.dtype(value["dtype"])
    values = value["values"]
    if dtype.kind == "f":
        values = [np.nan if one is None else one for one in values]
    try:
        return np.array(values, dtype=dtype)
    except (OverflowError, ValueError) as error:
        raise Misfit("values", f"They must be of the dtype {dtype}: {error}.") from error
