"""Tangent kernels: the inner products of gradients, one function for three ways."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from skensemble._arguments import naming
from skensemble._private import Interval, StrOptions, validate_params
from skensemble.ntk.gradients import Gradients, evaluating
from skensemble.ntk.layers import Part, Product, join

IMPLEMENTATIONS = ("layerwise", "contraction", "vector-product")
# Numbers of gradients that are held at a time, and that are computed on the way to them: few,
# so that memory is used again while it is in the cache.
_HELD = 1 << 28
_PASS = 1 << 23
# Rows of a tile of the kernel: it stays in the cache while the layers are added up.
_TILE = 768

Outputs = str | int
_CONSTRAINTS: dict[str, Any] = {
    "module": [nn.Module],
    "outputs": [StrOptions({"full", "trace", "last"}), Interval(Integral, 0, None, closed="left")],
    "chunk_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
}


@validate_params(
    {**_CONSTRAINTS, "implementation": [StrOptions(set(IMPLEMENTATIONS))]},
    prefer_skip_nested_validation=True,
)
def empirical_ntk(
    module: nn.Module,
    X1: Any,
    X2: Any = None,
    *,
    outputs: Outputs = "full",
    implementation: Literal["layerwise", "contraction", "vector-product"] = "layerwise",
    chunk_size: int | str = "auto",
) -> Tensor:
    """Inner products of the gradients of a network's outputs by its parameters.

    ``K[n, m, a, b] = <grad f_a(x_n), grad f_b(x_m)>`` (Jacot, Gabriel and Hongler, 2018). The
    module is used in evaluation mode; parameters that require no gradient are left out.

    Parameters
    ----------
    module : Module
        Maps ``(n_samples, ...)`` to ``(n_samples, n_outputs)``, each row by itself.
    X1 : array-like or Tensor of shape (n_1, ...)
        Rows, in the dtype of the module.
    X2 : array-like or Tensor of shape (n_2, ...), default=None
        Other rows; ``None`` is `X1`, of which half the work is done.
    outputs : {"full", "trace", "last"} or int, default="full"
        All pairs of outputs; their mean over ``a = b``; the kernel of the last linear layer
        alone (its input is the feature map: the Gaussian process); or that of one output.
    implementation : {"layerwise", "contraction", "vector-product"}, default="layerwise"
        Layer by layer; the product of Jacobians from ``torch.func``; or columns from
        one backward and one forward derivative each, which needs the least memory.
    chunk_size : int or "auto", default="auto"
        Rows whose gradients are held at a time.

    Returns
    -------
    Tensor of shape (n_1, n_2, n_outputs, n_outputs) or (n_1, n_2)
        The kernel; the second shape for all but "full".

    References
    ----------
    Jacot, Gabriel and Hongler, "Neural tangent kernel: convergence and generalization in
    neural networks", 2018. Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural
    tangent kernel", 2022.

    Examples
    --------
    >>> import torch
    >>> from skensemble.ntk import empirical_ntk
    >>> module = torch.nn.Linear(3, 2, bias=False)
    >>> x = torch.eye(3)
    >>> empirical_ntk(module, x, outputs=0)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    x1 = as_rows(X1, module, "X1")
    x2 = None if X2 is None else as_rows(X2, module, "X2")
    if x2 is not None and x2.shape[1:] != x1.shape[1:]:
        raise ValueError(
            f"The rows of 'X2' must have the shape of those of 'X1', {tuple(x1.shape[1:])}. Got "
            f"{tuple(x2.shape[1:])} instead."
        )
    gradients = _gradients_of(module, x1, outputs, implementation == "layerwise")
    if implementation == "vector-product":
        kernel = _by_vector_products(gradients, x1, x1 if x2 is None else x2, chunk_size)
    else:
        kernel = kernel_of(gradients, x1, x2, chunk_size)
    return kernel.permute(0, 2, 1, 3) if outputs == "full" else kernel[:, 0, :, 0]


