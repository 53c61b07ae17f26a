"""Kernel machines, as classifiers and as students, against their formulas."""

import pickle

import numpy as np
import pytest
import torch
from nets import make_data, make_net
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from tangents import jacobian
from torch import nn

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble.nn import MLP, CifarResNet


class Probabilities(MLP):
    def forward(self, x):
        return super().forward(x).softmax(-1)


def expected_outputs(model, X, y, X_new, sample_weight=None):
    """Fit every member from explicit Jacobians; return the mean of their outputs."""
    n_classes = len(model.classes_)
    targets = np.eye(n_classes)[np.searchsorted(model.classes_, y)] - 1 / n_classes
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    kernels = []
    for member in model.estimators_:
        body = member.module_.body
        j, new = jacobian(body, torch.from_numpy(X)), jacobian(body, torch.from_numpy(X_new))
        if model.features == "gp":
            with torch.no_grad():
                j, new = (
                    torch.cat([body.layers[:-1](torch.from_numpy(x)), torch.ones(len(x), 1)], 1)
                    for x in (X, X_new)
                )
            j, new = j.unsqueeze(1), new.unsqueeze(1)
        elif model.features == "ntk":
            j, new = j[:, :1], new[:, :1]
        elif model.features == "trace":
            j, new = (one.flatten(1).unsqueeze(1) / n_classes**0.5 for one in (j, new))
        pair = [torch.einsum("nap,mbp->namb", a, j).numpy() for a in (j, new)]
        kernels.append(pair)
    if model.combine == "sum":
        kernels = [[np.mean([k[at] for k in kernels], 0) for at in (0, 1)]]
    out = []
    for own, new in kernels:
        n, o = own.shape[:2]
        flat = targets.reshape(n * o, -1) if o > 1 else targets
        scale = np.average([np.trace(own[i, :, i]) / o for i in range(n)], weights=w)
        weights = np.repeat(w, o)[:, None]
        ridge = model.reg * scale * np.eye(n * o)
        dual = np.linalg.solve(weights * own.reshape(n * o, -1) + ridge, weights * flat)
        said = (new.reshape(len(X_new) * o, -1) @ dual).reshape(len(X_new), -1)
        out.append(said + 1 / n_classes)
    return np.mean(out, 0)


@pytest.mark.parametrize("combine", ["ensemble", "sum"])
@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_predictions_are_the_ridge_regression_of_explicit_features(features, combine, solver):
    X, y = make_data(30)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = NTKClassifier(
        make_net(), features=features, n_estimators=2, combine=combine, solver=solver, reg=0.1,
        tol=1e-11, temperature=0.5, random_state=0,
    ).fit(X, y, weight)  # fmt: skip
    X_new = np.random.default_rng(2).normal(size=(6, X.shape[1]))
    expected = expected_outputs(model, X, y, X_new, weight)
    np.testing.assert_allclose(model.decision_function(X_new) * 0.5, expected, rtol=1e-6, atol=1e-8)
    z = np.exp(expected / 0.5)
    np.testing.assert_allclose(
        model.predict_proba(X_new), z / z.sum(1, keepdims=True), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
def test_dual_and_primal_predictions_are_the_same(monkeypatch, features, tmp_path):
    X, y = make_data(30)
    model = NTKClassifier(make_net(), features=features, n_estimators=2, random_state=0)
    primal = clone(model).fit(X, y)
    monkeypatch.setattr("skensemble.ntk.classifier._FOLDED", 0)
    dual = model.fit(X, y)
    assert dual.estimators_[0].module_.dual
    assert not primal.estimators_[0].module_.dual
    np.testing.assert_allclose(dual.predict_proba(X), primal.predict_proba(X), rtol=1e-7)
    dual.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_allclose(again.predict_proba(X), dual.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("combine", ["ensemble", "sum"])
def test_descent_arrives_where_factoring_does(combine):
    X, y = make_data(60)
    model = NTKClassifier(
        make_net(), n_estimators=2, combine=combine, reg=0.3, temperature=1.0, random_state=0
    )
    exact = clone(model).fit(X, y)
    ours = model.set_params(solver="sgd", max_iter=200).fit(X, y)
    gap = np.abs(ours.decision_function(X) - exact.decision_function(X)).max()
    assert gap < 0.02 * np.abs(exact.decision_function(X)).max()


def test_weight_two_is_a_repeated_row():
    X, y = make_data(30)
    model = NTKClassifier(make_net(), temperature=1.0, random_state=0)
    weight = np.where(np.arange(len(X)) < 5, 2.0, 1.0)
    weighed = clone(model).fit(X, y, weight)
    repeated = clone(model).fit(np.concatenate([X, X[:5]]), np.concatenate([y, y[:5]]))
    np.testing.assert_allclose(
        weighed.decision_function(X), repeated.decision_function(X), rtol=1e-7
    )


def test_workers_chunks_and_solvers_change_nothing():
    X, y = make_data(40)
    model = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, y)
    for change in ({"n_jobs": 2}, {"chunk_size": 7}, {"solver": "eigh"}):
        other = clone(model).set_params(**change).fit(X, y)
        np.testing.assert_allclose(other.predict_proba(X), model.predict_proba(X), rtol=1e-8)
    one = clone(model).set_params(n_estimators=1, temperature=model.temperature_).fit(X, y)
    np.testing.assert_allclose(one.predict_members(X)[0], model.predict_members(X)[0], rtol=1e-8)


def test_it_can_be_kept(tmp_path):
    pytest.importorskip("onnxscript")
    X, y = make_data(40)
    labels = np.array(["a", "b", "c"])[y]
    model = NTKClassifier(make_net(), n_estimators=2, reg="loo", random_state=0).fit(X, labels)
    model.save(tmp_path / "file")
    for again in (
        skensemble.load(tmp_path / "file", module=MLP),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), rtol=1e-12)
        assert again.reg_ == model.reg_
        assert again.temperature_ == model.temperature_
        assert again.layers_ == model.layers_
    with pytest.raises(ValueError, match="ONNX has no graph for"):
        model.export_onnx(tmp_path / "graph")


