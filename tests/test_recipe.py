"""Whatever a skorch net can say is honoured, trained one by one, or refused by name."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from nets import (
    AN_INSTANCE,
    ResidualMLP,
    SoftmaxMLP,
    Tutorial,
    assert_same_network,
    differ,
    make_net,
    make_points,
    weights_of,
)
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    ParamMapper,
    PrintLog,
)
from skorch.dataset import ValidSplit
from torch import nn

from skensemble import BatchEnsembleClassifier, DeepEnsembleClassifier, NetworkClassifier
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble._engine.stacks import LoopStack
from skensemble._recipes.checking import device_of
from skensemble._recipes.reading import read_recipe
from skensemble.nn import MLP, CifarResNet


@pytest.fixture(scope="module")
def data():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = (X - X.mean(0)) / X.std(0)
    return X[order], y[order]


@pytest.fixture
def nets(monkeypatch):
    seen = []
    train = StackNet.train
    monkeypatch.setattr(
        StackNet, "train", lambda self, *args: seen.append(self) or train(self, *args)
    )
    return seen


def fit(net, data, n_estimators=2, **kwargs):
    kwargs.setdefault("random_state", 0)
    return DeepEnsembleClassifier(net, n_estimators, **kwargs).fit(*data)


# -- modules -------------------------------------------------------------------------------


def test_nll_loss_means_probabilities(data):
    X, y = data
    net = make_net(SoftmaxMLP, criterion=nn.NLLLoss, max_epochs=40)
    ensemble = fit(net, data, 3)
    assert ensemble.score(X, y) > 0.93
    x = torch.from_numpy(X)
    for member, proba in zip(ensemble, ensemble.predict_members(X), strict=True):
        expected = member.module_(x).detach().numpy()
        np.testing.assert_allclose(proba, expected, atol=1e-12)
        np.testing.assert_allclose(member.predict_proba(X), expected, atol=1e-12)
    alone = fit(net, data, 3, stack=1)
    assert_same_network(ensemble[2], alone[2])


def test_nll_loss_is_skorchs_loss(data):
    X, y = data
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    net = make_net(
        SoftmaxMLP, criterion=nn.NLLLoss, criterion__weight=weight, max_epochs=1, batch_size=-1
    )
    (member,) = fit(net, data, 1)
    module = read_recipe(net).bind(X, 3).build(member.random_state)
    proba = module(torch.from_numpy(X)) + torch.finfo(torch.float64).eps
    loss = nn.NLLLoss(weight)(proba.log(), torch.from_numpy(y))
    assert member.history_[0]["train_loss"] == pytest.approx(loss.item(), abs=1e-12)


def test_nll_loss_over_logits_is_refused(data):
    with pytest.raises(ValueError, match="NLLLoss means, as in skorch, that the module returns pr"):
        fit(make_net(criterion=nn.NLLLoss), data)


def test_module_class_alone(data):
    ensemble = fit(MLP, data)
    assert ensemble.score(*data) > 0.9
    assert differ(*ensemble)
    member = NetworkClassifier(MLP, random_state=ensemble[1].random_state).fit(*data)
    assert_same_network(member, ensemble[1])


def test_factory_function_as_module(data):
    def make(in_shape, n_classes, depth=1):
        layers = [nn.Linear(in_shape[0], in_shape[0]) for _ in range(depth)]
        return nn.Sequential(*layers, nn.Linear(in_shape[0], n_classes))

    ensemble = fit(make_net(make, module__depth=3), data)
    assert len(ensemble[0].module_) == 4


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in a net"])
def test_module_instance_is_started_anew_for_each_member(data, wrapped):
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        module[0].weight.fill_(7.0)
        module[1].running_mean.fill_(9.0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    recipe = make_net(module) if wrapped else module
    with pytest.warns(UserWarning, match=r"weights are not kept.*Pretrained\(module\).*'reset'"):
        ensemble = fit(recipe, data, 3)
    bound = read_recipe(recipe).bind(data[0], 3)
    born = [bound.build(member.random_state) for member in ensemble]
    assert not torch.equal(born[0][0].weight, born[1][0].weight)
    assert born[0][0].weight.abs().max() < 1
    assert born[0][1].running_mean.abs().max() == 0
    assert differ(ensemble[0], ensemble[1])
    assert differ(ensemble[1], ensemble[2])
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


class Bare(nn.Module):
    def __init__(self, in_shape=(4,), n_classes=3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_shape[0], n_classes))

    def forward(self, x):
        return x @ self.weight


@AN_INSTANCE
def test_module_instance_that_cannot_be_started_anew_is_refused(data):
    for recipe, part in ((Bare(), "the module itself"), (nn.Sequential(Bare()), "'0'")):
        with pytest.raises(ValueError, match=rf"{part}.* of type Bare has no reset_parameters"):
            fit(recipe, data)
    assert differ(*fit(Bare, data))


def test_module_instance_with_parameters_is_built_from_its_class(data):
    (member,) = fit(make_net(MLP(in_shape=(4,), n_classes=3), module__hidden=(5,)), data, 1)
    assert member.module_.layers[1].out_features == 5


@pytest.mark.parametrize("wrong", [3.0, "MLP", object, nn.Linear(2, 2).state_dict()])
def test_other_estimators_are_refused(data, wrong):
    with pytest.raises(
        TypeError, match="'estimator' must be a skorch NeuralNetClassifier, a torch"
    ):
        fit(wrong, data)


def test_shapes_are_filled_in_unless_given(data):
    (member,) = fit(make_net(module__hidden=(3, 9)), data, 1)
    widths = [layer.out_features for layer in member.module_.layers if hasattr(layer, "bias")]
    assert widths == [3, 9, 3]
    assert member.module_.layers[1].in_features == 4
    with pytest.raises(ValueError, match=r"must return one tensor of shape .*\(4, 3\).*\(4, 5\)"):
        fit(make_net(module__n_classes=5), data)
    images = np.random.default_rng(0).normal(size=(12, 3, 8, 8)).astype(np.float32)
    labels = np.arange(12) % 2
    (member,) = fit(make_net(CifarResNet, module__width=4, max_epochs=1), (images, labels), 1)
    assert member.module_(torch.from_numpy(images)).shape == (12, 2)


def test_default_networks():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 2, 8, 8)).astype(np.float32)
    recipe = read_recipe(None)
    assert isinstance(recipe.bind(images, 3).build(0), CifarResNet)
    assert isinstance(recipe.bind(images.reshape(12, -1), 3).build(0), MLP)
    with pytest.raises(ValueError, match=r"look like \(height, width, channels\)"):
        recipe.bind(images.transpose(0, 2, 3, 1), 3)
    with pytest.raises(ValueError, match="No default network takes samples of shape"):
        recipe.bind(images[:, 0], 3)


@AN_INSTANCE
def test_wrong_outputs_are_named(data):
    with pytest.raises(ValueError, match=r"Linear must return one tensor of shape.*Got \(4, 7\)"):
        fit(make_net(nn.Linear(4, 7)), data)
    with pytest.raises(ValueError, match=r"Linear failed on 4 rows of shape \(4,\).*shapes cannot"):
        fit(make_net(nn.Linear(5, 3)), data)

    class Pair(MLP):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(ValueError, match="Got tuple instead; return the logits alone"):
        fit(make_net(Pair), data)


Auxiliary = namedtuple("Auxiliary", ["logits", "aux_logits"])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda z: Auxiliary(z, z), "Got Auxiliary in training mode instead; .*aux_logits=False"),
        (lambda z: {"out": z}, "Got dict in training mode instead; return the logits alone"),
        (lambda z: z[:, :2], r"Got \(4, 2\) in training mode instead\."),
        (lambda z: z.reshape(-1, 5), "failed in training mode on 4 rows .*invalid for input"),
    ],
)
@pytest.mark.parametrize("stack", [1, 2])
def test_wrong_outputs_in_training_are_named(data, wrong, named, stack):
    class Eager(MLP):
        def forward(self, x):
            out = super().forward(x)
            return wrong(out) if self.training else out

    with pytest.raises(ValueError, match=rf"The module Eager .*{named}"):
        fit(make_net(Eager), data, stack=stack)


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("literal", [True, False])
def test_memory_order_is_channels_last_where_a_module_can(literal, stack):
    # A view of maps in channels-last order raises.
    X = np.random.default_rng(0).random((20, 3, 8, 8), dtype=np.float32)
    y = np.arange(20) % 3
    ensemble = fit(make_net(Tutorial, module__literal=literal), (X, y), stack=stack)
    proba = ensemble.predict_proba(X)
    with torch.no_grad():
        outputs = [member.module_(torch.from_numpy(X)) for member in ensemble]
    expected = torch.stack([one.softmax(-1) for one in outputs]).mean(0)
    np.testing.assert_allclose(proba, expected, atol=1e-6)
    seen = []
    ensemble[0].module_.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    ensemble.predict(X)
    assert seen[0].is_contiguous() == literal
    assert seen[0].is_contiguous(memory_format=torch.channels_last) != literal


# -- optimisers ----------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [1, 2])
def test_parameter_groups(data, nets, stack):
    net = make_net(
        optimizer=torch.optim.SGD,
        optimizer__param_groups=[("layers.1.*", {"lr": 0.0}), ("*.bias", {"momentum": 0.5})],
        optimizer__momentum=0.9,
    )
    ensemble = fit(net, data, stack=stack)
    for member in ensemble:
        start = read_recipe(net).bind(data[0], 3).build(member.random_state).state_dict()
        after = weights_of(member)
        for name, value in start.items():
            assert (after[name] == value.numpy()).all() == name.startswith("layers.1."), name
    groups = nets[0].optimizer_.param_groups
    assert [(group["lr"], group["momentum"]) for group in groups] == [
        (0.0, 0.9), (0.02, 0.5), (0.02, 0.9),
    ]  # fmt: skip


def test_optimizer_arguments_reach_it(data, nets):
    fit(make_net(optimizer=torch.optim.AdamW, optimizer__betas=(0.5, 0.6), lr=0.03), data)
    (group,) = nets[0].optimizer_.param_groups
    assert (group["betas"], group["lr"]) == ((0.5, 0.6), 0.03)
    assert isinstance(nets[0].stack_, GraphStack)
    with pytest.raises(TypeError, match="momentum"):
        fit(make_net(optimizer=torch.optim.Adam, optimizer__momentum=0.9), data)


class Lazy(torch.optim.SGD):
    """An optimiser nobody has heard of."""


@pytest.mark.parametrize("optimizer", [Lazy, torch.optim.LBFGS, torch.optim.Adafactor])
def test_unknown_optimisers_train_one_by_one(data, nets, capsys, optimizer):
    lr = 0.5 if optimizer is torch.optim.LBFGS else 0.05
    net = make_net(optimizer=optimizer, batch_size=-1, max_epochs=60, lr=lr)
    ensemble = fit(net, data, stack=2, verbose=1)
    assert [type(net.stack_) for net in nets] == [LoopStack, LoopStack]
    assert f"optimiser {optimizer.__name__} is not known" in capsys.readouterr().out
    assert ensemble.score(*data) > 0.6


def test_frozen_parameters_stay(data):
    class Frozen(MLP):
        def __init__(self, in_shape, n_classes, hidden=(12,)):
            super().__init__(in_shape, n_classes, hidden)
            self.layers[1].requires_grad_(False)

    net = make_net(Frozen, optimizer=torch.optim.AdamW, optimizer__weight_decay=0.5)
    for stack in (1, 2):
        for member in fit(net, data, stack=stack):
            start = read_recipe(net).bind(data[0], 3).build(member.random_state)
            assert torch.equal(start.layers[1].weight, member.module_.layers[1].weight)
            assert not torch.equal(start.layers[3].weight, member.module_.layers[3].weight)


# -- criterion -----------------------------------------------------------------------------


class Focal(nn.Module):
    def forward(self, logits, target):
        return logits.logsumexp(-1).mean()


class SubCrossEntropy(nn.CrossEntropyLoss):
    pass


@pytest.mark.parametrize("criterion", [Focal, nn.MSELoss, SubCrossEntropy, Focal()])
def test_other_criteria_are_refused(data, criterion):
    with pytest.raises(ValueError, match="'criterion' of the net must be CrossEntropyLoss"):
        fit(make_net(criterion=criterion), data)


@pytest.mark.parametrize(
    ("name", "value"),
    [("reduction", "sum"), ("ignore_index", 0), ("label_smoothing", 2.0),
     ("label_smoothing", -0.1), ("label_smoothing", np.nan), ("label_smoothing", "x"),
     ("weight", torch.tensor([1.0, -1.0, 1.0])), ("weight", torch.tensor([1.0, np.nan, 1.0])),
     ("weight", torch.zeros(3)), ("weight", torch.ones(3, 1)), ("weight", torch.ones(3) * 1j),
     ("weight", torch.ones(4))],
)  # fmt: skip
def test_switches_of_the_criterion_are_refused(data, name, value):
    with pytest.raises(ValueError, match=f"'criterion__{name}' of the net must "):
        fit(make_net(**{f"criterion__{name}": value}), data)


# -- callbacks -----------------------------------------------------------------------------


class Listener(Callback):
    """Count what it hears in a list that outlives the copies."""

    heard = []  # noqa: RUF012

    def __init__(self, word="tick"):
        self.word = word

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.heard.append((self.word, len(net.history)))


@pytest.mark.parametrize(
    "given", [Listener(), ("named", Listener()), ("named", Listener), Listener]
)
def test_callbacks_are_called_for_every_member(data, nets, given):
    Listener.heard.clear()
    fit(make_net(callbacks=[given], max_epochs=3), data)
    assert Listener.heard == [("tick", epoch) for _ in range(2) for epoch in (1, 2, 3)]
    assert len(nets) == 2


def test_parameters_of_callbacks(data):
    Listener.heard.clear()
    net = make_net(callbacks=[("mine", Listener)], callbacks__mine__word="tock", max_epochs=1)
    fit(net, data)
    fit(make_net(callbacks=[("mine", Listener)], callbacks__mine=None), data)
    assert Listener.heard == [("tock", 1)] * 2


def test_schedule_by_name(data, nets):
    net = make_net(
        callbacks=[("schedule", LRScheduler("StepLR", step_size=9, gamma=0.1))],
        callbacks__schedule__step_size=2, lr=1.0, max_epochs=4, optimizer=torch.optim.SGD,
    )  # fmt: skip
    fit(net, data)
    assert isinstance(nets[0].stack_, GraphStack)
    assert nets[0].optimizer_.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("stack", [1, 2])
def test_schedule_by_batch(data, nets, stack):
    policy = torch.optim.lr_scheduler.OneCycleLR
    schedule = LRScheduler(policy, step_every="batch", max_lr=0.1, total_steps=11)
    net = make_net(callbacks=[schedule], batch_size=75, optimizer=torch.optim.SGD)
    fit(net, data, stack=stack)
    assert nets[0].optimizer_.param_groups[0]["lr"] == pytest.approx(0.1 / 25 / 1e4)


def test_plateau_schedule_follows_each_member(data, nets):
    schedule = LRScheduler("ReduceLROnPlateau", monitor="train_loss", patience=0, factor=0.5)
    fit(make_net(callbacks=[schedule], lr=0.5, max_epochs=15), data)
    assert [type(net.stack_) for net in nets] == [LoopStack, LoopStack]
    assert all(net.optimizer_.param_groups[0]["lr"] < 0.5 for net in nets)


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_lands_in_the_history(data, on_train, caching):
    X, y = data
    split = ValidSplit(3)
    scoring = EpochScoring("accuracy", name="hits", on_train=on_train, lower_is_better=False,
                           use_caching=caching)  # fmt: skip
    net = make_net(callbacks=[scoring], train_split=split)
    for member in fit(net, data):
        assert all(0 <= row["hits"] <= 1 for row in member.history_)
        assert isinstance(member.history_[0]["hits_best"], bool)
        train, valid = split(torch.utils.data.TensorDataset(torch.from_numpy(X)), y)
        rows = (train if on_train else valid).indices
        if not on_train:
            hits = accuracy_score(y[rows], member.predict(X[rows]))
            assert member.history_[-1]["hits"] == pytest.approx(hits)
            assert member.history_[-1]["valid_acc"] == pytest.approx(hits)
        elif not caching:
            hits = accuracy_score(y[rows], member.predict(X[rows]))
            assert member.history_[-1]["hits"] == pytest.approx(hits)


def test_gradients_are_clipped(data):
    sgd = {"optimizer": torch.optim.SGD, "max_epochs": 1, "batch_size": -1, "lr": 1.0}
    net = make_net(callbacks=[GradientNormClipping(1e-3)], **sgd)
    for member in fit(net, data):
        start = read_recipe(net).bind(data[0], 3).build(member.random_state).state_dict()
        after = weights_of(member)
        moved = sum(((after[name] - value.numpy()) ** 2).sum() for name, value in start.items())
        assert np.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


def test_param_mapper_freezes(data):
    from skorch.callbacks import Freezer

    net = make_net(callbacks=[Freezer("layers.1.*")])
    assert issubclass(Freezer, ParamMapper)
    for member in fit(net, data):
        start = read_recipe(net).bind(data[0], 3).build(member.random_state).state_dict()
        for name, value in weights_of(member).items():
            assert (value == start[name].numpy()).all() == name.startswith("layers.1."), name


class Noisy(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.output = nn.Linear(in_shape[0], n_classes)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.output(self.drop(x))


class Meddler(Callback):
    """Reads, uses and changes the network at every turn."""

    seen = []  # noqa: RUF012

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        assert isinstance(net.module_, Noisy)
        net.module_.output.bias.requires_grad_(False)
        self.X = X

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        assert net.predict_proba(self.X).shape == (150, 3)
        net.module_.eval()
        with torch.no_grad():
            said = net.infer(batch[0])
            torch.testing.assert_close(said, net.module_(batch[0]))
            torch.testing.assert_close(net.infer(batch[0].numpy()), said)

    def on_grad_computed(self, net, **kwargs):
        self.seen.append(net.module_.training)

    def on_batch_end(self, net, **kwargs):
        with torch.no_grad():
            net.module_.output.weight.clamp_(-0.1, 0.1)


@pytest.mark.parametrize("batch_size", [50, -1])
@pytest.mark.parametrize("stack", [1, 2])
def test_callbacks_see_the_users_own_module(data, stack, batch_size):
    Meddler.seen.clear()
    net = make_net(Noisy, callbacks=[Meddler()], max_epochs=2, lr=0.5, batch_size=batch_size)
    for member in fit(net, data, stack=stack):
        start = read_recipe(net).bind(data[0], 3).build(member.random_state)
        assert torch.equal(start.output.bias, member.module_.output.bias)
        assert member.module_.output.weight.abs().max().item() == pytest.approx(0.1)
    assert len(Meddler.seen) == 2 * 2 * (3 if batch_size == 50 else 1)
    assert all(Meddler.seen)


@pytest.mark.parametrize("callback", [Checkpoint(), Checkpoint, ("save", Checkpoint())])
def test_checkpoints_are_refused(data, callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="callback Checkpoint writes or reads one file"):
        fit(make_net(callbacks=[callback]), data)
    assert not list(tmp_path.iterdir())


def test_early_stopping_holds_rows_out_by_skorchs_default(data):
    net = NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, callbacks=[EarlyStopping(patience=2)], lr=0.5,
        max_epochs=60, verbose=0,
    )  # fmt: skip
    (member,) = fit(net, data, 1)
    assert "valid_loss" in member.history_[0]
    (member,) = fit(net.set_params(callbacks=None, max_epochs=2), data, 1)
    assert "valid_loss" not in member.history_[0]


@pytest.mark.parametrize("callbacks", ["disable", None, []])
def test_no_callbacks(data, callbacks):
    assert len(fit(make_net(callbacks=callbacks), data)) == 2


def test_default_callbacks_can_be_switched_off(data, capsys):
    fit(make_net(callbacks__print_log=None, callbacks__valid_acc=None), data)
    fit(make_net(callbacks=[PrintLog(sink=lambda line: None)], max_epochs=1), data)
    assert capsys.readouterr().out == ""


# -- data loading --------------------------------------------------------------------------


class Batches(Callback):
    """Note the labels of every training batch."""

    seen = []  # noqa: RUF012

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if training:
            self.seen.append(batch[1].tolist())


def batches_of(data, **kwargs):
    Batches.seen.clear()
    fit(make_net(callbacks=[Batches()], max_epochs=1, **kwargs), data, 1)
    return list(Batches.seen)


def test_iterator_shuffle(data):
    y = data[1].tolist()
    assert sum(batches_of(data, iterator_train__shuffle=False), []) == y
    shuffled = sum(batches_of(data), [])
    assert shuffled != y
    assert sorted(shuffled) == sorted(y)


def test_iterator_batch_size_and_drop_last(data):
    assert [len(b) for b in batches_of(data, batch_size=60)] == [60, 60, 30]
    assert [len(b) for b in batches_of(data, batch_size=-1)] == [150]
    assert [len(b) for b in batches_of(data, iterator_train__batch_size=100)] == [100, 50]
    dropped = batches_of(data, batch_size=60, iterator_train__drop_last=True)
    assert [len(b) for b in dropped] == [60, 60]
    assert [len(b) for b in batches_of(data, batch_size=149)] == [150]
    dropped = batches_of(data, batch_size=149, iterator_train__drop_last=True)
    assert [len(b) for b in dropped] == [149]


def test_last_batch_of_one_row_with_batch_norm(data):
    X, y = data
    for stack in (1, 2):
        ensemble = fit(make_net(ResidualMLP, batch_size=32), (X[:65], y[:65]), stack=stack)
        assert np.isfinite(ensemble.predict_proba(X[:1])).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("iterator_train__num_workers", 2), ("iterator_train__sampler", [0, 1]),
     ("iterator_train__collate_fn", len), ("iterator_valid__num_workers", 2),
     ("iterator_valid__shuffle", True)],
)  # fmt: skip
def test_loader_settings_are_refused(data, name, value):
    with pytest.raises(ValueError, match=f"{name} cannot be honoured: rows are sliced"):
        fit(make_net(**{name: value}), data)


class Loader(torch.utils.data.DataLoader):
    pass


class Rows(torch.utils.data.Dataset):
    pass


@pytest.mark.parametrize(
    ("name", "value"),
    [("iterator_train", Loader), ("iterator_valid", Loader), ("dataset", Rows),
     ("warm_start", True), ("classes", [0, 1, 2]), ("predict_nonlinearity", torch.sigmoid),
     ("max_epochs", 0), ("batch_size", 0), ("batch_size", 2.5), ("compile", "x"), ("compile", 1),
     ("iterator_train__shuffle", "x"), ("iterator_train__drop_last", "False"),
     ("warm_start", "x"), ("use_caching", "x")],
)  # fmt: skip
def test_switches_of_the_net_are_refused_by_name(data, name, value):
    with pytest.raises(ValueError, match=f"The '{name}' of the net must be"):
        fit(make_net(**{name: value}), data)


@pytest.mark.parametrize("typo", ["optimzer__momentum", "modul__hidden", "foo"])
def test_arguments_that_skorch_would_refuse_are_refused(data, typo):
    net = make_net(module__in_shape=(4,), module__n_classes=3, **{typo: 0.9})
    with pytest.raises((TypeError, ValueError), match=typo.split("__")[0]):
        net.initialize()
    net = make_net(module__in_shape=(4,), module__n_classes=3, **{typo: 0.9})
    with pytest.raises((TypeError, ValueError), match=typo.split("__")[0]):
        fit(net, data)


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return super().get_loss(y_pred, y_true, *args, **kwargs) * 2


class OwnDefaults(NeuralNetClassifier):
    def __init__(self, module, *args, lr=0.3, **kwargs):
        super().__init__(module, *args, lr=lr, **kwargs)


def test_overriding_subclasses_are_refused(data):
    with pytest.raises(ValueError, match="class OwnLoss overrides get_loss of NeuralNetClass"):
        fit(OwnLoss(MLP, criterion=nn.CrossEntropyLoss), data)
    net = OwnDefaults(MLP, criterion=nn.CrossEntropyLoss, max_epochs=1)
    assert read_recipe(net).training.lr == 0.3
    assert len(fit(net, data)) == 2


# -- the rest ------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
@pytest.mark.filterwarnings("default")
def test_compile_trains_one_by_one_to_the_same_members(data, nets):
    plain = fit(make_net(max_epochs=2, batch_size=50), data)
    compiled = fit(make_net(max_epochs=2, batch_size=50, compile=True,
                            compile__backend="aot_eager"), data)  # fmt: skip
    for a, b in zip(plain, compiled, strict=True):
        assert_same_network(a, b, atol=1e-8)
    assert len(nets) == 3
    assert all(type(net.stack_).__name__ == "OptimizedModule" for net in nets[1:])
    for member in compiled:
        assert type(member.module_) is MLP


def test_grid_search_over_the_recipe(data):
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0)
    grid = {"estimator__lr": [1e-6, 0.03], "estimator__module__hidden": [(4,), (16,)]}
    search = GridSearchCV(ensemble, grid, cv=2, error_score="raise").fit(*data)
    assert search.best_params_["estimator__lr"] == 0.03
    best = search.best_estimator_
    hidden = search.best_params_["estimator__module__hidden"]
    assert best[0].module_.layers[1].out_features == hidden[0]
    assert len(set(search.cv_results_["mean_test_score"].round(3))) > 1
    assert ensemble.estimator.lr == 0.02


def test_the_users_net_is_left_alone(data):
    net = make_net(callbacks=[("stop", EarlyStopping(patience=2))], train_split=ValidSplit(3))
    before = repr(sorted(vars(net).items(), key=lambda item: item[0]))
    fit(net, data)
    assert repr(sorted(vars(net).items(), key=lambda item: item[0])) == before
    assert not net.initialized_
    assert vars(net.callbacks[0][1]).keys() == vars(EarlyStopping()).keys()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"callbacks": ["x"]}, "'callbacks' of the net must hold callbacks of skorch.*Got 'x'"),
        ({"callbacks": 5}, "'callbacks' of the net must be a list of callbacks"),
        ({"criterion": 5}, "'criterion' of the net must be a class.*Got 5"),
        ({"optimizer": 5}, "'optimizer' of the net must be a class.*Got 5"),
        ({"train_split": 5}, "'train_split' of the net must be None, or a function.*Got 5"),
        ({"device": "zz"}, "'device' of the net must name a device of torch.*Got 'zz'"),
        ({"optimizer__nope": 3}, "Adam of the net can take.*unexpected keyword"),
        (
            {"optimizer": torch.optim.SGD, "optimizer__momentum": "x"},
            "SGD of the net can take.*'momentum': 'x'",
        ),
    ],
)
def test_what_cannot_be_called_is_named_before_training(given, says):
    X, y = make_points()
    with pytest.raises((TypeError, ValueError), match=says):
        NetworkClassifier(make_net(**given)).fit(X, y)


def test_batches_of_one_row_and_batch_normalisation():
    X, y = make_points()
    with pytest.raises(ValueError, match="failed in training mode, at batch_size=1, on 1 rows"):
        NetworkClassifier(make_net(ResidualMLP, batch_size=1)).fit(X, y)
    NetworkClassifier(make_net(batch_size=1, max_epochs=1)).fit(X, y)


def test_rank_1_members_want_groups_of_parameters():
    X, y = make_points()
    with pytest.raises(ValueError, match="must take groups of parameters. Got 'LBFGS'"):
        BatchEnsembleClassifier(make_net(optimizer=torch.optim.LBFGS), 2).fit(X, y)


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_device_that_is_left_to_us(monkeypatch, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of(make_net(device="auto")) == device


def test_a_network_of_any_device_trains():
    X, y = load_iris(return_X_y=True)
    chosen, plain = (
        NetworkClassifier(make_net(max_epochs=1, device=device), random_state=0).fit(X, y)
        for device in ("auto", "cpu")
    )
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(chosen.predict_proba(X), plain.predict_proba(X))
    assert next(chosen.module_.parameters()).device.type in ("cuda", "cpu")
