"""Fits in forked and spawned processes are those of the process that started them."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from nets import make_net, make_points, weights_of
from skorch.callbacks import Callback

from skensemble import NetworkClassifier, NTKClassifier
from skensemble._turns import Turns
from skensemble.nn._tracing import trace_graph
from skensemble.ntk.gradients import evaluating

SECONDS = 60  # after which a child hangs
X, Y = make_points()
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def fit_and_predict():
    """Fit a network that draws: its shard holds torch's generator from end to end."""
    net = make_net(module__dropout=0.3, max_epochs=2)
    return NetworkClassifier(net, random_state=0).fit(X, Y).predict_proba(X)


def fit_kernel():
    return NTKClassifier(make_net(), random_state=0).fit(X, Y).predict_proba(X)


def in_fork(work):
    """Return what `work` returns in a forked child, or fail where that hangs."""
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 and later warn of threads at a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(SECONDS)
            torch.set_num_threads(1)  # OpenMP's other threads were not forked
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child hangs or failed"
    return pickle.loads(sent)


class Pause(Callback):
    """Stop within a fit until it may go on."""

    reached, go_on = threading.Event(), threading.Event()

    def on_epoch_end(self, net, **kwargs):
        self.reached.set()
        assert self.go_on.wait(SECONDS)


@contextmanager
def thread_within(work, reached, go_on):
    """Run the block while a thread is in the middle of its work."""
    reached.clear()
    go_on.clear()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert reached.wait(SECONDS)
        yield
    finally:
        go_on.set()
        thread.join(SECONDS)


@forks
def test_a_fork_while_a_thread_fits_can_fit():
    expected, found = fit_and_predict(), []
    net = make_net(module__dropout=0.3, callbacks=[Pause()])

    def fit():
        found.append(NetworkClassifier(net, random_state=0).fit(X, Y))

    with thread_within(fit, Pause.reached, Pause.go_on):
        np.testing.assert_array_equal(in_fork(fit_and_predict), expected)
    alone = NetworkClassifier(make_net(module__dropout=0.3), random_state=0).fit(X, Y)
    weights = weights_of(alone)
    assert all((weights_of(found[0])[name] == weights[name]).all() for name in weights)


def in_kernels(go_on):
    with evaluating(torch.nn.Linear(2, 2)):
        go_on()


def in_tracing(go_on):
    class Waits(torch.nn.Module):
        def forward(self, x):
            go_on()
            return x

    trace_graph(Waits())


@forks
@pytest.mark.parametrize("inside", [in_kernels, in_tracing])
def test_a_fork_while_a_thread_traces_or_differentiates_can_fit(inside):
    expected = fit_kernel()
    reached, go_on = threading.Event(), threading.Event()

    def wait():
        reached.set()
        assert go_on.wait(SECONDS)

    with thread_within(lambda: inside(wait), reached, go_on):
        np.testing.assert_array_equal(in_fork(fit_kernel), expected)
        if inside is in_tracing:
            assert in_fork(lambda: len(trace_graph(torch.nn.ReLU()).nodes)) == 3


@forks
def test_who_forks_inside_leaves_as_it_entered():
    turns = Turns()

    def enter():
        with turns:
            return True

    def leave():
        turns.__exit__(None, None, None)
        others = []
        thread = threading.Thread(target=lambda: others.append(enter()))
        thread.start()
        thread.join(SECONDS)
        return others

    with turns:
        assert in_fork(leave) == [True]
        assert in_fork(enter)


def test_a_spawned_process_fits_the_same():
    spawn = multiprocessing.get_context("spawn")
    here = [os.path.dirname(__file__)]
    with spawn.Pool(1, initializer=sys.path.extend, initargs=(here,)) as pool:
        found = pool.apply_async(fit_and_predict).get(2 * SECONDS)
    np.testing.assert_array_equal(found, fit_and_predict())
