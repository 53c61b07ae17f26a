"""Many members that share their weights, as something put around a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from skensemble._recipes.training import TrainingSettings
from skensemble._recipes.wraps import Wrap
from skensemble.nn.batch_ensemble import FAST_WEIGHTS, BatchEnsemble


@dataclass(frozen=True)
class Rank1(Wrap, name="rank1"):
    """A network as many that share all but two vectors a layer.

    It then returns ``(n_samples, n_members, n_outputs)``. The attributes are the arguments of
    `BatchEnsemble`.
    """

    n_members: int
    init: str
    around_one: bool
    gain: float

    shares_layers = True

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Give each layer its members' vectors."""
        return BatchEnsemble(module, self.n_members, self.init, self.around_one, self.gain)

    def count_members(self) -> int:
        """Return how many members there are."""
        return self.n_members

    def as_given(self, training: TrainingSettings) -> TrainingSettings:
        """Leave out the vectors' own rates."""
        kwargs = dict(training.optimizer_kwargs)
        groups = [group for group in kwargs.pop("param_groups", []) if group[0] not in FAST_WEIGHTS]
        if groups:
            kwargs["param_groups"] = groups
        return replace(training, optimizer_kwargs=kwargs)
