"""Channels that several layers share, found by Torch-Pruning and trusted only when checked.

Torch-Pruning follows channels through sums and concatenations and says which rows and
columns of which layers belong together. It is only asked; what is taken out is taken out by
`skensemble.nn.narrowing`, and `Operation.perform` compares the result with the network whose
channels are zero. That is not a formality: shortcuts that pad channels are read wrongly.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from skensemble.nn.narrowing import CONVOLUTIONS, NORMS, Cuts
from skensemble.pruning.choosing import (
    Operation,
    PruningSettings,
    Widths,
    choose,
    kinds,
    named_by,
    nothing_found,
    scores_by,
)
from skensemble.pruning.scores import filter_l1
from skensemble.pruning.surgery import CannotPrune

__all__ = ["Coupling", "plan_coupled", "torch_pruning_couplings"]


@dataclass
class Coupling:
    """Channels that must go together.

    Attributes
    ----------
    root : str
        The layer they are named after.
    n_channels : int
        How many there are.
    places : list of (str, str, list of list of int)
        A layer, the side of it ("out" or "in"), and for each channel its rows or columns there.
    blocked : str
        Why they cannot be taken out, or empty.
    """

    root: str
    n_channels: int
    places: list[tuple[str, str, list[list[int]]]] = field(default_factory=list)
    blocked: str = ""


def plan_coupled(
    module: nn.Module,
    sample: Tensor,
    how: PruningSettings,
    find: Callable[[nn.Module, Tensor], list[Coupling]] | None = None,
) -> Operation:
    """Decide what stays of a module whose layers share channels.

    Parameters
    ----------
    module : Module
        Trained, on the CPU.
    sample : Tensor of shape (n_few, ...)
        A few rows of what it takes.
    how : PruningSettings
        What is asked for; the scores of layers that make the same channels are added up.
    find : callable, default=None
        Who knows what belongs together; Torch-Pruning unless given.
    """
    wanted = kinds(module, how.layers)
    couplings, left, skipped = [], {}, False
    for one in (find or torch_pruning_couplings)(module, sample):
        layers = [name for name, side, _ in one.places if side == "out"]
        if any(named_by(name, prefix) for name in layers for prefix in how.skip):
            left[one.root] = "'skip' names it, or a layer it shares channels with"
            skipped = True
        elif one.blocked:
            left[one.root] = one.blocked
        elif not isinstance(module.get_submodule(one.root), wanted):
            left[one.root] = f"layers={how.layers!r} leaves its kind whole"
        else:
            couplings.append(one)
    if not couplings and not skipped:
        raise nothing_found("coupled=True", module, left, "Use coupled=False")
    for one in couplings:
        _check_places(one, module)
    scores = {one.root: _score(one, module, how.method) for one in couplings}
    kept = choose(scores, how)
    widths = {one.root: Widths(one.n_channels, len(kept[one.root])) for one in couplings
              if one.root in kept}  # fmt: skip
    return Operation(_cuts(couplings, kept, module), {}, widths, left)


def _check_places(coupling: Coupling, module: nn.Module) -> None:
    for name, side, places in coupling.places:
        layer: Any = module.get_submodule(name)
        n = layer.weight.shape[0 if side == "out" else 1]
        worst = max((at for channel in places for at in channel), default=0)
        if worst >= n:
            raise CannotPrune(
                f"The channels of {coupling.root!r} are said to include number {worst} of "
                f"{name!r}, which has {n}. Use coupled=False, or name {coupling.root!r} in 'skip'."
            )


def _score(coupling: Coupling, module: nn.Module, method: Any) -> Tensor:
    """Add up what a channel is worth in each of the layers that make it."""
    total = torch.zeros(coupling.n_channels, dtype=torch.float64)
    for name, side, places in coupling.places:
        layer: Any = module.get_submodule(name)
        if side != "out" or isinstance(layer, NORMS):
            continue
        with torch.no_grad():
            if method == "l1-filter":
                rows = filter_l1(layer.weight)
            else:
                rows = scores_by(method, layer, None, name, len(layer.weight))
        total += torch.stack([rows[at].double().sum() for at in places])
    return total


def _cuts(couplings: list[Coupling], kept: dict[str, list[int]], module: nn.Module) -> Cuts:
    gone: dict[tuple[str, str], set[int]] = {}
    for one in couplings:
        out = set(range(one.n_channels)) - set(kept.get(one.root, range(one.n_channels)))
        for name, side, places in one.places:
            gone.setdefault((name, side), set()).update(i for ch in out for i in places[ch])
    cuts: Cuts = {}
    for (name, side), away in gone.items():
        if away:
            layer: Any = module.get_submodule(name)
            n = layer.weight.shape[0 if side == "out" else 1]
            cuts.setdefault(name, {})[side] = [i for i in range(n) if i not in away]
    return cuts


def torch_pruning_couplings(module: nn.Module, sample: Tensor) -> list[Coupling]:
    """Ask Torch-Pruning which channels of a module belong together."""
    if importlib.util.find_spec("torch_pruning") is None:
        raise ImportError(
            "coupled=True needs Torch-Pruning; install it with "
            "pip install 'skensemble[pruning]', or use coupled=False."
        )
    import torch_pruning as tp

    module = copy.deepcopy(module).eval()
    names: dict[Any, str] = {part: name for name, part in module.named_modules()}
    names |= {weight: name for name, weight in module.named_parameters()}
    layers = [part for part in module.modules() if isinstance(part, (nn.Linear, *CONVOLUTIONS))]
    _check_called(module, layers, names, sample)
    try:
        with torch.enable_grad(), warnings.catch_warnings():  # it reads the graph of gradients
            warnings.simplefilter("ignore")  # what it warns of, `blocked` says
            graph = tp.DependencyGraph().build_dependency(module, sample.clone())
        heads = _heads(graph, layers)
        roots = [nn.Linear, *CONVOLUTIONS]
        groups = list(graph.get_all_groups(ignored_layers=heads, root_module_types=roots))
    except Exception as error:  # whatever Torch-Pruning makes of what it cannot follow
        raise CannotPrune(
            f"Torch-Pruning, which coupled=True asks, cannot follow the channels of this "
            f"{type(module).__name__}: {type(error).__name__}: {error}. Use coupled=False, "
            "with method='magnitude' where that finds no channels either."
        ) from error
    return [_read(group, names) for group in groups]


def _check_called(
    module: nn.Module, layers: Sequence[nn.Module], names: dict[Any, str], sample: Tensor
) -> None:
    """Raise where a layer is not called, so that Torch-Pruning does not see it."""
    called: set[nn.Module] = set()
    hooks = [layer.register_forward_hook(lambda part, *_: called.add(part)) for layer in layers]
    with torch.no_grad():
        module(sample.clone())
    for hook in hooks:
        hook.remove()
    missed = [names[layer] for layer in layers if layer not in called]
    if missed:
        raise CannotPrune(
            "coupled=True needs every layer to be called as a module: Torch-Pruning does not see "
            f"others. This {type(module).__name__} does not call {', '.join(missed)}. Use "
            "coupled=False, with method='magnitude' where that finds no channels either."
        )


def _heads(graph: Any, layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the layers that make the output: those whose channels nobody reads."""
    heads: list[nn.Module] = []
    for layer in layers:
        group = graph.get_pruning_group(
            layer, graph.get_pruner_of_module(layer).prune_out_channels, [0]
        )
        readers = [item for item in group if _side(item.dep) == "in"]
        if not readers:
            heads.append(layer)
    return heads


def _side(dep: Any) -> str:
    return "out" if dep.handler.__name__ == "prune_out_channels" else "in"


def _read(group: Any, names: dict[Any, str]) -> Coupling:
    """Translate a group; one that holds what cannot be cut is blocked."""
    root = group[0].dep.target.module
    n_channels = len(group[0].idxs)
    coupling = Coupling(names[root], n_channels)
    for item in group:
        layer = item.dep.target.module
        if layer not in names:  # a sum, a concatenation, a view
            continue
        if not isinstance(layer, (nn.Linear, *CONVOLUTIONS, *NORMS)):
            if isinstance(layer, nn.Parameter) or any(True for _ in layer.parameters()):
                kind = type(layer).__name__
                coupling.blocked = f"it shares channels with {names[layer]}, a {kind}"
            continue
        side = "out" if isinstance(layer, NORMS) else _side(item.dep)
        places: list[list[int]] = [[] for _ in range(n_channels)]
        roots = getattr(item, "root_idxs", None) or range(len(item.idxs))
        for at, channel in zip(item.idxs, roots, strict=True):
            places[channel].append(int(at))
        coupling.places.append((names[layer], side, places))
    return coupling
