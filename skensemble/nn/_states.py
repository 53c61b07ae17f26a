"""State dicts as torch means them: tensors, the versions of modules, and their extra state.

``load_state_dict`` reads versions from an attribute that a plain dict has not, and extra
state (``get_extra_state``) can be anything that pickles.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

_EXTRA = "_extra_state"
# Arrays of tensors: what networks share must be one object for a pickle to hold it once.
_ARRAYS: Any = WeakTensorKeyDictionary()


def is_extra(name: str) -> bool:
    """Whether an entry of a state dict is what a module's ``get_extra_state`` returned."""
    return name.rpartition(".")[2] == _EXTRA


def extra_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the extra state alone."""
    return {name: value for name, value in state.items() if is_extra(name)}


def map_state(state: dict[str, Any], change: Callable[[Any], Any]) -> OrderedDict[str, Any]:
    """Return a state dict with changed tensors, and a copy of all that is none."""
    return with_versions(
        (
            (name, copy.deepcopy(value) if is_extra(name) else change(value))
            for name, value in state.items()
        ),
        versions(state),
    )


def array_state(module: nn.Module) -> OrderedDict[str, Any]:
    """Return a module's state dict with arrays of NumPy, one for a tensor that others have too."""
    owners = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    state = module.state_dict()
    items = (
        (name, copy.deepcopy(value) if is_extra(name) else _array(value, owners.get(name)))
        for name, value in state.items()
    )
    return with_versions(items, versions(state))


def _array(value: Tensor, owner: Tensor | None) -> np.ndarray:
    made = value.cpu().numpy()
    if owner is None or owner.device.type != "cpu":
        return made
    known = _ARRAYS.get(owner)
    if known is None or known.__array_interface__ != made.__array_interface__:
        _ARRAYS[owner] = known = made
    return known


def versions(state: dict[str, Any]) -> dict[str, Any] | None:
    """Return the versions of the modules, by their names."""
    return getattr(state, "_metadata", None)


def with_versions(items: Any, found: dict[str, Any] | None) -> OrderedDict[str, Any]:
    """Make a state dict of entries and of the versions of the modules they are from."""
    state: Any = OrderedDict(items)
    if found is not None:
        state._metadata = OrderedDict(copy.deepcopy(found))
    return state