def diagonal_of(gradients: Gradients, x: Tensor) -> Tensor:
    """Return the squared lengths of the gradients, ``(row, output)``."""
    step, found = 64, []
    for at in range(0, len(x), step):
        total: Any = 0.0
        for part in gradients.parts(x[at : at + step]):
            if isinstance(part, Product):
                total = total + (part.g**2).sum(-1) * (part.a**2).sum(-1, keepdim=True)
            else:
                total = total + (part.j**2).sum(-1)
        found.append(total)
    return torch.cat(found)


def as_rows(X: Any, module: nn.Module, name: str = "X") -> Tensor:
    """Return rows as a tensor on the device and in the dtype of a module."""
    like = next(module.parameters(), torch.empty(0))
    with naming(name, "be an array of real numbers"):
        x = X if isinstance(X, Tensor) else torch.from_numpy(np.ascontiguousarray(X))
        if x.dim() < 2 or len(x) == 0 or x.is_complex():
            raise ValueError(
                f"Rows must be an array of at least 2 axes and 1 row. Got shape {tuple(x.shape)}."
            )
        return x.detach().to(like)


def _gradients_of(module: nn.Module, x: Tensor, outputs: Outputs, layers: bool = True) -> Gradients:
    """Return the gradients of a module that a user gave with rows."""
    with naming("module", "map the rows to outputs, each row by itself"):
        return Gradients(module, _two(x), outputs, layers)


def _two(x: Tensor) -> Tensor:
    return x[:2] if len(x) > 1 else torch.cat([x, x])


# -- rows in pieces ----------------------------------------------------------------------------


