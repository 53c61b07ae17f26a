"""Uncertainty of members and of Dirichlets against slow loops, and of fitted estimators."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nets import make_net, make_points
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
)
from skensemble.metrics import (
    agreement,
    evaluate,
    q_statistic,
    retention,
    teacher_kl,
    uncertainty_of_dirichlet,
    uncertainty_of_members,
)

X, Y = make_points()
COLUMNS = ["total", "aleatoric", "epistemic", "variation_ratio", "confidence"]


def draw(seed, n_members=5, n_rows=20, n_classes=3):
    return np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.5), (n_members, n_rows))


def slow_entropy(p):
    return -sum(one * math.log(one) for one in p if one > 0)


# -- members -------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), n_members=st.integers(2, 6), n_classes=st.integers(2, 5))
@settings(max_examples=30)
def test_members_are_the_slow_ones(seed, n_members, n_classes):
    members = draw(seed, n_members, 8, n_classes)
    found = uncertainty_of_members(members)
    for row in range(8):
        mean = [members[:, row, k].mean() for k in range(n_classes)]
        each = [slow_entropy(members[m, row]) for m in range(n_members)]
        divergences = [
            sum(p * math.log(p / q) for p, q in zip(members[m, row], mean, strict=True) if p > 0)
            for m in range(n_members)
        ]
        votes = [int(np.argmax(members[m, row])) for m in range(n_members)]
        assert found.total[row] == pytest.approx(slow_entropy(mean), abs=1e-12)
        assert found.aleatoric[row] == pytest.approx(sum(each) / n_members, abs=1e-12)
        # The mutual information is also the mean divergence from the mean.
        assert found.epistemic[row] == pytest.approx(sum(divergences) / n_members, abs=1e-12)
        most = max(votes.count(k) for k in range(n_classes))
        assert found.variation_ratio[row] == pytest.approx(1 - most / n_members)
        assert found.confidence[row] == pytest.approx(max(mean))
    assert (found.epistemic >= 0).all()
    assert (found.total <= math.log(n_classes) + 1e-12).all()


def test_certain_members_that_differ_and_unsure_ones_that_agree():
    found = uncertainty_of_members([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    np.testing.assert_allclose(found.epistemic, [math.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(found.aleatoric, [0, math.log(2)], atol=1e-12)


def test_a_frame_of_them():
    pd = pytest.importorskip("pandas")
    found = uncertainty_of_members(draw(0))
    frame = found.frame(index=range(100, 120))
    assert list(frame) == COLUMNS == list(found.as_dict())
    assert frame.index[0] == 100
    np.testing.assert_array_equal(frame["epistemic"], found.epistemic)
    assert isinstance(frame, pd.DataFrame)
    assert len(found) == 20


# -- Dirichlets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alpha", [[1.0, 1.0, 1.0], [0.3, 2.0, 5.0], [40.0, 41.0, 3.0], [0.05, 0.05, 0.2]]
)
def test_a_dirichlet_is_its_draws(alpha):
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)[:, None]
    sampled, found = uncertainty_of_members(draws), uncertainty_of_dirichlet([alpha])
    for name, value in found.as_dict().items():
        assert value == pytest.approx(sampled.as_dict()[name], abs=0.01), name


def test_dirichlets_at_the_ends_of_the_range():
    huge = uncertainty_of_dirichlet([[1e30, 2e30], [1e-3, 1e-3], [1.0, 1e200]])
    np.testing.assert_allclose(huge.epistemic[[0, 2]], 0, atol=1e-12)
    assert huge.variation_ratio[0] == pytest.approx(0, abs=1e-9)
    assert huge.epistemic[1] == pytest.approx(math.log(2), abs=0.01)
    assert np.isfinite([*huge.as_dict().values()]).all()


def test_several_dirichlets_are_a_mixture():
    alpha = np.random.default_rng(0).uniform(0.5, 5, (3, 4, 3))
    one = uncertainty_of_dirichlet(alpha)
    each = [uncertainty_of_dirichlet(a) for a in alpha]
    np.testing.assert_allclose(one.aleatoric, np.mean([e.aleatoric for e in each], 0))
    mean = (alpha / alpha.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(one.total, [slow_entropy(p) for p in mean])


def test_a_concentration_must_be_positive():
    with pytest.raises(ValueError, match="'concentration' must be positive numbers"):
        uncertainty_of_dirichlet([[1.0, 0.0]])


# -- other measures ------------------------------------------------------------------------


def test_q_is_the_slow_one():
    members, y = draw(1, 4, 30), np.random.default_rng(0).integers(0, 3, 30)
    found = []
    for a in range(4):
        for b in range(a + 1, 4):
            n = {(i, j): 0 for i in (0, 1) for j in (0, 1)}
            for row in range(30):
                n[members[a, row].argmax() == y[row], members[b, row].argmax() == y[row]] += 1
            same, other = n[1, 1] * n[0, 0], n[0, 1] * n[1, 0]
            found.append((same - other) / (same + other))
    assert q_statistic(y, members) == pytest.approx(sum(found) / 6)
    assert q_statistic(y, members[[0, 0]]) == 1
    assert math.isnan(q_statistic(members[0].argmax(-1), members[[0, 0]], labels=range(3)))


def test_a_student_is_compared_as_its_report_does():
    teacher, student = draw(0, 2)
    y = np.random.default_rng(0).integers(0, 3, 20)
    report = retention(y, student, teacher, n_bootstrap=0)
    assert agreement(teacher, student) == report.agreement
    assert teacher_kl(teacher, student) == pytest.approx(report.divergence)
    assert teacher_kl(teacher, teacher) == 0
    assert teacher_kl([[0.5, 0.5]], [[1.0, 0.0]]) == math.inf
    with pytest.raises(
        ValueError, match="teacher_proba and student_proba must be of the same rows"
    ):
        agreement(teacher, student[:5])


# -- estimators ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble():
    return DeepEnsembleClassifier(make_net(max_epochs=3), 4, random_state=0).fit(X, Y)


def assert_is_of(found, members):
    expected = uncertainty_of_members(members).as_dict()
    for name, value in found.as_dict().items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_an_ensemble_tells_of_its_members(ensemble):
    found = ensemble.uncertainty(X)
    assert_is_of(found, ensemble.predict_members(X))
    assert found.epistemic.max() > 1e-4
    entropy = [slow_entropy(p) for p in ensemble.predict_proba(X)]
    np.testing.assert_allclose(found.total, entropy, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BatchEnsembleClassifier(make_net(), 3, random_state=0),
        lambda: NTKClassifier(make_net(), n_estimators=3, random_state=0),
    ],
    ids=["batch", "ntk"],
)
def test_other_ensembles(make):
    model = make().fit(X, Y)
    assert_is_of(model.uncertainty(X), model.predict_members(X))


def test_students_and_what_is_pruned(ensemble):
    students = DistilledClassifier(ensemble, make_net(), n_students=2, random_state=0).fit(X, Y)
    members = np.stack([one.predict_proba(X) for one in students.estimators_])
    assert_is_of(students.uncertainty(X), members)
    pruned = PrunedClassifier(ensemble, method="magnitude", keep=0.5, finetune=None).fit(X, Y)
    assert_is_of(pruned.uncertainty(X), np.stack([m.predict_proba(X) for m in pruned.estimators_]))


def test_calibrated_members_are_those_a_student_hears():
    model = DeepEnsembleClassifier(
        make_net(max_epochs=3), 4, cross_fit=2, calibrate=True, random_state=0
    ).fit(X, Y)
    logits = model.predict_members(X, response="logit") / model.temperature_
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    assert_is_of(model.uncertainty(X), shifted / shifted.sum(-1, keepdims=True))


@pytest.mark.parametrize("objective", ["dirichlet", "proxy-dirichlet"])
@pytest.mark.parametrize("n_students", [1, 2])
def test_a_dirichlet_student_tells_what_it_was_taught(ensemble, objective, n_students):
    student = DistilledClassifier(
        ensemble, make_net(max_epochs=3), objective=objective, alpha=1.0, n_students=n_students,
        random_state=0,
    ).fit(X, Y)  # fmt: skip
    alpha = student.predict_concentration(X)
    assert alpha.shape == (n_students, len(X), len(student.classes_))
    mean = (alpha / alpha.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(mean, student.predict_proba(X), atol=1e-6)
    expected = uncertainty_of_dirichlet(alpha).as_dict()
    for name, value in student.uncertainty(X).as_dict().items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_pruned_dirichlet_student_is_still_one(ensemble):
    net = make_net(max_epochs=3)
    student = DistilledClassifier(
        ensemble, net, objective="proxy-dirichlet", alpha=1.0, random_state=0
    ).fit(X, Y)
    pruned = PrunedClassifier(FrozenEstimator(student), method="magnitude", keep=0.5, finetune=None)
    pruned.fit(X, Y)
    expected = uncertainty_of_dirichlet(pruned.pruned_.predict_concentration(X))
    np.testing.assert_array_equal(pruned.uncertainty(X).epistemic, expected.epistemic)
    assert (pruned.uncertainty(X).epistemic != student.uncertainty(X).epistemic).any()


def test_one_network_has_nobody_to_disagree_with(ensemble):
    one = NetworkClassifier(make_net(), random_state=0).fit(X, Y)
    student = DistilledClassifier(ensemble, make_net(), random_state=0).fit(X, Y)
    for single in (one, student):
        assert not hasattr(single, "uncertainty")
        with pytest.raises(AttributeError) as caught:
            single.uncertainty(X)
        said = str(caught.value.__cause__)
        assert f"{type(single).__name__} must be that of at least 2 networks" in said
        assert "objective='proxy-dirichlet'" in said
    with pytest.raises(NotFittedError):
        clone(one).uncertainty(X)
    assert not hasattr(student, "predict_concentration")
    with pytest.raises(AttributeError) as caught:
        student.predict_concentration  # noqa: B018
    assert "needs students that were taught a Dirichlet" in str(caught.value.__cause__)
    assert "Got 'label'" in str(caught.value.__cause__)
    apart = DistilledClassifier(objective="dirichlet", alpha=0.0)  # which weighs nothing
    assert not hasattr(apart, "predict_concentration")


def test_a_row_says_how_members_differ(ensemble):
    pipeline = make_pipeline(StandardScaler(), DeepEnsembleClassifier(make_net(), 3)).fit(X, Y)
    assert 0 <= evaluate(pipeline, X, Y)["disagreement"] <= 1
    assert "disagreement" not in evaluate(NetworkClassifier(make_net()).fit(X, Y), X, Y)
