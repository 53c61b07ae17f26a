"""The functions that the API fuzz calls."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _fuzz_nets import MODULES
from _fuzz_objects import RECIPES, TEACHERS, _fit_net, ensemble, fitted
from _fuzz_subjects import ESTIMATORS, Subject
from _fuzz_values import (
    GOOD_X,
    N_CLASSES,
    N_ROWS,
    ODD,
    ODD_X,
    ODD_Y,
    WEIGHTS,
    Pool,
    labels,
    plain,
    rows,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skensemble
from skensemble import (
    conformal,
    datasets,
    deploy,
    inspection,
    metrics,
    model_selection,
    nn,
    ntk,
    pruning,
    transfer,
)

# -- functions ---------------------------------------------------------------------------------


def _function(function: Callable[..., Any], pools: dict[str, Pool], **base: Any) -> Subject:
    known = inspect.signature(function).parameters
    all_pools = {name: {**ODD, **pools.get(name, {})} for name in known if name != "path"}
    all_pools |= {"path": pools["path"]} if "path" in pools else {}
    return Subject(function.__name__, function, base, all_pools, fits=False, weight=0.35)


def _proba() -> np.ndarray:
    return np.full((N_ROWS, N_CLASSES), 1 / N_CLASSES)


def _members() -> np.ndarray:
    return np.stack([_proba(), _proba()])


_PROBA: Pool = {
    "good": _proba, "members": _members, "frame": lambda: __import__("pandas").DataFrame(_proba()),
    "nan": lambda: np.full((N_ROWS, N_CLASSES), np.nan), "fewer": lambda: _proba()[:-1],
    "two columns": lambda: _proba()[:, :2], "negative": lambda: -_proba(),
    "logits": lambda: 9 * _proba(), "none": lambda: _proba()[:0], "1-D": lambda: _proba()[:, 0],
    "strings": lambda: _proba().astype(str), "4-D": lambda: _members()[None],
    "one member": lambda: _members()[:1], "no member": lambda: _members()[:0],
}  # fmt: skip
_LABELS: Pool = {"good": lambda: [0, 1, 2], "more": lambda: [0, 1, 2, 3], "fewer": lambda: [0, 1],
                 "twice": lambda: [0, 1, 1], "words": lambda: ["a", "b", "c"]}  # fmt: skip
_MODULES: Pool = {**MODULES, "good": lambda: torch.nn.Linear(4, 3)}
_ROWS: Pool = {**GOOD_X, **ODD_X}
_TRUE: Pool = {**ODD_Y, "good": labels}
_MADE: dict[str, Any] = {}


def fitted_ensemble() -> Any:
    """Return one fitted ensemble that functions are given, and that they must leave alone."""
    if "ensemble" not in _MADE:
        _MADE["ensemble"] = fitted(ensemble())
    return _MADE["ensemble"]


def saved() -> str:
    """Return the path of a file."""
    if "file" not in _MADE:
        _MADE["file"] = str(Path(tempfile.mkdtemp()) / "file")
        fitted_ensemble().save(_MADE["file"])
    return str(_MADE["file"])


def _other_file() -> str:
    path = Path(saved()).with_name("other")
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    return str(path)


def _cut_file() -> str:
    path = Path(saved()).with_name("cut")
    path.write_bytes(Path(saved()).read_bytes()[:-7])
    return str(path)


def network() -> Any:
    """Return an unfitted network."""
    return skensemble.NetworkClassifier(_fit_net(), random_state=0)


def pipeline() -> Any:
    """Return an unfitted pipeline that ends in a network."""
    return make_pipeline(StandardScaler(), network())


def fit_pretrained(
    network: Any, start: Any = "weights", head: Any = "last", freeze: Any = None, rates: Any = None
) -> Any:
    """Fit a network that starts from weights."""
    recipe = skensemble.Pretrained(network, start, head, freeze, rates)
    return skensemble.NetworkClassifier(recipe, random_state=0).fit(rows(), labels())


def _network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))


def _c_file() -> str:
    return str(Path(saved()).with_name("student.c"))


_PIPELINES: Pool = {"pipeline": pipeline, "network": network, "class": lambda: StandardScaler,
                    "scaler": StandardScaler}  # fmt: skip
_PATHS: Pool = {"good": _c_file, "no folder": lambda: "/nowhere/file.c", "folder": lambda: "/"}
_FILES: Pool = {"good": saved, "missing": lambda: "/nowhere/file", "other": _other_file,
                "cut": _cut_file}  # fmt: skip
_SMALL = {"n_samples": 20, "n_classes": 3}
_ENSEMBLES = {**TEACHERS, "good": fitted_ensemble}
# Without skorch's own nets, whose predictions draw from torch's generator.
_FITTED = {name: make for name, make in _ENSEMBLES.items() if name not in RECIPES}
FUNCTIONS: list[Subject] = [
    _function(metrics.disagreement, {"members": _PROBA}, members=_members),
    _function(metrics.pairwise_kl, {"members": _PROBA}, members=_members),
    _function(metrics.expected_calibration_error,
              {"y_true": _TRUE, "y_proba": _PROBA, "labels": _LABELS},
              y_true=labels, y_proba=_proba),
    _function(metrics.negative_log_likelihood,
              {"y_true": _TRUE, "y_proba": _PROBA, "labels": _LABELS},
              y_true=labels, y_proba=_proba),
    _function(metrics.retention,
              {"y_true": _TRUE, "student_proba": _PROBA, "teacher_proba": _PROBA,
               "plain_proba": _PROBA, "labels": _LABELS, "sample_weight": WEIGHTS},
              y_true=labels, student_proba=_proba, teacher_proba=_proba, plain_proba=_proba,
              n_bootstrap=9),
    *(_function(measure, {"y_true": _TRUE, "y_proba": _PROBA, "labels": _LABELS, "score": WEIGHTS},
                y_true=labels, y_proba=_proba)
      for measure in (metrics.classwise_calibration_error, metrics.smooth_calibration_error,
                      metrics.brier_decomposition, metrics.risk_coverage_curve, metrics.aurc,
                      metrics.augrc, metrics.risk_at_coverage, metrics.coverage_at_risk,
                      metrics.abstention_threshold)),
    *(_function(measure, {"teacher_proba": _PROBA, "student_proba": _PROBA}, teacher_proba=_proba,
                student_proba=_proba) for measure in (metrics.agreement, metrics.teacher_kl)),
    _function(metrics.q_statistic, {"y_true": _TRUE, "members": _PROBA, "labels": _LABELS},
              y_true=labels, members=_members),
    _function(metrics.uncertainty_of_members, {"members": _PROBA}, members=_members),
    _function(metrics.uncertainty_of_dirichlet, {"concentration": _PROBA}, concentration=_proba),
    *(_function(measure, {"score_in": WEIGHTS, "score_out": WEIGHTS}, score_in=[0.5, 0.9],
                score_out=[0.4, 0.6]) for measure in (metrics.ood_auroc, metrics.fpr_at_tpr)),
    _function(metrics.evaluate,
              {"estimator": _FITTED, "X": _ROWS, "y": _TRUE, "X_cal": _ROWS, "y_cal": _TRUE},
              estimator=fitted_ensemble, X=rows, y=labels),
    _function(metrics.get_scorer, {"scoring": plain(ours="neg_ece", theirs="accuracy")},
              scoring="neg_ece"),
    _function(conformal.conformity_scores, {"y_proba": _PROBA, "noise": WEIGHTS}, y_proba=_proba),
    _function(conformal.ConformalSets, {}),
    _function(metrics.surplus, {}, self_distilled=0.8, finetuned=0.7, unpruned_distilled=0.9,
              unpruned=0.8),
    _function(inspection.learned_views, {"estimator": _ENSEMBLES, "features": _ROWS},
              estimator=fitted_ensemble, features=lambda: np.ones((3, 2, 4))),
    _function(inspection.loss_landscape,
              {"estimator": _ENSEMBLES, "X": _ROWS, "y": _TRUE},
              estimator=fitted_ensemble, X=rows, y=labels, n_steps=3),
    _function(inspection.diversity_score, {"estimator": _ENSEMBLES, "X": _ROWS},
              estimator=fitted_ensemble, X=rows),
    _function(datasets.corrupt_images, {"X": _ROWS}, X=lambda: np.ones((4, 3, 8, 8), np.uint8),
              corruption="fog"),
    _function(datasets.corrupt_table, {"X": _ROWS}, X=rows, corruption="noise"),
    _function(pruning.prune_ensemble,
              {"ensemble": _ENSEMBLES, "X_val": _ROWS, "y_val": _TRUE, "sample_weight": WEIGHTS,
               "method": plain(greedy="greedy", random="random")},
              ensemble=fitted_ensemble, X_val=rows, y_val=labels),
    *(_function(measure, {"estimator": _PIPELINES, "X": _ROWS, "y": _TRUE, "groups": WEIGHTS,
                          "cv": plain(two=2, none=None, generator=lambda: iter([([0, 1], [2])]))},
                estimator=pipeline, X=rows, y=labels, cv=2)
      for measure in (model_selection.cross_validate, model_selection.cross_val_score,
                      model_selection.cross_val_predict)),
    _function(fit_pretrained,
              {"network": _MODULES, "freeze": plain(all="backbone", part=["0"], none=["zz"]),
               "rates": plain(part={"0": 0.1}, none={"zz": 0.1}, bad={"0": -1}),
               "head": plain(last="last", named="2", none=None, strange="zz")},
              network=_network),
    _function(deploy.as_module, {"estimator": {**_ENSEMBLES, **_PIPELINES}},
              estimator=fitted_ensemble),
    _function(deploy.coded_rows, {"estimator": {**_ENSEMBLES, **_PIPELINES}, "X": _ROWS},
              estimator=fitted_ensemble, X=rows),
    _function(deploy.export_c, {"path": _PATHS, "estimator": {**_ENSEMBLES, **_PIPELINES}},
              estimator=fitted_ensemble, path=_c_file),
    _function(skensemble.load, {"path": _FILES, "module": _MODULES}, path=saved),
    _function(datasets.make_labelled_gaussian, {"shape": plain(one=4, two=(2, 2))}, **_SMALL,
              shape=(1, 2, 2)),
    _function(datasets.make_multiview_classification, {}, **_SMALL, patch_dim=40),
    _function(datasets.load_cifar, {"name": plain(ten="cifar10")}, name="cifar10",
              root="/nowhere"),
    _function(nn.quantile_bins, {"X": _ROWS}, X=rows),
    _function(nn.gradient_descent, {"module": _MODULES}),
    _function(ntk.empirical_ntk,
              {"module": _MODULES, "X1": _ROWS, "X2": _ROWS,
               "outputs": plain(full="full", trace="trace")},
              module=lambda: torch.nn.Linear(4, 3), X1=lambda: rows().astype(np.float32)),
    _function(ntk.kernel_operator, {"module": _MODULES, "X": _ROWS},
              module=lambda: torch.nn.Linear(4, 3), X=lambda: rows().astype(np.float32)),
]  # fmt: skip
for _sampler in (transfer.Interpolate, transfer.Mixup, transfer.Munge, transfer.Noise):
    _one = _function(_sampler().sample, {"X": _ROWS}, X=rows, n=5, random_state=0)
    _one.name = f"{_sampler.__name__}.sample"
    FUNCTIONS.append(_one)
BIG = ("1e30", "1e300", "inf")  # numbers of rows that no memory holds
for _one in FUNCTIONS:
    for _name, _pool in _one.pools.items():
        _one.pools[_name] = {
            key: _pool[key] for key in _pool if key not in BIG or "n_" not in _name
        }
SUBJECTS = [*ESTIMATORS, *FUNCTIONS]