def parts_of(gradients: Gradients, x: Tensor) -> list[Part]:
    """Return the gradients of rows, a forward pass of moderate size at a time."""
    step = max(8, min(4096, _PASS // gradients.numbers_on_the_way()))
    return join([gradients.parts(x[at : at + step]) for at in range(0, len(x), step)])


def panels(gradients: Gradients, x: Tensor, chunk_size: int | str) -> list[slice]:
    """Cut rows into pieces whose gradients may be held."""
    if chunk_size == "auto":
        size = max(8, _HELD // 2 // max(1, gradients.numbers_per_row()))
    elif isinstance(chunk_size, int) and chunk_size >= 1:
        size = chunk_size
    else:
        raise ValueError(
            f"The 'chunk_size' must be an int of at least 1 or 'auto'. Got {chunk_size!r}."
        )
    return [slice(at, min(at + size, len(x))) for at in range(0, len(x), size)]


def kernel_of(
    gradients: Gradients, x1: Tensor, x2: Tensor | None = None, chunk_size: int | str = "auto"
) -> Tensor:
    """Return the kernel ``(row, output, row, output)`` of rows, or of rows with other rows."""
    n_outputs = gradients.n_outputs
    symmetric = x2 is None
    others = x1 if x2 is None else x2
    kernel = x1.new_zeros(len(x1), n_outputs, len(others), n_outputs)
    columns = panels(gradients, others, chunk_size)
    with exact_products():
        for rows in panels(gradients, x1, chunk_size):
            left = parts_of(gradients, x1[rows])
            for cols in columns:
                if symmetric and cols.stop <= rows.start:
                    continue
                same = symmetric and cols == rows
                right = left if same else parts_of(gradients, others[cols])
                _fill(kernel[rows, :, cols], left, right, same)
                if symmetric and not same:
                    kernel[cols, :, rows] = kernel[rows, :, cols].permute(2, 3, 0, 1)
    return kernel


def _fill(kernel: Tensor, left: list[Part], right: list[Part], same: bool) -> None:
    """Fill a piece of the kernel tile by tile; of a symmetric one the upper half."""
    step = max(1, _TILE // kernel.shape[1])
    for i in range(0, kernel.shape[0], step):
        for j in range(i if same else 0, kernel.shape[2], step):
            tile = inner_products(_cut(left, i, step), _cut(right, j, step))
            kernel[i : i + step, :, j : j + step] = tile
            if same and i != j:
                kernel[j : j + step, :, i : i + step] = tile.permute(2, 3, 0, 1)


def _cut(parts: list[Part], at: int, size: int) -> list[Part]:
    cut: list[Part] = []
    for part in parts:
        if isinstance(part, Product):
            cut.append(Product(part.names, part.a[at : at + size], part.g[at : at + size]))
        else:
            cut.append(replace(part, j=part.j[at : at + size]))
    return cut


def inner_products(left: list[Part], right: list[Part]) -> Tensor:
    """Return the inner products of gradients, ``(row, output, row, output)``."""
    total: Tensor | None = None
    for one, other in zip(left, right, strict=True):
        a, b = (part.g if isinstance(part, Product) else part.j for part in (one, other))
        shape = (*a.shape[:2], *b.shape[:2])
        products = (a.flatten(0, 1) @ b.flatten(0, 1).T).view(shape)
        if isinstance(one, Product):
            products *= (one.a @ other.a.T)[:, None, :, None]  # type: ignore[union-attr]
        total = products if total is None else total.add_(products)
    assert total is not None
    return total


# -- gradients as features ---------------------------------------------------------------------


def fold(parts: list[Part], dual: Tensor) -> list[Tensor]:
    """Add up gradients: ``sum over rows and outputs of dual[n, a, c] grad f_a(x_n)``.

    The weights of a product ``g ⊗ a`` have the shape ``(c, output of the layer, input)``, others
    ``(c, number)``.
    """
    found = []
    for part in parts:
        if isinstance(part, Product):
            mixed = torch.einsum("noh,noc->nch", part.g, dual)
            found.append(torch.einsum("nch,ni->chi", mixed, part.a))
        else:
            found.append(dual.flatten(0, 1).T @ part.j.flatten(0, 1))
    return found


def unfold(parts: list[Part], weights: list[Tensor]) -> Tensor:
    """Return the inner products of gradients with weights, ``(row, output, c)``."""
    total: Any = 0.0
    for part, weight in zip(parts, weights, strict=True):
        if isinstance(part, Product):
            moved = torch.einsum("ni,chi->nch", part.a, weight)
            total = total + torch.einsum("noh,nch->noc", part.g, moved)
        else:
            total = total + part.j @ weight.T
    return total


def tangent(parts: list[Part], weights: list[Tensor]) -> dict[str, Tensor]:
    """Return folded weights of one column as changes of the parameters they belong to."""
    found: dict[str, Tensor] = {}
    for part, weight in zip(parts, weights, strict=True):
        if isinstance(part, Product):
            n_in = part.a.shape[1] - (len(part.names) - 1)
            found[part.names[0]] = weight[0, :, :n_in]
            found.update(dict.fromkeys(part.names[1:], weight[0, :, -1]))
        else:
            found.update(part.by_parameter(weight[0]))
    return found


def fold_rows(gradients: Gradients, x: Tensor, dual: Tensor, chunk_size: int | str) -> list[Tensor]:
    """Fold all rows, a piece at a time."""
    total: list[Tensor] | None = None
    with exact_products():
        for rows in panels(gradients, x, chunk_size):
            part = fold(parts_of(gradients, x[rows]), dual[rows])
            total = part if total is None else [a.add_(b) for a, b in zip(total, part, strict=True)]
    assert total is not None
    return total


def unfold_rows(
    gradients: Gradients, x: Tensor, weights: list[Tensor], chunk_size: int | str
) -> Tensor:
    """Unfold all rows, a piece at a time."""
    with exact_products():
        return torch.cat(
            [
                unfold(parts_of(gradients, x[rows]), weights)
                for rows in panels(gradients, x, chunk_size)
            ]
        )


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def kernel_operator(
    module: nn.Module, X: Any, *, outputs: Outputs = "trace", chunk_size: int | str = "auto"
) -> LinearOperator:
    """Return the kernel of rows with themselves as an operator, never written down.

    A product with a vector is two passes over the rows, ``Φ (Φᵀ v)``, and needs memory for
    the parameters and for the gradients of one piece of the rows.

    Parameters
    ----------
    module : Module
        Maps ``(n_samples, ...)`` to ``(n_samples, n_outputs)``.
    X : array-like or Tensor of shape (n_samples, ...)
        Rows.
    outputs : {"full", "trace", "last"} or int, default="trace"
        See :func:`empirical_ntk`; "full" has ``n_samples * n_outputs`` rows, those of a sample
        next to each other.
    chunk_size : int or "auto", default="auto"
        Rows whose gradients are held at a time.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        Symmetric and positive semidefinite.

    Examples
    --------
    >>> import torch
    >>> from skensemble.ntk import kernel_operator
    >>> operator = kernel_operator(torch.nn.Linear(3, 1, bias=False), torch.eye(3))
    >>> operator @ [1.0, 2.0, 3.0]
    array([1., 2., 3.], dtype=float32)
    """
    x = as_rows(X, module)
    gradients = _gradients_of(module, x, outputs)
    times = multiplier(gradients, x, chunk_size)
    size = len(x) * gradients.n_outputs

    def matmat(v: np.ndarray) -> np.ndarray:
        dual = torch.from_numpy(np.ascontiguousarray(v)).to(x).reshape(len(x), -1, v.shape[-1])
        return times(dual).reshape(size, -1).cpu().numpy()

    def matvec(v: np.ndarray) -> np.ndarray:
        return matmat(v.reshape(-1, 1))[:, 0]

    dtype = np.float64 if x.dtype == torch.float64 else np.float32
    return LinearOperator((size, size), matvec, matvec, matmat, dtype=dtype)


def multiplier(
    gradients: Gradients, x: Tensor, chunk_size: int | str = "auto", keep: bool = True
) -> Callable[[Tensor], Tensor]:
    """Return what multiplies ``(row, output, column)`` by the kernel of the rows.

    Gradients are kept where they fit into one piece, unless `keep` is false.
    """
    kept = None
    if keep and len(panels(gradients, x, chunk_size)) == 1:
        kept = parts_of(gradients, x)

    def times(dual: Tensor) -> Tensor:
        with exact_products():
            if kept is not None:
                return unfold(kept, fold(kept, dual))
        return unfold_rows(gradients, x, fold_rows(gradients, x, dual, chunk_size), chunk_size)

    return times


@contextmanager
def exact_products() -> Iterator[None]:
    """Multiply in full precision, whatever the user allows elsewhere (TF32, bfloat16)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def forward_derivatives(module: nn.Module) -> Iterator[None]:
    """Let a module be differentiated forwards.

    That loads parts of torch which it has deprecated itself, and says so.
    """
    with evaluating(module), exact_products(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


# -- the slow twin -----------------------------------------------------------------------------


def _by_vector_products(
    gradients: Gradients, x1: Tensor, x2: Tensor, chunk_size: int | str
) -> Tensor:
    """Build the kernel from columns ``J1 (J2ᵀ e)``, a vjp and a jvp each."""
    if gradients.outputs == "last":
        raise ValueError("outputs='last' is made of features. Use implementation='layerwise'.")
    picked, parameters = gradients.picked, gradients.parameters
    n_picked = len(picked)

    def f(p: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(gradients.module, p, (row.unsqueeze(0),))[0][picked]

    def pair(row: Tensor, other: Tensor) -> Tensor:
        back: Any = vjp(lambda p: f(p, other), parameters)[1]

        def column(e: Tensor) -> Tensor:
            return jvp(lambda p: f(p, row), (parameters,), back(e))[1]

        basis = torch.eye(n_picked, dtype=row.dtype, device=row.device)
        return vmap(column, out_dims=1)(basis)

    step = 64 if chunk_size == "auto" else int(chunk_size)
    with forward_derivatives(gradients.module):
        try:
            kernel = torch.cat(
                [
                    vmap(vmap(pair, (None, 0)), (0, None))(x1[at : at + step], x2)
                    for at in range(0, len(x1), step)
                ]
            )
        except RuntimeError as error:
            raise ValueError(
                "implementation='vector-product' needs a module that torch.func can run under vmap "
                f"and differentiate forwards; {error}. Use implementation='layerwise'."
            ) from error
    kernel = kernel.permute(0, 2, 1, 3)  # to (row, output, row, output)
    if gradients.outputs == "trace":
        kernel = torch.einsum("nama->nm", kernel)[:, None, :, None] / n_picked
    return kernel
