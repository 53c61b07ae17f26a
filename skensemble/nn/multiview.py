"""The network of the theory of ensembles and distillation."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from skensemble._private import Interval, validate_params


def smoothed_relu(z: Tensor, power: float = 4.0, bend: float = 1.0) -> Tensor:
    """Apply ``0``, ``z^q / (q ϱ^(q-1))`` up to ``ϱ``, and ``z - (1 - 1/q) ϱ`` beyond.

    Parameters
    ----------
    z : Tensor
        Any shape.
    power : float, default=4.0
        `q`.
    bend : float, default=1.0
        `ϱ`.

    Returns
    -------
    Tensor
        As `z`.
    """
    above = (z - bend).relu()
    low = z.relu() - above
    # Two squares are several times as fast as a fourth power.
    bent = low.square().square() if power == 4 else low**power
    return torch.add(above, bent, alpha=1 / (power * bend ** (power - 1)))


# Numbers of one piece: it and what is computed from it stay in a core's cache.
_PIECE = 1 << 16


def pooled_smoothed_relu(z: Tensor, power: float = 4.0, bend: float = 1.0) -> Tensor:
    """Return ``smoothed_relu(z).sum(-2)``, faster.

    Parameters
    ----------
    z : Tensor of shape (..., n_patches, n_filters)
        Products of patches and filters.
    power, bend : float
        Of `smoothed_relu`.

    Returns
    -------
    Tensor of shape (..., n_filters)
        Sums over the patches.
    """
    if torch.compiler.is_compiling():  # compilers and exporters see through plain operations
        return smoothed_relu(z, power, bend).sum(-2)
    return _PooledReLU.apply(z, power, bend)  # type: ignore[no-any-return]


class _PooledReLU(torch.autograd.Function):
    """``smoothed_relu(z).sum(-2)`` piece by piece, in place; `z` is all that is kept.

    Done in plain operations, most of a step's time goes into moving some twenty tensors
    of `z`'s size between memory and core. In double backward it is plain operations.
    """

    @staticmethod
    def forward(z: Tensor, power: float, bend: float) -> Tensor:
        out = z.new_empty(*z.shape[:-2], z.shape[-1])
        for part, sums in _pieces(z, out):
            low = part.clamp(0, bend)
            above = part.relu().sub_(low)
            bent = _power(low, power)
            torch.sum(above.add_(bent, alpha=1 / (power * bend ** (power - 1))), 1, out=sums)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        z, ctx.power, ctx.bend = inputs
        ctx.save_for_backward(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,), power, bend = ctx.saved_tensors, ctx.power, ctx.bend
        if torch.is_grad_enabled():  # somebody wants to differentiate this once more
            slope = (z.clamp(0, bend) / bend) ** (power - 1)
            return slope * grad.unsqueeze(-2), None, None
        down = torch.empty_like(z, memory_format=torch.contiguous_format)
        for part, slope, above in _pieces(z, down, grad / bend ** (power - 1)):
            low = part.clamp(0, bend)
            torch.mul(_power(low, power - 1), above.unsqueeze(1), out=slope)
        return down, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, z: Tensor, power: float, bend: float) -> tuple[Tensor, int]:
        return _PooledReLU.apply(z.movedim(in_dims[0], 0), power, bend), 0


def _power(z: Tensor, power: float) -> Tensor:
    """Raise to a power in place; for the usual ones products are several times as fast."""
    if power == 3:
        return torch.mul(z, z * z, out=z)
    return z.mul_(z).mul_(z) if power == 4 else z.pow_(power)


def _pieces(z: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut ``(..., patch, filter)`` and tensors of as many rows into pieces of few rows."""
    rows = max(1, _PIECE // max(1, z.shape[-1] * z.shape[-2]))
    flat = z.reshape(-1, *z.shape[-2:])
    like = (one.reshape(len(flat), *one.shape[z.dim() - 2 :]) for one in others)
    return zip(*(one.split(rows) for one in (flat, *like)), strict=True)


class MultiViewNet(nn.Module):
    """``F_i(X) = sum_r sum_p sReLU(<w_ir, x_p>)``: filters of each class, over all patches.

    The network of Allen-Zhu and Li [1]_, Definition 4.1 and Section 3. `gradient_descent`
    is how they train it.

    Parameters
    ----------
    in_shape : sequence of 2 int
        Patches of a row, and numbers of a patch.
    n_classes : int
        Number of classes.
    n_filters : int, default=6
        Filters of each class, `m`.
    power : float, default=4.0
        Exponent `q` of the smoothed ReLU.
    bend : float, default=1.0
        Where it becomes linear, `ϱ`.
    init_std : float, default=0.05
        Standard deviation of the initial weights, `σ₀`.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import MultiViewNet
    >>> MultiViewNet(in_shape=(14, 160), n_classes=10)(torch.zeros(2, 14, 160)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        n_filters: int = 6,
        power: float = 4.0,
        bend: float = 1.0,
        init_std: float = 0.05,
    ) -> None:
        super().__init__()
        if len(in_shape) != 2:
            raise ValueError(
                "MultiViewNet takes rows of shape (patches, numbers of a patch); "
                f"got samples of shape {tuple(in_shape)}."
            )
        if power <= 1 or bend <= 0:
            raise ValueError(
                "MultiViewNet takes a 'power' above 1 and a 'bend' above 0. "
                f"Got {power!r} and {bend!r}."
            )
        self.n_classes = n_classes
        self.power = power
        self.bend = bend
        self.filters = nn.Linear(in_shape[1], n_classes * n_filters, bias=False)
        nn.init.normal_(self.filters.weight, std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_patches, patch_dim)`` to ``(n_samples, n_classes)``."""
        out = pooled_smoothed_relu(self.filters(x), self.power, self.bend)
        return torch.unflatten(out, 1, (self.n_classes, -1)).sum(-1)


@validate_params(
    {
        "module": "no_validation",  # which the estimator checks that is given the net
        "lr": [Interval(numbers.Real, 0, None, closed="left")],
        "n_steps": [Interval(numbers.Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def gradient_descent(
    module: type[nn.Module] = MultiViewNet, *, lr: float = 5.0, n_steps: int = 300
) -> NeuralNetClassifier:
    """Return the recipe of plain gradient descent: all rows in each step, in one order.

    Parameters
    ----------
    module : type of Module, default=MultiViewNet
        What is trained; its own parameters are set with ``set_params(module__...)``.
    lr : float, default=5.0
        Learning rate.
    n_steps : int, default=300
        Steps.

    Returns
    -------
    NeuralNetClassifier
        A recipe for any estimator of skensemble.

    Examples
    --------
    >>> from skensemble import DeepEnsembleClassifier
    >>> from skensemble.nn import gradient_descent
    >>> net = gradient_descent(n_steps=100).set_params(module__n_filters=4)
    >>> ensemble = DeepEnsembleClassifier(net, 12, averaging="logit")
    """
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=lr,
        max_epochs=n_steps,
        batch_size=-1,
        iterator_train__shuffle=False,
    )
