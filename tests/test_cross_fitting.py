"""Folds that members hold out, and what is made of rows that they have not seen."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from nets import make_net, make_points
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

import skensemble
from skensemble import DeepEnsembleClassifier, NetworkClassifier, StackedGridSearchCV
from skensemble._base.calibration import fit_temperature
from skensemble._base.folds import make_folds
from skensemble._data.rows import FitData

X, Y = make_points()


def rows_of(y, rows=None):
    y = np.asarray(y)
    return FitData(np.zeros((len(y), 1)), y, None, np.arange(len(y)) if rows is None else rows)


def weights_of(member):
    return [value.numpy() for value in member.module_.state_dict().values()]


def same(one, other, atol=1e-10):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


# -- folds -----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=60),
    st.integers(2, 6),
    st.integers(1, 15),
    st.integers(0, 5),
)
def test_dealing_is_even_and_leaves_nothing_in_both_hands(y, k, n_members, seed):
    k = min(k, len(y))
    folds = make_folds(k, n_members, rows_of(y), None, seed)
    y = np.asarray(y)
    assert len(folds.train) == len(folds.held_out) == n_members
    sizes = {len(held_out) for held_out in folds.held_out}
    assert sizes == {-(-len(y) // k)}
    for train, held_out in zip(folds.train, folds.held_out, strict=True):
        assert len(np.intersect1d(train, held_out)) == 0
        assert len(np.unique(np.append(train, held_out))) == len(y)
        for label in np.unique(y):  # a share of each class, and a row that fills the fold up
            share = np.sum(y == label) / k
            assert abs(np.sum(y[held_out] == label) - share) < 2
    if n_members >= k:
        assert set(np.concatenate(folds.held_out[:k])) == set(range(len(y)))
    longer = make_folds(k, n_members + 3, rows_of(y), None, seed)
    for one, other in zip(folds.held_out, longer.held_out, strict=False):
        np.testing.assert_array_equal(one, other)


def test_automatic_numbers_of_folds():
    data = rows_of(np.arange(100) % 2)
    found = [make_folds("auto", m, data, None, 0).n_folds for m in (1, 2, 9, 10, 25)]
    assert found == [10, 5, 5, 10, 10]
    assert make_folds("auto", 10, rows_of([0, 1, 0]), None, 0).n_folds == 3


def test_rows_that_fill_folds_up_are_drawn_among_all():
    folds = make_folds(4, 40, rows_of([0] * 13), None, 0)
    fillers = []
    for start in range(0, 40, 4):
        rows, counts = np.unique(
            np.concatenate(folds.held_out[start : start + 4]), return_counts=True
        )
        assert counts.sum() == 16
        fillers.append(rows[counts > 1])
    assert len(set(np.concatenate(fillers))) > 8
    assert len({tuple(one) for one in fillers}) > 5


def test_rows_of_the_fit_alone_are_dealt():
    data = rows_of(np.arange(40) % 2, rows=np.arange(5, 35))
    folds = make_folds(3, 3, data, None, 0)
    assert set(np.concatenate(folds.held_out)) == set(range(5, 35))


# -- members ---------------------------------------------------------------------------------


def test_a_member_is_the_network_that_sees_the_other_rows():
    ensemble = DeepEnsembleClassifier(make_net(), 4, cross_fit=3, random_state=0).fit(X, Y)
    for member, held_out in zip(ensemble, ensemble.folds_, strict=True):
        left = np.setdiff1d(np.arange(len(X)), held_out)
        alone = NetworkClassifier(make_net(), random_state=member.random_state)
        same(member, alone.fit(X[left], Y[left]))


def test_left_out_rows_are_predicted_by_those_that_did_not_see_them():
    for averaging in ("proba", "logit"):
        ensemble = DeepEnsembleClassifier(
            make_net(), 5, cross_fit=2, averaging=averaging, random_state=0
        ).fit(X, Y)
        expected = []
        for row in range(len(X)):
            who = [m for m, held in enumerate(ensemble.folds_) if row in held]
            assert 2 <= len(who) <= 3
            logits = ensemble.predict_members(X[row : row + 1], response="logit")[who, 0]
            mean = logits.mean(0) if averaging == "logit" else None
            proba = np.exp(log_softmax(logits, 1)).mean(0)
            expected.append(proba if mean is None else np.exp(log_softmax(mean)))
        np.testing.assert_allclose(ensemble.oof_proba_, expected, atol=1e-12)
        assert ensemble.oof_score_ == np.mean(ensemble.oof_proba_.argmax(1) == Y)


def test_each_member_stops_by_its_own_fold():
    stopping = EarlyStopping(monitor="valid_loss", patience=2, load_best=True)
    net = make_net(callbacks=[stopping], max_epochs=25, lr=0.5, train_split=None)
    ensemble = DeepEnsembleClassifier(net, 4, cross_fit=4, random_state=0).fit(X, Y)
    for member, held_out in zip(ensemble, ensemble.folds_, strict=True):
        losses = [row["valid_loss"] for row in member.history_]
        said = member.predict_log_proba(X[held_out])
        loss = -said[np.arange(len(held_out)), Y[held_out]].mean()
        assert loss == pytest.approx(min(losses))


def test_noise_is_not_known_out_of_fold():
    rng = np.random.default_rng(0)
    rows, noise = rng.normal(size=(400, 5)), rng.integers(0, 2, 400)
    net = make_net(module__hidden=(64,), optimizer=torch.optim.Adam, max_epochs=150, lr=0.02)
    ensemble = DeepEnsembleClassifier(net, 5, cross_fit=5, random_state=0).fit(rows, noise)
    assert ensemble.score(rows, noise) > 0.9  # it has learned them by heart
    assert abs(ensemble.oof_score_ - 0.5) < 0.1


def test_stacks_and_workers_change_nothing():
    one = DeepEnsembleClassifier(make_net(), 4, cross_fit=4, random_state=0).fit(X, Y)
    for kwargs in ({"stack": 1}, {"stack": 3}, {"n_jobs": 2}):
        other = clone(one).set_params(**kwargs).fit(X, Y)
        np.testing.assert_allclose(one.oof_proba_, other.oof_proba_, atol=1e-10)
        assert one.temperature_ == pytest.approx(other.temperature_, abs=1e-8)


def test_groups_stay_together():
    groups = np.arange(len(X)) % 7
    ensemble = DeepEnsembleClassifier(make_net(), 3, cross_fit=GroupKFold(3), random_state=0)
    ensemble.fit(X, Y, groups=groups)
    for held_out in ensemble.folds_:
        left = np.setdiff1d(np.arange(len(X)), held_out)
        assert not set(groups[held_out]) & set(groups[left])
    assert np.isfinite(ensemble.oof_proba_).all()


@pytest.mark.parametrize("cross_fit", [None, "auto", 3, np.int64(3)], ids=repr)
def test_groups_want_a_splitter(cross_fit):
    groups = np.arange(len(X)) % 7
    for source in (make_net(), None):
        ensemble = DeepEnsembleClassifier(source, 2, cross_fit=cross_fit, random_state=0)
        with pytest.raises(
            ValueError, match=r"'groups' of fit need a splitter as 'cross_fit'.* Got"
        ):
            ensemble.fit(X, Y, groups=groups)
        assert not hasattr(ensemble, "classes_")


@pytest.mark.parametrize("n_rows", [len(X) - 1, len(X) + 1])
@pytest.mark.parametrize("splitter", [GroupKFold(3), KFold(3)], ids=str)
def test_groups_are_one_a_row(splitter, n_rows):
    ensemble = DeepEnsembleClassifier(make_net(), 2, cross_fit=splitter, random_state=0)
    groups = list(np.arange(n_rows) % 7)
    with pytest.raises(
        ValueError, match=rf"one entry a row, here \({len(X)},\). Got \({n_rows},\)"
    ):
        ensemble.fit(X, Y, groups=groups)


def test_a_splitter_may_ignore_groups():
    ensemble = DeepEnsembleClassifier(make_net(), 3, cross_fit=KFold(3), random_state=0)
    plain = clone(ensemble).fit(X, Y)
    with pytest.warns(UserWarning, match="ignored by KFold"):
        ensemble.fit(X, Y, groups=[f"group {row % 7}" for row in range(len(X))])
    np.testing.assert_array_equal(ensemble.oof_proba_, plain.oof_proba_)


def test_weights_of_zero_are_rows_that_are_not_there():
    weight = np.ones(len(X))
    weight[::3] = 0
    kept = np.flatnonzero(weight)
    settings = {"cross_fit": 3, "random_state": 0}
    one = DeepEnsembleClassifier(make_net(), 3, **settings).fit(X, Y, sample_weight=weight)
    other = DeepEnsembleClassifier(make_net(), 3, **settings).fit(X[kept], Y[kept])
    for a, b in zip(one, other, strict=True):
        same(a, b)
    np.testing.assert_allclose(one.oof_proba_[kept], other.oof_proba_, atol=1e-10)
    assert np.isnan(one.oof_proba_[::3]).all()


def test_a_class_of_one_row():
    y = np.where(np.arange(len(X)) == 7, 3, Y)
    ensemble = DeepEnsembleClassifier(make_net(), 5, cross_fit=5, random_state=0).fit(X, y)
    assert ensemble.oof_proba_.shape == (len(X), 4)
    assert np.isfinite(ensemble.temperature_)


def test_growing_keeps_the_folds_there_are():
    small = DeepEnsembleClassifier(make_net(), 3, cross_fit="auto", random_state=0)
    small.set_params(warm_start=True, cross_fit=5).fit(X, Y)
    before = [held_out.copy() for held_out in small.folds_]
    grown = small.set_params(n_estimators=6).fit(X, Y)
    for one, other in zip(before, grown.folds_, strict=False):
        np.testing.assert_array_equal(one, other)
    at_once = clone(grown).set_params(warm_start=False).fit(X, Y)
    np.testing.assert_allclose(grown.oof_proba_, at_once.oof_proba_, atol=1e-10)


def test_searches_and_folds_of_folds():
    grid = {"averaging": ["proba", "logit"], "cross_fit": [2, 3]}
    source = DeepEnsembleClassifier(make_net(), 3, random_state=0)
    plain = GridSearchCV(source, grid, cv=2).fit(X, Y)
    stacked = StackedGridSearchCV(source, grid, cv=2).fit(X, Y)
    np.testing.assert_allclose(
        plain.cv_results_["mean_test_score"], stacked.cv_results_["mean_test_score"]
    )


# -- calibration -----------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(2, 5), st.integers(1, 80))
def test_the_temperature_is_the_best_of_a_grid(seed, n_classes, n_rows):
    rng = np.random.default_rng(seed)
    said = log_softmax(rng.normal(size=(n_rows, n_classes)) * rng.uniform(0.2, 6), axis=1)
    y, weight = rng.integers(0, n_classes, n_rows), rng.uniform(0.1, 2, n_rows)

    def loss(t):
        each = -log_softmax(np.maximum(said, -50) / t, axis=1)[np.arange(n_rows), y]
        return n_rows * np.average(each, weights=weight) + 0.5 * (np.log(t) / 0.2) ** 2

    found = fit_temperature(said, y, weight)
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.06, 19, 400)) + 1e-6


def test_probabilities_at_the_temperature():
    settings = {"cross_fit": 3, "random_state": 0, "averaging": "proba"}
    ensemble = DeepEnsembleClassifier(make_net(lr=0.5), 9, calibrate=True, **settings).fit(X, Y)
    plain = clone(ensemble).set_params(calibrate=False).fit(X, Y)
    mean = plain.predict_members(X).mean(0)
    np.testing.assert_allclose(plain.predict_proba(X), mean, atol=1e-12)
    expected = np.exp(log_softmax(np.log(mean) / plain.temperature_, axis=1))
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, atol=1e-9)
    np.testing.assert_array_equal(ensemble.predict(X), plain.predict(X))
    assert abs(plain.temperature_ - 1) > 1e-3


def test_few_voices_are_surer_than_all():
    settings = {"random_state": 0, "n_estimators": 4}
    net = make_net(lr=3.0, max_epochs=60)
    few = DeepEnsembleClassifier(net, cross_fit=4, **settings).fit(X, Y)
    assert few.temperature_ == 1.0
    said = np.log(np.maximum(few.oof_proba_, 1e-300))
    assert fit_temperature(said, Y) > 1.0


# -- what is kept ----------------------------------------------------------------------------


def test_files_pickles_and_parts(tmp_path):
    ensemble = DeepEnsembleClassifier(make_net(), 4, cross_fit=2, calibrate=True, random_state=0)
    ensemble.fit(X, Y).save(tmp_path / "file")
    for again in (skensemble.load(tmp_path / "file"), pickle.loads(pickle.dumps(ensemble))):
        np.testing.assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))
        assert (again.temperature_, again.oof_score_) == (
            ensemble.temperature_, ensemble.oof_score_,
        )  # fmt: skip
    part = ensemble[1:3]
    np.testing.assert_array_equal(part.folds_[0], ensemble.folds_[1])
    assert not hasattr(part, "oof_proba_")
    refit = clone(ensemble).set_params(cross_fit=None, calibrate=False).fit(X, Y)
    assert not hasattr(refit, "temperature_")


@pytest.mark.parametrize(
    ("net", "kwargs", "text"),
    [
        ({"train_split": ValidSplit(3)}, {"cross_fit": 3}, "Both 'cross_fit' and the net's"),
        ({}, {"cross_fit": 3, "joint": True}, "'cross_fit' must be 'auto' or None"),
        ({}, {"calibrate": True}, "calibrate=True needs rows that members have not seen"),
        ({}, {"cross_fit": 3, "calibrate": True, "averaging": "vote"}, "needs means of prob"),
        ({}, {"cross_fit": 1}, "The 'cross_fit' parameter of DeepEnsembleClassifier must be"),
        ({}, {"cross_fit": 10_000}, "must be at most the number of rows"),
        ({}, {"cross_fit": GroupKFold(3)}, "groups"),
    ],
)
def test_what_cannot_be_is_refused(net, kwargs, text):
    ensemble = DeepEnsembleClassifier(make_net(**net), 2, random_state=0, **kwargs)
    with pytest.raises(ValueError, match=text):
        ensemble.fit(X, Y)
    assert not hasattr(ensemble, "classes_")


def test_what_was_set_after_fit_is_refused_too():
    plain = DeepEnsembleClassifier(make_net(), 3, random_state=0).fit(X, Y)
    folded = DeepEnsembleClassifier(make_net(), 3, cross_fit=3, random_state=0).fit(X, Y)
    for ensemble, text in ((plain, "rows that members have not seen"), (folded, "'averaging'")):
        ensemble.set_params(calibrate=True, averaging="vote")
        for ask in (ensemble.predict, ensemble.predict_proba, ensemble.predict_log_proba):
            with pytest.raises(ValueError, match=f"calibrate=True needs.*{text}"):
                ask(X)
    votes = folded.set_params(calibrate="auto").predict_proba(X)
    np.testing.assert_array_equal(folded.set_params(calibrate=False).predict_proba(X), votes)


def test_a_recipe_means_what_it_says():
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0).fit(X, Y)
    assert not hasattr(ensemble, "oof_proba_")
    plain = DeepEnsembleClassifier(make_net(), 2, cross_fit=None, calibrate=False, random_state=0)
    np.testing.assert_array_equal(ensemble.predict_proba(X), plain.fit(X, Y).predict_proba(X))


def test_a_plain_splitter():
    ensemble = DeepEnsembleClassifier(make_net(), 5, cross_fit=KFold(3), random_state=0).fit(X, Y)
    expected = [test for _, test in KFold(3).split(X)]
    for number, held_out in enumerate(ensemble.folds_):
        np.testing.assert_array_equal(held_out, expected[number % 3])
