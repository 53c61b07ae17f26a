"""Members that stop: early, by diverging, or because somebody interrupts them."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import (
    Fragile,
    assert_same_network,
    make_data,
    make_ensemble,
    make_net,
)
from sklearn.exceptions import NotFittedError
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    MemberDivergedError,
    NetworkClassifier,
    SelfDistiller,
)
from skensemble._engine.net import StackNet
from skensemble._seeding import member_seed
from skensemble.metrics import negative_log_likelihood

# -- divergence ----------------------------------------------------------------------------


def poisoned(n_members, share=0.5, root=0):
    """Tell which members of `Fragile` cannot be trained."""
    from skensemble._recipes.reading import read_recipe

    recipe = read_recipe(make_net(Fragile, module__share=share)).bind(np.ones((2, 6)), 3)
    births = [recipe.build(member_seed(root, number)) for number in range(n_members)]
    return [number for number, module in enumerate(births) if module.poison.isnan()]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("stack", [1, 3, 6])
def test_diverged_members_are_named_and_the_others_kept(stack, n_jobs):
    X, y = make_data()
    lost = poisoned(6)
    assert 0 < len(lost) < 6
    ensemble = make_ensemble(6, make_net(Fragile), stack=stack, n_jobs=n_jobs)
    with pytest.raises(MemberDivergedError, match=f"member {lost[0]} in epoch 1") as caught:
        ensemble.fit(X, y)
    assert caught.value.diverged == dict.fromkeys(lost, 1)
    assert f"{6 - len(lost)} of 6 members are kept" in str(caught.value)
    assert len(ensemble) == 6 - len(lost)
    assert np.isfinite(ensemble.predict_proba(X)).all()
    healthy = [number for number in range(6) if number not in lost]
    assert [m.random_state for m in ensemble] == [member_seed(0, number) for number in healthy]
    same = make_ensemble(6, make_net(Fragile, module__share=0.0), stack=stack).fit(X, y)
    for member, number in zip(ensemble, healthy, strict=True):
        assert abs(member.predict_proba(X) - same[number].predict_proba(X)).max() < 1e-10


def test_diverged_error_travels_between_processes():
    error = MemberDivergedError("member 1 in epoch 2", {1: 2})
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.diverged) == (str(error), {1: 2})


def test_warm_start_trains_what_diverged():
    X, y = make_data()
    lost = poisoned(6)
    ensemble = make_ensemble(6, make_net(Fragile), warm_start=True)
    with pytest.raises(MemberDivergedError):
        ensemble.fit(X, y)
    kept = list(ensemble)
    ensemble.set_params(estimator__module__share=0.0).fit(X, y)
    assert len(ensemble) == 6
    numbers = [number for number in range(6) if ensemble[number] not in kept]
    assert numbers == lost
    assert [m.random_state for m in ensemble] == [member_seed(0, number) for number in range(6)]


@pytest.mark.parametrize("stack", [1, 3])
def test_divergence_in_the_middle_names_the_epoch(stack):
    X, y = make_data()
    jump = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=1e300)
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, callbacks=[jump], max_epochs=8)
    ensemble = make_ensemble(3, net, stack=stack)
    with pytest.raises(MemberDivergedError, match="member 0 in epoch 3, member 1 in epoch 3"):
        ensemble.fit(X, y)
    with pytest.raises(NotFittedError):
        ensemble.predict(X)
    with pytest.raises(MemberDivergedError, match="member 0 in epoch 3"):
        NetworkClassifier(net, random_state=0).fit(X, y)


def test_weights_lost_in_the_very_last_step_are_divergence_too():
    X, y = make_data(dtype=np.float32)
    net = make_net(optimizer=torch.optim.SGD, lr=1e39, max_epochs=1, batch_size=-1)
    with pytest.raises(MemberDivergedError, match="member 0 in epoch 1"):
        make_ensemble(2, net).fit(X, y)


def test_a_member_that_stopped_cannot_diverge_afterwards():
    X, y = make_data()
    stop = EarlyStopping(patience=2, load_best=True)
    sgd = {"optimizer": torch.optim.SGD, "lr": 1.0, "max_epochs": 30, "train_split": ValidSplit(3)}
    calm = make_ensemble(4, make_net(callbacks=[stop], **sgd), stack=1).fit(X, y)
    epochs = [len(member.history_) for member in calm]
    first, last = min(epochs), max(epochs)
    assert first < last - 1
    jump = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=first, gamma=1e300)
    lost = []
    for stack in (1, 4):
        ensemble = make_ensemble(4, make_net(callbacks=[jump, stop], **sgd), stack=stack)
        with pytest.raises(MemberDivergedError) as caught:
            ensemble.fit(X, y)
        lost.append(caught.value.diverged)
    assert list(lost[0]) == [number for number in range(4) if epochs[number] > first]
    assert lost[0] == lost[1]
    assert_same_network(ensemble[0], calm[epochs.index(first)])


# -- early stopping ------------------------------------------------------------------------


class OneByOne(NeuralNetClassifier):
    """skorch's own loop from the weights and in the orders of one of our members."""

    def initialize_module(self):
        self.module_ = self.module
        return self