def test_images_and_float32():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    y = (X[:, 0, :4].mean((1, 2)) > X[:, 0, 4:].mean((1, 2))).astype(int)
    net = make_net(CifarResNet, module__depth=8, module__width=4)
    model = NTKClassifier(net, reg=1e-3, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).dtype == np.float32
    double = NTKClassifier(net, reg=1e-3, dtype="float64", random_state=0).fit(X, y)
    assert double.predict_proba(X).dtype == np.float64
    np.testing.assert_allclose(double.predict_proba(X), model.predict_proba(X), atol=1e-2)


def test_grids_of_kernels_agree_with_scikit_learn():
    X, y = make_data(60)
    model = NTKClassifier(make_net(), random_state=0)
    grid = {"reg": [1e-3, 1e-1], "features": ["ntk", "gp"]}
    theirs = GridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-8
    )


def test_classifier_errors():
    X, y = make_data(30)
    with pytest.raises(ValueError, match="needs a factorisation"):
        NTKClassifier(make_net(), reg="loo", solver="cg").fit(X, y)
    proba = make_net(Probabilities, criterion=nn.NLLLoss)
    with pytest.raises(ValueError, match="linearises logits"):
        NTKClassifier(proba).fit(X, y)
    with pytest.raises(ValueError, match="not positive definite"):
        NTKClassifier(make_net(), features="gp", reg=1e-300).fit(X, y)
    model = NTKClassifier(make_net(), verbose=1, random_state=0).fit(X, y)
    student = DistilledClassifier(FrozenEstimator(model), make_net(), perturbation="ods")
    with pytest.raises(ValueError, match="must be made of networks of skensemble"):
        student.fit(X, y)
    with pytest.raises(ValueError, match="compares layers"):
        student.set_params(perturbation=None, objective="hint").fit(X, y)


def test_progress_is_told_when_asked(capsys):
    X, y = make_data(30)
    model = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, y)
    assert capsys.readouterr().out == ""
    clone(model).set_params(verbose=1).fit(X, y)
    assert "kernel 2 of 2" in capsys.readouterr().out


# -- students --------------------------------------------------------------------------------


