"""torchvision's transforms, and any other function of a batch."""

from __future__ import annotations

import numbers
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import joblib
import numpy as np
import torch
from torch import Tensor

from skensemble._arguments import naming
from skensemble._data.batches import Batch
from skensemble._private import Interval, StrOptions
from skensemble._seeding import torch_seeded
from skensemble.augmentation.base import Augmentation, Draws, check_fields, check_image, weighed
from skensemble.augmentation.policies import RandomPolicy


def _run(transform: Any, x: Tensor, seed: int, per_row: bool) -> Tensor:
    """Apply a transform that draws from torch's global generators, which are left as they were."""
    with torch_seeded(seed, x.device), naming("augmentation", "be able to alter a batch"):
        return torch.stack([transform(row) for row in x]) if per_row else transform(x)


def _seed(draw: np.random.Generator) -> int:
    return int(draw.integers(2**63 - 1))


class _Policy(Augmentation):
    """torchvision's transforms of images of bytes."""

    per_row: bool

    @property
    def unit_range(self) -> bool:
        return True

    def check(self, in_shape: tuple[int, ...]) -> None:
        check_image(self, in_shape)
        if in_shape[0] not in (1, 3):
            raise ValueError(
                f"{type(self).__name__} needs images of 1 or 3 channels. Got {in_shape[0]}."
            )

    @abstractmethod
    def _build(self) -> Any:
        """Return torchvision's transform."""

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        x = batch.x
        if x.min() < 0 or x.max() > 1:
            raise ValueError(
                f"{type(self).__name__} works on images in [0, 1], which it turns into bytes. Got "
                f"{float(x.min()):.3g} to {float(x.max()):.3g}; whatever leaves that range has to "
                "come after it."
            )
        pixels, transform = (x * 255).round().to(torch.uint8), self._build()
        parts = [
            _run(transform, own, _seed(draw), self.per_row)
            for own, draw in zip(pixels, draws, strict=True)
        ]
        return replace(batch, x=torch.stack(parts).to(x.dtype).mul_(1 / 255))


@dataclass(frozen=True)
class AutoAugment(_Policy):
    """A learned list of pairs of operations, of which one pair is drawn (Cubuk et al., 2019).

    Images must lie in [0, 1]; they are rounded to bytes, as torchvision's operations on
    colours want them, and scaled back.

    Parameters
    ----------
    policy : {"cifar10", "imagenet", "svhn", "random"}, default="cifar10"
        Which list. "random" is one that was drawn and not learned, the paper's own control.
    per_row : bool, default=True
        Whether each row draws a pair of its own, as in the paper, or one serves the whole
        batch, which takes far less time.
    policy_seed : int, default=0
        Of the "random" list, which is then the same for all members and epochs.
    """

    policy: str = "cifar10"
    per_row: bool = True
    policy_seed: int = 0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "policy": [StrOptions({"cifar10", "imagenet", "svhn", "random"})],
        "per_row": ["boolean"],
        "policy_seed": [Interval(numbers.Integral, 0, None, closed="left")],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    def _build(self) -> Any:
        if self.policy == "random":
            return RandomPolicy(self.policy_seed)
        from torchvision.transforms import v2  # takes a second to import

        return v2.AutoAugment(v2.AutoAugmentPolicy(self.policy))


@dataclass(frozen=True)
class RandAugment(_Policy):
    """Some operations drawn at random, all of one magnitude (Cubuk et al., 2020).

    Images must lie in [0, 1]; they are rounded to bytes, as torchvision's operations on
    colours want them, and scaled back.

    Parameters
    ----------
    n_ops : int, default=2
        How many operations one after the other.
    magnitude : int, default=9
        From 0 to 30.
    per_row : bool, default=True
        Whether each row draws operations of its own, as in the paper, or the same serve the
        whole batch, which takes far less time.
    """

    n_ops: int = 2
    magnitude: int = 9
    per_row: bool = True

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_ops": [Interval(numbers.Integral, 1, None, closed="left")],
        "magnitude": [Interval(numbers.Integral, 0, 30, closed="both")],
        "per_row": ["boolean"],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    def _build(self) -> Any:
        from torchvision.transforms import v2

        return v2.RandAugment(self.n_ops, self.magnitude)


