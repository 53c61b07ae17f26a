"""Fitted estimators as torch modules, and the rows that these and files of C are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.fitted import unwrap
from skensemble._graphs.module import Fused, require_network
from skensemble._tables import reader
from skensemble._tables.preprocessor import TablePreprocessor

__all__ = ["as_module", "coded_rows", "what_predicts"]


def what_predicts(model: Any) -> Any:
    """Return a search's best estimator, a frozen one's own, anything else as it is."""
    while True:
        model = unwrap(model)
        if not hasattr(model, "best_estimator_"):
            return model
        model = model.best_estimator_


def as_module(estimator: Any, *, preprocessed: bool = False) -> nn.Module:
    """Return a fitted classifier as one module from rows to probabilities.

    It is in evaluation mode, float32 and on the CPU; its networks are copies.
    ``torch.export.export`` takes it, and from there ExecuTorch, AOTInductor and others.

    Parameters
    ----------
    estimator : classifier
        Fitted; of a search the best one.
    preprocessed : bool, default=False
        Whether the module is given what ``preprocessor_.transform`` returns, not raw rows. Of a
        table with categories raw rows are those of `coded_rows`.

    Returns
    -------
    torch.nn.Module
        Maps (n_samples, ...) to (n_samples, n_classes).

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.deploy import as_module
    >>> X, y = load_iris(return_X_y=True)
    >>> module = as_module(NetworkClassifier(random_state=0).fit(X, y))
    >>> rows = torch.tensor(X, dtype=torch.float32)
    >>> program = torch.export.export(module, (rows[:2],))
    >>> torch.equal(program.module()(rows[:2]).argmax(1), module(rows[:2]).argmax(1))
    True
    """
    estimator = what_predicts(estimator)
    if not isinstance(estimator, BaseNetworkClassifier):
        raise TypeError(
            "The 'estimator' of as_module must be a classifier of skensemble. Got "
            f"{type(estimator).__name__}; of a pipeline give the last step, and to the module "
            "what the steps before return."
        )
    check_is_fitted(estimator)
    require_network(estimator, "torch.export")
    return Fused(estimator, preprocessed).eval().requires_grad_(False)


def coded_rows(estimator: Any, X: Any) -> np.ndarray:
    """Return rows of a raw table as numbers, for modules and files of C.

    Numbers stay as they are, NaN where one is missing. A category becomes its code: k for
    ``preprocessor_.categories_[column][k - 1]``, of which None is a missing one, and 0 for what
    `fit` did not keep.

    Parameters
    ----------
    estimator : classifier or TablePreprocessor
        Fitted; a classifier is one that reads tables itself.
    X : DataFrame or array-like of shape (n_samples, n_features)
        Rows with the columns seen in `fit`.

    Returns
    -------
    ndarray of float32 of shape (n_samples, n_features)
        Rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from skensemble.deploy import coded_rows
    >>> from skensemble.preprocessing import TablePreprocessor
    >>> X = pd.DataFrame({"age": [20.0, None, 40, 30], "city": ["Rome", "Oslo", "Rome", "Oslo"]})
    >>> coded_rows(TablePreprocessor().fit(X), X.assign(city=["Rome", "Oslo", "Lima", None]))
    array([[20.,  2.],
           [nan,  1.],
           [40.,  0.],
           [30.,  0.]], dtype=float32)
    """
    estimator = what_predicts(estimator)
    table = getattr(estimator, "preprocessor_", estimator)
    if not isinstance(table, TablePreprocessor):
        raise TypeError(
            "The 'estimator' of coded_rows must be a TablePreprocessor, or a classifier that "
            f"reads tables itself. Got {type(estimator).__name__}, which is given numbers as they "
            "are."
        )
    check_is_fitted(table)
    return reader.coded_rows(table, X)
