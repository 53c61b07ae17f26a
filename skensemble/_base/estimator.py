"""What every estimator made of networks is, whatever their outputs mean.

Outputs have the shape ``(member, sample, output)``. That some are logits of classes is said in
`skensemble._base.classifier` alone.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags, _safe_indexing
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import (
    ROWS,
    check_store,
    is_bytes,
    is_store,
    is_table,
    refuse_mapping,
    surely_finite,
    table_rows,
)
from skensemble._base.costs import cost_of
from skensemble._base.states import from_state, innermost, params_of, plain_params, to_state
from skensemble._data.rows import Rows
from skensemble._data.sparse import SparseRows
from skensemble._files.checks import Check, partial
from skensemble._files.format import State
from skensemble._files.recipes import is_ours
from skensemble._fits.given import Given, Steps
from skensemble._recipes.plain import full_state, plain_state
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe, run_members
from skensemble._tables.preprocessor import TablePreprocessor

# Numbers a prediction batch may hold, inputs and outputs alike; the activations of a
# convolutional network are some fifty times as many.
_CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 22}
_CHUNK_ROWS = 4096
# Numbers of a row up to which what was loaded predicts one: more would cost as much as loading.
_MOST_REHEARSED = 1 << 16


class BaseNetworks(CallbackSupportMixin, BaseEstimator, ABC):
    """Abstract estimator made of one or more fitted networks.

    Attributes
    ----------
    _recipe : Recipe
        Of its networks, bound to the data; the first one's where they differ.
    _table : TablePreprocessor or None
        What reads the table of the fit that is under way.
    _recipe_parameter : str
        The parameter that holds what the user gave as the recipe.
    _members_attribute : str or None
        Where its fitted networks are; None for an estimator that is its own network.
    _found : dict of str to check
        What `fit` found out and no network holds, as JSON says it, and what it may be.
    _learns_targets : bool
        Whether it is fitted in closed form to targets, and not batch by batch.
    """

    _recipe: Recipe
    _table: Any = None
    _recipe_parameter: ClassVar[str] = "estimator"
    _members_attribute: ClassVar[str | None] = None
    _found: ClassVar[dict[str, Check]] = {}
    _shared: ClassVar[tuple[str, ...]] = ("n_features_in_", "feature_names_in_")
    _learns_targets: ClassVar[bool] = False
    # Whether it reads raw tables and chooses by rules where the user gave no recipe.
    _chooses: ClassVar[bool] = True
    # Whether a train_split may bring rows to train on; not where a fit asks others about X.
    _takes_other_rows: ClassVar[bool] = False

    # -- data in -----------------------------------------------------------------------

    def _share_fitted(self, other: BaseNetworks) -> None:
        """Tell another estimator what `fit` found out about the data."""
        for name in self._shared:
            if hasattr(self, name):
                setattr(other, name, getattr(self, name))

    def _check_X(self, X: Any, reset: bool, in_shape: tuple[int, ...] | None = None) -> Any:
        """Return `X` as an array of at least two axes, never copied if it is one already.

        Samples must have the shape seen in `fit`, which is `in_shape` while that is running.
        """
        with naming("X", ROWS):
            refuse_mapping(X)
            return self._read_X(as_numpy(X), reset, in_shape)

    def _read_X(self, X: Any, reset: bool, in_shape: tuple[int, ...] | None) -> Any:
        table = self._table if in_shape is not None or reset else self._recipe.table
        if table is not None:
            if not is_table(X):
                validate_data(self, X, reset=False, allow_nd=True)
            validate_data(self, X, reset=False, skip_check_array=True)
            return table_rows(table, X)
        if not reset and in_shape is None:
            in_shape = self._recipe.in_shape
            if self._is_fine(X):
                return X
        if issparse(X):
            kinds = [np.float64, np.float32]
            X = SparseRows(validate_data(self, X, reset=reset, accept_sparse="csr", dtype=kinds))
        elif is_store(X):
            X = check_store(X)
            if reset:
                self.n_features_in_ = int(X.shape[1])
        else:
            dtype = None if is_bytes(X) else [np.float64, np.float32]
            X = validate_data(self, X, reset=reset, dtype=dtype, allow_nd=True)
        if not reset and tuple(X.shape[1:]) != in_shape:
            raise ValueError(
                f"X has samples of shape {tuple(X.shape[1:])}, but {type(self).__name__} is "
                f"expecting samples of shape {in_shape}."
            )
        return X

    def _read_table(self, X: Any, rows: np.ndarray | None) -> Any:
        """Read all of a raw table, as is known already or as the rows of this fit say."""
        with naming("X", ROWS):
            validate_data(self, X, reset=True, skip_check_array=True)
            if self._table is None:
                own = X if rows is None else _safe_indexing(X, rows)
                self._table = TablePreprocessor(embed="auto").fit(own)
            return table_rows(self._table, X)

    def _reads(self, X: Any) -> bool:
        """Whether `X` is a raw table that nobody has said how to read."""
        source = innermost(self)
        nothing = source is None or (isinstance(source, Recipe) and source.module is None)
        return self._chooses and nothing and is_table(X)

    def _is_fine(self, X: Any) -> bool:
        """Whether scikit-learn's checks, slow beside a small network, would pass `X` as is."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float32, np.float64)
            and len(X) > 0
            and tuple(X.shape[1:]) == self._recipe.in_shape
            and not hasattr(self, "feature_names_in_")
            and surely_finite(X)
        )

    @abstractmethod
    def _steps(self, given: Given) -> Steps:
        """Fit, yielding what is to be trained; see `skensemble._fits.running`."""

    # -- outputs -------------------------------------------------------------------------

    @abstractmethod
    def _networks(self) -> Sequence[nn.Module]:
        """Return the fitted modules, in evaluation mode."""

    def _recipes(self) -> Sequence[Recipe]:
        """Return the recipe of each fitted module."""
        return [self._recipe] * len(self._networks())

    @property
    def preprocessor_(self) -> TablePreprocessor | None:
        """What reads raw tables, where no recipe was given; None otherwise."""
        check_is_fitted(self)
        return self._recipe.table

    def _outputs(self, X: Any) -> Iterator[tuple[slice, int, Tensor]]:
        """Yield rows, how many there are in all, and outputs ``(member, sample, output)``."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        yield from self._run(X, self._networks(), self._recipes())

    def _run(
        self, X: Any, modules: Sequence[nn.Module], recipes: Sequence[Recipe]
    ) -> Iterator[tuple[slice, int, Tensor]]:
        """Run networks on rows that were checked."""
        parameter = next(modules[0].parameters(), torch.empty(0))
        rows = Rows(X, self._recipe.dtype, parameter.device)
        numbers = max(math.prod(X.shape[1:]), len(modules) * self._recipe.n_outputs)
        budget = _CHUNK_NUMBERS.get(parameter.device.type, _CHUNK_NUMBERS["cpu"])
        step = min(_CHUNK_ROWS, max(32, budget // numbers))
        for start in range(0, len(rows), step):
            where = slice(start, min(start + step, len(rows)))
            with torch.inference_mode():
                outputs = run_members(modules, recipes, rows.slice(where.start, where.stop))
                if not outputs.sum().isfinite():  # in one cheap pass; then look closely
                    self._check_outputs(rows, where, outputs)
            yield where, len(rows), outputs

    def _check_outputs(self, rows: Rows, where: slice, outputs: Tensor) -> None:
        """Refuse outputs that say nothing of a row."""
        bad = ~self._say_something(outputs).all(0)
        if bad.any():
            rows.require_range(where.start, where.stop)
            raise ValueError(
                "The networks must put out finite numbers. Got NaN or infinity for row "
                f"{where.start + int(bad.nonzero()[0])} of X instead; are its features scaled as "
                "those that were learned?"
            )

    def _say_something(self, outputs: Tensor) -> Tensor:
        """Return which outputs can be used, ``(member, sample)``."""
        return outputs.isfinite().all(-1)

    def _collect(self, X: Any, fuse: Callable[[Tensor], Tensor], axis: int = 0) -> np.ndarray:
        """Apply `fuse` to the outputs of each chunk and join the results along `axis`."""
        out: np.ndarray | None = None
        with torch.inference_mode():
            for where, n_rows, outputs in self._outputs(X):
                part = fuse(outputs).cpu().numpy()
                if part.shape[axis] == n_rows:
                    return part
                if out is None:
                    shape = (*part.shape[:axis], n_rows, *part.shape[axis + 1 :])
                    out = np.empty(shape, part.dtype)
                out[(slice(None),) * axis + (where,)] = part
        return np.asarray(out)

    # -- the networks inside ---------------------------------------------------------------

    def _recipe_source(self) -> Any:
        """Return what the user gave as the recipe of a network."""
        return getattr(self, self._recipe_parameter)

    def _members(self) -> list[Any]:
        """Return the fitted estimators inside, of one network each."""
        return [self] if self._members_attribute is None else getattr(self, self._members_attribute)

    def _with_members(self, members: list[Any]) -> Any:
        """Return a fitted estimator that predicts with other networks."""
        if self._members_attribute is None:
            return members[0]
        twin = copy.copy(self)
        setattr(twin, self._members_attribute, members)
        twin._recipe = members[0]._recipe
        return twin

    def _with_recipe(self, change: Callable[[Recipe], Recipe]) -> Any:
        """Return an unfitted estimator whose networks have a changed recipe."""
        source = self._recipe_source()
        inside = isinstance(source, BaseNetworks)
        changed = source._with_recipe(change) if inside else change(read_recipe(source))
        return clone(self).set_params(**{self._recipe_parameter: changed})

    def _prunable(self) -> list[Any]:
        """Return the fitted single networks that predict and can be exchanged for others."""
        return [network for one in self._members() for network in inside(one, self)]

    def _count_voices(self) -> int:
        """Return how many networks, of those that a student can tell apart, there are."""
        return sum(getattr(network, "n_members", 1) for network in self._networks())

    def __sklearn_tags__(self) -> Tags:
        """Say that sparse rows are taken, and raw tables where no recipe is given."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if self._chooses and innermost(self) is None:
            takes = tags.input_tags
            takes.allow_nan = takes.string = takes.categorical = True
        return tags

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        """Put what the fit has cost before the fitted attributes of scikit-learn's diagram."""
        shown = super()._get_fitted_attr_html(doc_link)
        cost = cost_of(self).items()
        rows = {name: {"type_name": type(value).__name__, "value": value} for name, value in cost}
        shown.data = {**rows, **shown.data}
        return shown

    # -- pickles ---------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return the state, in which recipes are words and arrays of NumPy."""
        return plain_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        super().__setstate__(full_state(state))

    # -- files ---------------------------------------------------------------------------

    def _plain_params(self) -> dict[str, Any]:
        """Return the parameters as JSON has them, but for the recipe's."""
        params = self.get_params(deep=False)
        del params[self._recipe_parameter]
        return plain_params(params)

    @classmethod
    def _params_of(cls, about: dict[str, Any]) -> dict[str, Any]:
        """Return parameters as the constructor takes them."""
        return params_of(about)

    def _plain_fitted(self) -> dict[str, Any]:
        """Return as JSON what `fit` found out about the data."""
        names = getattr(self, "feature_names_in_", np.array([])).tolist()
        return {"n_features_in": self.n_features_in_, "feature_names": names}

    def _take_fitted(self, about: dict[str, Any]) -> None:
        """Take back what `_plain_fitted` said."""
        self.n_features_in_ = about["n_features_in"]
        if about["feature_names"]:
            self.feature_names_in_ = np.array(about["feature_names"], dtype=object)

    def _take_found(self, found: dict[str, Any]) -> None:
        """Take what `fit` found out; a file may name nothing else."""
        partial(self._found)(found)
        for name, value in found.items():
            setattr(self, name, value)

    def _rehearse(self) -> None:
        """Predict two rows that mean nothing, so that what cannot predict fails at once."""
        shape = self._recipe.in_shape
        ours = all(is_ours(recipe.module) for recipe in self._recipes())
        # Others' modules may want rows that mean something.
        if not ours or math.prod(shape) > _MOST_REHEARSED:
            return
        kind = np.float64 if self._recipe.dtype == torch.float64 else np.float32
        rows = np.full((2, *shape), 0.5, kind)
        rows[0] = 0
        rehearsed = list(self._run(rows, self._networks(), self._recipes()))
        self._check_rehearsed(rehearsed[0][2])

    def _check_rehearsed(self, outputs: Tensor) -> None:
        """Refuse outputs that are not what the estimator makes predictions of."""

    def _to_state(self) -> State:
        """Return what a file is to hold."""
        return to_state(self)

    @classmethod
    def _from_state(cls, state: State) -> Any:
        """Rebuild the estimator from what a file holds."""
        return from_state(cls, state)

    def save(self, path: Any) -> None:
        """Write the fitted estimator as safetensors and JSON, to be read by `skensemble.load`.

        Parameters
        ----------
        path : path-like
            The file; one that is there is replaced at once or not at all.
        """
        from skensemble._files.states import save

        check_is_fitted(self)
        save(self, path)

    def export_onnx(
        self, path: Any, *, preprocessed: bool = False, uncertainty: bool = False
    ) -> None:
        """Write the fused estimator as an ONNX graph with a free number of rows.

        Its input ``X`` is float32, in [0, 1] where the networks learned images of bytes; of a
        table that was read by ``preprocessor_``, the raw numbers with NaN for missing ones. A
        table with categories has one input a column instead, by the names of `fit`: strings for
        categories, the empty one for missing, and float32 for all else. Outputs are ``label``
        and ``probabilities``. Needs ``pip install 'skensemble[onnx]'``; pipelines are for
        `skensemble.deploy.export_onnx`.

        Parameters
        ----------
        path : path-like
            The file; one that is there is replaced at once or not at all.
        preprocessed : bool, default=False
            Whether the graph is to be given what ``preprocessor_.transform`` returns.
        uncertainty : bool, default=False
            Whether ``uncertainty`` is an output too, of shape (n_samples, 3): total, aleatoric
            and epistemic, as the method `uncertainty` tells them.
        """
        from skensemble._graphs.onnx import export_onnx

        check_is_fitted(self)
        export_onnx(self, path, preprocessed, uncertainty)


def inside(one: Any, owner: BaseNetworks) -> list[Any]:
    """Return the networks inside of a part of an estimator that can be pruned."""
    if one is owner:
        return [one]
    if one._learns_targets:
        raise ValueError(
            f"The networks to be pruned must be trained by gradients. Got {type(one).__name__} "
            f"inside of a {type(owner).__name__}."
        )
    return one._prunable()
