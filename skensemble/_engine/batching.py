"""What the operations of a network's graph become once a member axis stands before its samples.

A network's tensor of shape ``(sample, ...)`` is ``(member, sample, ...)`` in a stack, and a
parameter or buffer of shape ``(...)`` is ``(member, ...)``: whatever counts axes from the front
counts one more, and whatever is broadcast gets axes of one *behind* the member axis.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skensemble.nn._tracing import CannotStack

# Modules that act on each number alone: the member axis passes through.
ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
    nn.Tanhshrink, nn.Threshold, nn.LogSigmoid, nn.Identity,
)  # fmt: skip


# Functions and methods that act on each number alone, or on pairs of numbers after broadcasting.
_ELEMENTWISE = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh",
    "sigmoid", "softplus", "softsign", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid",
    "tanhshrink", "add", "sub", "mul", "div", "truediv", "floordiv", "remainder", "mod", "neg",
    "pow", "square", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "sin", "cos",
    "erf", "abs", "sign", "floor", "ceil", "round", "clamp", "clamp_min", "clamp_max", "minimum",
    "maximum", "where", "lt", "le", "gt", "ge", "eq", "ne", "and_", "or_", "invert",
    "logical_and", "logical_or", "logical_not", "float", "double", "long", "to", "type_as",
    "clone", "detach", "contiguous",
)  # fmt: skip


def _behind(dim: int) -> int:
    """Return where an axis of the network is in the stack; from the back it is where it was."""
    return dim + 1 if dim >= 0 else dim


def aligned(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function broadcast as it would without a member axis."""

    def run(*args: Any, **kwargs: Any) -> Any:
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        most = max(one.dim() for one in given)

        def widen(one: Any) -> Any:
            if not isinstance(one, Tensor) or one.dim() == most:
                return one
            return one.view(len(one), *[1] * (most - one.dim()), *one.shape[1:])

        return function(*map(widen, args), **{key: widen(one) for key, one in kwargs.items()})

    return run


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat(list(tensors), _behind(dim))


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.stack(list(tensors), _behind(dim))


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Flatten axes of the network."""
    return x.flatten(_behind(start_dim), _behind(end_dim))


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    return x.unflatten(_behind(dim), sizes)


def _unsqueeze(x: Tensor, dim: int) -> Tensor:
    return x.unsqueeze(_behind(dim))


def _squeeze(x: Tensor, dim: int) -> Tensor:
    return x.squeeze(_behind(dim))


def _transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    return x.transpose(_behind(dim0), _behind(dim1))


def softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Softmax over an axis of the network."""
    return torch.softmax(x, _behind(dim), dtype)


def log_softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Logarithm of the softmax over an axis of the network."""
    return torch.log_softmax(x, _behind(dim), dtype)


def _reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
        dims = (dim,) if isinstance(dim, int) else dim
        return function(x, tuple(map(_behind, dims)), keepdim=keepdim)

    return run


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Pick from an axis of the network what each member's own index says."""
    dim = _behind(dim) % x.dim()
    shape, wanted = [1] * x.dim(), list(x.shape)
    shape[0], shape[dim], wanted[dim] = len(index), index.shape[1], index.shape[1]
    return x.gather(dim, index.view(shape).expand(wanted))


def _getitem(x: Any, at: Any) -> Any:
    if not isinstance(x, Tensor):
        return x[at]
    at = at if isinstance(at, tuple) else (at,)
    if any(isinstance(one, Tensor | list) for one in at):
        raise CannotStack("rows picked by a tensor have no batched form; use index_select")
    return x[(slice(None), *at)]


_ALONG: dict[str, Callable[..., Any]] = {
    "cat": _cat, "concat": _cat, "concatenate": _cat, "stack": _stack, "flatten": flatten,
    "unflatten": _unflatten, "unsqueeze": _unsqueeze, "squeeze": _squeeze,
    "transpose": _transpose, "softmax": softmax, "log_softmax": log_softmax,
    "sum": _reduced(torch.sum), "mean": _reduced(torch.mean), "amax": _reduced(torch.amax),
    "amin": _reduced(torch.amin), "index_select": index_select, "getitem": _getitem,
}  # fmt: skip


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


_METHODS: dict[str, Callable[..., Any]] = {
    **{name: aligned(_method(name)) for name in _ELEMENTWISE if hasattr(Tensor, name)},
    **{name: along for name, along in _ALONG.items() if hasattr(Tensor, name)},
}


# The functions themselves and not their names, which a user's own may bear too.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {}


for _place in (torch, F, operator):
    for _name in _ELEMENTWISE:
        if hasattr(_place, _name):
            _FUNCTIONS[getattr(_place, _name)] = aligned(getattr(_place, _name))
    for _name, _along in _ALONG.items():
        if hasattr(_place, _name):
            _FUNCTIONS[getattr(_place, _name)] = _along


def batched(op: str, target: Any) -> Callable[..., Any]:
    """Return what a node's function or method does to tensors with a member axis."""
    known = _METHODS if op == "call_method" else _FUNCTIONS
    if target not in known:
        raise CannotStack(f"{target} has no batched form")
    return known[target]


def embedding(table: Tensor, index: Tensor) -> Tensor:
    """Look up rows ``index`` of each member's table ``(member, row, number)``.

    All tables are read as one, at an address behind its end where an index is out of range: it
    must fail as it does for one table, and not read another member's row.
    """
    n_members, n_rows, _ = table.shape
    first = torch.arange(n_members, device=index.device) * n_rows
    first = first.view(-1, *[1] * (index.dim() - 1))
    at = torch.where((index >= 0) & (index < n_rows), index + first, n_members * n_rows)
    return F.embedding(at, table.flatten(0, 1))
