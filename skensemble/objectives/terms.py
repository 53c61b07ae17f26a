"""What students have in common with their teachers' outputs: one class an idea.

A parameter that is ``None`` is that of the same name of `DistilledClassifier`.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from skensemble import losses
from skensemble._data.batches import Batch
from skensemble._private import Interval, StrOptions
from skensemble.losses.distributions import bounded_exp
from skensemble.objectives.base import DistributionTerm, Term, as_like

POSITIVE = Interval(numbers.Real, 0, None, closed="neither")
WEIGHT = Interval(numbers.Real, 0, None, closed="left")


@dataclass(frozen=True, eq=False)
class LabelTerm(Term):
    """``T² KL(σ(t/T) ‖ σ(s/T))``, shared with the labels (Hinton, Vinyals and Dean, 2015).

    Parameters
    ----------
    temperature : float or None, default=None
        The temperature `T`.
    averaging : {"proba", "logit", "one-to-one"} or None, default=None
        Whether the mean of the teachers' probabilities at the temperature is learned, that of
        their mean logits, or, by each member of the student, its own teacher (`OneToOneTerm`).

    Examples
    --------
    >>> from skensemble.objectives import LabelTerm
    >>> LabelTerm(temperature=2.0)
    LabelTerm(temperature=2.0, averaging=None)
    """

    temperature: float | None = None
    averaging: str | None = None

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "temperature": [POSITIVE, None],
        "averaging": [StrOptions({"proba", "logit", "one-to-one"}), None],
    }

    def bind(self, n_classes: int, temperature: float, averaging: str) -> Term:
        term: Any = super().bind(n_classes, temperature, averaging)
        return OneToOneTerm(term.temperature) if term.averaging == "one-to-one" else term

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        temperature: Any = self.temperature
        return {"target": losses.soften(teacher, temperature, self.averaging or "proba")}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.label_distillation(
            logits,
            batch.targets["target"],
            batch.weight,
            temperature=as_like(self.temperature, logits),
        )


@dataclass(frozen=True, eq=False)
class OneToOneTerm(Term):
    """`LabelTerm` for each member of a student and one of its teacher (Mariet et al., 2020).

    Parameters
    ----------
    temperature : float or None, default=None
        The temperature `T`.

    Examples
    --------
    >>> from skensemble.objectives import OneToOneTerm
    >>> OneToOneTerm()
    OneToOneTerm(temperature=None)
    """

    temperature: float | None = None

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    targets_of_members: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {"temperature": [POSITIVE, None]}

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        temperature: Any = self.temperature
        return {"target": (teacher / temperature).softmax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.label_distillation(
            logits,
            batch.targets["target"],
            batch.weight,
            temperature=as_like(self.temperature, logits),
        )


@dataclass(frozen=True, eq=False)
class LogitTerm(Term):
    """Squared difference from the teachers' mean logits (Ba and Caruana, 2014).

    Examples
    --------
    >>> from skensemble.objectives import LogitTerm
    >>> LogitTerm()
    LogitTerm()
    """

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.mean(-2)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.logit_regression(logits, batch.targets["target"], batch.weight)


@dataclass(frozen=True, eq=False)
class TruncatedTerm(Term):
    """Truncated scaled logits beside the labels (Allen-Zhu and Li, 2023, eq. 4.2 and 4.3).

    Parameters
    ----------
    tau : float or "auto", default="auto"
        Where logits are cut off, and their scale; "auto" is ``1 / log(n_classes) ** 2``.
    one_sided : bool, default=False
        Whether to only raise classes in which the student is below the teacher, as published.
        At a finite number of classes that is not stable, since nothing lowers a logit: on
        multi-view data of ten classes they ran away to a mean of 2,690 and the student erred
        more (.58 μ) than a network on labels (.34 μ), where both sides gave .12 μ
        (``docs/guide/theory.md``); on digits it ends at chance.
    weight : float, default=1.0
        Weight of the term beside the full cross-entropy.

    Examples
    --------
    >>> from skensemble.objectives import TruncatedTerm
    >>> TruncatedTerm(tau=0.5).set_params(weight=2.0)
    TruncatedTerm(tau=0.5, one_sided=False, weight=2.0)
    """

    tau: Any = "auto"
    one_sided: bool = False
    weight: float = 1.0

    scalars: ClassVar[tuple[str, ...]] = ("tau", "weight")
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "tau": [POSITIVE, StrOptions({"auto"})],
        "one_sided": ["boolean"],
        "weight": [WEIGHT],
    }

    def bind(self, n_classes: int, temperature: float, averaging: str) -> Term:
        tau = 1 / math.log(n_classes) ** 2 if isinstance(self.tau, str) else float(self.tau)
        return replace(self, tau=tau)

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.mean(-2)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.targets["target"]
        return losses.truncated_distillation(
            logits, target, batch.weight, tau=as_like(self.tau, logits), one_sided=self.one_sided
        )


@dataclass(frozen=True, eq=False)
class AdaptiveTerm(Term):
    """AE-KD: teachers weighed so that their gradients agree (Du et al., 2020).

    Parameters
    ----------
    temperature : float or None, default=None
        The temperature `T`.
    cap : float, default=0.6
        Largest weight of one network of the teacher; at least ``1 / M``.

    Examples
    --------
    >>> from skensemble.objectives import AdaptiveTerm
    >>> AdaptiveTerm(cap=0.5)
    AdaptiveTerm(temperature=None, cap=0.5)
    """

    temperature: float | None = None
    cap: float = 0.6

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "temperature": [POSITIVE, None],
        "cap": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.adaptive_distillation(
            logits,
            batch.targets["target"],
            batch.weight,
            temperature=as_like(self.temperature, logits),
            cap=max(self.cap, 1 / batch.targets["target"].shape[-2]),
        )


@dataclass(frozen=True, eq=False)
class DirichletTerm(DistributionTerm):
    """EnD²: likelihood of the teachers' probabilities under the student's Dirichlet.

    The temperature stays where it is for the first half of the epochs and then goes to 1
    in a straight line, as a schedule that lets a flat Dirichlet find its way (Malinin,
    Mlodozeniec and Gales, 2020).

    Parameters
    ----------
    temperature : float or None, default=None
        The temperature `T` of the first half.

    Examples
    --------
    >>> from skensemble.objectives import DirichletTerm
    >>> DirichletTerm(temperature=10.0)
    DirichletTerm(temperature=10.0)
    """

    temperature: float | None = None

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    follows_progress: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {"temperature": [POSITIVE, None]}

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.softmax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.targets["target"]
        left = min(1.0, 2.0 * (1.0 - batch.progress))
        temperature = 1.0 + left * (as_like(self.temperature, logits) - 1.0)
        return losses.dirichlet_nll(logits, target, batch.weight, temperature=temperature)

    def concentration(self, logits: Tensor) -> Tensor:
        """Return the Dirichlet's parameters, ``exp(s)``."""
        return bounded_exp(logits)