def skorch_member(net, member, X, y, X_valid, y_valid, epochs):
    """Train one member by skorch with skorch's ``EarlyStopping``."""
    from skensemble._recipes.reading import read_recipe
    from skensemble._seeding import Purpose, generator

    module = read_recipe(net).bind(X, 3).build(member.random_state)
    orders = generator(member.random_state, Purpose.ORDER)
    other = OneByOne(
        module,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=net.optimizer,
        lr=net.lr,
        max_epochs=epochs,
        batch_size=net.batch_size,
        iterator_train__sampler=torch.utils.data.RandomSampler(X, generator=orders),
        train_split=predefined_split(Dataset(X_valid, y_valid)),
        callbacks=copy.deepcopy(net.callbacks),
        verbose=0,
    )

    class Order(torch.utils.data.Sampler):
        def __len__(self):
            return len(X)

        def __iter__(self):
            return iter(torch.randperm(len(X), generator=orders).tolist())

    return other.set_params(iterator_train__sampler=Order()).fit(X, y)


@pytest.mark.parametrize("monitor", ["valid_loss", "train_loss", "valid_acc"])
@pytest.mark.parametrize("load_best", [False, True])
@pytest.mark.parametrize("stack", [1, 4])
def test_early_stopping_is_skorchs_for_every_member(monitor, load_best, stack):
    X, y = make_data(140)
    X, y, X_valid, y_valid = X[:96], y[:96], X[96:], y[96:]
    stop = EarlyStopping(
        monitor, patience=3, load_best=load_best, lower_is_better=monitor != "valid_acc",
        threshold=0.02, threshold_mode="abs",
    )  # fmt: skip
    net = make_net(
        optimizer=torch.optim.Adam, lr=0.05, max_epochs=40, callbacks=[("stop", stop)],
        train_split=predefined_split(Dataset(X_valid, y_valid)),
    )  # fmt: skip
    ensemble = make_ensemble(4, net, stack=stack).fit(X, y)
    epochs = []
    for member in ensemble:
        other = skorch_member(net, member, X, y, X_valid, y_valid, 40)
        assert len(member.history_) == len(other.history)
        for ours, theirs in zip(member.history_, other.history, strict=True):
            for name in ("train_loss", "valid_loss", "valid_acc"):
                assert ours[name] == pytest.approx(theirs[name], abs=1e-9)
        for name, value in other.module_.state_dict().items():
            torch.testing.assert_close(member.module_.state_dict()[name], value, rtol=0, atol=1e-9)
        epochs.append(len(member.history_))
    assert max(epochs) < 40
    assert len(set(epochs)) > 1


@pytest.mark.parametrize("split", [ValidSplit(4), ValidSplit(0.25), ValidSplit(4, stratified=True)])
def test_valid_split_holds_out_the_same_rows_for_all_members(monkeypatch, split):
    X, y = make_data()
    seen = []
    train = StackNet.train
    monkeypatch.setattr(
        StackNet,
        "train",
        lambda s, a, b, *more: seen.append((*a.runs, *b.runs)) or train(s, a, b, *more),
    )
    make_ensemble(3, make_net(train_split=split), stack=1).fit(X, y)
    assert len(seen) == 3
    for kept, held in seen:
        assert torch.equal(held, seen[0][1])
        assert {*kept[0].tolist()} | {*held[0].tolist()} == set(range(90))
        assert kept.numel() + held.numel() == 90


