"""Seeds, fusion, growth, stopping and failure of ensembles."""

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from nets import (
    InPlace,
    ResidualMLP,
    assert_same_network,
    differ,
    make_data,
    make_ensemble,
    make_net,
    weights_of,
)
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble._engine.net import StackNet
from skensemble._seeding import member_seed
from skensemble.metrics import negative_log_likelihood
from skensemble.nn import MLP, TabularNet

AVERAGING = ["proba", "logit", "vote"]


@pytest.fixture(scope="module")
def fitted():
    X, y = make_data()
    return make_ensemble(5).fit(X, y), X, y


# -- fusion ------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", AVERAGING)
@given(order=st.permutations(range(5)))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_order_of_members_is_of_no_matter(fitted, averaging, order):
    ensemble, X, _ = fitted
    ensemble = copy.copy(ensemble).set_params(averaging=averaging)
    other = copy.copy(ensemble)
    other.estimators_ = [ensemble.estimators_[at] for at in order]
    np.testing.assert_allclose(other.predict_proba(X), ensemble.predict_proba(X), atol=1e-14)
    np.testing.assert_allclose(
        other.decision_function(X), ensemble.decision_function(X), atol=1e-12
    )


@pytest.mark.parametrize("averaging", AVERAGING)
@given(member=st.integers(0, 4), copies=st.integers(1, 6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_copies_of_one_member_are_that_member(fitted, averaging, member, copies):
    ensemble, X, _ = fitted
    one = ensemble[member]
    many = copy.copy(ensemble).set_params(averaging=averaging)
    many.estimators_ = [one] * copies
    np.testing.assert_array_equal(many.predict(X), one.predict(X))
    if averaging != "vote":
        np.testing.assert_allclose(many.predict_proba(X), one.predict_proba(X), atol=1e-14)
        np.testing.assert_allclose(many.predict_log_proba(X), one.predict_log_proba(X), atol=1e-12)


@pytest.mark.parametrize("averaging", AVERAGING)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_rows_are_distributions_and_predictions_are_their_largest(fitted, averaging, scale, seed):
    ensemble, _, y = fitted
    ensemble = copy.copy(ensemble).set_params(averaging=averaging)
    X = np.random.default_rng(seed).normal(0, scale, (20, 6))
    proba = ensemble.predict_proba(X)
    assert proba.shape == (20, 3)
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-12)
    predicted = ensemble.predict(X)
    assert set(predicted) <= set(y)
    np.testing.assert_array_equal(predicted, ensemble.decision_function(X).argmax(1))
    np.testing.assert_allclose(proba[np.arange(20), predicted], proba.max(1))
    np.testing.assert_allclose(np.exp(ensemble.predict_log_proba(X)), proba, atol=1e-12)


@pytest.mark.parametrize("averaging", ["proba", "logit"])
@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_jensen(fitted, averaging, seed):
    ensemble, X, _ = fitted
    ensemble = copy.copy(ensemble).set_params(averaging=averaging)
    y = np.random.default_rng(seed).integers(0, 3, len(X))
    members = [
        negative_log_likelihood(y, proba, labels=[0, 1, 2]) for proba in ensemble.predict_members(X)
    ]
    fused = negative_log_likelihood(y, ensemble.predict_proba(X), labels=[0, 1, 2])
    assert fused <= np.mean(members) + 1e-12
    assert np.ptp(members) > 0


def test_fusion_is_what_it_says_and_changes_after_fit(fitted):
    ensemble, X, _ = fitted
    ensemble = copy.copy(ensemble)
    proba, logits = ensemble.predict_members(X), ensemble.predict_members(X, response="logit")
    assert proba.shape == logits.shape == (5, len(X), 3)
    np.testing.assert_allclose(ensemble.predict_proba(X), proba.mean(0), atol=1e-14)
    ensemble.averaging = "proba"
    np.testing.assert_allclose(ensemble.predict_proba(X), proba.mean(0), atol=1e-14)
    ensemble.averaging = "logit"
    power = np.exp(logits.mean(0))
    np.testing.assert_allclose(
        ensemble.predict_proba(X), power / power.sum(1, keepdims=True), atol=1e-14
    )
    ensemble.averaging = "vote"
    votes = np.eye(3)[proba.argmax(-1)].mean(0)
    np.testing.assert_allclose(ensemble.predict_proba(X), votes, atol=1e-14)
    assert len({*map(bytes, (proba.mean(0), votes))}) == 2
    ensemble.averaging = "median"
    with pytest.raises(ValueError, match="'averaging' parameter of DeepEnsembleClassifier must be"):
        ensemble.predict_proba(X)


def test_trained_sum_averages_logits_unless_told_otherwise():
    X, y = make_data()
    ensemble = make_ensemble(joint=True).fit(X, y)
    auto = ensemble.predict_proba(X)
    np.testing.assert_array_equal(auto, ensemble.set_params(averaging="logit").predict_proba(X))
    assert not np.allclose(auto, ensemble.set_params(averaging="proba").predict_proba(X))


def test_predict_members_refuses_unknown_response(fitted):
    ensemble, X, _ = fitted
    with pytest.raises(ValueError, match="'response' of predict_members must be 'proba' or"):
        ensemble.predict_members(X, response="score")


def test_prediction_in_chunks_is_prediction_at_once(fitted, monkeypatch):
    ensemble, X, _ = fitted
    whole = ensemble.predict_members(X)
    many = np.tile(X, (150, 1))
    np.testing.assert_allclose(
        ensemble.predict_members(many), np.tile(whole, (1, 150, 1)), atol=1e-12
    )
    monkeypatch.setattr("skensemble._base.estimator._CHUNK_ROWS", 7)
    np.testing.assert_allclose(ensemble.predict_members(X), whole, atol=1e-12)
    np.testing.assert_array_equal(ensemble.predict(X), whole.mean(0).argmax(1))


def test_nothing_writes_into_the_input():
    X, y = make_data()
    before = X.copy()
    ensemble = make_ensemble(2, make_net(InPlace)).fit(X, y)
    np.testing.assert_array_equal(X, before)
    first = ensemble.predict_members(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(ensemble.predict_members(X), first)
    again = [member.predict_proba(before) for member in ensemble]
    np.testing.assert_allclose(first, again, atol=1e-12)


# -- the members -------------------------------------------------------------------------


def test_len_iteration_index_and_slice(fitted):
    ensemble, X, _ = fitted
    assert len(ensemble) == 5
    assert list(ensemble) == ensemble.estimators_
    assert ensemble[-1] is ensemble.estimators_[4]
    part = ensemble[1:3]
    assert isinstance(part, DeepEnsembleClassifier)
    assert (len(part), part.n_estimators) == (2, 2)
    np.testing.assert_allclose(
        part.predict_proba(X), ensemble.predict_members(X)[1:3].mean(0), atol=1e-14
    )
    assert len(ensemble) == ensemble.n_estimators == 5
    with pytest.raises(IndexError, match="selects none of the 5 members"):
        ensemble[5:]
    with pytest.raises(IndexError):
        ensemble[5]


def test_nothing_is_there_before_fit():
    ensemble = make_ensemble()
    for use in (len, iter, lambda e: e[0], lambda e: e.predict(np.ones((2, 6)))):
        with pytest.raises(NotFittedError):
            use(ensemble)


def test_members_are_classifiers_in_evaluation_mode(fitted):
    ensemble, X, y = fitted
    for number, member in enumerate(ensemble):
        assert isinstance(member, NetworkClassifier)
        assert not member.module_.training
        assert member.random_state == member_seed(0, number)
        np.testing.assert_array_equal(member.classes_, ensemble.classes_)
        np.testing.assert_allclose(
            member.predict_proba(X), ensemble.predict_members(X)[number], atol=1e-14
        )
        assert member.score(X, y) > 0.4
    assert differ(ensemble[0], ensemble[1])


def test_refitting_a_clone_of_a_member_gives_the_member(fitted):
    ensemble, X, y = fitted
    for member in ensemble:
        assert_same_network(clone(member).fit(X, y), member)


@pytest.mark.parametrize(
    "changes",
    [{"n_estimators": 2}, {"stack": 1}, {"stack": 2}, {"stack": 4}, {"stack": 100}, {"n_jobs": 1},
     {"n_jobs": 2}, {"n_jobs": 2, "stack": 1}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("bootstrap", [False, True], ids=["same rows", "bootstrap"])
def test_a_member_is_its_seed_and_nothing_else(changes, bootstrap):
    X, y = make_data()
    four = make_ensemble(4, bootstrap=bootstrap).fit(X, y)
    other = make_ensemble(4, bootstrap=bootstrap).set_params(**changes).fit(X, y)
    assert len(other) == changes.get("n_estimators", 4)
    for a, b in zip(four, other, strict=False):
        assert_same_network(a, b)


def test_random_state():
    X, y = make_data()
    one, other, none, again = (
        make_ensemble(1, random_state=seed).fit(X, y) for seed in (0, 1, None, None)
    )
    assert differ(one[0], other[0])
    assert differ(none[0], again[0])
    rng = np.random.RandomState(3)
    a = make_ensemble(1, random_state=np.random.RandomState(3)).fit(X, y)
    assert_same_network(make_ensemble(1, random_state=rng).fit(X, y)[0], a[0])


@pytest.mark.parametrize("net", ["plain", "dropout", "odd callback"])
@pytest.mark.parametrize("stack", [1, 2, 3])
@pytest.mark.parametrize("split", [None, ValidSplit(0.2), ValidSplit(0.2, stratified=True)])
def test_global_random_states_are_left_alone(net, stack, split):
    X, y = make_data()
    kwargs = {"dropout": {"module__dropout": 0.3}, "odd callback": {"callbacks": [Callback()]}}
    recipe = make_net(train_split=split, max_epochs=2, **kwargs.get(net, {}))

    def states():
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = states()
    ensemble = make_ensemble(3, recipe, stack=stack, bootstrap=True).fit(X, y)
    ensemble.predict(X)
    make_ensemble(2, recipe, random_state=None).fit(X, y)
    assert states() == before
    torch.rand(5)
    assert_same_network(make_ensemble(3, recipe, stack=stack, bootstrap=True).fit(X, y)[0],
                        ensemble[0], atol=0)  # fmt: skip


# -- rows and weights ----------------------------------------------------------------------


class CountRows(Callback):
    """Remember the labels of every training batch of the member it sees."""

    seen = []  # noqa: RUF012

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.seen.append(batch[1].tolist())


@pytest.mark.parametrize(
    ("bootstrap", "max_samples", "n_rows", "repeats"),
    [(True, None, 60, True), (True, 0.5, 30, True), (True, 90, 90, True),
     (False, 0.5, 30, False), (False, 20, 20, False), (False, None, 60, False)],
)  # fmt: skip
def test_rows_that_members_draw(monkeypatch, bootstrap, max_samples, n_rows, repeats):
    X, y = make_data(60)
    splits = []
    train = StackNet.train
    monkeypatch.setattr(
        StackNet,
        "train",
        lambda self, s, *a: splits.append(s.runs[0].clone()) or train(self, s, *a),
    )
    make_ensemble(4, bootstrap=bootstrap, max_samples=max_samples).fit(X, y)
    rows = torch.cat(splits)
    assert rows.shape == (4, n_rows)
    assert 0 <= rows.min() <= rows.max() < 60
    assert all((len(set(row.tolist())) < n_rows) == repeats for row in rows)
    drawn = {tuple(sorted(row.tolist())) for row in rows}
    assert len(drawn) == (1 if n_rows == 60 and not bootstrap else 4)


def test_max_samples_errors():
    X, y = make_data(60)
    with pytest.raises(ValueError, match=r"must be at most the number of rows, 60\. Got 61"):
        make_ensemble(max_samples=61).fit(X, y)
    for value in (0, 1.5, 0.0):
        with pytest.raises(ValueError, match="'max_samples' parameter of DeepEnsembleClassifier"):
            make_ensemble(max_samples=value).fit(X, y)
    for kwargs in ({"bootstrap": True}, {"max_samples": 0.5}):
        with pytest.raises(ValueError, match="With joint=True all members see the same rows"):
            make_ensemble(joint=True, **kwargs).fit(X, y)


@pytest.mark.parametrize("kwargs", [{}, {"bootstrap": True}, {"joint": True}, {"stack": 1}])
def test_weight_zero_is_a_removed_row(kwargs):
    X, y = make_data()
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    kept = weight > 0
    a = make_ensemble(3, **kwargs).fit(X, y, sample_weight=weight)
    b = make_ensemble(3, **kwargs).fit(X[kept], y[kept], sample_weight=weight[kept])
    for left, right in zip(a, b, strict=True):
        assert_same_network(left, right)
    assert differ(a[0], make_ensemble(3, **kwargs).fit(X[kept], y[kept])[0])


def test_weight_two_is_a_repeated_row():
    X, y = make_data()
    weight = np.random.default_rng(0).integers(1, 3, len(X))
    net = make_net(batch_size=-1, iterator_train__shuffle=False)
    a = make_ensemble(2, net).fit(X, y, sample_weight=weight)
    b = make_ensemble(2, net).fit(X.repeat(weight, 0), y.repeat(weight))
    for left, right in zip(a, b, strict=True):
        assert_same_network(left, right)


def test_weights_errors():
    X, y = make_data()
    with pytest.raises(ValueError, match="at least one non-zero number"):
        make_ensemble().fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="Negative values in data"):
        make_ensemble().fit(X, y, sample_weight=-np.ones(len(X)))
    with pytest.raises(ValueError, match=r"sample_weight\.shape == \(3,\)"):
        make_ensemble().fit(X, y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="contains NaN"):
        make_ensemble().fit(X, y, sample_weight=np.full(len(X), np.nan))


def test_class_weight_is_a_sample_weight():
    X, y = make_data()
    y = np.where(y == 2, 1, y)
    balanced = len(y) / (2 * np.bincount(y))
    a = make_ensemble(2, class_weight="balanced").fit(X, y)
    b = make_ensemble(2).fit(X, y, sample_weight=balanced[y])
    c = make_ensemble(2, class_weight={0: 3.0, 1: 1.0}).fit(X, y)
    d = make_ensemble(2).fit(X, y, sample_weight=np.array([3.0, 1.0])[y])
    assert_same_network(a[1], b[1])
    assert_same_network(c[1], d[1])
    assert differ(a[1], c[1])
    with pytest.raises(ValueError, match="not in class_weight|not among|classes"):
        make_ensemble(2, class_weight={7: 1.0}).fit(X, y)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "2", 1j, None])
def test_class_weights_that_weigh_nothing_are_refused(value):
    X, y = make_data()
    with pytest.raises(ValueError, match=r"'class_weight' parameter of DeepEns.*for the class 0 i"):
        make_ensemble(2, class_weight={0: value, 1: 1.0, 2: 1.0}).fit(X, y)


def test_complex_stores_are_refused():
    X, y = make_data()

    class Store:
        shape, dtype = X.shape, np.dtype(complex)

        def __len__(self):
            return len(X)

        def __getitem__(self, at):
            return X[at] * 1j

    with pytest.raises(ValueError, match=r"must hold real numbers. Got the dtype complex128"):
        make_ensemble(2).fit(Store(), y)


# -- growth --------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"bootstrap": True}, {"random_state": None}], ids=str)
def test_warm_start_grows_and_keeps(kwargs):
    X, y = make_data()
    ensemble = make_ensemble(2, warm_start=True, **kwargs).fit(X, y)
    first = list(ensemble)
    before = [weights_of(member) for member in first]
    ensemble.set_params(n_estimators=4).fit(X, y)
    assert len(ensemble) == 4
    assert ensemble.estimators_[:2] == first
    for member, old in zip(first, before, strict=True):
        assert all((weights_of(member)[name] == old[name]).all() for name in old)
    assert differ(ensemble[0], ensemble[2])
    if kwargs.get("random_state", 0) is not None:
        at_once = make_ensemble(4, **kwargs).fit(X, y)
        for a, b in zip(ensemble, at_once, strict=True):
            assert_same_network(a, b)
    same = ensemble.estimators_
    assert ensemble.fit(X, y).estimators_ == same


def test_cold_start_forgets():
    X, y = make_data()
    ensemble = make_ensemble(2).fit(X, y)
    first = ensemble[0]
    ensemble.set_params(n_estimators=3).fit(X, y)
    assert ensemble[0] is not first


def test_warm_start_errors_leave_the_ensemble_as_it_was():
    X, y = make_data()
    ensemble = make_ensemble(3, warm_start=True).fit(X, y)
    proba, labels = ensemble.predict_proba(X), ensemble.predict(X)
    ensemble.set_params(n_estimators=2)
    with pytest.raises(ValueError, match=r"'n_estimators' must be at least 3.* Got 2 instead"):
        ensemble.fit(X, y)
    ensemble.set_params(n_estimators=4)
    with pytest.raises(ValueError, match=r"classes must stay \[0, 1, 2\]\. Got \[5, 6, 7\]"):
        ensemble.fit(X, y + 5)
    np.testing.assert_array_equal(ensemble.classes_, [0, 1, 2])
    np.testing.assert_array_equal(ensemble.predict(X), labels)
    with pytest.raises(ValueError, match="feature|shape"):
        ensemble.fit(X[:, :4], y)
    np.testing.assert_array_equal(ensemble.predict_proba(X), proba)
    joint = make_ensemble(2, joint=True, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"cannot grow from 2 to 3"):
        joint.set_params(n_estimators=3).fit(X, y)


def test_warm_start_with_another_dtype_still_predicts():
    X, y = make_data()
    ensemble = make_ensemble(2, warm_start=True).fit(X.astype(np.float32), y)
    before = ensemble.predict_members(X)
    try:
        ensemble.set_params(n_estimators=3).fit(X, y)
    except ValueError as error:
        assert "dtype" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(ensemble.predict_members(X)[:2], before, atol=1e-4)


# -- errors of data ------------------------------------------------------------------------


def test_bad_data_is_refused():
    X, y = make_data()
    ensemble = make_ensemble()
    for bad, match in ((np.nan, "Input X contains NaN"), (np.inf, "Input X contains infinity")):
        broken = X.copy()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match=match):
            ensemble.fit(broken, y)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ensemble.fit(X[:0], y[:0])
    with pytest.raises(ValueError, match="needs at least 2 classes in y; got 1 class: 1"):
        ensemble.fit(X, np.ones(len(X), dtype=int))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ensemble.fit(X, y[:5])
    with pytest.raises(ValueError, match="requires y to be passed"):
        ensemble.fit(X, None)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        ensemble.fit(X, y + 0.5)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        ensemble.fit(X[:, 0], y)


