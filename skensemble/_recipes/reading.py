"""What a user's net says, as a recipe.

A recipe is read from an unfitted skorch ``NeuralNetClassifier``, a module class, a
module instance or nothing at all. What it asks for is honoured, trained one by one or
refused with an error that names the parameter; nothing is dropped in silence.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LoadInitState,
    LRScheduler,
    TrainEndCheckpoint,
)
from skorch.dataset import Dataset as SkorchDataset, ValidSplit
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.training import TrainingSettings, same_net

_PREFIXES = (
    "module", "criterion", "optimizer", "iterator_train", "iterator_valid", "callbacks",
    "dataset", "compile",
)  # fmt: skip


_REFUSED_CALLBACKS = (Checkpoint, TrainEndCheckpoint, LoadInitState)


def read_recipe(estimator: Any) -> Recipe:
    """Read the recipe of one member from what the user passed as `estimator`.

    A `Recipe` stands for itself: estimators hand prepared ones to each other.
    """
    if isinstance(estimator, Recipe):
        return estimator
    if estimator is None:
        return Recipe(module=None)
    if isinstance(estimator, nn.Module) or (
        inspect.isclass(estimator) and issubclass(estimator, nn.Module)
    ):
        return Recipe(module=estimator)
    if isinstance(estimator, NeuralNetClassifier):
        return _read_net(estimator)
    if isinstance(estimator, ForgottenRecipe):
        raise ValueError(
            f"The file this estimator was loaded from does not hold its {estimator.missing}. "
            "It can predict; to fit it, bring the recipe back with set_params(estimator=...)."
        )
    raise TypeError(
        "The 'estimator' must be a skorch NeuralNetClassifier, a torch.nn.Module class or "
        f"instance, or None. Got {estimator!r} of type {type(estimator).__name__} instead."
    )


def _refuse(parameter: str, must: str, value: Any) -> None:
    raise ValueError(f"The {parameter!r} of the net must {must}. Got {value!r} instead.")


def _read_net(net: NeuralNetClassifier) -> Recipe:
    _check_class(net)
    _check_names(net)
    _check_switches(net)
    _check_kinds(net)
    _check_callbacks(net)
    _check_rates(net)
    _check_optimizer(net)
    outputs_proba, class_weight, smoothing = _read_criterion(net)
    train = net.get_params_for("iterator_train")
    valid = net.get_params_for("iterator_valid")
    _check_iterators(net, train, valid)
    training = TrainingSettings(
        class_weight=class_weight,
        label_smoothing=smoothing,
        optimizer=net.optimizer,
        optimizer_kwargs=net.get_params_for("optimizer"),
        lr=net.lr,
        max_epochs=_positive(net, "max_epochs", net.max_epochs),
        batch_size=_batch_size(net, train.get("batch_size", net.batch_size)),
        valid_batch_size=_batch_size(net, valid.get("batch_size", net.batch_size)),
        shuffle=_switch("iterator_train__shuffle", train.get("shuffle", True)),
        drop_last=_switch("iterator_train__drop_last", train.get("drop_last", False)),
        train_split=_read_split(net),
        net=same_net(net),  # the user's own may get other parameters
        device=str(net.device),
        compile=_switch("compile", net.compile),
        compile_kwargs=net.get_params_for("compile"),
        torch_load_kwargs=net.torch_load_kwargs,
        use_caching=net.use_caching,
    )
    return Recipe(net.module, net.get_params_for("module"), outputs_proba, training)


def _check_class(net: NeuralNetClassifier) -> None:
    mro = type(net).__mro__
    subclasses = mro[: mro.index(NeuralNetClassifier)]
    changed = sorted(
        name
        for owner in subclasses
        for name, value in vars(owner).items()
        if inspect.isfunction(value) and name != "__init__" and hasattr(NeuralNetClassifier, name)
    )
    if changed:
        raise ValueError(
            f"The net's class {type(net).__name__} overrides {', '.join(changed)} of "
            "NeuralNetClassifier, which the stacked engine would not call. Put the change "
            "into the module, the criterion or a callback instead."
        )


def _check_names(net: NeuralNetClassifier) -> None:
    """Refuse arguments that skorch itself would refuse once it trains."""
    inits = [vars(cls)["__init__"] for cls in type(net).__mro__ if "__init__" in vars(cls)]
    known = {name for init in inits[:-1] for name in inspect.signature(init).parameters}
    unknown = sorted(
        name
        for name in net.get_params(deep=False)
        if not (name.partition("__")[0] in _PREFIXES or name in known or name.startswith("_"))
    )
    if unknown:
        raise TypeError(
            f"The net got unexpected argument(s) {', '.join(unknown)}. Arguments are those of "
            f"NeuralNetClassifier, or start with {', '.join(f'{p}__' for p in _PREFIXES)}."
        )


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        _refuse(name, "be True or False", value)
    return bool(value)


def _check_switches(net: NeuralNetClassifier) -> None:
    if net.use_caching != "auto":
        _switch("use_caching", net.use_caching)
    if _switch("warm_start", net.warm_start):
        _refuse("warm_start", "be False; use 'warm_start' of the ensemble", net.warm_start)
    if net.classes is not None and len(net.classes):
        _refuse("classes", "be None, since the classes are found in y", net.classes)
    if net.predict_nonlinearity not in ("auto", None):
        _refuse("predict_nonlinearity", "be 'auto' or None", net.predict_nonlinearity)
    if net.dataset is not SkorchDataset or net.get_params_for("dataset"):
        _refuse("dataset", "be skorch's own, since rows are sliced from X", net.dataset)


def _check_kinds(net: NeuralNetClassifier) -> None:
    """Refuse what could not be called or found once it is wanted."""
    for name in ("criterion", "optimizer"):
        if not callable(getattr(net, name)):
            _refuse(name, f"be a class of torch's, or what makes one of its {name}s",
                    getattr(net, name))  # fmt: skip
    if net.train_split and not callable(net.train_split):
        _refuse("train_split", "be None, or a function of a dataset and labels such as "
                "skorch.dataset.ValidSplit(5)", net.train_split)  # fmt: skip
    try:
        torch.device(net.device)
    except (RuntimeError, TypeError):
        _refuse("device", "name a device of torch, such as 'cpu' or 'cuda'", net.device)
    if not isinstance(net.callbacks, (list, tuple)) and net.callbacks not in (None, "disable"):
        _refuse("callbacks", "be a list of callbacks, 'disable' or None", net.callbacks)


def _check_optimizer(net: NeuralNetClassifier) -> None:
    """Make the optimiser for a few numbers, so that what it refuses is known at once."""
    kwargs = net.get_params_for("optimizer")
    kwargs.pop("param_groups", None)
    try:
        net.optimizer([nn.Parameter(torch.zeros(2, 2))], lr=net.lr, **kwargs)
    except (TypeError, ValueError) as error:
        name = getattr(net.optimizer, "__name__", repr(net.optimizer))
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"The optimizer {name} of the net must take lr={net.lr!r} and what the net's "
            f"'optimizer__...' say, {kwargs}. Got: {error}."
        ) from error


def _check_callbacks(net: NeuralNetClassifier) -> None:
    for item in [] if net.callbacks in (None, "disable") else net.callbacks:
        callback = item[1] if isinstance(item, (tuple, list)) else item
        kind = callback if inspect.isclass(callback) else type(callback)
        if not issubclass(kind, Callback):
            _refuse("callbacks", "hold callbacks of skorch, or pairs of a name and one", item)
        if issubclass(kind, _REFUSED_CALLBACKS):
            raise ValueError(
                f"The callback {kind.__name__} writes or reads one file for all members. "
                "Keep the best epoch with EarlyStopping(load_best=True) and write the fitted "
                "estimator with save()."
            )


def _check_rates(net: NeuralNetClassifier) -> None:
    """Refuse a rate or decay that one member could not train with.

    Members of different rates share an optimiser, which sees but one of them; a bad one would
    go unnoticed there, or take the others with it. Other optimisers judge their own.
    """
    if net.optimizer not in ELEMENTWISE_OPTIMIZERS:
        return
    given = {"lr": net.lr, **net.get_params_for("optimizer")}
    for name in ("lr", "weight_decay"):
        if name in given and not _is_rate(given[name]):
            parameter = name if name == "lr" else f"optimizer__{name}"
            _refuse(parameter, "be a finite number of at least 0", given[name])


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) or (
        isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    )
    return is_number and 0 <= float(value) < math.inf


def _read_criterion(net: NeuralNetClassifier) -> tuple[bool, Tensor | None, float]:
    criterion, kwargs = net.criterion, net.get_params_for("criterion")
    built: Any
    if isinstance(criterion, nn.Module) and not kwargs:
        built = criterion
    else:
        maker = type(criterion) if isinstance(criterion, nn.Module) else criterion
        built = maker(**kwargs)
    if type(built) not in (nn.CrossEntropyLoss, nn.NLLLoss):
        _refuse("criterion", "be CrossEntropyLoss (logits) or NLLLoss (probabilities)", criterion)
    if built.reduction != "mean":
        _refuse("criterion__reduction", "be 'mean'", built.reduction)
    if built.ignore_index != -100:
        _refuse("criterion__ignore_index", "be left alone, as every row has a class",
                built.ignore_index)  # fmt: skip
    smoothing = getattr(built, "label_smoothing", 0.0)
    if not (isinstance(smoothing, numbers.Real) and 0 <= float(smoothing) <= 1):
        _refuse("criterion__label_smoothing", "be a number from 0 to 1", smoothing)
    if built.weight is not None and not _can_weigh(built.weight):
        _refuse("criterion__weight", "be a vector of finite numbers of at least 0, not all 0",
                built.weight)  # fmt: skip
    return type(built) is nn.NLLLoss, built.weight, float(smoothing)


def _can_weigh(weight: Tensor) -> bool:
    """Whether each class can have its number as a weight."""
    if weight.dim() != 1 or weight.is_complex():
        return False
    return bool(weight.isfinite().all() and (weight >= 0).all() and weight.any())


def _check_iterators(
    net: NeuralNetClassifier, train: dict[str, Any], valid: dict[str, Any]
) -> None:
    for name, allowed, given in (
        ("iterator_train", {"batch_size", "shuffle", "drop_last"}, train),
        ("iterator_valid", {"batch_size"}, valid),
    ):
        if getattr(net, name) is not DataLoader:
            _refuse(name, "be torch's DataLoader, since rows are sliced by index",
                    getattr(net, name))  # fmt: skip
        unknown = sorted(set(given) - allowed)
        if unknown:
            raise ValueError(
                f"The net's {name}__{unknown[0]} cannot be honoured: rows are sliced from "
                f"memory by index and no loader runs. Supported are "
                f"{', '.join(f'{name}__{key}' for key in sorted(allowed))}."
            )


def _positive(net: NeuralNetClassifier, name: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or value < 1:
        _refuse(name, "be an int of at least 1", value)
    return int(value)


def _batch_size(net: NeuralNetClassifier, value: Any) -> int:
    return -1 if value == -1 else _positive(net, "batch_size", value)


def _read_split(net: NeuralNetClassifier) -> Callable[..., Any] | None:
    """Return the split the user asked for.

    skorch holds out a fifth of the rows by default. Rows are not held out here unless the
    user set a split of their own or a callback needs one.
    """
    split = net.train_split
    if not split:
        return None
    is_default = type(split) is ValidSplit and vars(split) == vars(ValidSplit(5, stratified=True))
    if is_default and not any(_needs_validation(cb) for cb in net.callbacks or []):
        return None
    return split


def _needs_validation(item: Any) -> bool:
    callback = item[1] if isinstance(item, (tuple, list)) else item
    if inspect.isclass(callback):
        return issubclass(callback, EarlyStopping)
    if isinstance(callback, EarlyStopping):
        return callback.monitor != "train_loss"
    if isinstance(callback, LRScheduler):
        return callback.monitor not in (None, "train_loss")
    return not getattr(callback, "on_train", False) and hasattr(callback, "scoring")
