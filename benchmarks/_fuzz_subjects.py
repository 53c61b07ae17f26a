"""What the API fuzz calls: every public estimator and function, and what each may be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from _fuzz_nets import net
from _fuzz_objects import GROUPS, LOGITS, TEACHERS, pools_of
from _fuzz_values import GOOD_X, ODD, ODD_X, WEIGHTS, Pool
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    TeacherCommittee,
    model_selection,
    ntk,
    preprocessing,
)


@dataclass
class Subject:
    """A class or function, a good way to call it, and pools for its parameters.

    Attributes
    ----------
    name : str
        What it is called in results.
    make : callable
        The class or function.
    base : dict
        Arguments that it works with, or makers of them.
    pools : dict of str to Pool
        Values for each parameter.
    recipe : str
        The parameter that holds a net; empty where there is none.
    weight : float
        How often it is drawn.
    """

    name: str
    make: Callable[..., Any]
    base: dict[str, Any]
    pools: dict[str, Pool]
    recipe: str = ""
    fits: bool = True
    weight: float = 1.0
    fit_pools: dict[str, Pool] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return good arguments, made anew."""
        base = self.base.items()
        return {name: value() if callable(value) else value for name, value in base}


def _estimator(cls: type, recipe: str = "", weight: float = 1.0, **base: Any) -> Subject:
    more = base.pop("pools", {})
    fit_pools = base.pop("fit_pools", {})

    if "random_state" in inspect.signature(cls).parameters:
        base["random_state"] = 0
    pools = pools_of(cls, **more)
    return Subject(cls.__name__, cls, base, pools, recipe, weight=weight, fit_pools=fit_pools)


_COMMITTEES: Pool = {
    **ODD,
    **{f"list of {name}": (lambda make=make: [make()]) for name, make in TEACHERS.items()},
    **{
        f"logistic and {name}": (lambda make=make: [LogisticRegression(), make()])
        for name, make in TEACHERS.items()
    },
}
_FINETUNE = {**ODD, "net": net, "of lr": lambda: {"lr": 0.1}, "of bad lr": lambda: {"lr": -1},
             "of unknown": lambda: {"foo": 1}, "of callbacks": lambda: {"callbacks": ["x"]},
             "of epochs": lambda: {"max_epochs": 1}}  # fmt: skip
_DISTILL = {**ODD, "default": DistilledClassifier,
            "of trees": lambda: DistilledClassifier(DecisionTreeClassifier()),
            "bad": lambda: DistilledClassifier(alpha=5), "class": lambda: DistilledClassifier,
            "with student": lambda: DistilledClassifier(student=net()),
            "bad teacher": lambda: DistilledClassifier(5)}  # fmt: skip
_KEEP = {**ODD, "by layer": lambda: {"layers.1": 0.5}, "no layer": lambda: {"nothing": 0.5},
         "bad share": lambda: {"layers.1": 5}, "of 'x'": lambda: {"layers.1": "x"}}  # fmt: skip
ESTIMATORS: list[Subject] = [
    _estimator(NetworkClassifier, "estimator", 3, estimator=net),
    _estimator(DeepEnsembleClassifier, "estimator", 3, estimator=net, n_estimators=2,
               fit_pools={"groups": GROUPS}),
    _estimator(BatchEnsembleClassifier, "estimator", 1.5, estimator=net, n_estimators=2),
    _estimator(DistilledClassifier, "student", 3, teacher=LogisticRegression, student=net,
               fit_pools={"teacher_logits": LOGITS,
                          "X_unlabelled": {**ODD, **GOOD_X, **ODD_X}}),
    _estimator(SelfDistiller, "estimator", 1, estimator=net),
    _estimator(TeacherCommittee, "", 0.7,
               teachers=lambda: [LogisticRegression(), DecisionTreeClassifier(random_state=0)],
               pools={"teachers": _COMMITTEES,
                      "weights": {**ODD, **WEIGHTS, "good": lambda: [1, 2]}}),
    _estimator(NTKClassifier, "estimator", 2, estimator=net),
    _estimator(PrunedClassifier, "estimator", 2, estimator=net, finetune=1,
               pools={"finetune": _FINETUNE, "distill": _DISTILL, "keep": _KEEP}),
    _estimator(StackedGridSearchCV, "", 1.5, estimator=lambda: NetworkClassifier(net()),
               param_grid={"estimator__lr": [0.01, 0.02]}, cv=2),
    _estimator(StackedRandomizedSearchCV, "", 0.7, estimator=lambda: NetworkClassifier(net()),
               param_distributions={"estimator__lr": [0.01, 0.02]}, cv=2, n_iter=2),
    _estimator(model_selection.StackedHalvingGridSearchCV, "", 0.5,
               estimator=lambda: NetworkClassifier(net()), min_resources=15, factor=2,
               param_grid={"estimator__lr": [0.01, 0.02]}, cv=2),
    _estimator(ntk.NTKFeatures, "estimator", 1, estimator=net),
    _estimator(preprocessing.ModuleFeatures, "module", 1, module=net),
    _estimator(preprocessing.ChannelSplit, "", 0.5),
    _estimator(preprocessing.TablePreprocessor, "", 1),
]  # fmt: skip
