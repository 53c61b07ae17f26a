"""How many members train together, and by which kind of stack.

The choice follows a fixed rule on the module's size and never a stopwatch, so that runs
repeat. ``docs/design/stacking.md`` has the measurements behind the numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from skensemble._engine.graph_stack import GraphNode, GraphStack, trace
from skensemble._engine.stacks import LoopStack, MemberStack, VmapStack
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, generator, purpose_seed, torch_seeded
from skensemble.nn._costs import count_macs
from skensemble.nn._taps import Tap
from skensemble.nn._tracing import CannotStack
from skensemble.nn.mlp import MLP
from skensemble.nn.tabular import TabularNet

# Weights, gradients and optimiser state of one stack, in bytes, at most.
_STACK_BYTES = {"cpu": 1 << 30, "cuda": 8 << 30}


# vmap turns convolutions into grouped ones, which pay only while a step is so small that
# its overhead counts: multiply-adds of one member's training batch, at most.
_VMAP_MACS = {"cpu": 100e6, "cuda": 2e9}


# Networks whose graphs run as their members do: a test tries every kind of layer they have. A trial
# in every fit would tell nothing, and takes as long as a few epochs of a small network.
KNOWN = (MLP, TabularNet)


@dataclass(frozen=True)
class Plan:
    """Which stack trains the members, how many at a time, and why no more.

    Attributes
    ----------
    kind : type
        `LoopStack`, `GraphStack` or `VmapStack`.
    size : int
        Members a stack.
    reason : str
        Why they train one by one, or empty.
    channels_last : bool
        Whether images are laid out channels-last when members train one by one.
    draws : bool
        Whether a step draws from torch's global generator, so that it must be seeded.
    graph : tuple of GraphNode
        The traced module, for a `GraphStack`.
    taps : tuple of Tap
        Layers whose features the objective wants.
    member_bytes : int
        Weights, gradients and two optimiser moments of one member.
    member_macs : float
        Multiply-adds of one member's batch, at least.
    """

    kind: type[MemberStack]
    size: int
    reason: str = ""
    channels_last: bool = False
    draws: bool = False
    graph: tuple[GraphNode, ...] = ()
    taps: tuple[Tap, ...] = ()
    member_bytes: int = 0
    member_macs: float = math.inf

    def build(self, modules: list[nn.Module]) -> MemberStack:
        """Put modules into a stack of the planned kind."""
        stack: MemberStack
        if self.kind is LoopStack or len(modules) == 1:
            stack = LoopStack(modules, self.channels_last)
        elif self.kind is GraphStack:
            stack = GraphStack(modules, self.graph)
        else:
            stack = VmapStack(modules)
        stack.tap(self.taps)
        return stack


def make_plan(
    recipe: Recipe,
    sample: Tensor,
    seeds: list[int],
    stack: int | str,
    *,
    joint: bool = False,
    taps: tuple[Tap, ...] = (),
) -> Plan:
    """Decide how the members with `seeds` are trained.

    Parameters
    ----------
    recipe : Recipe
        What a member is.
    sample : Tensor of shape (n_few, ...)
        A few rows, converted, for a trial run.
    seeds : list of int
        The members' seeds.
    stack : int or "auto"
        What the user asked for.
    joint : bool, default=False
        Whether all members must be in one stack, as for the trained sum.
    taps : tuple of Tap, default=()
        Layers whose features the objective wants.
    """
    # A trial wants members that differ, so weights drawn from their seeds.
    recipe = recipe.fresh()
    module = recipe.build(seeds[0])
    blockers = recipe.training.stack_blockers()
    alone = Plan(
        LoopStack,
        len(seeds) if joint else 1,
        channels_last=recipe.channels_last,
        draws=bool(blockers) or _draws(module, sample),
        taps=taps,
        member_bytes=_count_bytes(module),
        member_macs=_count_macs(module, recipe, sample),
    )
    if len(seeds) == 1 or (stack == 1 and not joint):
        return alone
    if recipe.training.compile or (blockers and not joint):
        return replace(alone, reason="; ".join(blockers))
    wanted = len(seeds) if stack == "auto" or joint else min(int(stack), len(seeds))
    if stack == "auto":
        wanted = min(wanted, _affordable(module, recipe, len(seeds) if joint else None))
    try:
        graph = trace(module.train())
        GraphStack([module], graph)  # unknown layers are told before any members are drawn
        if taps or recipe.wraps or type(module) not in KNOWN:
            _check_same(partial(GraphStack, graph=graph), recipe, sample, seeds, taps)
        kind: type[MemberStack] = GraphStack
    except CannotStack as no_graph:
        graph = ()
        kind, reason = VmapStack, str(no_graph)
        if stack == "auto" and not _is_small(alone.member_macs, recipe):
            return replace(alone, reason="it is too large to gain from training together")
        try:
            _check_same(VmapStack, recipe, sample, seeds, taps)
        except CannotStack as no_vmap:
            return replace(alone, reason=f"{reason}; {no_vmap}")
    return alone if wanted == 1 else replace(alone, kind=kind, size=wanted, graph=graph)


def _affordable(module: nn.Module, recipe: Recipe, all_of: int | None) -> int:
    """How many members fit into the memory a stack may take."""
    if all_of is not None:
        return all_of
    budget = _STACK_BYTES.get(torch.device(recipe.training.device).type, _STACK_BYTES["cpu"])
    return max(1, budget // (_count_bytes(module) + 1))


def _count_bytes(module: nn.Module) -> int:
    """Count the bytes of weights, gradients and two optimiser moments."""
    return 4 * sum(p.numel() * p.element_size() for p in module.parameters())


def _draws(module: nn.Module, sample: Tensor) -> bool:
    """Whether a forward pass in training draws from torch's global generator."""
    with torch_seeded(0), torch.no_grad():
        before = torch.get_rng_state()
        module.train()(sample.clone())
        return not torch.equal(before, torch.get_rng_state())