@dataclass(frozen=True)
class Transform(Augmentation):
    """Any function of a batch, such as one of ``torchvision.transforms.v2``.

    It is given floating rows ``(n_samples, ...)``, in [0, 1] where `X` holds bytes, and
    returns as many of the same shape; bytes are scaled to [0, 1]. Where it mixes rows
    (``v2.CutMix``, ``v2.MixUp``) it is given their labels too. What it draws from torch's
    global generators is seeded; the generators of NumPy and ``random`` are not.

    Parameters
    ----------
    function : callable
        The transform. For ``n_jobs`` it must be possible to pickle it.
    per_row : bool, default=False
        Whether it is called for each row by itself. Called once it draws once, and all
        rows of the batch are, for example, mirrored or not.

    Examples
    --------
    >>> import torch
    >>> from skensemble import NetworkClassifier
    >>> noisy = Transform(lambda x: x + 0.1 * torch.randn_like(x))
    >>> net = NetworkClassifier(augmentation=noisy, random_state=0)
    """

    function: Callable[..., Any]
    per_row: bool = False

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "function": [callable],
        "per_row": ["boolean"],
    }

    def __post_init__(self) -> None:
        check_fields(self)
        if self.per_row and self.mixes:
            raise ValueError(
                f"A transform that mixes rows needs the whole batch: per_row=False. Got "
                f"per_row=True for {self.function!r}."
            )

    @property
    def mixes(self) -> bool:
        return _mixes(self.function)

    def key(self) -> Any:
        try:
            return type(self), joblib.hash(self.function), self.per_row
        except Exception:  # pickle raises what it likes; clones share functions that it cannot take
            return type(self), id(self.function), self.per_row

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        if self.mixes:
            return self._mix(batch, draws)
        parts = [
            self._checked(_run(self.function, own.clone(), _seed(draw), self.per_row), own)
            for own, draw in zip(batch.x, draws, strict=True)
        ]
        return replace(batch, x=torch.stack(parts))

    def _checked(self, out: Any, like: Tensor) -> Tensor:
        is_bytes = isinstance(out, Tensor) and out.dtype == torch.uint8
        if not isinstance(out, Tensor) or not (is_bytes or out.is_floating_point()):
            got = f"a tensor of {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
            raise TypeError(
                "A transform in 'augmentation' must return a tensor of floats or of bytes. Got "
                f"{got} from {self.function!r}."
            )
        if out.shape != like.shape:
            raise ValueError(
                "A transform in 'augmentation' must return rows of the shape it was given, "
                f"{tuple(like.shape)}. Got {tuple(out.shape)} from {self.function!r}."
            )
        # As a plain tensor, and scaled as images of bytes are.
        out = out.as_subclass(Tensor).to(like.device, like.dtype)
        return out * (1 / 255) if is_bytes else out

    def _mix(self, batch: Batch, draws: Draws) -> Batch:
        """Let the transform mix labels, which it does in proportion: so weights go with them."""
        if batch.labelled is not None:
            raise ValueError(
                f"{self.function!r} cannot mix rows without labels, of 'X_unlabelled'. Use "
                "'cutmix' or 'mixup', which can."
            )
        weight = torch.ones_like(batch.y[..., 0]) if batch.weight is None else batch.weight
        rows, labels = [], []
        for x, q, draw in zip(batch.x, weight.unsqueeze(-1) * batch.y, draws, strict=True):
            with torch_seeded(_seed(draw), x.device):
                out, said = self.function(x.clone(), q.clone())
            rows.append(self._checked(out, x))
            labels.append(said.to(q))
        q = torch.stack(labels)
        if batch.weight is None:
            return replace(batch, x=torch.stack(rows), y=q)
        return weighed(batch, torch.stack(rows), q, q.sum(-1), q.sum(-1))


def _mixes(transform: Any) -> bool:
    """Whether a transform is one of torchvision's that mix rows, or holds one."""
    for base in type(transform).__mro__:
        if base.__module__.startswith("torchvision.") and base.__name__ in ("CutMix", "MixUp"):
            return True
    parts = getattr(transform, "transforms", None)
    if not isinstance(parts, (list, tuple)):
        parts = list(transform.children()) if isinstance(transform, torch.nn.Module) else []
    return any(_mixes(part) for part in parts)
