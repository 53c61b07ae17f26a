"""A network for tables: embedded numbers and categories before fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

import torch
from torch import Tensor, nn

from skensemble.nn._stages import check_number, check_size, read_widths
from skensemble.nn.dropout import Dropout
from skensemble.nn.embeddings import CategoryEmbedding, Periodic, PiecewiseLinear
from skensemble.nn.mlp import ACTIVATIONS

BLOCKS = ("plain", "residual")
EMBEDDINGS = (None, "piecewise", "periodic")


class TabularNet(nn.Module):
    """Fully connected layers on the numbers of a table, their embedding, and that of categories.

    A row holds `numeric` numbers, then any columns that are taken as they are (indicators,
    one-hot codes), then a code for each of the `cardinalities`.

    Parameters
    ----------
    in_shape : sequence of int
        ``(n_features,)``.
    n_classes : int
        Number of outputs.
    hidden : sequence of int, default=(128, 128)
        Width of each hidden layer; with residual blocks, the inner width of each, on a path of
        the first one's width.
    numeric : int, default=None
        How many columns, the first ones, are numbers to embed; None for all but the codes.
    cardinalities : sequence of int, default=()
        How many categories the last columns have, which hold codes from 0.
    embedding : {"piecewise", "periodic"} or None, default=None
        What stands beside each number: its `PiecewiseLinear` encoding by `bins`, its `Periodic`
        embedding, or nothing. Either wants numbers of about unit scale.
    bins : sequence of sequence of float, default=None
        For "piecewise", the edges of each number's bins, as `quantile_bins` makes them of the
        training rows.
    embedding_size : int, default=8
        Numbers that a number becomes by the periodic embedding.
    n_frequencies : int, default=16
        Frequencies a number of the periodic embedding.
    frequency_scale : float, default=0.1
        Standard deviation of these frequencies at the start.
    category_size : int, default=8
        Numbers that a code becomes.
    activation : {"relu", "gelu", "tanh", "silu"}, default="silu"
        What follows each hidden layer.
    dropout : float, default=0.2
        Probability of dropping a hidden unit in training, below one.
    blocks : {"plain", "residual"}, default="plain"
        Hidden layers one after the other; or blocks of layer normalisation, a hidden layer and a
        linear layer back to the path that they are added to, as in [1]_.
    width_list : sequence of int, default=None
        Widths of the hidden layers of a pruned network; None stands for `hidden`.

    Notes
    -----
    Linear layers start as torch starts them. The default sizes are those that did best among
    prototypes on small tables: 16 quantile bins, two layers of 128, dropout of 0.2.

    References
    ----------
    .. [1] Y. Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skensemble.nn import TabularNet, quantile_bins
    >>> X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    >>> net = TabularNet((4,), 3, embedding="piecewise", bins=quantile_bins(X, 16))
    >>> net(torch.from_numpy(X)).shape
    torch.Size([50, 3])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        hidden: Sequence[int] = (128, 128),
        numeric: int | None = None,
        cardinalities: Sequence[int] = (),
        embedding: str | None = None,
        bins: Sequence[Sequence[float]] | None = None,
        embedding_size: int = 8,
        n_frequencies: int = 16,
        frequency_scale: float = 0.1,
        category_size: int = 8,
        activation: str = "silu",
        dropout: float = 0.2,
        blocks: str = "plain",
        width_list: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check_choice("activation", activation, sorted(ACTIVATIONS))
        _check_choice("blocks", blocks, BLOCKS)
        check_number("TabularNet", "dropout", dropout, 0.0, 0.99)
        check_number("TabularNet", "frequency_scale", frequency_scale, 1e-6, 1e6)
        for name, size in (
            ("embedding_size", embedding_size),
            ("n_frequencies", n_frequencies),
            ("category_size", category_size),
            *(("cardinalities", count) for count in cardinalities),
            *(("hidden", width) for width in hidden),
        ):
            check_size("TabularNet", name, size)
        if not hidden and blocks == "residual":
            raise ValueError(
                "The 'hidden' of TabularNet must name at least one width with "
                "blocks='residual'. Got none; give one, or use blocks='plain'."
            )
        self.n_plain = _count_plain(in_shape, cardinalities)
        self.numeric = _count_numeric(numeric, self.n_plain)
        self.numbers: nn.Module | None = None
        self.categories: nn.Module | None = None
        n_in = self.n_plain
        _check_bins(embedding, bins, self.numeric)
        if embedding == "piecewise" and bins is not None:
            self.numbers = PiecewiseLinear(bins)
            n_in += self.numbers.out_features
        elif embedding == "periodic":
            self.numbers = Periodic(self.numeric, n_frequencies, frequency_scale, embedding_size)
            n_in += self.numbers.out_features
        if cardinalities:
            self.categories = CategoryEmbedding(cardinalities, category_size)
            n_in += self.categories.out_features
        widths = read_widths("TabularNet", width_list, hidden)
        shared = (widths, n_classes, ACTIVATIONS[activation], dropout)
        if blocks == "plain":
            self.layers = _plain(n_in, *shared)
        else:
            self.layers = _residual(n_in, hidden[0], *shared)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_features)`` to logits ``(n_samples, n_classes)``."""
        parts = [x if self.categories is None else x[:, : self.n_plain]]
        if self.numbers is not None:
            parts.append(self.numbers(x[:, : self.numeric]))
        if self.categories is not None:
            parts.append(self.categories(x[:, self.n_plain :]))
        return self.layers(parts[0] if len(parts) == 1 else torch.cat(parts, 1))


class ResidualBlock(nn.Module):
    """Layer normalisation, a hidden layer and a linear layer, added to what came in."""

    def __init__(self, width: int, inner: int, activation: type[nn.Module], dropout: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, inner),
            activation(),
            *_dropped(dropout),
            nn.Linear(inner, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the path."""
        return x + self.branch(x)


