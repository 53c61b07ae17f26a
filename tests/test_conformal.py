"""Sets of classes against their definition, one row and class at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nets import make_net, make_points
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

import skensemble
from skensemble import DeepEnsembleClassifier
from skensemble.conformal import ConformalSets, conformity_scores

X, Y = make_points()
SCORES = ["lac", "aps", "raps"]


def draw(seed, n_rows=30, n_classes=4, decimals=None):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.7), n_rows)
    if decimals is not None:
        proba = np.round(proba, decimals) + 0.01
        proba /= proba.sum(1, keepdims=True)
    y = np.array([rng.choice(n_classes, p=p) for p in proba])
    return proba, y


def slow_score(p, k, score, penalty, free_ranks, u):
    """Return the score of one class of one row."""
    if score == "lac":
        return 1 - p[k]
    order = sorted(range(len(p)), key=lambda j: (-p[j], j))
    place = order.index(k)
    found = sum(p[j] for j in order[:place]) + p[k] - u * p[k]
    return found + (penalty * max(0, place + 1 - free_ranks) if score == "raps" else 0.0)


@pytest.mark.parametrize("score", SCORES)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0, 1), free=st.integers(0, 4))
@settings(max_examples=20)
def test_scores_are_the_slow_ones(score, seed, penalty, free):
    proba, _ = draw(seed, 6, decimals=1 if seed % 2 else None)
    noise = np.random.default_rng(seed).random(6)
    for u in (None, noise):
        found = conformity_scores(proba, score=score, penalty=penalty, free_ranks=free, noise=u)
        slow = [
            [slow_score(p, k, score, penalty, free, 0 if u is None else u[i]) for k in range(4)]
            for i, p in enumerate(proba)
        ]
        np.testing.assert_allclose(found, slow, atol=1e-12)


def slow_set(scores, known, of_class, coverage):
    """Decide on each class of a row: is it among the r smallest of the calibration scores?"""
    found = []
    for k, score in enumerate(scores):
        mine = (
            known
            if of_class is None
            else [s for s, y in zip(known, of_class, strict=True) if y == k]
        )
        needed = math.ceil(round((len(mine) + 1) * coverage, 9))
        found.append(needed > len(mine) or score <= sorted(mine)[needed - 1] + 1e-12)
    return found


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("score", SCORES)
@given(seed=st.integers(0, 1000), coverage=st.floats(0.05, 0.99))
@settings(max_examples=15)
def test_sets_are_the_slow_ones(score, by_class, seed, coverage):
    proba, y = draw(seed, 25, decimals=1 if seed % 2 else None)
    new, _ = draw(seed + 1, 10, decimals=1 if seed % 2 else None)
    options = {"by_class": by_class, "allow_empty": True}
    sets = ConformalSets(score, **options).fit(proba, y, labels=range(4))
    known = [slow_score(p, k, score, 0.01, 1, 0) for p, k in zip(proba, y, strict=True)]
    np.testing.assert_allclose(sets.scores_, known, atol=1e-12)
    expected = [
        slow_set([slow_score(p, k, score, 0.01, 1, 0) for k in range(4)], known,
                 y if by_class else None, coverage)
        for p in new
    ]  # fmt: skip
    found = sets.predict(new, coverage=coverage)
    np.testing.assert_array_equal(found, expected)
    full = ConformalSets(score, by_class=by_class).fit(proba, y, labels=range(4))
    never_empty = np.array(expected)
    never_empty[np.arange(10), new.argmax(1)] = True
    np.testing.assert_array_equal(full.predict(new, coverage=coverage), never_empty)


@pytest.mark.parametrize("score", SCORES)
@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_more_coverage_is_larger_sets_and_names_say_nothing(score, seed):
    (proba, y), (new, _) = draw(seed, 40), draw(seed + 1, 10)
    sets = ConformalSets(score).fit(proba, y, labels=range(4))
    small, large = sets.predict(new, coverage=0.6), sets.predict(new, coverage=0.9)
    assert (large >= small).all()
    columns = np.random.default_rng(seed).permutation(4)
    names = np.array(["a", "b", "c", "d"])
    other = ConformalSets(score).fit(proba[:, columns], names[y], labels=names[columns])
    np.testing.assert_array_equal(other.classes_, names[columns])
    np.testing.assert_array_equal(other.predict(new[:, columns]), large[:, columns])


@pytest.mark.parametrize("options", [{}, {"by_class": True}, {"randomized": True}])
@pytest.mark.parametrize("score", SCORES)
def test_as_many_sets_hold_the_label_as_is_asked_for(score, options):
    proba, y = draw(0, 200 * 60)
    wrong = proba**3 / (proba**3).sum(1, keepdims=True)  # however wrong the probabilities are
    held, per_class = [], []
    for seed, part in enumerate(np.split(np.arange(len(y)), 200)):
        sets = ConformalSets(score, random_state=seed, **options)
        sets.fit(wrong[part[:40]], y[part[:40]], labels=range(4))
        found = sets.predict(wrong[part[40:]], coverage=0.8)
        held.append(found[np.arange(20), y[part[40:]]])
        per_class.append(y[part[40:]])
    held, per_class = np.concatenate(held), np.concatenate(per_class)
    assert held.mean() > 0.8 - 0.015
    if options.get("randomized") and score != "lac":
        assert held.mean() < 0.86
    if options.get("by_class"):
        assert min(held[per_class == k].mean() for k in range(4)) > 0.8 - 0.03


def test_errors():
    proba, y = draw(0)
    with pytest.raises(ValueError, match="'score' parameter of ConformalSets.*Got 'lacs'"):
        ConformalSets("lacs")
    with pytest.raises(NotFittedError, match="no rows to compare with"):
        ConformalSets().predict(proba)
    with pytest.raises(ValueError, match="'coverage' parameter of .*predict.* Got 1"):
        ConformalSets().fit(proba, y, labels=range(4)).predict(proba, coverage=1.0)
    with pytest.raises(ValueError, match="a column for each of the 4 classes seen in fit. Got 3"):
        ConformalSets().fit(proba, y, labels=range(4)).predict(proba[:, :3])
    with pytest.raises(ValueError, match="'noise' must be one number a row"):
        conformity_scores(proba, score="aps", noise=[0.5])
    with pytest.raises(ValueError, match="y_proba has 4 columns for 3 labels"):
        ConformalSets().fit(proba, np.minimum(y, 2))


# -- a cross-fitted ensemble ---------------------------------------------------------------


@pytest.fixture(scope="module", params=[{"cross_fit": 3}, {"cross_fit": 2, "averaging": "logit"}])
def ensemble(request):
    net = make_net(max_epochs=3)
    return DeepEnsembleClassifier(net, 5, random_state=0, **request.param).fit(X, Y)


def member_mean(ensemble, members, X):
    if ensemble.averaging == "logit":
        logits = ensemble.predict_members(X, response="logit")[members].mean(0)
        grown = np.exp(logits - logits.max(-1, keepdims=True))
        return grown / grown.sum(-1, keepdims=True)
    return ensemble.predict_members(X)[members].mean(0)


@pytest.mark.parametrize("score", SCORES)
def test_plus_is_the_slow_one(ensemble, score):
    found = ensemble.predict_set(X[:15], coverage=0.8, score=ConformalSets(score, allow_empty=True))
    encoded = np.searchsorted(ensemble.classes_, Y)
    below, n_rows = np.zeros((15, len(ensemble.classes_))), 0
    for i in range(len(X)):
        members = [m for m, rows in enumerate(ensemble.folds_) if i in rows]
        if not members:
            continue
        n_rows += 1
        own = slow_score(member_mean(ensemble, members, X[[i]])[0], encoded[i], score, 0.01, 1, 0)
        said = member_mean(ensemble, members, X[:15])
        for row in range(15):
            for k in range(below.shape[1]):
                below[row, k] += own < slow_score(said[row], k, score, 0.01, 1, 0) - 1e-5
    assert n_rows == len(X)
    expected = below < 0.8 * (n_rows + 1)
    assert (found == expected).mean() > 0.97  # scores that are the same to rounding in float32


def test_pooled_is_split_prediction_on_rows_left_out(ensemble):
    sets = ConformalSets().fit(ensemble.oof_proba_, Y)
    everybody = member_mean(ensemble, range(5), X)
    found = ensemble.predict_set(X, method="pooled")
    np.testing.assert_array_equal(found, sets.predict(everybody))


def test_sets_hold_labels_of_new_rows():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [1.5, 0], [0, 1.5]])
    y = rng.integers(0, 3, 1200)
    rows = centres[y] + rng.normal(size=(1200, 2))
    net = make_net(max_epochs=10)
    ensemble = DeepEnsembleClassifier(net, 6, cross_fit=3, random_state=0)
    ensemble.fit(rows[:200].astype(np.float32), y[:200])
    for method in ("plus", "pooled"):
        found = ensemble.predict_set(rows[200:].astype(np.float32), method=method)
        assert 0.86 < found[np.arange(1000), y[200:]].mean() < 0.96
        assert found.sum(1).mean() < 2.6
    mondrian = ConformalSets("aps", by_class=True, randomized=True, random_state=0)
    found = ensemble.predict_set(rows[200:].astype(np.float32), score=mondrian)
    assert min(found[y[200:] == k, k].mean() for k in range(3)) > 0.84
    assert not hasattr(mondrian, "_left_out")  # a copy was fitted


def test_where_no_row_was_left_out(ensemble, tmp_path):
    plain = DeepEnsembleClassifier(make_net(), 2, random_state=0).fit(X, Y)
    ensemble.save(tmp_path / "e")
    for one in (plain, ensemble[:2], skensemble.load(tmp_path / "e")):
        with pytest.raises(ValueError, match="need rows that members have not seen"):
            one.predict_set(X)
    with pytest.raises(ValueError, match="'method' parameter of .* Got 'cv'"):
        ensemble.predict_set(X, method="cv")
    with pytest.raises(ValueError, match="'coverage' parameter of .* Got 90"):
        ensemble.predict_set(X, coverage=90)


def test_a_splitter_that_leaves_rows_out_twice():
    net = make_net(max_epochs=2)
    model = DeepEnsembleClassifier(net, 4, cross_fit=KFold(2), random_state=0).fit(X, Y)
    assert model.predict_set(X, coverage=0.7).any(1).all()