def test_kernel_students_learn_a_mix_of_labels_and_teacher():
    X, y = make_data(40)
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    kernel = NTKClassifier(make_net(), temperature=1.0, reg=0.1)
    student = DistilledClassifier(teacher, kernel, temperature=2.0, alpha=0.7, random_state=0)
    student.fit(X, y)
    z = np.exp(teacher.predict_members(X, response="logit") / 2)
    p = (z / z.sum(-1, keepdims=True)).mean(0)
    shares = 0.3 * np.eye(3)[y] + 0.7 * p
    (network,) = student.estimators_[0]._networks()
    j = jacobian(network.body, torch.from_numpy(X))[:, 0].numpy()
    k = j @ j.T
    dual = np.linalg.solve(k + 0.1 * np.mean(np.diag(k)) * np.eye(len(X)), shares - 1 / 3)
    np.testing.assert_allclose(student.decision_function(X), k @ dual + 1 / 3, rtol=1e-7)
    logits = teacher.predict_members(X, response="logit")
    brought = DistilledClassifier(student=kernel, temperature=2.0, alpha=0.7, random_state=0)
    brought.fit(X, y, teacher_logits=logits)
    np.testing.assert_allclose(brought.predict_proba(X), student.predict_proba(X), rtol=1e-9)
    with pytest.raises(ValueError, match="that are NTKClassifiers inside of a Distilled"):
        student.save("nowhere")
    plain = clone(student).set_params(alpha=0.0).fit(X, y)
    alone = clone(kernel).set_params(random_state=0).fit(X, y)
    np.testing.assert_allclose(plain.predict_proba(X), alone.predict_proba(X), rtol=1e-9)


def test_several_kernel_students_are_averaged():
    X, y = make_data(40)
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    kernel = NTKClassifier(make_net(), n_estimators=2)
    students = DistilledClassifier(teacher, kernel, n_students=2, random_state=0).fit(X, y)
    mean = np.mean([one.predict_proba(X) for one in students.estimators_], 0)
    np.testing.assert_allclose(students.predict_proba(X), mean, rtol=1e-7)
    first = clone(students).set_params(keep="first", teacher=FrozenEstimator(teacher)).fit(X, y)
    np.testing.assert_allclose(
        first.predict_proba(X), students.estimators_[0].predict_proba(X), rtol=1e-9
    )


def test_generations_of_kernels():
    X, y = make_data(40)
    kernel = NTKClassifier(make_net())
    ours = SelfDistiller(kernel, 2, temperature=1.0, alpha=0.6, random_state=3).fit(X, y)
    one = clone(kernel).set_params(random_state=ours.generations_[0].random_state).fit(X, y)
    for later in ours.generations_[1:]:
        step = DistilledClassifier(
            FrozenEstimator(one), kernel, temperature=1.0, alpha=0.6,
            random_state=later.random_state,
        ).fit(X, y)  # fmt: skip
        np.testing.assert_allclose(step.predict_proba(X), later.predict_proba(X), rtol=1e-7)
        one = later
    assert len({one.random_state for one in ours.generations_}) == 3


def test_students_of_kernels():
    X, y = make_data(40)
    teacher = NTKClassifier(make_net(), n_estimators=2, combine="sum", random_state=0)
    student = DistilledClassifier(teacher, make_net(max_epochs=40), random_state=0).fit(X, y)
    assert student.score(X, y) > 0.8


def test_errors_of_kernel_students():
    X, y = make_data(40)
    kernel = NTKClassifier(make_net())
    teacher = DeepEnsembleClassifier(make_net(), 2)
    for wrong in ({"objective": "logit"}, {"perturbation": "ods"}, {"report_diversity": True}):
        with pytest.raises(ValueError, match="learns from its teacher's probabilities alone"):
            DistilledClassifier(teacher, kernel, **wrong).fit(X, y)
    for wrong in ({"averaging": "one-to-one"}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="the mean of its teacher, in full precision"):
            DistilledClassifier(teacher, kernel, **wrong).fit(X, y)
    with pytest.raises(ValueError, match="Got variant='label', precision='bf16'"):
        SelfDistiller(kernel, precision="bf16").fit(X, y)
    with pytest.raises(ValueError, match="does not take 'X_unlabelled'"):
        DistilledClassifier(teacher, kernel).fit(X, y, X_unlabelled=X)
    with pytest.raises(ValueError, match="variant='label'"):
        SelfDistiller(kernel, variant="cwtm").fit(X, y)
