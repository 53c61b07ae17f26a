"""Numbers and categories of a table as what a network learns from more easily."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, validate_params

__all__ = ["CategoryEmbedding", "Periodic", "PiecewiseLinear", "quantile_bins"]

_MOST_ROWS = 100_000


@validate_params(
    {
        "X": ["array-like"],
        "n_bins": [Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": [Interval(numbers.Integral, 0, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def quantile_bins(
    X: np.ndarray, n_bins: int = 16, random_state: int | None = 0
) -> list[list[float]]:
    """Return the edges of bins that hold equally many rows, column by column.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Finite numbers; of more than 100,000 rows as many are drawn.
    n_bins : int, default=16
        Bins a column. One with few different values has fewer, since equal edges are one.
    random_state : int or None, default=0
        Seed of the drawing of rows.

    Returns
    -------
    list of list of float
        Increasing edges of each column, different in float32; a constant column has none.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.nn import quantile_bins
    >>> quantile_bins(np.array([[0.0, 7.0], [1.0, 7.0], [4.0, 7.0]]), n_bins=2)
    [[0.0, 1.0, 4.0], []]
    """
    with naming("X", "be an array of numbers"):
        X = as_numpy(X)
        X = X if isinstance(X, np.ndarray) else np.asarray(X)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(
            "The 'X' of quantile_bins must have shape (n_samples, n_features), with at least one "
            f"row. Got shape {tuple(X.shape)} instead."
        )
    if len(X) > _MOST_ROWS:
        rows = np.random.default_rng(random_state).choice(len(X), _MOST_ROWS, replace=False)
        X = X[np.sort(rows)]
    shares = np.linspace(0, 1, n_bins + 1)
    with naming("X", "be an array of numbers"):
        columns = [np.asarray(X[:, j], dtype=np.float64) for j in range(X.shape[1])]
    return [_edges(column, shares, j) for j, column in enumerate(columns)]


def _edges(column: np.ndarray, shares: np.ndarray, number: int) -> list[float]:
    if not np.isfinite(column).all():
        raise ValueError(
            "The 'X' of quantile_bins must be finite. Got NaN or infinity in column "
            f"{number}; fill or drop them first."
        )
    edges = np.unique(np.quantile(column, shares).astype(np.float32))
    return edges.tolist() if len(edges) > 1 else []


class PiecewiseLinear(nn.Module):
    r"""Piecewise-linear encoding: how far each bin of a number is filled.

    With the edges :math:`b_0 < \dots < b_T` of a feature, its number x becomes
    :math:`e_t = \min(1, \max(0, (x - b_{t-1}) / (b_t - b_{t-1})))` for t = 1 ... T: ones up to
    the bin that x is in, zeros behind it, after [1]_. Numbers out of range are as the nearest edge.

    Parameters
    ----------
    bins : sequence of sequence of float
        Increasing edges of each feature, at least two, or none for a feature that is left out;
        see `quantile_bins`. They are buffers.

    References
    ----------
    .. [1] Y. Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning",
       NeurIPS 2022, equation 1.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import PiecewiseLinear
    >>> PiecewiseLinear([[0.0, 1.0, 3.0], [-1.0, 1.0]])(torch.tensor([[2.0, 0.0]]))
    tensor([[1.0000, 0.5000, 0.5000]])
    """

    column: Tensor
    left: Tensor
    width: Tensor

    def __init__(self, bins: Sequence[Sequence[float]]) -> None:
        super().__init__()
        edges = [torch.tensor(list(one), dtype=torch.float32) for one in bins]
        for number, one in enumerate(edges):
            if len(one) == 1 or not one.isfinite().all() or not (one.diff() > 0).all():
                raise ValueError(
                    "The 'bins' must be, for each feature, increasing finite edges that differ in "
                    f"float32, at least two or none. Got {list(bins[number])} for feature {number}."
                )
        self.in_features = len(edges)
        self.out_features = sum(max(len(one) - 1, 0) for one in edges)
        counts = torch.tensor([max(len(one) - 1, 0) for one in edges], dtype=torch.long)
        # Bin by bin and not feature by feature: features may have different numbers of bins.
        self.register_buffer("column", torch.arange(len(edges)).repeat_interleave(counts))
        self.register_buffer("left", torch.cat([torch.zeros(0), *(one[:-1] for one in edges)]))
        self.register_buffer("width", torch.cat([torch.zeros(0), *(one.diff() for one in edges)]))

    def reset_parameters(self) -> None:
        """Do nothing: there is nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_features)`` to ``(n_samples, n_bins of all features)``."""
        x = torch.index_select(x, 1, self.column)
        return torch.clamp((x - self.left) / self.width, 0, 1)


class Periodic(nn.Module):
    r"""Periodic embedding: sines and cosines of learnt frequencies, a shared linear layer, ReLU.

    For the number x of feature j, with :math:`v = 2 \pi c_j x` and learnt frequencies
    :math:`c_j`, it is :math:`\mathrm{ReLU}(W [\cos v, \sin v] + b)`, where W and b are those of all
    features ("PLR-lite"; [1]_ and its package rtdl_num_embeddings).

    Parameters
    ----------
    n_features : int
        Features.
    n_frequencies : int, default=16
        Frequencies a feature.
    scale : float, default=0.1
        Frequencies start at ``N(0, scale²)``, cut off at three times `scale`. The larger it is, the
        faster the function that is learned may vary.
    size : int, default=8
        Numbers that a feature becomes.

    References
    ----------
    .. [1] Y. Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning",
       NeurIPS 2022, section 3.3.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import Periodic
    >>> Periodic(3, size=8)(torch.zeros(5, 3)).shape
    torch.Size([5, 24])
    """

    def __init__(
        self, n_features: int, n_frequencies: int = 16, scale: float = 0.1, size: int = 8
    ) -> None:
        super().__init__()
        self.scale = scale
        self.out_features = n_features * size
        self.frequencies = nn.Parameter(torch.empty(n_features, n_frequencies))
        self.linear = nn.Linear(2 * n_frequencies, size)
        self.activation = nn.ReLU()
        self._draw()

    def _draw(self) -> None:
        most = 3 * self.scale
        nn.init.trunc_normal_(self.frequencies, 0.0, self.scale, -most, most)

    def reset_parameters(self) -> None:
        """Draw frequencies and weights."""
        self.linear.reset_parameters()
        self._draw()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_features)`` to ``(n_samples, n_features * size)``."""
        angles = 2 * math.pi * (x.unsqueeze(-1) * self.frequencies)
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], -1)
        return self.activation(self.linear(waves)).flatten(1)


