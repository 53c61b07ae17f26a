"""Learning rates and weight decays that differ between members trained together.

One optimiser runs over the stacked tensors at the largest of the members' rates. The update of
the optimisers below is proportional to the rate, so each member's step is shortened to its own
rate afterwards, which loses no digits: a step that is stretched would have its rounding stretched
as well. The decay is applied member by member before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from skorch.callbacks import LRScheduler
from torch import Tensor

from skensemble._recipes.training import TrainingSettings

# Optimisers whose update is proportional to the learning rate.
_PROPORTIONAL = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adamax, torch.optim.NAdam,
    torch.optim.RAdam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta,
)  # fmt: skip


# A step at a rate beyond it may leave the range of float32, and with it those of all members.
_LARGEST = 1e3

_COUPLED = (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad)


def rate_key(training: TrainingSettings, by_part: bool = False) -> tuple[Any, ...]:
    """Return what of rate and decay must be equal for members to train together.

    Parameters
    ----------
    training : TrainingSettings
        Of a member.
    by_part : bool, default=False
        Whether parts of the member have rates of their own.
    """
    decay = training.optimizer_kwargs.get("weight_decay", 0.0)
    alone = training.optimizer not in _PROPORTIONAL or not 0 < training.lr <= _LARGEST
    scheduled = any(isinstance(callback, LRScheduler) for _, callback in training.callbacks())
    grouped = "param_groups" in training.optimizer_kwargs  # with rates of their own
    if alone or scheduled or grouped or by_part:
        return (training.lr, decay)
    can_decay = training.optimizer in (*_COUPLED, torch.optim.AdamW)
    plain = not {"maximize", "decoupled_weight_decay"} & set(training.optimizer_kwargs)
    # The sign marks decay or none: zero is not the optimiser's default everywhere.
    return () if can_decay and plain and "weight_decay" in training.optimizer_kwargs else (decay,)


class MemberRates:
    """Shorten a common optimiser's steps to the members' own rates.

    Parameters
    ----------
    settings : sequence of TrainingSettings
        How the members are trained, alike but for rate and decay.
    device : str
        Where the parameters are.

    Attributes
    ----------
    lr : float
        The rate of the common optimiser, the largest of all.
    optimizer_kwargs : dict
        Its other settings.
    """

    def __init__(self, settings: Sequence[TrainingSettings], device: str) -> None:
        first = settings[0]
        decays = [one.optimizer_kwargs.get("weight_decay", 0.0) for one in settings]
        rates = torch.tensor([one.lr for one in settings], dtype=torch.float64)
        self.lr = max(one.lr for one in settings)
        self._ratio = None
        if any(one.lr != self.lr for one in settings):
            self._ratio = (rates / self.lr).to(device)
        self._decay = None
        self.optimizer_kwargs = dict(first.optimizer_kwargs)
        if any(decay != decays[0] for decay in decays):
            self.optimizer_kwargs["weight_decay"] = 0.0
            self._decay = torch.tensor(decays, dtype=torch.float64, device=device)
        self._shrink = None
        if self._decay is not None and first.optimizer is torch.optim.AdamW:
            self._shrink, self._decay = 1 - rates.to(device) * self._decay, None

    @property
    def needed(self) -> bool:
        """Whether members differ at all."""
        return not (self._ratio is None and self._decay is None and self._shrink is None)

    def decay(self, parameters: Iterable[Tensor]) -> None:
        """Add the members' decay to the gradients, where the optimiser couples them."""
        if self._decay is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() * _lead(self._decay, parameter))

    def before(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """Shrink weights that decay by themselves, and keep what a step starts from."""
        if self._ratio is None and self._shrink is None:
            return []
        with torch.no_grad():
            start = []
            for parameter in parameters:
                if self._shrink is not None and parameter.requires_grad:
                    parameter.mul_(_lead(self._shrink, parameter))
                start.append(parameter.clone())
        return start

    def after(self, parameters: Iterable[Tensor], start: list[Tensor]) -> None:
        """Shorten the step that was made."""
        if self._ratio is None:
            return
        with torch.no_grad():
            for parameter, old in zip(parameters, start, strict=True):
                step = parameter.sub_(old).mul_(_lead(self._ratio, parameter))
                step.add_(old)


def _lead(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))
