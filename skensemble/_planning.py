"""How many members train together, and by which kind of stack.

The choice follows a fixed rule on the module's size and never a stopwatch, so that runs
repeat. ``docs/design/stacking.md`` has the measurements behind the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skensemble._layers import Tap
from skensemble._recipe import Recipe
from skensemble._seeding import Purpose, generator, purpose_seed, torch_seeded
from skensemble._stacking import (
    CannotStack,
    GraphNode,
    GraphStack,
    LoopStack,
    MemberStack,
    VmapStack,
    trace,
)

# Weights, gradients and optimiser state of one stack, in bytes, at most.
_STACK_BYTES = {"cpu": 1 << 30, "cuda": 8 << 30}
# vmap turns convolutions into grouped ones, which pay only while a step is so small that
# its overhead counts: multiply-adds of one member's training batch, at most.
_VMAP_MACS = {"cpu": 100e6, "cuda": 2e9}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
    """

    kind: type[MemberStack]
    size: int
    reason: str = ""
    channels_last: bool = False
    draws: bool = False
    graph: tuple[GraphNode, ...] = ()
    taps: tuple[Tap, ...] = ()

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
    recipe = replace(recipe, start=None)
    module = recipe.build(seeds[0])
    blockers = recipe.stack_blockers()
    alone = Plan(
        LoopStack,
        len(seeds) if joint else 1,
        channels_last=recipe.channels_last,
        draws=bool(blockers) or _draws(module, sample),
        taps=taps,
    )
    if len(seeds) == 1 or (stack == 1 and not joint):
        return alone
    if recipe.compile or (blockers and not joint):
        return replace(alone, reason="; ".join(blockers))
    wanted = len(seeds) if stack == "auto" or joint else min(int(stack), len(seeds))
    if stack == "auto":
        wanted = min(wanted, _affordable(module, recipe, len(seeds) if joint else None))
    try:
        graph = trace(module.train())
        _check_same(partial(GraphStack, graph=graph), recipe, sample, seeds, taps)
        kind: type[MemberStack] = GraphStack
    except CannotStack as no_graph:
        graph = ()
        kind, reason = VmapStack, str(no_graph)
        if stack == "auto" and not _is_small(module, recipe, sample):
            return replace(alone, reason="it is too large to gain from training together")
        try:
            _check_same(VmapStack, recipe, sample, seeds, taps)
        except CannotStack as no_vmap:
            return replace(alone, reason=f"{reason}; {no_vmap}")
    return alone if wanted == 1 else replace(alone, kind=kind, size=wanted, graph=graph)


def try_module(recipe: Recipe, sample: Tensor) -> dict[str, Any]:
    """Run a module on a few rows, in both modes, and say what is wrong with its outputs.

    Returns
    -------
    dict
        What this tells of a recipe: its ``writes_input`` and ``channels_last``.
    """
    given, name = sample.clone(), getattr(recipe.module, "__name__", type(recipe.module).__name__)
    with torch.no_grad(), torch_seeded(0):
        module = _attempt(lambda: recipe.build(0).eval(), name, sample)
        outputs = _attempt(lambda: module(given), name, sample)
    _check_outputs(outputs, recipe, name, sample)
    if recipe.outputs_proba:
        sums = outputs.sum(-1)
        if outputs.min() < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise ValueError(
                "The criterion NLLLoss means, as in skorch, that the module returns "
                f"probabilities. Got rows of {name} with smallest entry "
                f"{outputs.min():.3g} and sum {sums[0]:.3g}. End the module with a softmax, or "
                "use criterion=torch.nn.CrossEntropyLoss with plain logits."
            )
    found = {
        "writes_input": not torch.equal(given, sample),
        "channels_last": _takes_channels_last(module, sample, outputs),
    }
    # Last, since it moves the averages of batch normalisation.
    mode = " in training mode"
    with torch.no_grad(), torch_seeded(0):
        outputs = _attempt(lambda: module.train()(sample.clone()), name, sample, mode)
    _check_outputs(outputs, recipe, name, sample, mode)
    return found


def _said_of(sample: Tensor) -> str:
    return f"{len(sample)} rows of shape {tuple(sample.shape[1:])} and dtype {sample.dtype}"


def _attempt(run: Callable[[], Any], name: str, sample: Tensor, mode: str = "") -> Any:
    """Run what is the user's, and say of an error whose it is."""
    try:
        return run()
    except Exception as error:  # whatever the user's forward raises
        raise ValueError(
            f"The module {name} failed{mode} on {_said_of(sample)}: {error}"
        ) from error


def _check_outputs(outputs: Any, recipe: Recipe, name: str, sample: Tensor, mode: str = "") -> None:
    """Raise unless a module returned one tensor of logits."""
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else None
    if shape == (len(sample), recipe.n_classes):
        return
    message = (
        f"The module {name} must return one tensor of shape (n_samples, n_classes), here "
        f"({len(sample)}, {recipe.n_classes}), for {_said_of(sample)}. Got "
        f"{type(outputs).__name__ if shape is None else shape}{mode} instead"
    )
    if shape is None:
        message += (
            "; return the logits alone: torchvision's networks with auxiliary outputs do with "
            "aux_logits=False, others inside a module that picks them"
        )
    raise ValueError(f"{message}.")


def _affordable(module: nn.Module, recipe: Recipe, all_of: int | None) -> int:
    """How many members fit into the memory a stack may take."""
    if all_of is not None:
        return all_of
    n_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    budget = _STACK_BYTES.get(torch.device(recipe.device).type, _STACK_BYTES["cpu"])
    return max(1, budget // (4 * n_bytes + 1))


def _takes_channels_last(module: nn.Module, sample: Tensor, outputs: Tensor) -> bool:
    """Whether a module has 2-d convolutions, which are faster so, and says the same in that order.

    One that flattens its maps with ``view`` fails.
    """
    if sample.dim() != 4 or not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return False
    order = torch.channels_last
    try:
        with torch.no_grad(), torch_seeded(0):
            module.to(memory_format=order)  # type: ignore[call-overload]
            same = module(sample.clone(memory_format=order))
    except Exception:
        return False
    finally:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.allclose(same, outputs, rtol=1e-3, atol=1e-3)


def _draws(module: nn.Module, sample: Tensor) -> bool:
    """Whether a forward pass in training draws from torch's global generator."""
    with torch_seeded(0), torch.no_grad():
        before = torch.get_rng_state()
        module.train()(sample.clone())
        return not torch.equal(before, torch.get_rng_state())


def count_macs(module: nn.Module, sample: Tensor) -> float:
    """Count the multiply-adds of linear and convolutional layers for one row."""
    total = [0.0]

    def linear(layer: nn.Linear, _: Any, out: Tensor) -> None:
        total[0] += out[0].numel() * layer.in_features

    def convolution(layer: Any, _: Any, out: Tensor) -> None:
        total[0] += out[0].numel() * layer.weight[0].numel()

    handles = [
        part.register_forward_hook(linear if isinstance(part, nn.Linear) else convolution)
        for part in module.modules()
        if isinstance(part, (nn.Linear, *_CONVOLUTIONS))
    ]
    was_training = module.training
    with torch.no_grad():
        module.eval()(sample[:1].clone())
    module.train(was_training)
    for handle in handles:
        handle.remove()
    return total[0]


def _is_small(module: nn.Module, recipe: Recipe, sample: Tensor) -> bool:
    device = torch.device(recipe.device).type
    batch = 512 if recipe.batch_size == -1 else recipe.batch_size
    return batch * count_macs(module, sample) <= _VMAP_MACS.get(device, _VMAP_MACS["cpu"])


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
