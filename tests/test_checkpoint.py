"""Fits that are killed or interrupted, and go on to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, Freezer, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    Checkpoint,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    load,
)
from skensemble._engine.net import StackNet
from skensemble._records.file import BrokenRecord, read, write
from skensemble._records.fingerprint import told
from skensemble._records.folder import active
from skensemble._records.tree import NotRecordable
from skensemble.nn import MLP
from skensemble.perturbation import ODS

X, y = load_digits(return_X_y=True)
X, y = X[:150] / 16, y[:150]


class Stop:
    """Interrupts training in an epoch, counted over all stacks of a process."""

    seen = 0
    at: int | None = None


@pytest.fixture(autouse=True)
def _counted(monkeypatch):
    begin = StackNet.on_epoch_begin

    def on_epoch_begin(self, *args, **kwargs):
        Stop.seen += 1
        if Stop.seen == Stop.at:
            raise KeyboardInterrupt
        begin(self, *args, **kwargs)

    monkeypatch.setattr(StackNet, "on_epoch_begin", on_epoch_begin)


class Drops(nn.Module):
    """Draws from the global generator, has statistics, and cannot be stacked."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.first = nn.Linear(in_shape[0], 8)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, n_classes)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen += 1
        x = self.norm(self.first(x)).relu()
        return self.last(nn.functional.dropout(x, 0.3, self.training)) * (1 + 0.01 * self.seen)


def recipe(module=MLP, callbacks=(), **kwargs):
    kwargs = {"optimizer": torch.optim.Adam, "lr": 0.01, "max_epochs": 5, **kwargs}
    kwargs = {"train_split": None, "batch_size": 32, **kwargs}
    if module is MLP:
        kwargs = {"module__hidden": (8,), "module__dropout": 0.2, **kwargs}
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, callbacks=list(callbacks), **kwargs
    )


def schedules():
    return recipe(
        Drops,
        [
            (
                "rate",
                LRScheduler(
                    torch.optim.lr_scheduler.OneCycleLR,
                    max_lr=0.05,
                    total_steps=25,
                    step_every="batch",
                ),
            ),
            ("cold", Freezer("first.*", at=lambda net: len(net.history) == 1)),
        ],
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
    )


def stops_early():
    return recipe(
        callbacks=[("early", EarlyStopping(patience=2, load_best=True, monitor="valid_loss"))],
        train_split=ValidSplit(4, stratified=True),
        max_epochs=12,
        lr=0.1,
    )


FITS = {
    "network": lambda: NetworkClassifier(recipe(), random_state=0),
    "schedules": lambda: NetworkClassifier(schedules(), random_state=0),
    "stops early": lambda: DeepEnsembleClassifier(stops_early(), 3, random_state=0),
    "plateau": lambda: NetworkClassifier(
        recipe(callbacks=[("rate", LRScheduler("ReduceLROnPlateau", monitor="train_loss"))]),
        random_state=1,
    ),
    "lbfgs": lambda: NetworkClassifier(
        recipe(optimizer=torch.optim.LBFGS, lr=0.1, batch_size=-1), random_state=0
    ),
    "no seed": lambda: DeepEnsembleClassifier(recipe(), 2, random_state=None),
    "ensemble": lambda: DeepEnsembleClassifier(recipe(), 3, random_state=0, augmentation="mixup"),
    "loop": lambda: DeepEnsembleClassifier(recipe(Drops), 2, stack=1, random_state=0),
    "cross-fitted": lambda: DeepEnsembleClassifier(
        recipe(), 3, cross_fit=3, calibrate=True, random_state=0
    ),
    "joint": lambda: DeepEnsembleClassifier(recipe(), 2, joint=True, random_state=0),
    "shared": lambda: BatchEnsembleClassifier(recipe(), 2, random_state=0),
    "student": lambda: DistilledClassifier(
        DeepEnsembleClassifier(recipe(), 2), recipe(), perturbation=ODS(), random_state=0
    ),
    "hints": lambda: DistilledClassifier(
        NetworkClassifier(recipe()), recipe(), objective="hint", random_state=0
    ),
    "taught by twins": lambda: DistilledClassifier(
        NetworkClassifier(recipe()), recipe(), teacher_cv=2, transfer="munge", random_state=0
    ),
    "forest": lambda: DistilledClassifier(
        RandomForestClassifier(5), recipe(), teacher_cv=2, random_state=0
    ),
    "generations": lambda: SelfDistiller(recipe(), 2, variant="dkpp", random_state=0),
    "pruned": lambda: PrunedClassifier(
        recipe(), layers="linear", finetune=3, distill=DistilledClassifier(), protocol="pre-post",
        random_state=0,
    ),
}  # fmt: skip


