"""Members of ensembles: which are chosen, and what the curve says."""

import itertools

import numpy as np
import pytest
import torch
from nets import make_data, make_net
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
)
from skensemble.pruning import prune_ensemble

X, y = make_data(120)
TRAIN, VAL = slice(0, None, 2), slice(1, None, 2)


@pytest.fixture(scope="module")
def ensemble():
    net = make_net(max_epochs=2)
    return DeepEnsembleClassifier(net, 5, random_state=0).fit(X[TRAIN], y[TRAIN])


def nll_by_hand(ensemble, members, averaging, weight):
    """Mean negative log-likelihood of some members, from their own predictions."""
    if averaging == "logit":
        logits = np.mean([ensemble[m].decision_function(X[VAL]) for m in members], 0)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
    else:
        p = np.mean([ensemble[m].predict_proba(X[VAL]) for m in members], 0)
    each = -np.log(p[np.arange(len(p)), y[VAL]])
    return (each * weight).sum() / weight.sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("averaging", ["proba", "logit"])
@pytest.mark.parametrize("method", ["greedy", "ranking"])
def test_members_are_chosen_as_by_hand(ensemble, method, averaging, weighted):
    weight = np.linspace(0, 3, 60) if weighted else np.ones(60)
    ensemble = ensemble[:]
    ensemble.averaging = averaging
    expected = []
    while len(expected) < 5:
        left = [m for m in range(5) if m not in expected]
        before = expected if method == "greedy" else []
        worth = [nll_by_hand(ensemble, [*before, m], averaging, weight) for m in left]
        expected.append(left[int(np.argmin(worth))])
    found = prune_ensemble(
        ensemble, X[VAL], y[VAL], keep=3, method=method, sample_weight=weight if weighted else None
    )
    assert found.order.tolist() == expected
    curve = [nll_by_hand(ensemble, expected[: n + 1], averaging, weight) for n in range(5)]
    assert np.allclose(found.nll, curve)
    assert [m.random_state for m in found.ensemble] == [
        ensemble[m].random_state for m in expected[:3]
    ]
    right = found.ensemble.predict(X[VAL]) == y[VAL]
    assert found.accuracy[2] == pytest.approx((right * weight).sum() / weight.sum())
    size = sum(p.numel() for p in ensemble[0].module_.parameters())
    assert found.n_parameters.tolist() == [size * n for n in found.n_estimators]
    assert found.n_flops.tolist() == [(6 * 12 + 12 * 3) * n for n in (1, 2, 3, 4, 5)]


def test_keep_and_what_stays_as_it_was(ensemble):
    before = ensemble.predict_proba(X)

    def size(keep):
        return len(prune_ensemble(ensemble, X[VAL], y[VAL], keep=keep).ensemble)

    assert [size(keep) for keep in (1, 5, 0.5, 0.1, 1.0)] == [1, 5, 2, 1, 5]
    best = prune_ensemble(FrozenEstimator(ensemble), X[VAL], y[VAL])
    assert len(best.ensemble) == best.nll.argmin() + 1
    assert np.array_equal(ensemble.predict_proba(X), before)
    everyone = prune_ensemble(ensemble, X[VAL], y[VAL], keep=5).ensemble
    assert np.allclose(everyone.predict_proba(X), before)
    for keep in (0, 6, 1.5, "most", True + 5):
        with pytest.raises(ValueError, match=r"must be 'best', an int in \[1, 5\] or a float"):
            size(keep)


def test_greedy_is_at_least_as_good_as_its_best_member(ensemble):
    found = prune_ensemble(ensemble, X[VAL], y[VAL])
    alone = [nll_by_hand(ensemble, [m], "proba", np.ones(60)) for m in range(5)]
    pairs = [
        nll_by_hand(ensemble, pair, "proba", np.ones(60))
        for pair in itertools.combinations(range(5), 2)
        if found.order[0] in pair
    ]
    assert found.nll[0] == pytest.approx(min(alone))
    assert found.nll[1] == pytest.approx(min(pairs))


def test_a_member_that_knows_nothing_is_left_out(ensemble):
    ensemble = ensemble[:]
    ensemble.estimators_ = list(ensemble.estimators_)
    wrong = NetworkClassifier(make_net(max_epochs=2), random_state=9).fit(X[TRAIN], y[TRAIN])
    with torch.no_grad():
        wrong.module_.layers[-1].weight.mul_(-30)
    ensemble.estimators_[2] = wrong
    for method in ("greedy", "ranking"):
        found = prune_ensemble(ensemble, X[VAL], y[VAL], method=method)
        assert found.order[-1] == 2
        assert len(found.ensemble) < 5
        assert found.nll[len(found.ensemble) - 1] < found.nll[-1]


def test_students_and_pruned_members_can_be_chosen():
    students = DistilledClassifier(LogisticRegression(), make_net(max_epochs=1), n_students=3)
    small = PrunedClassifier(students, finetune=1, random_state=0).fit(X[TRAIN], y[TRAIN])
    found = prune_ensemble(small, X[VAL], y[VAL], keep=2)
    assert type(found.ensemble) is DistilledClassifier
    assert len(found.ensemble.estimators_) == found.ensemble.n_students == 2
    assert found.n_parameters[-1] == small.n_parameters_.after
    again = PrunedClassifier(found.ensemble, finetune=None).fit(X[TRAIN], y[TRAIN])
    assert len(again.estimators_) == 2


def test_what_cannot_be_chosen_from_is_refused(ensemble):
    def choose(what, y_val=y[VAL], **kwargs):
        return prune_ensemble(what, X[VAL], y_val, **kwargs)

    with pytest.raises(TypeError, match="Got LogisticRegression"):
        choose(LogisticRegression().fit(X, y))
    joint = DeepEnsembleClassifier(make_net(max_epochs=1), 2, joint=True).fit(X, y)
    with pytest.raises(ValueError, match="parts of one network"):
        choose(joint)
    with pytest.raises(ValueError, match="'method' parameter of .* must be .* Got 'best'"):
        choose(ensemble, method="best")
    with pytest.raises(ValueError, match=r"does not know: \[7\]"):
        choose(ensemble, np.where(y[VAL] == 1, 7, y[VAL]))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        choose(ensemble, sample_weight=np.zeros(60))
