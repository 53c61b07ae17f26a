"""The weights of a file against the module that they are for, before it is made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from skensemble._files.errors import Misfit, must, within
from skensemble._recipes.recipe import Recipe
from skensemble.nn._states import is_extra

# A module may ask for this many bytes, and for so many times those of the file's weights: a
# pruned one is made at its full size and cut, and converting copies.
_FREE_BYTES = 1 << 28
_TIMES_BYTES = 16
# Tensors likewise: a depth is a short number in a file, and a loop where the module is made.
_FREE_TENSORS = 2_000
_TIMES_TENSORS = 64
# No size of ours is larger than this and than how many weights there are.
_FREE_SIZE = 1 << 20
# Buffers that are learned or found; all others of our modules follow from their arguments.
_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
_RANGES = {"running_var": (0.0, math.inf), "temperature": (1e-15, 1e15)}


class Allowance(TorchDispatchMode):
    """Refuses tensors beyond a number of bytes, before they are made.

    Each operation is run on torch's "meta" device first, where tensors have shapes alone.
    """

    def __init__(self, n_bytes: int, n_tensors: int) -> None:
        super().__init__()
        self.n_bytes, self.n_tensors = n_bytes, n_tensors

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation makes, and run it."""
        kwargs = kwargs or {}
        if any(one.alias_info is None for one in func._schema.returns):
            self._count(func, args, kwargs)
        return func(*args, **kwargs)

    def _count(self, func: Any, args: Any, kwargs: Any) -> None:
        try:
            told = tree_map_only(Tensor, lambda one: one.to("meta"), (args, kwargs))
            if any(one.name == "device" for one in func._schema.arguments):
                told[1]["device"] = torch.device("meta")
            made = func(*told[0], **told[1])
        except RuntimeError:
            return  # it needs values, as large as those are; or it fails on every device
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self.n_bytes -= one.numel() * one.element_size()
                self.n_tensors -= 1
        if self.n_bytes < 0 or self.n_tensors < 0:
            raise Misfit("", "The module would be far larger than the file's weights are.")


@contextmanager
def _no_larger(state: dict[str, Tensor]) -> Iterator[None]:
    """Let modules be made that are not out of all proportion to their weights."""
    tensors = [value for name, value in state.items() if not is_extra(name)]
    n_bytes = sum(value.numel() * value.element_size() for value in tensors)
    allowance = Allowance(
        _FREE_BYTES + _TIMES_BYTES * n_bytes, _FREE_TENSORS + _TIMES_TENSORS * len(tensors)
    )
    with allowance:
        yield


def require_members(tensors: dict[str, Tensor], n_members: int) -> None:
    """Refuse tensors that are no member's."""
    for name in tensors:
        number = name.partition("/")[0]
        if number not in map(str, range(n_members)):
            raise must(name, f"named of one of the {n_members} members", name)


def check_weights(recipe: Recipe, state: dict[str, Tensor], is_ours: bool) -> None:
    """Refuse weights that are not those of the recipe's module: names, shapes, dtypes, values.

    Parameters
    ----------
    recipe : Recipe
        Of the module, bound to the data.
    state : dict of Tensor
        What the file has for it.
    is_ours : bool
        Whether the module is one of `skensemble.nn`. Others may load older weights than their
        own, and hold what they like in buffers.
    """
    with within("module_kwargs"):
        if is_ours:
            n_numbers = sum(one.numel() for name, one in state.items() if not is_extra(name))
            _check_sizes(recipe.module_kwargs, max(_FREE_SIZE, n_numbers))
        with _no_larger(state):
            module = _blank(recipe)
    with within("weights"):
        check_values(module, state, is_ours)
        if is_ours:
            _check_like(module, state)


def _blank(recipe: Recipe) -> nn.Module:
    """Make a recipe's network, of which a file may know the class alone."""
    try:
        return recipe.blank()
    except TypeError as error:
        if recipe.module_kwargs:
            raise
        raise Misfit(
            "",
            "They are not there, as of a network that was given as an instance: pass one of its "
            "architecture, load(path, module=...)",
        ) from error


def _check_sizes(kwargs: dict[str, Any], most: int) -> None:
    """Refuse ints that would make loops and lists long, before any tensor is made."""
    todo = [value for name, value in kwargs.items() if name != "in_shape"]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, (list, tuple)):
            todo.extend(one)
        elif isinstance(one, int) and abs(one) > most:
            raise must("", f"made of ints of at most {most}, for so few weights", one)


def check_values(module: nn.Module, state: dict[str, Tensor], is_ours: bool) -> None:
    """Refuse weights that are no finite numbers, or so large that no output is."""
    learned = set(state) if is_ours else {name for name, _ in module.named_parameters()}
    for name in sorted(learned & set(state)):
        value = state[name]
        if is_extra(name) or not value.is_floating_point():
            continue
        low, high = _bounds(name, value.dtype) if is_ours else (-math.inf, math.inf)
        fine = value.isfinite() & (value >= low) & (value <= high)
        if not fine.all():
            got = value[~fine].flatten()[0].item()
            raise must(name, f"of finite numbers from {low:g} to {high:g}", got)


def _bounds(name: str, dtype: torch.dtype) -> tuple[float, float]:
    """Return the range of numbers of which layers in a row can multiply some and stay finite."""
    most = torch.finfo(dtype).max
    most = most**0.4 if most > 1e30 else most
    return _RANGES.get(name.rpartition(".")[2], (-most, most))


def _check_like(module: nn.Module, state: dict[str, Tensor]) -> None:
    expected = module.state_dict()
    named = {name for name in state if not is_extra(name)}
    wanted = {name for name in expected if not is_extra(name)}
    if named != wanted:
        what = sorted(wanted - named)[:3], sorted(named - wanted)[:3]
        raise Misfit(
            "", f"They do not fit the module {type(module).__name__}: missing are {what[0]}, and "
            f"not of it are {what[1]}.",
        )  # fmt: skip
    for name in sorted(wanted):
        told, like = state[name], expected[name]
        if told.shape != like.shape or told.dtype != like.dtype:
            raise Misfit(
                name, f"It does not fit the module {type(module).__name__}, which has "
                f"{like.dtype} of shape {tuple(like.shape)}. Got {told.dtype} of shape "
                f"{tuple(told.shape)} instead.",
            )  # fmt: skip
    for name in _constants(module):
        if not torch.equal(state[name], expected[name]):
            raise must(name, "what the module's arguments make it", "others")


def _constants(module: nn.Module) -> Iterator[str]:
    """Yield the names of buffers that follow from the arguments of our modules."""
    for name, part in module.named_modules():
        if type(part).__module__.startswith("skensemble.nn."):
            for own, _ in part.named_buffers(recurse=False):
                if own not in _STATISTICS:
                    yield f"{name}.{own}".removeprefix(".")
