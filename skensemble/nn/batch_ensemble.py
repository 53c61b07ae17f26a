"""BatchEnsemble: many networks that share their weights but for two vectors a layer.

Member `m` of a layer uses ``W ∘ (s_m r_mᵀ)``, so that for its inputs ``y = ((x ∘ r_m) Wᵀ)
∘ s_m + b_m`` (Wen, Tran and Ba, 2020). All members run in one pass over a batch that holds
the rows of member 0, then those of member 1, and so on.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

__all__ = ["FAST_WEIGHTS", "BatchEnsemble"]

INITS = ("sign", "normal", "one", "first-only")
# Modules whose parameters all members share as they are.
_SHARED = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.PReLU,
    nn.Embedding,
)  # fmt: skip
# Names of the parameters that members have of their own, for optimizer__param_groups.
FAST_WEIGHTS = ("*fast_in", "*fast_out")


class _Rank1:
    """Mixed into a layer: vectors a member before and after the shared weights.

    ``fast_in`` and ``fast_out`` hold ``r − 1`` and ``s − 1``, so that weight decay pulls
    the vectors towards one; where they should decay to nothing, they hold ``r`` and ``s``.
    """

    n_members: int
    offset: float
    gain: float
    fast_in: nn.Parameter
    fast_out: nn.Parameter

    def _vectors(self, which: str) -> Tensor:
        """Return the members' vectors, their gradients multiplied by `gain`."""
        fast = getattr(self, which)
        if self.gain != 1:
            fast = self.gain * fast - (self.gain - 1) * fast.detach()
        return fast + self.offset

    def _scale(self, x: Tensor, vectors: Tensor, axis: int) -> Tensor:
        """Multiply the rows of each member with its vector along `axis`."""
        shape = [self.n_members, 1, *[1] * (x.dim() - 1)]
        shape[axis + 1 if axis > 0 else axis] = vectors.shape[1]
        return (x.unflatten(0, (self.n_members, -1)) * vectors.view(shape)).flatten(0, 1)

    def _shift(self, x: Tensor, axis: int) -> Tensor:
        bias: Any = self.bias  # type: ignore[attr-defined]
        if bias is None:
            return x
        shape = [self.n_members, 1, *[1] * (x.dim() - 1)]
        shape[axis + 1 if axis > 0 else axis] = bias.shape[1]
        return (x.unflatten(0, (self.n_members, -1)) + bias.view(shape)).flatten(0, 1)

    def folded(self, member: int | None, merge: str = "factor-mean") -> tuple[Tensor, Any]:
        """Return weight and bias of one member, or of all merged into one.

        "factor-mean" multiplies ``W`` with the product of the members' mean vectors,
        "rank-mean" with the mean of the products.
        """
        r, s = self._vectors("fast_in").detach(), self._vectors("fast_out").detach()
        if member is not None:
            product = torch.outer(s[member], r[member])
        elif merge == "factor-mean":
            product = torch.outer(s.mean(0), r.mean(0))
        else:
            product = torch.einsum("mo,mi->moi", s, r).mean(0)
        weight: Any = self.weight.detach()  # type: ignore[attr-defined]
        groups = getattr(self, "groups", 1)
        if groups > 1:  # each output sees the inputs of its group alone
            rows = product.unflatten(0, (groups, -1))
            columns = rows.unflatten(2, (groups, -1))
            product = torch.stack([columns[g, :, g] for g in range(groups)]).flatten(0, 1)
        weight = weight * product.view(*product.shape, *[1] * (weight.dim() - 2))
        bias: Any = self.bias  # type: ignore[attr-defined]
        if bias is not None:
            bias = (bias.detach()[member] if member is not None else bias.detach().mean(0)).clone()
        return weight, bias


class _Linear(_Rank1, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        x = self._scale(input, self._vectors("fast_in"), -1)
        x = self._scale(F.linear(x, self.weight), self._vectors("fast_out"), -1)
        return self._shift(x, -1)


class _Conv(_Rank1):
    def forward(self, input: Tensor) -> Tensor:
        x = self._scale(input, self._vectors("fast_in"), 1)
        x = self._conv_forward(x, self.weight, None)  # type: ignore[attr-defined]
        return self._shift(self._scale(x, self._vectors("fast_out"), 1), 1)


class _Conv1d(_Conv, nn.Conv1d):
    pass


class _Conv2d(_Conv, nn.Conv2d):
    pass


class _Conv3d(_Conv, nn.Conv3d):
    pass


_CONVERTED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _Linear, nn.Conv1d: _Conv1d, nn.Conv2d: _Conv2d, nn.Conv3d: _Conv3d,
}  # fmt: skip


