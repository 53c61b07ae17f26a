"""Workers that are killed while they train: nothing is lost in silence, and nothing waits forever.

Each of them kills itself while it trains, as the system does for want of memory.
"""

import logging
import os
import pickle
import signal
import time
import warnings

import joblib
import numpy as np
import pytest
from nets import make_net
from sklearn.datasets import load_iris
from skorch.callbacks import Callback

from skensemble import (
    DeepEnsembleClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
    WorkerLostError,
)

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
MEMBERS = 4


class Killer(Callback):
    """Kills the process that trains, unless it is that of the caller.

    Where `once` names a file, only who makes it dies; where it is "always", everybody does. In
    each process the first stacks can be `spared`.
    """

    begun = 0

    def __init__(self, caller, once, spared=0):
        self.caller, self.once, self.spared = caller, once, spared

    def on_train_begin(self, net, **kwargs):
        if os.getpid() != self.caller:
            Killer.begun += 1

    def on_epoch_begin(self, net, **kwargs):
        if not self.once or os.getpid() == self.caller or Killer.begun <= self.spared:
            return
        if self.once != "always":
            try:
                os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        time.sleep(0.3)  # until what others have finished has been handed in
        os.kill(os.getpid(), signal.SIGKILL)


def net(once, **kwargs):
    return make_net(max_epochs=2, callbacks=[Killer(os.getpid(), str(once), **kwargs)])


def ensemble(once="", spared=0, **kwargs):
    return DeepEnsembleClassifier(
        net(once, spared=spared), MEMBERS, stack=1, random_state=0, **kwargs
    )


def search(once="", **kwargs):
    """Return a search of one stack, which two workers share."""
    one, space = NetworkClassifier(net(once), random_state=0), {"estimator__lr": [0.01, 0.1]}
    return StackedGridSearchCV(one, space, cv=2, **kwargs)


def assert_same_ensemble(found):
    expected = ensemble().fit(X, Y)
    assert len(found) == MEMBERS
    np.testing.assert_allclose(found.predict_members(X), expected.predict_members(X), atol=1e-10)


def assert_same_search(found):
    expected = search().fit(X, Y)
    for name, values in expected.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(found.cv_results_[name], values, atol=1e-10, err_msg=name)
    assert found.best_params_ == expected.best_params_
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-10)


# -- processes of one machine ------------------------------------------------------------------


def test_an_ensemble_keeps_what_was_trained_before_a_process_was_killed(tmp_path):
    model = ensemble(tmp_path / "died", spared=1, n_jobs=2, warm_start=True)
    with pytest.raises(WorkerLostError, match=r"killed or crashed.*SIGKILL") as caught:
        model.fit(X, Y)
    lost = caught.value.unfinished
    assert 1 <= len(lost) < MEMBERS
    assert len(model) == MEMBERS - len(lost)
    assert f"{len(model)} of {MEMBERS} networks were trained" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).unfinished == lost
    assert_same_ensemble(model.set_params(n_jobs=None).fit(X, Y))


def test_a_search_does_not_take_a_killed_process_for_a_bad_candidate(tmp_path):
    with pytest.raises(WorkerLostError, match=r"killed or crashed.*SIGKILL"):
        search(tmp_path / "died", n_jobs=2).fit(X, Y)


# -- dask --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 1}),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):  # fmt: skip
            yield client


@pytest.fixture
def dask_client(cluster):
    """Return a client of two workers: with one, joblib trains in this process."""
    cluster.wait_for_workers(2, timeout=90)
    return cluster


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", [ensemble, search])
def test_dask_trains_again_what_a_killed_worker_had(dask_client, tmp_path, kind):
    with joblib.parallel_config("dask"):
        found = kind(tmp_path / "died").fit(X, Y)
    assert (tmp_path / "died").exists()
    (assert_same_ensemble if kind is ensemble else assert_same_search)(found)


@pytest.mark.filterwarnings("default")
def test_what_kills_all_its_workers_is_told_of(dask_client):
    model = ensemble("always")
    with joblib.parallel_config("dask"), pytest.raises(WorkerLostError, match="KilledWorker"):
        model.fit(X, Y)


# -- ray ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", [ensemble, search])
def test_a_killed_worker_of_ray_is_told_of(ray_cluster, tmp_path, kind):
    died = tmp_path / "died"
    with (
        joblib.parallel_config("ray", n_jobs=2),
        pytest.raises(WorkerLostError, match="killed or crashed.*ActorDiedError"),
    ):
        kind(died).fit(X, Y)
    assert died.exists()
