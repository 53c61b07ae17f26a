"""Who is measured on tables: scikit-learn, boosting, networks of others, and ours.

Every peer stands at its defaults; what is passed is its seed, its threads, silence, and
that it must not write files. What a peer cannot read is prepared for it, here and nowhere
else, and inside its own fit, so that the seconds count:

- `LogisticRegression`, `MLPClassifier`: the median for a gap and a column that says so,
  standard scores, one column for each category (a gap is one more, an unseen one is none).
- Forests: the same without the scores.
- `HistGradientBoostingClassifier`, LightGBM, XGBoost: nothing; they take categories and
  gaps from the frame. CatBoost wants a word for a missing category.
- RealMLP and TabM: they take categories, missing ones too, but refuse gaps in numbers: the
  median and a column that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier

Make = Callable[[pd.DataFrame, int, int], Any]

NUMBERS = make_column_selector(dtype_include="number")
CATEGORIES = make_column_selector(dtype_include="category")


class Peer(NamedTuple):
    """How a peer is made of its training frame, a seed and its threads, and what it imports."""

    make: Make
    module: str = "sklearn"


# -- preparing -----------------------------------------------------------------------------


def _filled() -> SimpleImputer:
    return SimpleImputer(strategy="median", add_indicator=True)


def dense(model: Any, scale: bool = True) -> Any:
    """Put columns of numbers without gaps before a model."""
    numbers = make_pipeline(_filled(), StandardScaler()) if scale else _filled()
    names = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((numbers, NUMBERS), (names, CATEGORIES)), model)


def without_gaps(model: Any) -> Any:
    """Fill gaps in numbers before a model, and leave categories to it."""
    fill = make_column_transformer((_filled(), NUMBERS), ("passthrough", CATEGORIES))
    return make_pipeline(fill.set_output(transform="pandas"), model)


def named_gaps(X: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a word for a missing category."""
    names = {name: X[name].astype(object).fillna("missing") for name in CATEGORIES(X)}
    return X.assign(**names)


# -- peers ---------------------------------------------------------------------------------


def _hist(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)


def _hist_calibrated(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return CalibratedClassifierCV(_hist(X, seed, threads), cv=5)


def _forest(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return dense(RandomForestClassifier(n_jobs=threads, random_state=seed), scale=False)


def _extra_trees(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return dense(ExtraTreesClassifier(n_jobs=threads, random_state=seed), scale=False)


def _logistic(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return dense(LogisticRegression(random_state=seed))


def _perceptron(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return dense(MLPClassifier(random_state=seed))


def _lightgbm(X: pd.DataFrame, seed: int, threads: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_jobs=threads, random_state=seed, verbosity=-1)


def _xgboost(X: pd.DataFrame, seed: int, threads: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_jobs=threads, random_state=seed, enable_categorical=True)


def _catboost(X: pd.DataFrame, seed: int, threads: int) -> Any:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(thread_count=threads, random_seed=seed, verbose=False,
                               allow_writing_files=False, cat_features=CATEGORIES(X))  # fmt: skip
    return make_pipeline(FunctionTransformer(named_gaps), model)


def _realmlp(X: pd.DataFrame, seed: int, threads: int) -> Any:
    from pytabkit import RealMLP_TD_S_Classifier

    return without_gaps(RealMLP_TD_S_Classifier(device="cpu", n_threads=threads, random_state=seed))


def _tabm(X: pd.DataFrame, seed: int, threads: int) -> Any:
    from pytabkit import TabM_D_Classifier

    return without_gaps(TabM_D_Classifier(device="cpu", n_threads=threads, random_state=seed))


PEERS: dict[str, Peer] = {
    "LogisticRegression": Peer(_logistic),
    "RandomForest": Peer(_forest),
    "ExtraTrees": Peer(_extra_trees),
    "HistGradientBoosting": Peer(_hist),
    "HistGradientBoosting calibrated": Peer(_hist_calibrated),
    "MLPClassifier": Peer(_perceptron),
    "LightGBM": Peer(_lightgbm, "lightgbm"),
    "XGBoost": Peer(_xgboost, "xgboost"),
    "CatBoost": Peer(_catboost, "catboost"),
    "RealMLP_TD_S": Peer(_realmlp, "pytabkit"),
    "TabM_D": Peer(_tabm, "pytabkit"),
}


# -- ours ----------------------------------------------------------------------------------


def _ensemble(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return DeepEnsembleClassifier(random_state=seed)


def _distilled(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return DistilledClassifier(DeepEnsembleClassifier(), random_state=seed)


def _network(X: pd.DataFrame, seed: int, threads: int) -> Any:
    return NetworkClassifier(random_state=seed)


OURS: dict[str, Peer] = {
    "DeepEnsemble": Peer(_ensemble, "skensemble"),
    "Distilled": Peer(_distilled, "skensemble"),
    "Network": Peer(_network, "skensemble"),
}


def not_installed(names: Sequence[str]) -> list[str]:
    """Return the modules that some contenders need and that cannot be imported here."""
    modules = {(PEERS | OURS)[name].module for name in names}
    return sorted(module for module in modules if find_spec(module) is None)


def make(name: str, X: pd.DataFrame, seed: int, threads: int, prepare: bool) -> Any:
    """Return an unfitted contender.

    Parameters
    ----------
    name : str
        Of `PEERS` or `OURS`.
    X : DataFrame
        Training rows.
    seed, threads : int
        What it is given.
    prepare : bool
        Whether ours gets what `LogisticRegression` gets, instead of the frame as it is.

    Returns
    -------
    estimator
        With ``fit`` and ``predict_proba``.
    """
    model = (PEERS | OURS)[name].make(X, seed, threads)
    return dense(model) if prepare and name in OURS else model