def test_trained_sum_stops_as_one_network():
    X, y = make_data(140)
    net = make_net(
        lr=0.05, max_epochs=60, callbacks=[EarlyStopping(patience=2, load_best=True)],
        train_split=ValidSplit(4),
    )  # fmt: skip
    ensemble = make_ensemble(3, net, joint=True).fit(X, y)
    histories = [[row["valid_loss"] for row in member.history_] for member in ensemble]
    assert histories[0] == histories[1] == histories[2]
    losses = histories[0]
    assert len(losses) < 60
    assert int(np.argmin(losses)) == len(losses) - 3
    held = list(ValidSplit(4)(Dataset(X, y), y))[1].indices
    nll = negative_log_likelihood(y[held], ensemble.predict_proba(X[held]))
    assert nll == pytest.approx(min(losses), abs=1e-9)


def test_early_stopping_errors():
    X, y = make_data()
    net = make_net(callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="monitors 'valid_loss', but the net has train_split=None"):
        make_ensemble(2, net).fit(X, y)
    net = make_net(callbacks=[EarlyStopping(threshold_mode="log")], train_split=ValidSplit(3))
    with pytest.raises(ValueError, match="'threshold_mode' parameter of EarlyStopping must be"):
        make_ensemble(2, net).fit(X, y)
    for name in ("lower_is_better", "load_best"):
        net = make_net(callbacks=[EarlyStopping(**{name: "x"})], train_split=ValidSplit(3))
        with pytest.raises(ValueError, match=f"{name!r} parameter of EarlyStopping must be"):
            make_ensemble(2, net).fit(X, y)
    X_valid, y_valid = np.ones((2, 6)), np.array([0, 9])
    net = make_net(train_split=predefined_split(Dataset(X_valid, y_valid)))
    with pytest.raises(ValueError, match=r"labels that y has not: \[9\]"):
        make_ensemble(2, net).fit(X, y)


def test_held_out_rows_with_labels_of_any_type():
    X, y = make_data()
    names = np.array(["ash", "elm", "oak"])[y]
    net = make_net(train_split=predefined_split(Dataset(X[60:], names[60:])))
    ensemble = make_ensemble(2, net).fit(X[:60], names[:60])
    hits = (ensemble[0].predict(X[60:]) == names[60:]).mean()
    assert ensemble[0].history_[-1]["valid_acc"] == pytest.approx(hits)


# -- splits that bring rows ----------------------------------------------------------------


def halves(make):
    """Return a split into two datasets of their own: 30 rows to train on, and all others."""
    return lambda kept, y: (make(kept.X[:30], y[:30]), make(kept.X[30:], y[30:]))


def tensors(X, y):
    return torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))


