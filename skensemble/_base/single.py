"""What estimators of a single module share: its training, its result, its state, its device."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from skensemble._base.augmenting import augment
from skensemble._base.errors import MemberDivergedError
from skensemble._base.estimator import BaseNetworks
from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.results import MemberResult
from skensemble._engine.training import Preview, Training
from skensemble._fits.given import Given, Steps
from skensemble._recipes.recipe import Recipe
from skensemble.nn._states import array_state, map_state, versions, with_versions
from skensemble.objectives import Objective


class SingleModule(BaseNetworks):
    """Abstract estimator that keeps one module in ``module_``."""

    def _train(
        self,
        recipe: Recipe,
        objective: Objective,
        data: FitData,
        given: Given,
        seed: int,
        announced: int = 0,
    ) -> Steps:
        """Train the module on what it is to see, and return what is left unless it diverged."""
        objective = augment(self, objective, recipe, data, given)
        member = Member(0, seed, recipe, objective, data)
        verbose = getattr(self, "verbose", 0)
        training = Training(
            [member],
            verbose=verbose,
            owner=type(self).__name__,
            announced=announced,
            preview=Preview(self, lambda results: self._would_be(recipe, results[0])),
        )
        yield training
        result = training.results[0]
        if result.diverged_at is not None:
            raise MemberDivergedError.of({0: result.diverged_at}, 1)
        return result

    def _set_result(self, recipe: Recipe, result: MemberResult) -> None:
        self._recipe = recipe.fresh()
        self.module_ = _to_device(recipe.restore(result.state), recipe.training.device)
        self.history_ = result.history

    def _would_be(self, recipe: Recipe, result: MemberResult) -> dict[str, Any]:
        """Return the attributes of a fit that ended now, for callbacks."""
        twin = copy.copy(self)
        twin._set_result(recipe, result)
        return dict(vars(twin))

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there is a network to predict with."""
        return hasattr(self, "module_")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the weights as NumPy arrays, so that hashes are stable."""
        state = dict(super().__getstate__())
        module = state.pop("module_", None)
        if module is not None:
            weights = array_state(module)
            # Beside them: what reads and writes dicts by their items knows no attribute of one.
            state["_weights"], state["_versions"] = dict(weights), versions(weights)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network on its device, or on the CPU where that is missing."""
        state = dict(state)
        weights, state_versions = state.pop("_weights", None), state.pop("_versions", None)
        super().__setstate__(state)
        if weights is not None:
            told = state_versions or versions(weights)  # of pickles of before, with the weights
            tensors = map_state(with_versions(weights, told), torch.tensor)
            self.module_ = _to_device(self._recipe.restore(tensors), self._recipe.training.device)


def _to_device(module: nn.Module, device: str) -> nn.Module:
    """Move a module to its device, or leave it on the CPU where there is no such device."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        return module
    return module.to(device)


def check_same_device(kept: nn.Module, recipe: Recipe) -> None:
    """Refuse new members on another device than those that a warm start keeps."""
    like = next(kept.parameters(), torch.empty(0)).device
    wanted = torch.device(recipe.training.device)
    if (wanted.type, wanted.index or 0) != (like.type, like.index or 0):
        raise ValueError(
            "With warm_start=True the recipe's 'device' must stay that of the members there are, "
            f"{str(like)!r}. Got {recipe.training.device!r} instead."
        )
