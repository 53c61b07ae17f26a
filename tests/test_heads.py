"""Ensembles of heads on one frozen backbone: one pass for all, and the numbers of the slow way."""

import pickle

import numpy as np
import pytest
import torch
from joblib import parallel_config
from nets import assert_same_network, make_net
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import EarlyStopping, GradientNormClipping
from skorch.dataset import ValidSplit
from torch import nn

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    Pretrained,
    StackedGridSearchCV,
)
from skensemble._engine import training as engine
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble._files.format import read
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import Purpose, generator
from skensemble.nn import MLP
from skensemble.objectives.base import Objective
from skensemble.perturbation import ODS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3, 6, 6))
Y = np.arange(50) % 3
X[np.arange(50), Y] += 0.7
PASSES = []


class Backbone(nn.Module):
    """Convolution, averages and dropout before a head; counts rows and passes."""

    def __init__(self, n_outputs=5, after=False):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.top = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, n_outputs))
        self.after = after

    def forward(self, x):
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled() or len(x) > 4:
            PASSES.append(len(x))
        out = self.top(self.body(x))
        return out * 2 if self.after else out


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    module = Backbone().double()
    module(torch.from_numpy(X))  # averages of its own
    PASSES.clear()
    return module


@pytest.fixture
def kinds(monkeypatch):
    seen = []
    init = StackNet.__init__
    monkeypatch.setattr(
        StackNet,
        "__init__",
        lambda self, module, *a, **k: (seen.append(module), init(self, module, *a, **k))[1],
    )
    return seen


def recipe(module, net=None, **kwargs):
    settings = {"max_epochs": 3, "batch_size": 20, "lr": 0.1, **(net or {})}
    return Pretrained(make_net(module, **settings), freeze="backbone", **kwargs)


def slowly(monkeypatch, fit):
    with monkeypatch.context() as patch:
        patch.setattr(engine, "find_heads", lambda members: None)
        return fit()


def test_the_backbone_runs_once_over_the_rows_and_once_a_prediction(backbone, kinds):
    ensemble = DeepEnsembleClassifier(recipe(backbone), 10, random_state=0).fit(X, Y)
    assert [(type(one), one.n_members) for one in kinds] == [(GraphStack, 10)]
    assert sum(PASSES) == len(X)  # not in every epoch, and not for every member
    # All networks are there, around one copy of what they share.
    assert len({member.module_.body[0].weight.data_ptr() for member in ensemble}) == 1
    assert len({member.module_.top[1].weight.data_ptr() for member in ensemble}) == 10
    PASSES.clear()
    proba = ensemble.predict_proba(X)
    assert [len(X)] == PASSES
    PASSES.clear()
    expected = np.mean([member.predict_proba(X) for member in ensemble], 0)
    assert [len(X)] * 10 == PASSES
    np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-12)


