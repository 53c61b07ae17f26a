"""Searches and cross-validation that train all their candidates and folds in common stacks."""

from skensemble.model_selection.grids import StackedGridSearchCV, StackedRandomizedSearchCV
from skensemble.model_selection.halving import (
    StackedHalvingGridSearchCV,
    StackedHalvingRandomSearchCV,
)
from skensemble.model_selection.validation import (
    cross_val_predict,
    cross_val_score,
    cross_validate,
)

__all__ = [
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedHalvingRandomSearchCV",
    "StackedRandomizedSearchCV",
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
]