def _count_macs(module: nn.Module, recipe: Recipe, sample: Tensor) -> float:
    """Count a batch's multiply-adds; a parameter of no known layer takes part in one at least."""
    batch = recipe.training.batch_size
    n_parameters = sum(p.numel() for p in module.parameters())
    return (512 if batch == -1 else batch) * max(count_macs(module, sample), n_parameters)


def _is_small(macs: float, recipe: Recipe) -> bool:
    device = torch.device(recipe.training.device).type
    return macs <= _VMAP_MACS.get(device, _VMAP_MACS["cpu"])


def _check_same(
    kind: Callable[[list[nn.Module]], MemberStack],
    recipe: Recipe,
    x: Tensor,
    seeds: list[int],
    taps: tuple[Tap, ...],
) -> None:
    """Run two members both ways on a few rows; raise `CannotStack` unless they agree."""
    seeds = seeds[:2]

    def modules() -> list[nn.Module]:
        return [recipe.build(seed) for seed in seeds]

    stack, alone = kind(modules()), modules()
    stack.tap(taps)
    stack.set_draws([generator(seed, Purpose.FORWARD) for seed in seeds])
    for training in (True, False):
        expected = []
        for module, seed in zip(alone, seeds, strict=True):
            with torch_seeded(purpose_seed(seed, Purpose.FORWARD)):
                expected.append(module.train(training)(x.clone()))
        try:
            with warnings.catch_warnings():
                # Of a trial that may well choose not to; a training tells it again.
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                outputs = stack.train(training)(x.clone().unsqueeze(0))
                outputs.sum().backward()
        except CannotStack:
            raise
        except Exception as error:  # whatever vmap or the user's forward raises
            message = str(error).strip().splitlines()
            raise CannotStack(
                f"vmap cannot run it ({message[0] if message else error!r})"
            ) from error
        wanted = torch.stack(expected)
        if outputs.shape != wanted.shape or not torch.allclose(outputs, wanted, 1e-3, 1e-4):
            raise CannotStack("its members give other results together than alone")
