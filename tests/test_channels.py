"""Ensembles whose members see parts of the channels."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import ResidualCNN, ResidualMLP, SmallCNN, make_data, make_ensemble, make_net
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    StackedGridSearchCV,
)
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.planning import make_plan
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble.nn import MLP
from skensemble.nn._channels import Columns, part_columns
from skensemble.preprocessing import ChannelSplit, ModuleFeatures


def images(n_rows=40, channels=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, channels, 6, 6)).astype(dtype)
    return X, rng.integers(0, 3, n_rows)


def kinds_of_stacks(monkeypatch):
    """Record by which kind of stack members are trained."""
    kinds = []

    def spy(*args, **kwargs):
        plan = make_plan(*args, **kwargs)
        kinds.append((plan.kind, plan.size))
        return plan

    monkeypatch.setattr("skensemble._engine.training.make_plan", spy)
    return kinds


@pytest.mark.parametrize(
    ("module", "kind"), [(MLP, GraphStack), (ResidualMLP, GraphStack), (ResidualCNN, VmapStack),
                         (SmallCNN, VmapStack)]
)  # fmt: skip
@pytest.mark.parametrize("stack", [1, 2, "auto"])
def test_a_member_is_the_network_trained_on_its_channels_alone(module, kind, stack, monkeypatch):
    kinds = kinds_of_stacks(monkeypatch)
    X, y = make_data() if kind is GraphStack else images()
    n_splits, size = (3, 2) if kind is GraphStack else (2, 2)
    net = make_net(module, max_epochs=3)
    ensemble = make_ensemble(5, net, channel_splits=n_splits, stack=stack).fit(X, y)
    if stack == 1:
        assert kinds == [(LoopStack, 1)]
    else:
        assert kinds == [(kind, {2: 2, "auto": 5}[stack])]
    for number, member in enumerate(ensemble):
        at = number % n_splits * size
        own = X[:, at : at + size]  # written out, apart from what the library uses
        alone = NetworkClassifier(net, random_state=member.random_state).fit(own, y)
        state = alone.module_.state_dict()
        ours = member.module_.body.state_dict()
        assert state.keys() == ours.keys()
        for name, value in state.items():
            assert abs(value.double() - ours[name].double()).max() <= 1e-10, (number, name)
        np.testing.assert_allclose(
            member.predict_proba(X), alone.predict_proba(own), rtol=0, atol=1e-10
        )
    mean = np.mean([member.predict_proba(X) for member in ensemble], 0)
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(n_splits=st.integers(1, 4), size=st.integers(1, 3), extra=st.integers(0, 3))
def test_parts_are_those_of_channel_split(n_splits, size, extra):
    n_channels = n_splits * size + min(extra, n_splits - 1)
    x = torch.arange(2.0 * n_channels * 2).reshape(2, n_channels, 2)
    for part in range(n_splits):
        split = ChannelSplit(n_splits, part=part).fit_transform(x.numpy())
        seen = Columns(part_columns(n_channels, n_splits, part))(x)
        np.testing.assert_array_equal(split, seen)
        np.testing.assert_array_equal(split, x[:, part * size : (part + 1) * size])


def test_other_channels_do_not_count():
    X, y = images()
    ensemble = make_ensemble(4, make_net(SmallCNN, max_epochs=2), channel_splits=2).fit(X, y)
    before = ensemble.predict_members(X)
    changed = X.copy()
    changed[:, 2:4] += 1.0  # the second part
    changed[:, 4] += 1.0  # what is in no part
    after = ensemble.predict_members(changed)
    np.testing.assert_array_equal(after[::2], before[::2])
    assert (abs(after[1::2] - before[1::2]).max((1, 2)) > 1e-6).all()


def test_the_channel_split_experiment_is_a_pipeline():
    X, y = images(dtype=np.float32)
    shared = SmallCNN((5, 6, 6), 3, width=6)
    net = make_net(SmallCNN, max_epochs=2)
    pipeline = make_pipeline(
        ModuleFeatures(shared, layer="body.1"),
        DeepEnsembleClassifier(net, 3, channel_splits=3, random_state=0),
    ).fit(X, y)
    features = pipeline[0].transform(X)
    for part, member in enumerate(pipeline[-1]):
        assert member.module_.body.body[0].in_channels == 2
        by_hand = make_pipeline(
            ModuleFeatures(shared, layer="body.1"),
            ChannelSplit(3, part=part),
            NetworkClassifier(net, random_state=member.random_state),
        ).fit(X, y)
        np.testing.assert_allclose(
            member.predict_proba(features), by_hand.predict_proba(X), atol=1e-5
        )


def test_files_pickles_and_slices(tmp_path):
    X, y = make_data()
    ensemble = make_ensemble(4, channel_splits=3).fit(X, y)
    expected = ensemble.predict_members(X)
    ensemble.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert again.channel_splits == 3
    for copy in (again, pickle.loads(pickle.dumps(ensemble))):
        np.testing.assert_array_equal(copy.predict_members(X), expected)
        copy.set_params(n_estimators=5, warm_start=True).fit(X, y)
        np.testing.assert_array_equal(copy.predict_members(X)[:4], expected)
        assert copy[4].module_.columns.at.tolist() == [2, 3]
    np.testing.assert_array_equal(ensemble[1:3].predict_members(X), expected[1:3])
    ensemble[1].save(tmp_path / "member")
    one = skensemble.load(tmp_path / "member")
    np.testing.assert_array_equal(one.predict_proba(X), expected[1])
    again.save(tmp_path / "file")  # what was loaded can be written
    np.testing.assert_array_equal(
        skensemble.load(tmp_path / "file").predict_members(X)[:4], expected
    )


def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X, y = make_data(dtype=np.float32)
    ensemble = make_ensemble(3, channel_splits=2).fit(X, y)
    ensemble.export_onnx(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    (found,) = session.run(["probabilities"], {"X": X[:7]})
    np.testing.assert_allclose(found, ensemble.predict_proba(X[:7]), atol=1e-5)


def test_growth_is_the_whole_and_keeps_the_splits():
    X, y = make_data()
    whole = make_ensemble(5, channel_splits=2).fit(X, y)
    grown = make_ensemble(3, channel_splits=2, warm_start=True).fit(X, y)
    grown.set_params(n_estimators=5).fit(X, y)
    np.testing.assert_allclose(grown.predict_members(X), whole.predict_members(X), atol=1e-10)
    with pytest.raises(ValueError, match="must stay what .* trained with, 2. Got 3 instead"):
        grown.set_params(channel_splits=3).fit(X, y)
    with pytest.raises(ValueError, match="must stay what .* trained with, 2. Got None instead"):
        grown.set_params(channel_splits=None).fit(X, y)
    assert len(grown.set_params(channel_splits=2).fit(X, y)) == 5


def test_early_stopping_and_bootstrap_follow_each_member():
    X, y = make_data()
    net = make_net(
        max_epochs=12, lr=0.1, train_split=ValidSplit(0.3, stratified=True, random_state=0),
        callbacks=[EarlyStopping(patience=2, load_best=True)],
    )  # fmt: skip
    stacked, alone = (
        make_ensemble(4, net, channel_splits=2, bootstrap=True, stack=stack).fit(X, y)
        for stack in ("auto", 1)
    )
    assert [len(m.history_) for m in stacked] == [len(m.history_) for m in alone]
    assert len({len(m.history_) for m in stacked}) > 1
    np.testing.assert_allclose(stacked.predict_members(X), alone.predict_members(X), atol=1e-9)


def test_the_sum_of_parts_is_trained_as_one_network():
    X, y = make_data(60)
    net = make_net(MLP, max_epochs=1, batch_size=-1, optimizer=torch.optim.SGD, lr=0.1)
    ensemble = make_ensemble(2, net, channel_splits=2, joint=True).fit(X, y)
    start = make_ensemble(2, make_net(MLP, max_epochs=1, lr=1e-300, optimizer=torch.optim.SGD),
                          channel_splits=2).fit(X, y)  # fmt: skip
    bodies = [member.module_.body for member in start]
    x = torch.from_numpy(X)
    logits = (bodies[0](x[:, :3]) + bodies[1](x[:, 3:])) / 2
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
    for member, body in zip(ensemble, bodies, strict=True):
        ours = dict(member.module_.body.named_parameters())
        for name, parameter in body.named_parameters():
            step = parameter.detach() - 0.1 * parameter.grad
            assert abs(ours[name].detach() - step).max() <= 1e-10


def test_members_of_different_parts_and_candidates_train_in_one_stack(monkeypatch):
    kinds = kinds_of_stacks(monkeypatch)
    X, y = make_data()
    grid = {"estimator__lr": [0.01, 0.02]}
    search = StackedGridSearchCV(make_ensemble(3, channel_splits=3), grid, cv=2, refit=False)
    search.fit(X, y)
    assert kinds == [(GraphStack, 2 * 2 * 3)]


def test_grid_search_and_students():
    X, y = make_data()
    search = StackedGridSearchCV(
        make_ensemble(2, channel_splits=1), {"channel_splits": [None, 1, 2]}, cv=2
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1]  # one part is the whole
    assert scores[1] != scores[2]
    student = DistilledClassifier(
        make_ensemble(2, channel_splits=2), make_net(), alpha=1.0, random_state=0
    ).fit(X, y)
    assert student.teacher_.channel_splits == 2
    assert student.score(X, y) > 0.4


@pytest.mark.parametrize("method", ["l1-filter", "slimming", "magnitude"])
def test_pruned_members_keep_their_channels(method, tmp_path):
    X, y = images()
    ensemble = make_ensemble(3, make_net(SmallCNN, max_epochs=2), channel_splits=2)
    small = PrunedClassifier(ensemble, method=method, random_state=0).fit(X, y)
    assert [one.module_.columns.at.tolist() for one in small.estimators_] == [
        [0, 1], [2, 3], [0, 1]
    ]  # fmt: skip
    assert small.n_parameters_.after < small.n_parameters_.before or method == "magnitude"
    changed = X.copy()
    changed[:, 2:4] += 1.0
    for number, one in enumerate(small.estimators_):
        same = np.array_equal(one.predict_proba(X), one.predict_proba(changed))
        assert same == (number != 1)
    small.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=SmallCNN)
    for copy in (again, pickle.loads(pickle.dumps(small))):
        np.testing.assert_array_equal(copy.predict_proba(X), small.predict_proba(X))


def test_errors():
    X, y = make_data()
    with pytest.raises(ValueError, match="6 feature.* minimum of channel_splits=7 is required by "
                       "DeepEnsembleClassifier"):  # fmt: skip
        make_ensemble(2, channel_splits=7).fit(X, y)
    with pytest.raises(ValueError, match="'channel_splits' parameter of DeepEnsembleClassifier"):
        make_ensemble(2, channel_splits=0).fit(X, y)
    whole = make_net(MLP, module__in_shape=(6,))
    with pytest.raises(ValueError, match="module MLP failed on 4 rows of shape .6,."):
        make_ensemble(2, whole, channel_splits=2).fit(X, y)
