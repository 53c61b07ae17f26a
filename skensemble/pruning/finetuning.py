"""How a pruned network trains on: the recipe it had, and what the user wants otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone
from skorch import NeuralNetClassifier

from skensemble._base.errors import MemberDivergedError
from skensemble._engine.results import MemberResult
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import side_by_side
from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.writing import write_net
from skensemble._seeding import Purpose, member_seed, purpose_seed, root_seed
from skensemble.ensembles.network import NetworkClassifier

__all__ = ["finetuning_seed", "train_on", "tuned", "untrained", "widths_of"]


def tuned(recipe: Recipe, finetune: Any, from_scratch: bool) -> Recipe | None:
    """Return the recipe of fine-tuning a module, or None where there is to be none.

    Parameters
    ----------
    recipe : Recipe
        Bound, of the pruned module.
    finetune : "recipe", int, dict, NeuralNetClassifier or None
        What the user wants.
    from_scratch : bool
        Whether weights are drawn anew, so that there must be training.
    """
    if isinstance(finetune, ForgottenRecipe):
        raise ValueError(
            "The file this estimator was loaded from does not hold its 'finetune'. It can "
            "predict; to fit it, bring it back with set_params(finetune=...)."
        )
    if finetune is None or finetune == 0:
        if from_scratch:
            raise ValueError(
                "With init='scratch' the pruned network starts from random weights and must be "
                f"trained. Got finetune={finetune!r}; use 'recipe', a number of epochs, a dict or "
                "a net."
            )
        return None
    told = read_recipe(_net(recipe, finetune))
    if told.outputs_proba != recipe.outputs_proba:
        raise ValueError(
            "The criterion of 'finetune' must read what the network puts out, "
            f"{'probabilities' if recipe.outputs_proba else 'logits'}. "
            f"Got {finetune.criterion!r}."
        )
    return replace(recipe, training=told.training)


def _net(recipe: Recipe, finetune: Any) -> NeuralNetClassifier:
    if isinstance(finetune, NeuralNetClassifier):
        return finetune
    net = write_net(recipe) if recipe.training.net is None else clone(recipe.training.net)
    if isinstance(finetune, dict):
        strange = [name for name in finetune if not isinstance(name, str)]
        if strange:
            raise TypeError(
                "The 'finetune' must have parameters of a net by name. Got the name "
                f"{strange[0]!r} instead."
            )
        net.set_params(**finetune)
    elif finetune != "recipe":
        net.set_params(max_epochs=int(finetune))
    return net


def train_on(
    networks: list[NetworkClassifier],
    trainers: list[Any],
    given: Given,
    stack: int | str,
    n_jobs: int | None,
) -> Steps:
    """Train pruned networks by their trainers, side by side, and return them."""
    given = replace(given, several=len(trainers) > 1)
    steps = [trainer._steps(given) for trainer in trainers]
    errors = yield from side_by_side(steps, stack, n_jobs)
    _raise(errors)
    return [_take_over(*pair) for pair in zip(networks, trainers, strict=True)]


def _raise(errors: list[Exception | None]) -> None:
    lost: dict[int, int] = {}
    for number, error in enumerate(errors):
        if isinstance(error, MemberDivergedError):
            lost[number] = error.diverged[0]
        elif error is not None:
            raise error
    if lost:
        raise MemberDivergedError.of(lost, len(errors))


def _take_over(network: NetworkClassifier, trainer: Any) -> NetworkClassifier:
    pruned = trainer._members()[0]
    pruned.estimator, pruned.verbose = network.estimator, 0
    return pruned


def untrained(network: NetworkClassifier, recipe: Recipe) -> NetworkClassifier:
    """Return a network that predicts with the weights that are left."""
    pruned = NetworkClassifier(
        network.estimator,
        class_weight=network.class_weight,
        precision=network.precision,
        random_state=network.random_state,
    )
    network._share_fitted(pruned)
    pruned._reading = network._reading
    assert recipe.start.state is not None
    pruned._set_result(recipe, MemberResult(recipe.start.state))
    return pruned


def finetuning_seed(network: NetworkClassifier, number: int, root: int) -> int:
    """Return the seed of training on: of the network itself where it has one."""
    own = network.random_state
    seed = member_seed(root, number) if own is None else root_seed(own)
    return purpose_seed(seed, Purpose.PRUNE)


def widths_of(recipe: Recipe) -> str:
    """Say how wide the layers are that were cut."""
    return str(recipe.wraps_key())
