"""A small classifier as one file of C99 that depends on nothing."""

from __future__ import annotations

import os
import re
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._private import StrOptions, validate_params
from skensemble._records.atomic import replacing
from skensemble.deploy.c_text import write_c
from skensemble.deploy.modules import what_predicts
from skensemble.deploy.students import read_student

__all__ = ["export_c"]


@validate_params(
    {
        "estimator": "no_validation",
        "path": [str, os.PathLike],
        "weights": [StrOptions({"float32", "int8"})],
        "name": [str],
    },
    prefer_skip_nested_validation=True,
)
def export_c(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    weights: str = "float32",
    name: str = "student",
) -> None:
    """Write a fitted classifier of small networks as one file of C99.

    The file needs a C compiler and its mathematics library alone, allocates nothing, keeps no
    state, and has::

        enum { student_n_features = ..., student_n_classes = ... };
        extern const char *const student_classes[];
        void student_predict_proba(const float *x, float *proba); /* one row */
        int student_predict(const float *x);                      /* its place in the classes */
        float student_code(int column, const char *category);     /* where there are categories */

    Reading of the table, missing values, embeddings and temperature are inside. A row holds raw
    numbers, NaN where one is missing; in the place of a category it holds its code, as
    `student_code` and `coded_rows` give it.

    Parameters
    ----------
    estimator : classifier
        Fitted, of a search the best one: networks `MLP` or `TabularNet`, students, ensembles and
        pruned ones of these.
    path : path-like
        The file; one that is there is replaced at once or not at all.
    weights : {"float32", "int8"}, default="float32"
        How weights of layers are stored. With "int8" each output of a layer has one scale,
        symmetric about zero, and so has each embedding; what is computed is float32.
    name : str, default="student"
        What names in the file start with.

    See Also
    --------
    export_onnx : All other classifiers, and pipelines.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.deploy import export_c
    >>> net = NetworkClassifier(random_state=0).fit(*load_iris(return_X_y=True))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_c(net, f"{folder}/iris.c", name="iris")
    ...     "void iris_predict_proba(" in Path(folder, "iris.c").read_text()
    True
    """
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        raise ValueError(
            "The 'name' of export_c must be the start of names in C: a letter, then letters, "
            f"digits and _. Got {name!r} instead."
        )
    estimator = what_predicts(estimator)
    if not isinstance(estimator, BaseNetworkClassifier):
        raise TypeError(
            "The 'estimator' of export_c must be a classifier of skensemble, which reads tables "
            f"by itself. Got {type(estimator).__name__}; of a pipeline give the last step, and "
            "to that what the steps before return."
        )
    check_is_fitted(estimator)
    text = write_c(read_student(estimator), name, weights == "int8")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="ascii")