@dataclass(frozen=True, eq=False)
class ProxyDirichletTerm(DistributionTerm):
    """Proxy-EnD²: KL divergence from the Dirichlet that fits the teachers best.

    Ryabinin, Malinin and Gales (2021).

    Parameters
    ----------
    reverse : bool, default=True
        Whether the divergence is that of the student from the fitted Dirichlet.

    Examples
    --------
    >>> from skensemble.objectives import ProxyDirichletTerm
    >>> ProxyDirichletTerm()
    ProxyDirichletTerm(reverse=True)
    """

    reverse: bool = True

    reads_logits: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {"reverse": ["boolean"]}

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        mean, precision = losses.proxy_dirichlet_target(teacher.softmax(-1))
        return {"mean": mean, "precision": precision}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        mean, precision = batch.targets["mean"], batch.targets["precision"]
        return losses.proxy_dirichlet(logits, mean, precision, batch.weight, reverse=self.reverse)

    def log_proba(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the Dirichlet's mean, ``(exp(s) + 1) / sum``."""
        return torch.logaddexp(logits, torch.zeros_like(logits)).log_softmax(-1)

    def concentration(self, logits: Tensor) -> Tensor:
        """Return the Dirichlet's parameters, ``exp(s) + 1``."""
        return bounded_exp(logits) + 1


@dataclass(frozen=True, eq=False)
class ConfidenceTerm(Term):
    """CWTM: the labels, each row weighed by the teacher's largest probability.

    Furlanello et al. (2018).

    Parameters
    ----------
    temperature : float or None, default=None
        Of the probabilities.

    Examples
    --------
    >>> from skensemble.objectives import ConfidenceTerm
    >>> ConfidenceTerm(temperature=1.0)
    ConfidenceTerm(temperature=1.0)
    """

    temperature: float | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {"temperature": [POSITIVE, None]}

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        temperature: Any = self.temperature
        return {"confidence": losses.soften(teacher, temperature).amax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        weight = batch.targets["confidence"]
        weight = weight if batch.weight is None else weight * batch.weight
        return losses.cross_entropy(logits, batch.y, weight)


@dataclass(frozen=True, eq=False)
class PermutedTerm(Term):
    """DKPP: `LabelTerm` with all probabilities but the largest permuted in each row.

    Furlanello et al. (2018).

    Parameters
    ----------
    temperature : float or None, default=None
        The temperature `T`.
    seed : int, default=0
        Of the permutations.

    Examples
    --------
    >>> from skensemble.objectives import PermutedTerm
    >>> PermutedTerm(seed=1)
    PermutedTerm(temperature=None, seed=1)
    """

    temperature: float | None = None
    seed: int = 0

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "temperature": [POSITIVE, None],
        "seed": [Interval(numbers.Integral, 0, None, closed="left")],
    }

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        target = LabelTerm(self.temperature).targets(teacher)["target"]
        draw = torch.Generator().manual_seed(self.seed)
        return {"target": losses.permute_dark_knowledge(target, draw)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return LabelTerm(self.temperature)(logits, batch)