class CategoryEmbedding(nn.Module):
    """Learnt vectors for the categories of several columns of codes.

    Parameters
    ----------
    cardinalities : sequence of int
        How many categories each column has; its codes are 0 to one less. Any other number raises
        torch's IndexError.
    size : int, default=8
        Numbers that a code becomes.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import CategoryEmbedding
    >>> CategoryEmbedding([12, 30], size=8)(torch.tensor([[11.0, 29.0]])).shape
    torch.Size([1, 16])
    """

    cardinality: Tensor
    first: Tensor

    def __init__(self, cardinalities: Sequence[int], size: int = 8) -> None:
        super().__init__()
        counts = torch.tensor(list(cardinalities), dtype=torch.long)
        self.n_rows = int(counts.sum())
        self.out_features = size * len(counts)
        self.register_buffer("cardinality", counts)
        self.register_buffer("first", counts.cumsum(0) - counts)
        # One table for all columns, for one look-up a step.
        self.table = nn.Embedding(self.n_rows, size)
        self._draw()

    def _draw(self) -> None:
        bound = self.table.embedding_dim**-0.5
        nn.init.uniform_(self.table.weight, -bound, bound)

    def reset_parameters(self) -> None:
        """Draw the vectors."""
        self._draw()

    def forward(self, x: Tensor) -> Tensor:
        """Map codes, floating or not, ``(n_samples, n_columns)`` to their vectors side by side."""
        codes = x.long()
        known = (codes >= 0) & (codes < self.cardinality)
        # A code out of range must not read another column's rows: it is sent behind the table.
        at = torch.where(known, codes + self.first, self.n_rows)
        return self.table(at).flatten(1)