def part(X, y):
    X, y = np.concatenate([X, X + 9]), np.concatenate([y, y])
    return torch.utils.data.Subset(Dataset(X, y), range(len(X) // 2))


def nested(kept, y):
    outer = torch.utils.data.Subset(kept, [*range(60, 90), *range(30)])
    return torch.utils.data.Subset(outer, range(30, 60)), torch.utils.data.Subset(
        kept, range(30, 90)
    )


@pytest.mark.parametrize(
    "cls", [NetworkClassifier, DeepEnsembleClassifier, BatchEnsembleClassifier]
)
@pytest.mark.parametrize("split", [*map(halves, (Dataset, tensors, part)), nested])
def test_a_split_into_new_datasets_is_trained_on_and_held_out(cls, split):
    X, y = make_data()
    y = np.random.default_rng(0).integers(3, size=len(y)) + 5
    settings = {"max_epochs": 40, "batch_size": -1}
    alone = make_net(train_split=predefined_split(Dataset(X[30:], y[30:])), **settings)
    expected = cls(alone, random_state=0).fit(X[:30], y[:30])
    found = cls(make_net(train_split=split, **settings), random_state=0).fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    record = found[0] if cls is DeepEnsembleClassifier else found
    assert record.history_[-1]["valid_acc"] < 0.6


def test_a_split_sees_labels_and_rows_as_they_came():
    X, y = make_data()
    names, seen = np.array(["ash", "elm", "oak"])[y], []

    def split(kept, labels):
        seen.append((kept.X, kept.y, labels, kept[3]))
        return kept, None

    NetworkClassifier(make_net(train_split=split), random_state=0).fit(X, names)
    (rows, own, labels, (row, label)) = seen[0]
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(own, names)
    np.testing.assert_array_equal(labels, names)
    assert (row == X[3]).all()
    assert label == names[3]


class Unreadable(torch.utils.data.Dataset):
    def __len__(self):
        return 5


def test_splits_that_cannot_be_followed_are_refused():
    X, y = make_data()
    for bad, match in [
        (lambda X, y: Unreadable(), "Got a Unreadable without X and y"),
        (lambda X, y: Dataset(X[:, :4], y), r"shape of those of X, \(6,\). Got \(4,\)"),
        (lambda X, y: SimpleNamespace(X=X, y=y[:-1]), "must have one entry a row"),
        (lambda X, y: Dataset(X, y + 1), r"labels that y has not: \[3\]"),
    ]:
        with pytest.raises(ValueError, match=match):
            make_ensemble(2, make_net(train_split=halves(bad))).fit(X, y)
    net = make_net(train_split=halves(Dataset))
    with pytest.raises(ValueError, match="since the weights in DeepEnsembleClassifier belong to"):
        make_ensemble(2, net).fit(X, y, sample_weight=np.ones(len(y)))
    with pytest.raises(ValueError, match="since what a teacher or a kernel says in Distilled"):
        DistilledClassifier(student=net).fit(X, y)
    net = make_net(train_split=lambda kept, y: (kept, None), callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="but its train_split gives None"):
        make_ensemble(2, net).fit(X, y)


# -- interrupts ----------------------------------------------------------------------------


class InterruptAt(Callback):
    """Raise in the given batch of the whole process, counted over all members."""

    batches = 0

    def __init__(self, at, hook):
        self.at = at
        self.hook = hook

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            InterruptAt.batches += 1
        if InterruptAt.batches == self.at:
            raise self.hook


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupt_propagates_and_finished_members_stay(error):
    X, y = make_data()
    InterruptAt.batches = 0
    net = make_net(max_epochs=2, batch_size=45, callbacks=[InterruptAt(10, error)])
    ensemble = make_ensemble(4, net, warm_start=True)
    with pytest.raises(error):
        ensemble.fit(X, y)
    assert len(ensemble) == 2
    assert ensemble.predict(X).shape == y.shape
    ensemble.fit(X, y)
    plain = make_ensemble(4, make_net(max_epochs=2, batch_size=45)).fit(X, y)
    for a, b in zip(ensemble, plain, strict=True):
        assert_same_network(a, b)


@pytest.mark.parametrize(
    "make",
    [
        lambda net: DeepEnsembleClassifier(net, 3, random_state=0),
        lambda net: NetworkClassifier(net, random_state=0),
        lambda net: DistilledClassifier(DeepEnsembleClassifier(net, 2), net, random_state=0),
        lambda net: SelfDistiller(net, random_state=0),
    ],
)
def test_an_interrupted_refit_leaves_the_fit_there_was(make):
    X, y = make_data()
    estimator = make(make_net(max_epochs=2, batch_size=45)).fit(X, y)
    before = estimator.predict_proba(X)
    InterruptAt.batches = 0
    name = estimator._recipe_parameter
    hooked = make_net(max_epochs=2, batch_size=45, callbacks=[InterruptAt(3, KeyboardInterrupt)])
    estimator.set_params(**{name: hooked}, random_state=1)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


def test_interrupt_of_a_stack_propagates(monkeypatch):
    X, y = make_data()

    def step(self, batch, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(StackNet, "train_step", step)
    ensemble = make_ensemble(4)
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y)
    with pytest.raises(NotFittedError):
        ensemble.predict(X)