# -- building --------------------------------------------------------------------------------


def _dropped(dropout: float) -> list[nn.Module]:
    return [Dropout(dropout)] if dropout else []


def _plain(
    n_in: int,
    widths: Sequence[int],
    n_classes: int,
    activation: type[nn.Module],
    dropout: float,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise([n_in, *widths]):
        layers += [nn.Linear(before, after), activation(), *_dropped(dropout)]
    return nn.Sequential(*layers, nn.Linear([n_in, *widths][-1], n_classes))


def _residual(
    n_in: int,
    trunk: int,
    widths: Sequence[int],
    n_classes: int,
    activation: type[nn.Module],
    dropout: float,
) -> nn.Sequential:
    blocks = [ResidualBlock(trunk, inner, activation, dropout) for inner in widths]
    head = [nn.LayerNorm(trunk), activation(), nn.Linear(trunk, n_classes)]
    return nn.Sequential(nn.Linear(n_in, trunk), *blocks, *head)


# -- checks ----------------------------------------------------------------------------------


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(
            f"The {name!r} of TabularNet must be one of {list(known)}. Got {value!r} instead."
        )


def _count_plain(in_shape: Sequence[int], cardinalities: Sequence[int]) -> int:
    """Return how many columns are no codes."""
    if len(in_shape) != 1 or in_shape[0] < max(len(cardinalities), 1):
        raise ValueError(
            "TabularNet takes rows of shape (n_features,), with at least one feature and a column "
            f"for each of its {len(cardinalities)} 'cardinalities'. Got samples of shape "
            f"{tuple(in_shape)}."
        )
    return in_shape[0] - len(cardinalities)


def _count_numeric(numeric: int | None, n_plain: int) -> int:
    if numeric is None:
        return n_plain
    whole = isinstance(numeric, Integral) and not isinstance(numeric, bool)
    if not whole or not 0 <= numeric <= n_plain:
        raise ValueError(
            f"The 'numeric' of TabularNet must be None or an int from 0 to {n_plain}, the "
            f"columns that hold no codes. Got {numeric!r} instead."
        )
    return int(numeric)


def _check_bins(
    embedding: str | None, bins: Sequence[Sequence[float]] | None, numeric: int
) -> None:
    if embedding not in EMBEDDINGS:
        raise ValueError(
            f"The 'embedding' of TabularNet must be one of {list(EMBEDDINGS)}. "
            f"Got {embedding!r} instead."
        )
    if (bins is not None) != (embedding == "piecewise"):
        raise ValueError(
            "The 'bins' of TabularNet must be given with embedding='piecewise', and only then. "
            f"Got embedding={embedding!r} and bins={'None' if bins is None else 'edges'}; "
            "quantile_bins makes them of the training rows."
        )
    if bins is not None and len(bins) != numeric:
        raise ValueError(
            f"The 'bins' of TabularNet must have the edges of each of the {numeric} numbers. "
            f"Got those of {len(bins)}."
        )
