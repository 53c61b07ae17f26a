"""What a user's net says, checked: what could not be honoured is refused by its name."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    LoadInitState,
    TrainEndCheckpoint,
)
from skorch.dataset import Dataset as SkorchDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skensemble._arguments import naming
from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS
from skensemble._recipes.pretrained import Pretrained
from skensemble._recipes.training import make_optimizer

_PREFIXES = (
    "module", "criterion", "optimizer", "iterator_train", "iterator_valid", "callbacks",
    "dataset", "compile",
)  # fmt: skip


_REFUSED_CALLBACKS = (Checkpoint, TrainEndCheckpoint, LoadInitState)


def check_net(net: NeuralNetClassifier) -> None:
    """Refuse what of a net could not be honoured, before anything is trained."""
    _check_class(net)
    _check_names(net)
    _check_switches(net)
    _check_kinds(net)
    _check_callbacks(net)
    _check_rates(net)
    _check_optimizer(net)


def refuse(parameter: str, must: str, value: Any) -> None:
    """Raise the error of a parameter of the net."""
    raise ValueError(f"The {parameter!r} of the net must {must}. Got {value!r} instead.")


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


def switch(name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, (bool, np.bool_)):
        refuse(name, "be True or False", value)
    return bool(value)


def _check_switches(net: NeuralNetClassifier) -> None:
    if not is_word(net.use_caching, "auto"):
        switch("use_caching", net.use_caching)
    if switch("warm_start", net.warm_start):
        refuse("warm_start", "be False; use 'warm_start' of the ensemble", net.warm_start)
    if not isinstance(net.torch_load_kwargs, (dict, type(None))):
        refuse("torch_load_kwargs", "be a dict or None", net.torch_load_kwargs)
    if net.classes is not None and np.size(net.classes):
        refuse("classes", "be None, since the classes are found in y", net.classes)
    if net.predict_nonlinearity is not None and not is_word(net.predict_nonlinearity, "auto"):
        refuse("predict_nonlinearity", "be 'auto' or None", net.predict_nonlinearity)
    if net.dataset is not SkorchDataset or net.get_params_for("dataset"):
        refuse("dataset", "be skorch's own, since rows are sliced from X", net.dataset)


def _check_kinds(net: NeuralNetClassifier) -> None:
    """Refuse what could not be called or found once it is wanted."""
    if isinstance(net.module, Pretrained):
        refuse("module", "be the network itself; put Pretrained around the net", net.module)
    for name, kind in (("module", "network"), ("criterion", "criterion"),
                       ("optimizer", "optimizer")):  # fmt: skip
        if not callable(getattr(net, name)):
            refuse(name, f"be a class of torch's, or what makes one of its {kind}s",
                   getattr(net, name))  # fmt: skip
    if not (net.train_split is None or net.train_split is False or callable(net.train_split)):
        refuse("train_split", "be None, or a function of a dataset and labels such as "
                "skorch.dataset.ValidSplit(5)", net.train_split)  # fmt: skip
    try:
        device = torch.device(device_of(net))
    except RuntimeError:
        refuse(
            "device", "name a device of torch, such as 'cpu' or 'cuda', or be 'auto'", net.device
        )
    if device.type == "meta":
        refuse("device", "be one that computes", net.device)
    given = net.callbacks
    if not (given is None or isinstance(given, (list, tuple)) or is_word(given, "disable")):
        refuse("callbacks", "be a list of callbacks, 'disable' or None", given)


def _check_optimizer(net: NeuralNetClassifier) -> None:
    """Let the optimiser make a step of a few numbers, so that what it refuses is known at once."""
    kwargs = net.get_params_for("optimizer")
    groups = kwargs.pop("param_groups", [])
    _check_groups(groups)
    given = [{"params": [_learnt()]}, *({"params": [_learnt()], **group} for _, group in groups)]
    name = getattr(net.optimizer, "__name__", repr(net.optimizer))
    must = f"take lr={net.lr!r} and what the net's 'optimizer__...' say, {kwargs}, {groups}"
    with naming("optimizer", f"be such that {name} of the net can {must}"):
        optimizer = make_optimizer(net.optimizer, given, {"lr": net.lr, **kwargs})
        optimizer.step(lambda: torch.zeros(()))


def _learnt() -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    return parameter


def _check_groups(groups: Any) -> None:
    """Refuse groups of parameters that are no pairs of a pattern and a dict."""
    fine = isinstance(groups, (list, tuple)) and all(
        isinstance(one, (list, tuple)) and len(one) == 2
        and isinstance(one[0], str) and isinstance(one[1], Mapping)
        for one in groups
    )  # fmt: skip
    name = "optimizer__param_groups"
    if not fine:
        refuse(name, "be a list of pairs of a pattern of names and a dict of settings", groups)
    for _, group in groups:
        for key in ("lr", "weight_decay"):
            if key in group and not _is_rate(group[key]):
                refuse(name, f"have finite numbers of at least 0 as {key!r}", group[key])


def _check_callbacks(net: NeuralNetClassifier) -> None:
    for item in net.callbacks if isinstance(net.callbacks, (list, tuple)) else ():
        is_pair = isinstance(item, (tuple, list))
        if is_pair and not (len(item) == 2 and isinstance(item[0], str)):
            refuse("callbacks", "hold callbacks of skorch, or pairs of a name and one", item)
        callback = item[1] if is_pair else item
        kind = callback if inspect.isclass(callback) else type(callback)
        if not issubclass(kind, Callback):
            refuse("callbacks", "hold callbacks of skorch, or pairs of a name and one", item)
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
            refuse(parameter, "be a finite number of at least 0", given[name])


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) or (
        isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    )
    return is_number and 0 <= float(value) < math.inf


def check_iterators(net: NeuralNetClassifier, train: dict[str, Any], valid: dict[str, Any]) -> None:
    """Refuse what a ``DataLoader`` would do, as none runs."""
    for name, allowed, given in (
        ("iterator_train", {"batch_size", "shuffle", "drop_last"}, train),
        ("iterator_valid", {"batch_size"}, valid),
    ):
        if getattr(net, name) is not DataLoader:
            refuse(name, "be torch's DataLoader, since rows are sliced by index",
                    getattr(net, name))  # fmt: skip
        unknown = sorted(set(given) - allowed)
        if unknown:
            raise ValueError(
                f"The net's {name}__{unknown[0]} cannot be honoured: rows are sliced from "
                f"memory by index and no loader runs. Supported are "
                f"{', '.join(f'{name}__{key}' for key in sorted(allowed))}."
            )


def is_word(value: Any, word: str) -> bool:
    """Whether a value, which may be an array, is a word."""
    return isinstance(value, str) and value == word


def positive(net: NeuralNetClassifier, name: str, value: Any) -> int:
    """Return an int of at least 1."""
    if not isinstance(value, (int, np.integer)) or value < 1:
        refuse(name, "be an int of at least 1", value)
    return int(value)


def batch_size(net: NeuralNetClassifier, value: Any) -> int:
    """Return a number of rows, or -1 for all."""
    is_all = isinstance(value, (int, np.integer)) and value == -1
    return -1 if is_all else positive(net, "batch_size", value)


def device_of(net: Any) -> str:
    """Return the device that a net names; "auto" is a GPU where torch has one, else the CPU."""
    if is_word(net.device, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(net.device)
