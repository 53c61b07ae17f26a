"""What a user's net says, as a recipe.

A recipe is read from an unfitted skorch ``NeuralNetClassifier``, a module class, a
module instance or nothing at all. What it asks for is honoured, trained one by one or
refused with an error that names the parameter; nothing is dropped in silence.
"""

from __future__ import annotations

import inspect
import numbers
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from torch import Tensor, nn

from skensemble._arguments import naming
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.checking import (
    batch_size,
    check_iterators,
    check_net,
    device_of,
    is_word,
    positive,
    refuse,
    switch,
)
from skensemble._recipes.pretrained import (
    RESET_WARNING,
    Origin,
    Pretrained,
    asked_for_weights,
)
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.training import TrainingSettings, same_net


def read_recipe(estimator: Any) -> Recipe:
    """Read the recipe of one member from what the user passed as `estimator`.

    A `Recipe` stands for itself: estimators hand prepared ones to each other.
    """
    if isinstance(estimator, Recipe):
        return estimator
    if estimator is None:
        return Recipe(module=None)
    if isinstance(estimator, Pretrained):
        return _read_pretrained(estimator)
    if isinstance(estimator, nn.Module) or (
        inspect.isclass(estimator) and issubclass(estimator, nn.Module)
    ):
        return Recipe(module=estimator)
    if isinstance(estimator, NeuralNetClassifier):
        recipe = _read_net(estimator)
        asks = asked_for_weights(recipe.module, recipe.module_kwargs)
        return _read_pretrained(Pretrained(estimator)) if asks else recipe
    if isinstance(estimator, ForgottenRecipe):
        missing = ", ".join(estimator.missing)
        raise ValueError(
            f"The file this estimator was loaded from does not hold its {missing}. It can "
            "predict; to fit it, bring the recipe back with set_params(estimator=...)."
        )
    raise TypeError(
        "The 'estimator' must be a skorch NeuralNetClassifier, a torch.nn.Module class or "
        f"instance, a Pretrained, or None. Got {estimator!r} of type {type(estimator).__name__} "
        "instead."
    )


def warn_of_reset(recipe: Recipe) -> None:
    """Tell that the weights of an instance are not kept, where nobody has said so."""
    if recipe.is_made and recipe.origin is None:
        warnings.warn(RESET_WARNING, UserWarning, stacklevel=2)


def _read_pretrained(given: Pretrained) -> Recipe:
    given.check_params()
    network = given.network
    is_net = isinstance(network, NeuralNetClassifier)
    recipe = _read_net(network) if is_net else Recipe(module=network)
    if isinstance(recipe.module, nn.Module) and recipe.module_kwargs:
        names = ", ".join(f"module__{name}" for name in recipe.module_kwargs)
        raise ValueError(
            "The net's module has its weights, so the net must have no arguments to make another "
            f"of its class. Got {names}; leave them out, or pass the class."
        )
    if given.rates and "param_groups" in recipe.training.optimizer_kwargs:
        raise ValueError(
            "Rates by part must be said once. Got both 'rates' of Pretrained and "
            "'optimizer__param_groups' of its net; leave one out."
        )
    written = replace(given, network=recipe.training.net) if is_net else replace(given)
    return replace(recipe, wraps=given.wraps(), origin=Origin(written))


def _read_net(net: NeuralNetClassifier) -> Recipe:
    check_net(net)
    outputs_proba, class_weight, smoothing = _read_criterion(net)
    train = net.get_params_for("iterator_train")
    valid = net.get_params_for("iterator_valid")
    check_iterators(net, train, valid)
    training = TrainingSettings(
        class_weight=class_weight,
        label_smoothing=smoothing,
        optimizer=net.optimizer,
        optimizer_kwargs=net.get_params_for("optimizer"),
        lr=float(net.lr) if isinstance(net.lr, Tensor) else net.lr,
        max_epochs=positive(net, "max_epochs", net.max_epochs),
        batch_size=batch_size(net, train.get("batch_size", net.batch_size)),
        valid_batch_size=batch_size(net, valid.get("batch_size", net.batch_size)),
        shuffle=switch("iterator_train__shuffle", train.get("shuffle", True)),
        drop_last=switch("iterator_train__drop_last", train.get("drop_last", False)),
        train_split=_read_split(net),
        net=same_net(net),  # the user's own may get other parameters
        device=device_of(net),
        compile=switch("compile", net.compile),
        compile_kwargs=net.get_params_for("compile"),
        torch_load_kwargs=net.torch_load_kwargs,
        use_caching=net.use_caching,
    )
    return Recipe(net.module, net.get_params_for("module"), outputs_proba, training)


def _read_criterion(net: NeuralNetClassifier) -> tuple[bool, Tensor | None, float]:
    criterion, kwargs = net.criterion, net.get_params_for("criterion")
    built: Any
    if isinstance(criterion, nn.Module) and not kwargs:
        built = criterion
    else:
        maker = type(criterion) if isinstance(criterion, nn.Module) else criterion
        with naming("criterion", f"take what the net's 'criterion__...' say, {kwargs}"):
            built = maker(**kwargs)
    if type(built) not in (nn.CrossEntropyLoss, nn.NLLLoss):
        refuse("criterion", "be CrossEntropyLoss (logits) or NLLLoss (probabilities)", criterion)
    if not is_word(built.reduction, "mean"):
        refuse("criterion__reduction", "be 'mean'", built.reduction)
    if not (isinstance(built.ignore_index, int) and built.ignore_index == -100):
        refuse("criterion__ignore_index", "be left alone, as every row has a class",
                built.ignore_index)  # fmt: skip
    smoothing = getattr(built, "label_smoothing", 0.0)
    if not (isinstance(smoothing, numbers.Real) and 0 <= float(smoothing) <= 1):
        refuse("criterion__label_smoothing", "be a number from 0 to 1", smoothing)
    if built.weight is not None and not _can_weigh(built.weight):
        refuse("criterion__weight", "be a vector of finite numbers of at least 0, not all 0",
                built.weight)  # fmt: skip
    return type(built) is nn.NLLLoss, built.weight, float(smoothing)


def _can_weigh(weight: Tensor) -> bool:
    """Whether each class can have its number as a weight."""
    if weight.dim() != 1 or weight.is_complex():
        return False
    return bool(weight.isfinite().all() and (weight >= 0).all() and weight.any())


def _read_split(net: NeuralNetClassifier) -> Callable[..., Any] | None:
    """Return the split the user asked for.

    skorch holds out a fifth of the rows by default. Rows are not held out here unless the
    user set a split of their own or a callback needs one.
    """
    split = net.train_split
    if split is None or split is False:
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