def run(estimator, at=None, **fit):
    """Fit; a folder without more is kept after every epoch."""
    Stop.seen, Stop.at = 0, at
    if isinstance(estimator.checkpoint, Path):
        estimator.checkpoint = Checkpoint(estimator.checkpoint, every=1)
    return estimator.fit(X, y, **fit)


def bits(estimator):
    """Return all weights and histories, without times."""
    found = []
    for member in estimator._members():
        found += [value.numpy().tobytes() for value in member.module_.state_dict().values()]
        found += [
            {k: v for k, v in row.items() if k != "dur"} for row in getattr(member, "history_", [])
        ]
    return found


@pytest.mark.parametrize("name", FITS)
def test_an_interrupted_fit_goes_on_to_the_same_bits(name, tmp_path):
    whole = run(FITS[name]().set_params(checkpoint=tmp_path / "whole"))
    n_epochs, expected = Stop.seen, bits(whole)
    if name == "no seed":  # whose seed stands in the folder alone
        again = run(FITS[name]().set_params(checkpoint=tmp_path / "whole"))
        assert Stop.seen == 0
        assert bits(again) == expected
        return
    assert bits(run(FITS[name]())) == expected
    trained, third = 0, n_epochs // 3 + 1
    for at in (third, third, None):  # twice interrupted
        estimator = FITS[name]().set_params(checkpoint=tmp_path / "folder")
        if at is not None:
            with pytest.raises(KeyboardInterrupt):
                run(estimator, at)
            trained += at - 1
        else:
            run(estimator)
            trained += Stop.seen
    assert trained == n_epochs  # none lost, none twice
    assert bits(estimator) == expected
    assert active() is None


def test_files_of_others_stay(tmp_path):
    kept = [tmp_path / name for name in ("mine.tmp", ".mine.tmp", "notes/.0123456789abcdef.tmp")]
    (tmp_path / "notes").mkdir()
    for path in kept:
        path.touch()
    run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))
    (left,) = tmp_path.glob("training-0/*.done")
    stray = left.with_name(".0123456789abcdef.tmp")
    stray.touch()
    run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))
    assert all(path.exists() for path in kept)
    assert not stray.exists()


def test_sets_are_told_in_one_order():
    words = {f"module__{n}" for n in range(20)}
    assert told({"a": words}) == {"a": sorted(words)}
    assert told(frozenset(words)) == sorted(words, key=repr)


def test_other_libraries_are_refused(tmp_path, monkeypatch):
    run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))
    monkeypatch.setattr(torch, "__version__", "0.1")
    with pytest.raises(ValueError, match="torch was .* and is '0.1'"):
        run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))


