"""Numbers at the edge of what floats hold, and classes that are almost or not at all there."""

import numpy as np
import pytest
import torch
from nets import make_data, make_net
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    MemberDivergedError,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble.losses import label_distillation, soften
from skensemble.metrics import negative_log_likelihood

X, Y = make_data(48)


def small(**kwargs):
    return make_net(**{"max_epochs": 2, "batch_size": 16, **kwargs})


def kinds(**kwargs):
    """Return one of each way to predict, all cheap."""
    teacher = DeepEnsembleClassifier(small(), 2)
    return [
        NetworkClassifier(small(), random_state=0, **kwargs),
        DeepEnsembleClassifier(small(), 2, random_state=0, **kwargs),
        DeepEnsembleClassifier(small(), 2, averaging="logit", random_state=0, **kwargs),
        BatchEnsembleClassifier(small(), 2, random_state=0, **kwargs),
        DistilledClassifier(teacher, small(), random_state=0, **kwargs),
        SelfDistiller(small(), random_state=0, **kwargs),
        PrunedClassifier(small(), finetune=1, random_state=0, **kwargs),
    ]


def assert_fine(one, rows):
    """Raise unless all that is said of rows is finite and sums to one."""
    proba = one.predict_proba(rows)
    assert np.isfinite(proba).all()
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(1), 1, rtol=0, atol=1e-6)
    chosen = np.searchsorted(one.classes_, one.predict(rows))
    largest = proba[np.arange(len(proba)), chosen]
    np.testing.assert_allclose(largest, proba.max(1), rtol=0, atol=1e-12)


# -- precision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [X.astype(np.float16), torch.from_numpy(X).half(), torch.from_numpy(X).bfloat16()],
    ids=["float16", "tensor of float16", "tensor of bfloat16"],
)
def test_rows_of_half_precision(rows):
    for one in [*kinds(), NTKClassifier(small(), random_state=0)]:
        assert_fine(one.fit(rows, Y), rows)


def test_networks_in_bfloat16():
    for one in kinds(precision="bf16"):
        assert_fine(one.fit(X.astype(np.float32), Y), X.astype(np.float32))


def test_half_precision_says_what_single_precision_says():
    exact = X.astype(np.float16)
    one = NetworkClassifier(small(), random_state=0).fit(exact, Y)
    like = NetworkClassifier(small(), random_state=0).fit(exact.astype(np.float32), Y)
    np.testing.assert_allclose(one.predict_proba(X), like.predict_proba(X), atol=1e-5)


# -- large logits --------------------------------------------------------------------------


class Loud(nn.Linear):
    """Logits of some ten thousands."""

    def __init__(self, in_shape, n_classes):
        super().__init__(in_shape[0], n_classes)

    def forward(self, x):
        return 1e4 * super().forward(x)


@pytest.mark.parametrize("averaging", ["proba", "logit", "vote"])
def test_members_of_large_logits(averaging):
    one = DeepEnsembleClassifier(small(module=Loud), 3, averaging=averaging, random_state=0)
    one.fit(X.astype(np.float32), Y)
    assert abs(one.predict_members(X, response="logit")).max() > 1e3
    assert_fine(one, X)
    assert np.isfinite(one.decision_function(X)).all()
    if averaging != "vote":
        assert np.isfinite(one.predict_log_proba(X)[one.predict_proba(X) > 0]).all()


@pytest.mark.parametrize("objective", ["label", "logit", "dirichlet", "proxy-dirichlet"])
def test_teachers_of_large_logits(objective):
    teacher = DeepEnsembleClassifier(small(module=Loud), 2, random_state=0).fit(X, Y)
    # Squares of ten thousands want small steps.
    net = small(optimizer=torch.optim.SGD, lr=1e-9)
    student = DistilledClassifier(
        FrozenEstimator(teacher), net, objective=objective, alpha=0.5, random_state=0
    )
    assert_fine(student.fit(X, Y), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_logits_at_ten_thousands(dtype):
    logits = (1e4 * torch.tensor([[[1.0, -1.0, 0.0], [-1.0, -1.0, 1.0]]], dtype=dtype)).clone()
    logits.requires_grad_()
    target = soften(-logits.detach().transpose(0, 1), 1.0).unsqueeze(0)
    loss = label_distillation(logits, target).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


# -- temperatures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "dtype"),
    [(1e-30, "f4"), (1e-6, "f4"), (1e6, "f4"), (1e15, "f4"), (1e-30, "f8"), (1e30, "f8")],
)
def test_temperatures(temperature, dtype):
    rows = X.astype(dtype)
    for one in (
        DistilledClassifier(LogisticRegression(), small(), temperature=temperature),
        DistilledClassifier(
            DeepEnsembleClassifier(small(), 2), small(), temperature=temperature, alpha=0.5
        ),
        SelfDistiller(small(), temperature=temperature),
        NTKClassifier(small(), temperature=temperature),
    ):
        assert_fine(one.set_params(random_state=0).fit(rows, Y), rows)