def test_bad_data_is_refused_in_prediction(fitted):
    ensemble, X, _ = fitted
    for bad, match in ((np.nan, "Input X contains NaN"), (np.inf, "Input X contains infinity")):
        broken = X.copy()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match=match):
            ensemble.predict(broken)
    with pytest.raises(ValueError, match="X has 5 features, but DeepEnsembleClassifier is exp"):
        ensemble.predict_proba(X[:, :5])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ensemble.predict(X[:0])
    with pytest.raises(ValueError, match=r"X has samples of shape \(6, 2\), but Deep"):
        ensemble.predict(np.ones((3, 6, 2)))


def test_large_finite_numbers_are_not_taken_for_infinity(fitted):
    ensemble, X, _ = fitted
    assert ensemble.predict((X * 1e200)[:4]).shape == (4,)


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [({"n_estimators": 0}, "n_estimators"), ({"stack": 0}, "stack"), ({"stack": "all"}, "stack"),
     ({"averaging": "mean"}, "averaging"), ({"precision": "fp8"}, "precision"),
     ({"class_weight": "even"}, "class_weight"), ({"joint": "yes"}, "joint")],
)  # fmt: skip
def test_parameters_are_checked(kwargs, name):
    X, y = make_data()
    with pytest.raises(ValueError, match=f"The '{name}' parameter of DeepEnsembleClassifier must"):
        make_ensemble().set_params(**kwargs).fit(X, y)


