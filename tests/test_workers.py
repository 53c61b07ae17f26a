"""What workers may do to a fit: fail, lack memory, take all threads; and what they may not."""

import gc
import pickle
import re
import threading
import warnings
import weakref

import joblib
import numpy as np
import pytest
import torch
from joblib.parallel import LokyBackend
from nets import (
    ResidualMLP,
    SmallCNN,
    assert_same_network,
    make_ensemble,
    make_images,
    make_net,
    make_points,
)
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skensemble import DistilledClassifier, NetworkClassifier
from skensemble._engine import failures, resources, shards
from skensemble._seeding import member_seed
from skensemble.nn import MLP

X, Y = make_points()
BACKENDS = {
    "in turn": (None, "loky"),
    "processes": (2, "loky"),
    "threads": (2, "threading"),
}
ways = pytest.mark.parametrize(("n_jobs", "backend"), BACKENDS.values(), ids=BACKENDS)


# -- errors ------------------------------------------------------------------------------


class OddError(Exception):
    """An error that cannot be rebuilt from its arguments, as many cannot."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


class Fails(Callback):
    """Raise an error for one member in one epoch."""

    def __init__(self, error=ZeroDivisionError, args=("so it is",), member=3, epoch=2):
        self.error, self.args, self.member, self.epoch = error, args, member, epoch

    def on_epoch_end(self, net, **kwargs):
        if net.label == f"member {self.member}" and len(net.history) == self.epoch:
            raise self.error(*self.args)


def failing(n_jobs=None, **kwargs):
    net = make_net(callbacks=[Fails(**kwargs)])
    return make_ensemble(6, net, n_jobs=n_jobs, warm_start=True)


@ways
def test_an_error_names_member_seed_and_epoch_and_others_are_kept(n_jobs, backend):
    ensemble = failing(n_jobs)
    told = rf"member 3 \(seed {member_seed(0, 3)}\), in epoch 2\."
    with (
        joblib.parallel_config(backend),
        pytest.raises(ZeroDivisionError, match="^so it is") as caught,
    ):
        ensemble.fit(X, Y)
    (note,) = caught.value.__notes__
    assert re.search(told, note)
    assert {0, 1, 2} <= set(ensemble._numbers)
    assert 3 not in ensemble._numbers
    whole = make_ensemble(6, make_net(callbacks=[Callback()])).fit(X, Y)
    for number, member in zip(ensemble._numbers, ensemble, strict=True):
        assert_same_network(member, whole[number], atol=0)
    ensemble.set_params(estimator=make_net(callbacks=[Callback()])).fit(X, Y)
    for left, right in zip(ensemble, whole, strict=True):
        assert_same_network(left, right, atol=0)


def test_none_is_begun_after_an_error():
    ensemble = failing(member=1)
    with pytest.raises(ZeroDivisionError):
        ensemble.fit(X, Y)
    assert ensemble._numbers == [0]


def test_those_under_way_beside_an_error_are_kept(monkeypatch):
    """The second thread is still training its member when the first one fails."""
    failed, train = threading.Event(), shards._train

    def first_fails(job, members, device, record):
        if members[0].number == 0:
            failed.set()
            raise ZeroDivisionError
        assert failed.wait(60)
        return train(job, members, device, record)

    monkeypatch.setattr(shards, "_train", first_fails)
    ensemble = make_ensemble(2, n_jobs=2)
    with joblib.parallel_config("threading"), pytest.raises(ZeroDivisionError):
        ensemble.fit(X, Y)
    assert ensemble._numbers == [1]


@ways
def test_errors_that_cannot_be_sent_are_told(n_jobs, backend):
    ensemble = failing(n_jobs, error=OddError, args=(7, "odd"))
    there = backend == "loky" and n_jobs == 2
    kind, text = (RuntimeError, "OddError: 7: odd") if there else (OddError, "7: odd")
    with joblib.parallel_config(backend), pytest.raises(kind, match=f"^{text}") as caught:
        ensemble.fit(X, Y)
    assert "in epoch 2" in caught.value.__notes__[0]
    if there:
        assert "on_epoch_end" in str(caught.value.__cause__)


def test_an_error_from_a_process_says_where_it_was():
    with pytest.raises(ZeroDivisionError) as caught:
        failing(2).fit(X, Y)
    assert isinstance(caught.value.__cause__, failures.WorkerTraceback)
    assert "raise self.error(*self.args)" in str(caught.value.__cause__)


def test_an_error_before_the_first_epoch_and_of_a_stack(monkeypatch):
    class Raises(torch.nn.Linear):
        def __init__(self, in_shape, n_classes):
            super().__init__(in_shape[0], n_classes)

        def forward(self, x):
            if x.shape[-2] > 4:  # beyond the trial
                raise ZeroDivisionError
            return super().forward(x)

    seeds = f"{member_seed(0, 0)}, {member_seed(0, 1)}"
    with pytest.raises(ZeroDivisionError) as caught:
        make_ensemble(2, make_net(Raises)).fit(X, Y)
    assert f"members 0, 1 (seeds {seeds}), which train together, in epoch 1" in str(
        caught.value.__notes__
    )
    monkeypatch.setattr(shards, "TrainingData", None)
    with pytest.raises(AttributeError) as caught:
        NetworkClassifier(make_net(), random_state=5).fit(X, Y)
    assert "member 0 (seed 5), before its first epoch" in str(caught.value.__notes__)


def test_outcomes_travel_whole():
    error = ValueError("one")
    error.add_note("two")
    sent = pickle.loads(pickle.dumps(failures.Outcome({3: "result"}, error, 2)))
    assert sent.results == {3: "result"}
    assert (str(sent.error), sent.error.__notes__, sent.room_for) == ("one", ["two"], 2)
    assert pickle.loads(pickle.dumps(failures.Outcome())) == failures.Outcome()


# -- bits --------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NETS = {
    "linear layers": (make_net(module__hidden=(64, 48), batch_size=16), make_points),
    "batch norm": (make_net(ResidualMLP, module__width=40, batch_size=16), make_points),
    "convolutions": (make_net(SmallCNN, module__width=8, batch_size=16), make_images),
}


@pytest.mark.parametrize("stack", [1, 2, 3])
@pytest.mark.parametrize("kind", NETS)
def test_a_number_as_stack_gives_the_same_bits_whoever_trains(kind, stack, one_thread):
    net, make = NETS[kind]
    X, y = make()
    ensemble = make_ensemble(5, net, stack=stack)
    alone = ensemble.fit(X.astype(np.float32), y)
    for n_jobs, backend in ((2, "loky"), (2, "threading"), (4, "threading")):
        with joblib.parallel_config(backend):
            other = clone(ensemble).set_params(n_jobs=n_jobs).fit(X.astype(np.float32), y)
        for left, right in zip(alone, other, strict=True):
            assert_same_network(left, right, atol=0)


@pytest.mark.parametrize("kind", NETS)
def test_one_at_a_time_is_the_member_alone_to_the_bit(kind, one_thread):
    net, make = NETS[kind]
    X, y = make()
    X = X.astype(np.float32)
    five = make_ensemble(5, net, stack=1).fit(X, y)
    three = make_ensemble(3, net, stack=1, n_jobs=2).fit(X, y)
    grown = make_ensemble(2, net, stack=1, warm_start=True).fit(X, y)
    grown.set_params(n_estimators=5).fit(X, y)
    for number, member in enumerate(five):
        assert_same_network(clone(member).fit(X, y), member, atol=0)
        assert_same_network(grown[number], member, atol=0)
    for left, right in zip(three, five, strict=False):
        assert_same_network(left, right, atol=0)


def test_students_are_the_same_bits_too(one_thread):
    X, y = make_points()
    X = X.astype(np.float32)
    teacher = make_ensemble(2).fit(X, y)
    student = DistilledClassifier(
        teacher, make_net(module__hidden=(64,)), n_students=4, keep="all", stack=2, random_state=0
    )
    alone = clone(student).fit(X, y)
    other = clone(student).set_params(n_jobs=2).fit(X, y)
    for left, right in zip(alone.estimators_, other.estimators_, strict=True):
        assert_same_network(left, right, atol=0)


# -- memory ------------------------------------------------------------------------------


def no_room_beyond(monkeypatch, size, error):
    sizes, train = [], shards._train

    def limited(job, members, device, record):
        sizes.append(len(members))
        if len(members) > size:
            raise type(error)(*error.args)
        return train(job, members, device, record)

    monkeypatch.setattr(shards, "_train", limited)
    return sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["cuda", "numpy", "cpu"],
)
@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_stack_without_room_is_halved(monkeypatch, error, bootstrap):
    kwargs = {"bootstrap": bootstrap}
    expected = make_ensemble(8, stack=2, **kwargs).fit(X, Y)
    sizes = no_room_beyond(monkeypatch, 2, error)
    with pytest.warns(RuntimeWarning, match=r"no memory for all .* so 2 or fewer did.*stack=2"):
        found = make_ensemble(8, **kwargs).fit(X, Y)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    for left, right in zip(found, expected, strict=True):
        assert_same_network(left, right, atol=0)


def test_one_member_without_room_is_an_error(monkeypatch):
    no_room_beyond(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with (
        pytest.warns(RuntimeWarning, match="so 1 or fewer did"),
        pytest.raises(torch.OutOfMemoryError) as caught,
    ):
        make_ensemble(2).fit(X, Y)
    assert "member 0" in caught.value.__notes__[0]


def test_a_trained_sum_is_not_divided(monkeypatch):
    sizes = no_room_beyond(monkeypatch, 1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        make_ensemble(2, joint=True).fit(X, Y)
    assert sizes == [2]


@pytest.mark.parametrize(("n_workers", "size"), [(1, 4), (2, 2)])
def test_a_stack_that_would_fill_the_memory_is_halved(monkeypatch, n_workers, size):
    seen, train = [], shards._train
    monkeypatch.setattr(
        shards, "_train", lambda job, m, *more: (seen.append(len(m)), train(job, m, *more))[1]
    )
    n_numbers = sum(p.numel() for p in make_ensemble(1).fit(X, Y)[0].module_.parameters())
    seen.clear()
    # Weights, gradients and two moments in float64, of four members and a half.
    monkeypatch.setattr(shards, "available_bytes", lambda: int(4.5 * n_numbers * 8 * 4))
    with joblib.parallel_config("threading"), pytest.warns(RuntimeWarning, match=f"so {size} or"):
        make_ensemble(16, stack=8, n_jobs=n_workers).fit(X, Y)
    assert seen == [size] * (16 // size)


def test_available_memory(monkeypatch, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resources.available_bytes() is None or resources.available_bytes() > 0
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    assert resources._of_cgroup() is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    if resources.Path("/proc/self/cgroup").exists():
        assert resources._of_cgroup() == 450
    monkeypatch.setattr(resources, "_of_system", lambda: 300)
    assert resources.available_bytes() == 300
    monkeypatch.setattr(resources, "_of_system", lambda: None)
    monkeypatch.setattr(resources, "_of_cgroup", lambda: None)
    assert resources.available_bytes() is None


# -- threads -----------------------------------------------------------------------------


class CountThreads(Callback):
    seen = []  # noqa: RUF012

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, 4), (2, 2), (8, 1)])
def test_threads_share_the_processors(monkeypatch, n_jobs, expected):
    monkeypatch.setattr(resources, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    CountThreads.seen.clear()
    monkeypatch.setattr(resources, "_THREADED_MACS", 0)
    net = make_net(callbacks=[CountThreads()], max_epochs=2)
    try:
        with joblib.parallel_config("threading"):
            make_ensemble(8, net, n_jobs=n_jobs).fit(X, Y)
        assert torch.get_num_threads() == 4
        fresh = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [4]
    finally:
        torch.set_num_threads(before)
    assert CountThreads.seen == [expected] * 16


class RawMLP(nn.Module):
    """Products of parameters that are in no layer."""

    def __init__(self, in_shape, n_classes, hidden=8):
        super().__init__()
        self.first = nn.Parameter(0.1 * torch.randn(in_shape[0], hidden))
        self.second = nn.Parameter(0.1 * torch.randn(hidden, n_classes))

    def forward(self, x):
        return torch.relu(x @ self.first) @ self.second


@pytest.mark.parametrize("module", [MLP, RawMLP])
@pytest.mark.parametrize(("hidden", "members", "expected"), [(8, 1, 1), (8, 2, 1), (40000, 1, 3)])
def test_small_steps_have_one_thread(module, hidden, members, expected):
    hidden = (hidden,) if module is MLP else hidden
    net = make_net(module, callbacks=[CountThreads()], max_epochs=1, module__hidden=hidden)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    CountThreads.seen.clear()
    try:
        make_ensemble(members, net).fit(X, Y)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert CountThreads.seen == [expected] * members


def test_a_step_is_counted_over_the_stack():
    assert resources.threads_of_step(4, 2.9e6) == 1
    assert resources.threads_of_step(4, 3.1e6) == 4
    assert resources.threads_of_step(1, 3.1e6) == 1


def test_a_process_has_no_more_threads_than_there_are_here(monkeypatch, one_thread):
    assert resources.threads_of_worker(LokyBackend(), 2) == 1
    seen = []
    monkeypatch.setattr(shards, "_run_part", lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(3)  # as in a worker of many processors
    shards.train_shard(shards.Job(None, n_threads=1), [], "cpu")
    assert (seen, torch.get_num_threads()) == ([1], 3)


def test_threads_keep_no_rows():
    rows = X.copy()
    alive = weakref.ref(rows)
    with joblib.parallel_config("threading"):
        ensemble = make_ensemble(4, n_jobs=2).fit(rows, Y)
    del rows
    gc.collect()
    assert alive() is None
    assert len(ensemble) == 4