def test_a_temperature_whose_square_is_no_number_of_single_precision_is_no_silent_end():
    student = DistilledClassifier(LogisticRegression(), small(), temperature=1e30, random_state=0)
    with pytest.raises(MemberDivergedError, match="NaN or infinite"):
        student.fit(X.astype(np.float32), Y)


def test_a_temperature_without_a_square_is_named():
    with pytest.raises(ValueError, match="temperature must be greater than 0 and less than 1e150"):
        SelfDistiller(small(), temperature=1e300).fit(X, Y)


# -- rows ----------------------------------------------------------------------------------


def test_single_rows():
    for one in [*kinds(), NTKClassifier(small(), random_state=0)]:
        one.fit(X, Y)
        each = np.concatenate([one.predict_proba(row[None]) for row in X[:3]])
        np.testing.assert_allclose(each, one.predict_proba(X)[:3], atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e30])
def test_constant_features(value):
    rows = X.copy()
    rows[:, 2] = value
    scale = 1.0 if value < 1e3 else 1e-30
    for one in [*kinds(), NTKClassifier(small(), random_state=0)]:
        assert_fine(one.fit(rows * scale, Y), rows * scale)
    rows = np.full_like(X, value)
    for one in [*kinds()[:2], NTKClassifier(small(), random_state=0)] if value < 1e3 else []:
        assert_fine(one.fit(rows, Y), rows)
    chosen = DeepEnsembleClassifier(n_estimators=2, random_state=0)  # which reads the table
    assert_fine(chosen.fit(rows[:, :2], Y % 2), rows[:, :2])


# -- classes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rare():
    """One row of the second class in ten thousand and one."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10_001, 3)).astype(np.float32)
    labels = np.zeros(len(rows), int)
    labels[-1], rows[-1] = 1, 6
    return rows, labels


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_one_row_of_a_class_in_ten_thousand(rare, class_weight):
    rows, labels = rare
    net = small(batch_size=1024, module__hidden=(4,))
    for one in (
        DeepEnsembleClassifier(net, 2, class_weight=class_weight, random_state=0),
        DistilledClassifier(LogisticRegression(), net, class_weight=class_weight, random_state=0),
    ):
        one.fit(rows, labels)
        assert one.classes_.tolist() == [0, 1]
        assert_fine(one, rows)
        loss = negative_log_likelihood(labels, one.predict_proba(rows))
        assert np.isfinite(loss)


def by_class():
    """Return rows sorted by class, whose folds in order lack one each."""
    order = np.argsort(Y, kind="stable")
    return X[order], Y[order], KFold(3)


def test_a_class_that_a_fold_lacks_in_cross_fitting():
    rows, labels, folds = by_class()
    one = DeepEnsembleClassifier(small(), 3, cross_fit=folds, random_state=0).fit(rows, labels)
    assert_fine(one, rows)
    assert one.oof_proba_.shape == (len(rows), 3)
    np.testing.assert_allclose(one.oof_proba_.sum(1), 1, atol=1e-6)


def test_a_class_that_a_fold_lacks_in_teacher_cv():
    rows, labels, folds = by_class()
    for teacher in (LogisticRegression(), DeepEnsembleClassifier(small(), 2)):
        one = DistilledClassifier(teacher, small(), teacher_cv=folds, random_state=0)
        assert_fine(one.fit(rows, labels), rows)


@pytest.mark.parametrize("scoring", ["accuracy", None])
def test_a_class_that_a_fold_lacks_in_a_search(scoring):
    rows, labels, folds = by_class()
    search = StackedGridSearchCV(
        DistilledClassifier(LogisticRegression(), small(), random_state=0),
        {"alpha": [0.5, 1.0]}, cv=folds, scoring=scoring, error_score="raise",
    ).fit(rows, labels)  # fmt: skip
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert_fine(search, rows)