# -- precision and words -------------------------------------------------------------------


@pytest.mark.parametrize("stack", [1, 2])
def test_bf16_runs_and_is_close(stack):
    X, y = load_iris(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    net = make_net(max_epochs=30)
    full = make_ensemble(2, net, stack=stack).fit(X, y)
    half = make_ensemble(2, net, stack=stack, precision="bf16").fit(X, y)
    assert half.predict_proba(X).dtype == np.float32
    assert all(value.dtype == np.float32 for value in weights_of(half[0]).values())
    gap = abs(full.predict_proba(X) - half.predict_proba(X))
    assert gap.max() > 0
    assert gap.mean() < 0.02
    assert half.score(X, y) > 0.9


def test_silent_unless_asked(capsys):
    X, y = make_data()
    make_ensemble(2).fit(X, y).predict(X)
    assert capsys.readouterr() == ("", "")
    make_ensemble(2, verbose=1).fit(X, y)
    assert "2 members, 2 at a time as GraphStack" in capsys.readouterr().out
    make_ensemble(2, make_net(callbacks=[CountRows()]), verbose=1).fit(X, y)
    out = capsys.readouterr().out
    assert "1 at a time as LoopStack because callback CountRows sees one network" in out
    make_ensemble(2, verbose=2, stack=1).fit(X, y)
    out = capsys.readouterr().out
    assert "member 0: epoch 1  train_loss" in out
    assert "member 1: epoch 5  train_loss" in out


def test_same_members_with_batch_norm_in_every_stack():
    X, y = make_data()
    nets = [make_ensemble(4, make_net(ResidualMLP), stack=s).fit(X, y) for s in (1, 3, "auto")]
    for others in zip(*nets, strict=True):
        assert_same_network(others[0], others[1])
        assert_same_network(others[0], others[2])


def test_defaults_learn_a_table():
    X, y = load_iris(return_X_y=True)
    ensemble = DeepEnsembleClassifier(n_estimators=3, random_state=0).fit(X, y)
    assert ensemble.score(X, y) > 0.95
    assert isinstance(ensemble[0].module_, TabularNet)


# -- numbers without room ------------------------------------------------------------------

METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "predict_members"]