def test_what_is_done_is_not_done_again(tmp_path):
    ensemble = DeepEnsembleClassifier(recipe(), 3, stack=1, random_state=0, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(ensemble, 13)  # in the third member's third epoch
    run(ensemble)
    assert Stop.seen == 3
    run(ensemble)
    assert Stop.seen == 0


@pytest.mark.parametrize("every", [3, np.int64(3)])
def test_every_so_many_epochs(tmp_path, every):
    net = NetworkClassifier(recipe(), random_state=0, checkpoint=Checkpoint(tmp_path, every))
    with pytest.raises(KeyboardInterrupt):
        run(net, 5)
    run(net)
    assert Stop.seen == 2
    assert bits(net) == bits(run(NetworkClassifier(recipe(), random_state=0)))


def test_a_remembered_teacher_does_not_shift_the_rest(tmp_path):
    def student():
        return DistilledClassifier(
            DeepEnsembleClassifier(recipe(), 2),
            recipe(),
            memory=str(tmp_path / "memory"),
            checkpoint=tmp_path / "folder",
            random_state=0,
        )

    with pytest.raises(KeyboardInterrupt):
        run(student(), 8)  # the teacher is done
    taught = run(student())
    assert Stop.seen == 3
    plain = DistilledClassifier(DeepEnsembleClassifier(recipe(), 2), recipe(), random_state=0)
    assert bits(taught) == bits(run(plain))


def test_workers_keep_what_they_do(tmp_path):
    def ensemble(**kwargs):
        return DeepEnsembleClassifier(recipe(), 4, n_jobs=2, random_state=0, **kwargs)

    expected = bits(run(ensemble()))
    with pytest.raises(KeyboardInterrupt):
        run(ensemble(checkpoint=tmp_path).set_params(n_jobs=None), 4)
    with pytest.raises(ValueError, match="'stack' and 'n_jobs' make was '0 of 1' and is '0 of 2'"):
        run(ensemble(checkpoint=tmp_path))
    assert bits(run(ensemble(checkpoint=tmp_path / "workers"))) == expected
    assert bits(run(ensemble(checkpoint=tmp_path / "workers"))) == expected
    assert len(list((tmp_path / "workers" / "training-0").glob("*.done"))) == 2


SEARCHES = {
    "grid": lambda **kwargs: StackedGridSearchCV(
        DistilledClassifier(NetworkClassifier(recipe()), recipe(), random_state=0),
        {"temperature": [1.0, 4.0], "alpha": [0.5]}, cv=2, **kwargs,
    ),
    "random": lambda **kwargs: StackedRandomizedSearchCV(
        NetworkClassifier(recipe(), random_state=0), {"random_state": range(99)}, n_iter=2, cv=2,
        random_state=0, **kwargs,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_on_to_the_same_results(name, tmp_path):
    def results(search):
        return {k: list(v) for k, v in search.cv_results_.items() if "time" not in k}

    search = run(SEARCHES[name](checkpoint=None))
    n_epochs, found, best = Stop.seen, results(search), bits(search.best_estimator_)
    half = n_epochs // 2
    kept = SEARCHES[name](checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(kept, half)
    again = run(SEARCHES[name](checkpoint=tmp_path))
    assert Stop.seen == n_epochs - half + 1
    assert results(again) == found
    assert bits(again.best_estimator_) == best
    with pytest.raises(ValueError, match="search__cv was 2 and is 3"):
        run(SEARCHES[name](checkpoint=tmp_path).set_params(cv=3))


def test_searches_that_cannot_repeat_are_refused(tmp_path):
    grid = {"random_state": [0, 1]}
    for estimator, message in (
        (LogisticRegression(), "needs an estimator of skensemble. Got a LogisticRegression"),
        (NetworkClassifier(recipe()), "number as its 'random_state'"),
        (NetworkClassifier(recipe(), random_state=0, checkpoint="x"), "'checkpoint' of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            run(StackedGridSearchCV(estimator, grid, checkpoint=tmp_path))
    search = StackedRandomizedSearchCV(
        NetworkClassifier(recipe(), random_state=0), grid, n_iter=1, checkpoint=tmp_path
    )
    with pytest.raises(ValueError, match="'random_state' of the search that is a number"):
        run(search)
    with pytest.raises(ValueError, match="'checkpoint'"):
        run(StackedGridSearchCV(NetworkClassifier(recipe(), random_state=0), grid, checkpoint=3))


# -- other fits ----------------------------------------------------------------------------


def test_another_fit_is_refused_by_name(tmp_path):
    run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))
    other = NetworkClassifier(recipe(lr=0.5), random_state=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"estimator__estimator__lr was '0\.01' and is '0\.5'"):
        run(other)
    with pytest.raises(ValueError, match="estimator__random_state was 0 and is 1"):
        run(other)
    net = NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="data__X was"):
        net.fit(X[:100], y[:100])
    changed = X.copy()
    changed[3, 20] += 1e-9
    with pytest.raises(ValueError, match="data__X was"):
        net.fit(changed, y)
    with pytest.raises(ValueError, match="data__sample_weight was None"):
        net.fit(X, y, np.ones(len(y)))
    assert not hasattr(net, "module_")


def test_another_teacher_is_refused(tmp_path):
    first, second = (LogisticRegression(C=c, max_iter=500).fit(X, y) for c in (1.0, 0.1))
    second.C = 1.0  # so that parameters alone do not tell
    kwargs = {"random_state": 0, "checkpoint": tmp_path}
    run(DistilledClassifier(FrozenEstimator(first), recipe(), **kwargs))
    with pytest.raises(ValueError, match=r"data\[0\]__targets_target was"):
        run(DistilledClassifier(FrozenEstimator(second), recipe(), **kwargs))


def test_a_folder_is_of_one_fit_at_a_time(tmp_path):
    inner = NetworkClassifier(recipe(), checkpoint=tmp_path)
    outer = DistilledClassifier(inner, recipe(), checkpoint=tmp_path, random_state=0)
    with pytest.raises(ValueError, match="on the outermost estimator alone"):
        run(outer)


def test_a_teacher_with_a_folder_of_its_own_uses_it(tmp_path):
    inner = NetworkClassifier(recipe(), checkpoint=tmp_path / "teacher")
    run(DistilledClassifier(inner, recipe(), random_state=0, teacher_cv=None))
    assert list((tmp_path / "teacher").glob("training-0/*.done"))


@pytest.mark.parametrize("value", [5, 1.5, [], Checkpoint("x", every=0), Checkpoint(3)])
def test_what_is_no_folder_is_refused(value):
    with pytest.raises(ValueError, match=r"'checkpoint'|'every'|'folder'"):
        run(NetworkClassifier(recipe(), checkpoint=value))


def test_a_file_names_no_folder(tmp_path):
    net = run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path / "folder"))
    net.save(tmp_path / "net")
    assert load(tmp_path / "net", module=MLP).checkpoint is None
    assert str(tmp_path).encode() not in (tmp_path / "net").read_bytes()


class Remembers(Callback):
    """Holds what no record can."""

    def on_train_begin(self, net, **kwargs):
        self.what_ = object()


def test_a_callback_that_cannot_be_kept_is_named(tmp_path):
    net = NetworkClassifier(recipe(callbacks=[("odd", Remembers())]), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="'what_' of odd, a object"):
        run(net)


# -- records -------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(PLAIN)
@settings(max_examples=50, deadline=None)
def test_a_record_gives_back_what_it_took(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("records") / "one"
    write(path, {"tree": tree, "tensor": torch.ones(2, dtype=torch.bfloat16)})
    found = read(path)
    assert found["tree"] == tree
    assert found["tensor"].dtype == torch.bfloat16


def test_arrays_and_numbers_come_back_as_they_are(tmp_path):
    tree = {"a": np.arange(6.0).reshape(2, 3), "n": np.float32(0.1), "s": {1, 2}, "e": np.zeros(0)}
    write(tmp_path / "one", tree, sync=True)
    found = read(tmp_path / "one")
    assert np.array_equal(found["a"], tree["a"])
    assert found["a"].dtype == np.float64
    assert type(found["n"]) is np.float32
    assert found["n"] == tree["n"]
    assert found["s"] == {1, 2}
    assert found["e"].shape == (0,)
    with pytest.raises(NotRecordable):
        write(tmp_path / "two", {"x": object()})


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_record_that_was_altered_is_told(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("records") / "one"
    write(path, {"x": torch.arange(4)})
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[at:]
    path.write_bytes(bytes(whole))
    with pytest.raises(BrokenRecord):
        read(path)


def test_members_of_a_broken_record_are_trained_again(tmp_path):
    net = run(NetworkClassifier(recipe(), random_state=0, checkpoint=tmp_path))
    expected = bits(net)
    (path,) = tmp_path.glob("training-0/*.done")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="trained again, since their record cannot be used"):
        run(net)
    assert bits(net) == expected


# -- killed --------------------------------------------------------------------------------

SCRIPT = """
import os, sys, numpy as np, torch
torch.set_num_threads(1)
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skensemble import Checkpoint, DeepEnsembleClassifier, DistilledClassifier
from skensemble.nn import MLP
import skensemble._records.atomic as atomic

X, y = load_digits(return_X_y=True)
X, y = X[:200] / 16, y[:200]
fatal = int(sys.argv[3])
replace, count = os.replace, 0

def counted(*args):
    global count
    count += 1
    if count == fatal:
        os.kill(os.getpid(), 9)
    replace(*args)

atomic.os.replace = counted
net = NeuralNetClassifier(
    MLP, module__hidden=(8,), module__dropout=0.1, optimizer=torch.optim.SGD,
    optimizer__momentum=0.9, criterion=torch.nn.CrossEntropyLoss, max_epochs=4,
)
teacher = DeepEnsembleClassifier(net, n_estimators=2)
kept = Checkpoint(sys.argv[1], every=1)
student = DistilledClassifier(teacher, net, random_state=0, checkpoint=kept).fit(X, y)
np.save(sys.argv[2], student.predict_proba(X))
print(count)
"""


def test_killed_while_it_writes(tmp_path):
    """A process that dies between writing a record and putting it into place."""

    def start(name, fatal):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
        command += [str(tmp_path / name), str(tmp_path / f"{name}.npy"), str(fatal)]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))

    whole = start("whole", 0)
    assert whole.returncode == 0, whole.stderr
    n_writes = int(whole.stdout)
    assert start("killed", n_writes // 2).returncode == -signal.SIGKILL
    assert list((tmp_path / "killed").rglob("*.tmp"))
    assert start("killed", 0).returncode == 0
    assert np.array_equal(np.load(tmp_path / "whole.npy"), np.load(tmp_path / "killed.npy"))
    assert not list((tmp_path / "killed").rglob("*.tmp"))