class BatchEnsemble(nn.Module):
    """Any network as `n_members` networks that share all but two vectors a layer.

    Parameters
    ----------
    module : Module
        The network; copied. Its linear and convolutional layers keep their names and
        their trained weights; normalisation layers and embeddings are shared. Anything else
        that has parameters is refused by name.
    n_members : int, default=4
        Number of members.
    init : {"sign", "normal", "one", "first-only"}, default="sign"
        The vectors' start: random signs, ``N(1, 0.5²)``, all one (no diversity but from the
        targets), or, as in TabM, random signs before the first layer, one elsewhere, and a
        last layer with weights of its own for each member.
    around_one : bool, default=True
        Whether vectors are kept as their distance from one, so that weight decay pulls them
        there.
    gain : float, default=1.0
        Factor of the vectors' gradients.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import MLP, BatchEnsemble
    >>> net = BatchEnsemble(MLP(in_shape=(6,), n_classes=3), n_members=4)
    >>> net(torch.zeros(5, 6)).shape
    torch.Size([5, 4, 3])
    """

    def __init__(
        self,
        module: nn.Module,
        n_members: int = 4,
        init: str = "sign",
        around_one: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if init not in INITS:
            raise ValueError(f"The 'init' must be one of {list(INITS)}. Got {init!r} instead.")
        if n_members < 1:
            raise ValueError(f"'n_members' must be at least 1. Got {n_members} instead.")
        module = copy.deepcopy(module)
        _refuse_others(module)
        self.n_members = n_members
        layers = _layers(module)
        for number, layer in enumerate(layers):
            _convert(layer, n_members, around_one, gain)
            if number == 0 or init != "first-only":
                _draw(layer, init, around_one, both=init != "first-only")
        self.module = module
        if init == "first-only":
            self._give_heads(layers[-1])

    def _give_heads(self, head: nn.Module) -> None:
        """Give each member a last layer of its own, as in TabM."""
        if not isinstance(head, _Linear):
            raise ValueError(
                "init='first-only' gives each member a last linear layer of its own. The last "
                f"layer is a {_plain(head).__name__}; use init='sign'."
            )
        name = next(name for name, part in self.module.named_modules() if part is head)
        heads = _Heads(head, self.n_members)
        parent, _, leaf = name.rpartition(".")
        setattr(self.module.get_submodule(parent), leaf, heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, ...)`` to ``(n_samples, n_members, n_classes)``."""
        tiled = x.unsqueeze(0).expand(self.n_members, *x.shape).flatten(0, 1)
        return self.forward_members(tiled.unflatten(0, (self.n_members, -1))).transpose(0, 1)

    def forward_members(self, x: Tensor) -> Tensor:
        """Map ``(n_members, n_samples, ...)`` to ``(n_members, n_samples, n_classes)``."""
        return self.module(x.flatten(0, 1)).unflatten(0, (self.n_members, -1))

    def member(self, number: int) -> nn.Module:
        """Return one member as a network of the original class."""
        return self._fold(number, "")

    def merged(self, merge: str = "factor-mean") -> nn.Module:
        """Return the members folded into one network of the original class (LatentBE).

        Parameters
        ----------
        merge : {"factor-mean", "rank-mean"}, default="factor-mean"
            ``W ∘ (s̄ r̄ᵀ)`` with the members' mean vectors, or ``W`` times the mean of the
            members' products. Biases are averaged.

        Returns
        -------
        Module
            A network that runs one forward pass a batch.
        """
        if merge not in ("factor-mean", "rank-mean"):
            raise ValueError(
                f"The 'merge' must be 'factor-mean' or 'rank-mean'. Got {merge!r} instead."
            )
        return self._fold(None, merge)

    def _fold(self, number: int | None, merge: str) -> nn.Module:
        network = copy.deepcopy(self.module)
        for name, layer in list(network.named_modules()):
            if isinstance(layer, _Rank1):
                _restore(layer, *layer.folded(number, merge))
            elif isinstance(layer, _Heads):
                parent, _, leaf = name.rpartition(".")
                setattr(network.get_submodule(parent), leaf, layer.folded(number))
        return network


class _Heads(nn.Module):
    """A linear layer with weights of its own for each member."""

    def __init__(self, layer: nn.Linear, n_members: int) -> None:
        super().__init__()
        self.n_members = n_members
        drawn = [nn.Linear(layer.in_features, layer.out_features) for _ in range(n_members)]
        like = layer.weight
        self.weight = nn.Parameter(torch.stack([one.weight.detach() for one in drawn]).to(like))
        self.bias: nn.Parameter | None = None
        if layer.bias is not None:
            self.bias = nn.Parameter(torch.stack([one.bias.detach() for one in drawn]).to(like))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("mbi,moi->mbo", x.unflatten(0, (self.n_members, -1)), self.weight)
        return (y if self.bias is None else y + self.bias.unsqueeze(1)).flatten(0, 1)

    def folded(self, member: int | None) -> nn.Linear:
        weight = self.weight.detach()
        layer = skip_init(  # no draw from the global generator, for numbers that are known
            nn.Linear, weight.shape[2], weight.shape[1], self.bias is not None, device="cpu"
        ).to(weight)
        pick = (lambda values: values.mean(0)) if member is None else (lambda v: v[member])
        with torch.no_grad():
            layer.weight.copy_(pick(weight))
            if self.bias is not None:
                layer.bias.copy_(pick(self.bias.detach()))
        return layer


def _layers(module: nn.Module) -> list[Any]:
    """Return the layers to convert, each once."""
    return [part for part in module.modules() if type(part) in _CONVERTED]


def _refuse_others(module: nn.Module) -> None:
    """Name what has parameters and can neither be converted nor shared."""
    bad = [
        f"{name or 'the module itself'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if _own_parameters(part) and type(part) not in (*_CONVERTED, *_SHARED)
    ]
    if bad:
        raise ValueError(
            "BatchEnsemble converts Linear and Conv1d to Conv3d layers and shares normalisation "
            f"layers and embeddings. It cannot convert {', '.join(bad)}."
        )
    if not _layers(module):
        raise ValueError("BatchEnsemble needs a module with linear or convolutional layers.")


def _own_parameters(part: nn.Module) -> bool:
    return any(True for _ in part.parameters(recurse=False))


def _convert(layer: Any, n_members: int, around_one: bool, gain: float) -> None:
    """Turn a layer into one of `n_members` in its place, so that everyone who holds it sees it."""
    layer.__class__ = _CONVERTED[type(layer)]
    layer.n_members, layer.gain = n_members, gain
    layer.offset = 1.0 if around_one else 0.0
    n_out = layer.weight.shape[0]
    n_in = layer.weight.shape[1] * getattr(layer, "groups", 1)
    start = layer.weight.new_full((n_members, 1), 1.0 - layer.offset)
    layer.fast_in = nn.Parameter(start.repeat(1, n_in))
    layer.fast_out = nn.Parameter(start.repeat(1, n_out))
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach().repeat(n_members, 1))


def _draw(layer: Any, init: str, around_one: bool, both: bool) -> None:
    """Draw the vectors from torch's global generator."""
    if init == "one":
        return
    for fast in [layer.fast_in, layer.fast_out] if both else [layer.fast_in]:
        with torch.no_grad():
            if init == "normal":
                fast.normal_(1.0, 0.5)
            else:
                fast.bernoulli_(0.5).mul_(2.0).sub_(1.0)
            fast.sub_(layer.offset)


def _plain(layer: Any) -> type[nn.Module]:
    """Return the class a converted layer had."""
    return next(plain for plain, made in _CONVERTED.items() if made is type(layer))


def _restore(layer: Any, weight: Tensor, bias: Any) -> None:
    """Turn a converted layer back into a plain one."""
    layer.__class__ = _plain(layer)
    del layer.fast_in, layer.fast_out
    del layer.n_members, layer.gain, layer.offset
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias)