class Loud(MLP):
    def forward(self, x):
        return super().forward(x * 10)


@pytest.mark.parametrize("method", METHODS)
def test_rows_beyond_float32_are_refused(method):
    X, y = make_data(dtype=np.float32)
    ensemble = make_ensemble(2, make_net(Loud)).fit(X, y)
    far = X.astype(np.float64)
    far[70, 2] = -1e39
    match = r"X must fit into float32, .* Got -1e\+39 in row 70, column 2 instead; scale"
    with pytest.raises(ValueError, match=match):
        getattr(ensemble, method)(far)
    far[70, 2] = 3e38
    for rows in (far, far.astype(np.float32)):
        with pytest.raises(ValueError, match="finite numbers. Got NaN or infinity for row 70 of X"):
            getattr(ensemble, method)(rows)


def test_rows_beyond_float32_are_refused_in_fit():
    X, y = make_data(dtype=np.float32)
    far = X.astype(np.float64)
    far[3, 1] = 1e300
    ensemble = make_ensemble(2, warm_start=True).fit(X, y)
    with pytest.raises(
        ValueError, match=r"X must fit into float32.*Got 1e\+300 in row 3, column 1"
    ):
        ensemble.set_params(n_estimators=3).fit(far, y)
    assert len(ensemble) == 2
    net = make_net(train_split=predefined_split(Dataset(far, y)))
    with pytest.raises(ValueError, match=r"The X that train_split holds out must fit into float32"):
        make_ensemble(2, net).fit(X, y)
    student = DistilledClassifier(student=make_net())
    with pytest.raises(ValueError, match=r"X_unlabelled must fit into float32, in which"):
        student.fit(X, y, X_unlabelled=far)


def test_a_class_without_a_chance_is_no_error():
    class Never(MLP):
        def forward(self, x):
            chance = torch.tensor([0.0, 0.0, 0.0 if self.training else -torch.inf])
            return super().forward(x) + chance

    X, y = make_data()
    proba = make_ensemble(2, make_net(Never)).fit(X, y).predict_proba(X)
    assert (proba[:, 2] == 0).all()
