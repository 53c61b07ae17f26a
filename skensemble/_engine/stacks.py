"""M networks as one module with a leading member axis.

Three ways to run them, one contract: ``forward`` maps inputs ``(M or 1, B, ...)`` to
outputs ``(M, B, K)``, of all members or of some that stand side by side; parameters carry the
user's names; ``member_state`` hands back the state dict of one member. Which one is used changes
the speed, never the result.

- `LoopStack` calls the members in turn: any module.
- `GraphStack` reads the module's graph and replaces each linear layer by one batched
  matrix product: multi-layer perceptrons, with or without residual connections.
- `VmapStack` vectorises the module's own forward with :func:`torch.func.vmap`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skensemble._data.batches import EVERYBODY
from skensemble.nn._states import map_state, versions, with_versions
from skensemble.nn._taps import Tap, listen
from skensemble.nn._tracing import CannotStack


class MemberStack(nn.Module, ABC):
    """Abstract stack of ``n_members`` networks of one architecture."""

    n_members: int
    taps: tuple[Tap, ...] = ()
    members_run: slice = EVERYBODY  # in the forward that is under way
    features: dict[str, Tensor]  # what the taps gave in the last forward, (member, sample, ...)

    def tap(self, taps: Sequence[Tap]) -> None:
        """Ask for the features of layers; every forward then leaves them in `features`."""
        self.taps = tuple(taps)
        self.features = {}

    def forward(self, x: Tensor, members: slice = EVERYBODY) -> Tensor:
        """Run some of the members, each on its own batch, or all on the one there is."""
        self.members_run = members
        try:
            return self._forward(x, len(range(self.n_members)[members]))
        finally:
            self.members_run = EVERYBODY

    @abstractmethod
    def _forward(self, x: Tensor, n_members: int) -> Tensor:
        """Run the members, of which there are so many."""

    @abstractmethod
    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield parameters under the names they have in the user's module."""

    @abstractmethod
    def member_state(self, member: int) -> dict[str, Tensor]:
        """Return a copy of one member's state dict."""

    def shown(self) -> nn.Module:
        """Return the module that a user's callback is shown: the network that is trained."""
        return self

    def set_draws(self, generators: Sequence[torch.Generator]) -> None:
        """Take the members' generators, for stacks that draw random numbers themselves."""


class LoopStack(MemberStack):
    """Members called in turn.

    Parameters
    ----------
    modules : sequence of Module
        The members; trained in place.
    channels_last : bool, default=False
        Whether to run images in channels-last memory order.
    """

    def __init__(self, modules: Sequence[nn.Module], channels_last: bool = False) -> None:
        super().__init__()
        self.n_members = len(modules)
        self.members = nn.ModuleList(modules)
        self.channels_last = channels_last
        if channels_last:
            self.members.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def tap(self, taps: Sequence[Tap]) -> None:
        super().tap(taps)
        self._heard: list[dict[str, Tensor]] = [{} for _ in self.members]
        for member, heard in zip(self.members, self._heard, strict=True):
            listen(member, taps, heard.__setitem__)

    def _forward(self, x: Tensor, n_members: int) -> Tensor:
        inputs = x.unbind(0)
        if len(x) != n_members:  # each its own, since a module may write into its input
            inputs = tuple(x[0].clone() for _ in range(n_members))
        if self.channels_last:
            inputs = tuple(xi.contiguous(memory_format=torch.channels_last) for xi in inputs)
        members: Any = self.members[self.members_run]
        outputs = [member(xi) for member, xi in zip(members, inputs, strict=True)]
        for tap in self.taps:
            heard = self._heard[self.members_run]
            self.features[tap.key] = torch.stack([one[tap.key] for one in heard])
        return outputs[0].unsqueeze(0) if len(outputs) == 1 else torch.stack(outputs)

    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        for member in self.members:
            yield from member.named_parameters()

    def shown(self) -> nn.Module:
        return self.members[0] if self.n_members == 1 else self

    def member_state(self, member: int) -> dict[str, Tensor]:
        return map_state(self.members[member].state_dict(), _copied)


def _copied(value: Tensor) -> Tensor:
    return value.detach().clone()


class _Stacked(MemberStack):
    """Parameters and buffers with a leading member axis, under the user's names."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.n_members = len(modules)
        self._names: dict[str, str] = {}
        first = modules[0]
        for name, value in first.named_parameters():
            members = [module.get_parameter(name).detach() for module in modules]
            self._names[name] = name.replace(".", "/")
            self.register_parameter(
                self._names[name], nn.Parameter(torch.stack(members), value.requires_grad)
            )
        for name, _ in first.named_buffers():
            self._names[name] = name.replace(".", "/")
            buffers = [module.get_buffer(name) for module in modules]
            self.register_buffer(self._names[name], torch.stack(buffers))
        # Tied parameters stand once above but under each of their names in a state dict.
        state = first.state_dict()
        self._versions = versions(state)
        self._state_names = self._find_state_names(first, state)

    def _find_state_names(self, module: nn.Module, state: dict[str, Any]) -> dict[str, str]:
        known: dict[int, str] = {}
        tensors = {
            **dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False)),
        }
        for name, value in tensors.items():
            if name in self._names:
                known[id(value)] = name
        for name in state:
            if name not in tensors:
                raise CannotStack(f"its state {name!r} is no parameter or buffer")
        return {name: known[id(tensors[name])] for name in state}

    def stacked(self, name: str) -> Tensor:
        """Return a stacked parameter or buffer, of the members that run, by the user's name."""
        value: Tensor = getattr(self, self._names[name])
        return value if self.members_run == EVERYBODY else value[self.members_run]

    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, key in self._names.items():
            if key in self._parameters:
                yield name, getattr(self, key)

    def member_state(self, member: int) -> dict[str, Tensor]:
        names = self._state_names.items()
        members = ((name, _copied(self.stacked(at)[member])) for name, at in names)
        return with_versions(members, self._versions)


class VmapStack(_Stacked):
    """Members vectorised by :func:`torch.func.vmap` over :func:`torch.func.functional_call`.

    Parameters
    ----------
    modules : sequence of Module
        The members; copied.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__(modules)
        # In a tuple so that it is neither moved nor listed as a child: it has no data.
        self._skeleton = (copy.deepcopy(modules[0]).to("meta"),)

    def _forward(self, x: Tensor, n_members: int) -> Tensor:
        names = {name: self.stacked(name) for name in self._names}
        shared = len(x) != n_members
        batched = torch.func.vmap(self._one, in_dims=(0, None if shared else 0), randomness="error")
        output, features = batched(names, x[0] if shared else x)
        if self.taps:
            self.features = features
        return output

    def _one(self, tensors: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        heard: dict[str, Tensor] = {}
        skeleton = self._skeleton[0]
        handles = listen(skeleton, self.taps, heard.__setitem__)
        try:
            return torch.func.functional_call(skeleton, tensors, (x,)), heard
        finally:
            for handle in handles:
                handle.remove()

    def train(self, mode: bool = True) -> VmapStack:
        """Set the mode of the members too."""
        super().train(mode)
        if hasattr(self, "_skeleton"):
            self._skeleton[0].train(mode)
        return self