def test_probabilities_are_those_of_networks_trained_by_hand(backbone):
    ensemble = DeepEnsembleClassifier(recipe(backbone), 3, random_state=0).fit(X, Y)
    each = []
    for member in ensemble:
        module = read_recipe(recipe(backbone)).bind(X, 3).build(member.random_state)
        for part in module.body, module.top[0]:
            part.requires_grad_(False).eval()
        optimizer = torch.optim.Adam(module.top[1].parameters(), lr=0.1)
        order = generator(member.random_state, Purpose.ORDER)
        for _ in range(3):
            for rows in torch.randperm(len(X), generator=order).split(20):
                loss = nn.functional.cross_entropy(
                    module(torch.from_numpy(X)[rows]), torch.from_numpy(Y)[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            each.append(module.eval()(torch.from_numpy(X)).softmax(-1).numpy())
    np.testing.assert_allclose(ensemble.predict_members(X), each, rtol=0, atol=1e-12)


WAYS = {
    "weights of rows and one by one": ({"stack": 1}, {}),
    "held-out rows": (
        {},
        {"train_split": ValidSplit(0.2), "callbacks": [EarlyStopping(load_best=True, patience=1)]},
    ),
    "rates": ({}, {}),
    "the trained sum": ({"joint": True}, {}),
    "folds": ({"cross_fit": 3}, {}),
    "altered rows": ({"augmentation": lambda x: x.flip(-1)}, {}),
    "a callback": ({}, {"callbacks": [GradientNormClipping(0.1)]}),
    "SGD in two threads": ({"n_jobs": 2}, {"optimizer": torch.optim.SGD}),
}


@pytest.mark.parametrize("name", WAYS)
def test_however_it_is_trained_it_is_as_the_slow_way(name, backbone, monkeypatch):
    told, net = WAYS[name]
    rates = {"top": 0.3} if name == "rates" else None
    weight = np.linspace(0, 1, 50) if "weights" in name else None
    one = recipe(backbone, net, rates=rates)
    model = DeepEnsembleClassifier(one, 3, random_state=0, **told)

    def fit():
        with parallel_config("threading"):
            return model.fit(X, Y, sample_weight=weight).predict_members(X)

    found = fit()
    history = [row["train_loss"] for row in model[0].history_]
    np.testing.assert_allclose(found, slowly(monkeypatch, fit), rtol=0, atol=1e-10)
    np.testing.assert_allclose(history, [row["train_loss"] for row in model[0].history_])


def test_a_network_that_does_more_after_its_head_is_trained_and_run_whole(monkeypatch):
    module = Backbone(after=True).double().eval()
    model = DeepEnsembleClassifier(recipe(module), 2, random_state=0)
    found = model.fit(X, Y).predict_members(X)
    expected = [2 * member.module_.top(member.module_.body(torch.from_numpy(X)))
                for member in model]  # fmt: skip
    wanted = torch.stack(expected).softmax(-1).detach()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_students_learn_as_heads(backbone, monkeypatch):
    teacher = FrozenEstimator(DeepEnsembleClassifier(recipe(backbone), 3, random_state=0).fit(X, Y))
    student = DistilledClassifier(teacher, recipe(backbone), n_students=2, random_state=0)
    found = student.fit(X, Y).predict_proba(X)
    expected = slowly(monkeypatch, lambda: student.fit(X, Y).predict_proba(X))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    student = DistilledClassifier(
        teacher, recipe(backbone), perturbation=ODS(input_range=None), random_state=0
    )
    found = student.fit(X, Y).predict_proba(X)  # of rows that no features stand for
    expected = slowly(monkeypatch, lambda: student.fit(X, Y).predict_proba(X))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_a_search_computes_the_features_of_all_folds_once(backbone):
    model = DeepEnsembleClassifier(recipe(backbone), 2, random_state=0)
    grid = {"estimator__network__lr": [0.01, 0.1, 1.0]}
    StackedGridSearchCV(model, grid, cv=2, refit=False).fit(X, Y)
    assert sum(PASSES) <= len(X) + 3 * len(X)  # and one prediction for each candidate's rows


def test_pickles_files_and_checkpoints_hold_whole_networks(backbone, tmp_path):
    model = DeepEnsembleClassifier(recipe(backbone), 2, random_state=0).fit(X, Y)
    model.save(tmp_path / "file")
    for again in (
        pickle.loads(pickle.dumps(model)),
        skensemble.load(tmp_path / "file", module=backbone),
    ):
        PASSES.clear()
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert PASSES == [50, 50]  # one for each
        assert len({member.module_.body[0].weight.data_ptr() for member in again}) == 1
    model.set_params(checkpoint=tmp_path / "folder")
    first = model.fit(X, Y)[1]
    assert_same_network(first, model.fit(X, Y)[1], atol=0)
    alone = NetworkClassifier(recipe(backbone), random_state=first.random_state).fit(X, Y)
    assert_same_network(first, alone)


def test_what_members_share_is_written_once(tmp_path):
    rows = X.reshape(len(X), -1).astype(np.float32)
    module = MLP(rows.shape[1:], 3, hidden=(300, 300))
    size = 4 * sum(one.numel() for one in module.parameters())
    model = DeepEnsembleClassifier(recipe(module), 6, random_state=0).fit(rows, Y)
    proba = model.predict_proba(rows)
    model.save(tmp_path / "file")
    assert (tmp_path / "file").stat().st_size < 1.5 * size
    assert len(pickle.dumps(model)) < 2.5 * size  # and the network that all start from
    loaded = skensemble.load(tmp_path / "file", module=module)
    first = {member.module_.get_parameter("layers.1.weight").data_ptr() for member in loaded}
    assert len(first) == 1  # before anything is predicted
    for again in pickle.loads(pickle.dumps(model)), loaded:
        np.testing.assert_array_equal(again.predict_proba(rows), proba)
    loaded.save(tmp_path / "again")
    first, again = (read(tmp_path / name, module) for name in ("file", "again"))
    assert again.about["shared"] == first.about["shared"]  # and their order in a file is anyone's
    assert again.tensors.keys() == first.tensors.keys()
    assert all(torch.equal(again.tensors[name], one) for name, one in first.tensors.items())
    # What is no longer shared is written whole.
    with torch.no_grad():
        other = loaded[1].module_
        other.layers[1].weight = torch.nn.Parameter(other.layers[1].weight + 1)
    loaded.save(tmp_path / "other")
    expected = np.mean([member.predict_proba(rows) for member in loaded], 0)
    again = skensemble.load(tmp_path / "other", module=module).predict_proba(rows)
    np.testing.assert_allclose(again, expected, atol=1e-6)
    assert abs(again - proba).max() > 0.01


def test_members_whose_backbones_differ_are_not_run_as_one(backbone):
    other = Backbone().double().eval()
    model = DeepEnsembleClassifier(recipe(backbone), 1, warm_start=True, random_state=0).fit(X, Y)
    model.set_params(estimator=recipe(other), n_estimators=2).fit(X, Y)
    expected = np.mean([member.predict_proba(X) for member in model], 0)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=0, atol=1e-12)


def subclasses(kind):
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


@pytest.mark.parametrize("kind", list(subclasses(Objective)), ids=lambda one: one.__name__)
def test_whoever_prepares_batches_says_whether_it_reads_rows(kind):
    if kind.__module__.startswith("skensemble.") and "prepare" in vars(kind):
        assert "reads_rows" in vars(kind)
