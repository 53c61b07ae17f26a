"""Members that share a frozen backbone: its features are computed once, and heads learn on them.

Nothing of such a member moves but one linear layer, and all before that runs as in prediction. So
the layer's inputs are the same in every epoch and for every member: they take the place of the
rows, and a member is trained as its head alone. What comes back are whole networks again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._data.rows import FitData, Rows
from skensemble._engine.failures import Outcome
from skensemble._engine.members import SAMPLE_ROWS, Member
from skensemble._engine.results import MemberResult
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import torch_seeded
from skensemble.nn._heads import find_input
from skensemble.nn._states import versions, with_versions

# Rows that the backbone is given at once, where its recipe does not say so.
_CHUNK_ROWS = 512


class _Alone(nn.Module):
    """A head in the place, by its name, that it has in its network."""

    def __init__(self, layer: str, n_inputs: int, n_outputs: int, bias: bool) -> None:
        super().__init__()
        *path, name = layer.split(".")
        owner: nn.Module = self
        for one in path:
            inner = nn.Module()
            owner.add_module(one, inner)
            owner = inner
        owner.add_module(name, nn.Linear(n_inputs, n_outputs, bias))
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Run the head."""
        return self.get_submodule(self.layer)(x)


@dataclass(frozen=True)
class Heads:
    """Members of one frozen backbone, as their heads.

    Attributes
    ----------
    members : list of Member
        Each is trained as its head, on features.
    backbone : dict of Tensor
        The state of a whole network.
    """

    members: list[Member]
    backbone: dict[str, Tensor]

    def whole(self, result: MemberResult) -> MemberResult:
        """Return what is left of a member as that of a network; backbones are not copied."""
        state = {name: result.state.get(name, value) for name, value in self.backbone.items()}
        return replace(result, state=with_versions(state.items(), versions(self.backbone)))

    def all_whole(self, results: dict[int, MemberResult]) -> dict[int, MemberResult]:
        """Return the results of members, by number, as those of networks."""
        return {number: self.whole(result) for number, result in results.items()}

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return what became of a shard, of networks."""
        return replace(outcome, results=self.all_whole(outcome.results))


def find_heads(members: Sequence[Member]) -> Heads | None:
    """Return members as heads on features, or None where they are more than that."""
    first = members[0].recipe
    layer = first.only_head
    if layer is None or not all(_learns_by_features(member, first) for member in members):
        return None
    module = first.build(members[0].seed).to(first.training.device).eval()
    sample = Rows(members[0].data.X, first.dtype, first.training.device).slice(0, SAMPLE_ROWS)
    with torch.no_grad(), torch_seeded(0):
        found = find_input(module, layer, lambda: first.forward(module, sample))
    if found is None:
        return None
    features = _Features(module, first, layer, found.shape[1])
    used = _used_rows(members)
    arrays = {key: features.of(X, rows) for key, (X, rows) in used.items()}
    maker = _maker(module, layer, first, found.shape[1])
    narrow = [
        replace(one, recipe=maker(one.recipe), data=_on(arrays, one.data), told=one.data)
        for one in members
    ]
    return Heads(narrow, module.cpu().state_dict())


def _learns_by_features(member: Member, first: Recipe) -> bool:
    """Whether a member has the first one's backbone, and nothing asks for its rows or layers."""
    recipe, objective = member.recipe, member.objective
    return (
        recipe.only_head == first.only_head
        and _is_same_start(recipe, first)
        and not (objective.taps or objective.reads_rows or recipe.training.stack_blockers())
    )


def _is_same_start(one: Recipe, other: Recipe) -> bool:
    if one.origin is None or other.origin is None:
        return False
    a, b = one.origin.module, other.origin.module
    if a is None or b is None or a is b:
        return a is b
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


def _parts(data: FitData) -> Iterator[FitData]:
    yield data
    if data.valid is not None:
        yield from _parts(data.valid)


def _used_rows(members: Sequence[Member]) -> dict[int, tuple[Any, np.ndarray]]:
    """Return arrays of rows by their id, and which of their rows any member sees."""
    found: dict[int, tuple[Any, list[np.ndarray]]] = {}
    for member in members:
        for data in _parts(member.data):
            found.setdefault(id(data.X), (data.X, []))[1].append(data.rows)
    return {key: (X, np.unique(np.concatenate(rows))) for key, (X, rows) in found.items()}


def _on(arrays: dict[int, np.ndarray], data: FitData) -> FitData:
    """Return data with features in the place of rows."""
    valid = None if data.valid is None else _on(arrays, data.valid)
    return replace(data, X=arrays[id(data.X)], valid=valid)


def _maker(module: nn.Module, layer: str, first: Recipe, n_inputs: int) -> Any:
    """Return what makes the recipe of a member's head; it draws what the whole would draw."""
    bias = module.get_submodule(layer).bias is not None
    kwargs = {"layer": layer, "n_inputs": n_inputs, "n_outputs": first.n_outputs, "bias": bias}

    def of(recipe: Recipe) -> Recipe:
        return replace(
            recipe,
            module=_Alone,
            module_kwargs=kwargs,
            origin=None,
            wraps=tuple(one for one in recipe.wraps if not one.is_built_in),
            in_shape=(n_inputs,),
            writes_input=False,
            channels_last=False,
        )

    return of


class _Features:
    """What a backbone makes of rows."""

    def __init__(self, module: nn.Module, recipe: Recipe, layer: str, n_numbers: int) -> None:
        self._module, self._recipe, self._layer = module, recipe, layer
        self._n_numbers = n_numbers

    def of(self, X: Any, which: np.ndarray) -> np.ndarray:
        """Return an array of features, in which rows that nobody sees are zero."""
        rows = Rows(X, self._recipe.dtype, self._recipe.training.device)
        dtype = np.float64 if self._recipe.dtype == torch.float64 else np.float32
        out = np.zeros((len(rows), self._n_numbers), dtype)
        size = max(_CHUNK_ROWS, self._recipe.training.valid_batch_size)
        for start in range(0, len(which), size):
            at = which[start : start + size]
            x = rows.take(torch.from_numpy(at)[None])[0]
            run = partial(self._recipe.forward, self._module, x)
            with torch.no_grad():
                found = find_input(self._module, self._layer, run)
            assert found is not None
            out[at] = found.to(self._recipe.dtype).cpu().numpy()
        return out
