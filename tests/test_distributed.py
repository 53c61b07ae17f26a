"""Shards on threads, processes, dask and ray give the members of one process."""

import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from nets import Fragile, assert_same_network, make_net
from sklearn.datasets import load_iris
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

from skensemble import (
    DeepEnsembleClassifier,
    MemberDivergedError,
    NetworkClassifier,
    StackedGridSearchCV,
)
from skensemble._engine import training as _sharding
from skensemble._engine.shards import make_shards, shard_device

MEMBERS = 5


def data():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


def make_ensemble(**kwargs):
    kwargs.setdefault("random_state", 0)
    return DeepEnsembleClassifier(make_net(module__dropout=0.2), MEMBERS, **kwargs)


@pytest.fixture(scope="module")
def expected():
    return make_ensemble(stack=1).fit(*data())


def assert_same(ensemble, expected):
    assert len(ensemble) == len(expected)
    for a, b in zip(ensemble, expected, strict=True):
        assert_same_network(a, b)
        assert [row["train_loss"] for row in a.history_] == pytest.approx(
            [row["train_loss"] for row in b.history_], abs=1e-10
        )


# -- joblib's own backends -----------------------------------------------------------------


@pytest.mark.parametrize("stack", [1, 2, "auto"])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib_backends(expected, backend, stack):
    with joblib.parallel_config(backend):
        assert_same(make_ensemble(n_jobs=2, stack=stack).fit(*data()), expected)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_n_jobs_of_the_context(expected, backend):
    with joblib.parallel_config(backend, n_jobs=2):
        assert_same(make_ensemble().fit(*data()), expected)


def test_weights_and_stopping_travel(expected):
    X, y = data()
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    net = make_net(callbacks=[EarlyStopping(patience=1)], train_split=ValidSplit(3), max_epochs=20)
    fits = [
        DeepEnsembleClassifier(net, 4, random_state=0, bootstrap=True, n_jobs=n_jobs).fit(
            X, y, sample_weight=weight
        )
        for n_jobs in (None, 2)
    ]
    assert_same(*fits)


def test_memory_maps_travel_to_processes(tmp_path):
    X, y = data()
    X = X.astype(np.float32)
    X.tofile(tmp_path / "X")
    on_disk = np.memmap(tmp_path / "X", np.float32, "r", shape=X.shape)
    ensemble = make_ensemble(n_jobs=2).fit(on_disk, y)
    plain = make_ensemble(stack=1).fit(X, y)
    for a, b in zip(ensemble, plain, strict=True):
        assert_same_network(a, b, atol=1e-5)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_divergence_is_told_from_workers(backend):
    X, y = data()
    ensemble = DeepEnsembleClassifier(make_net(Fragile), 6, random_state=0, n_jobs=2)
    with joblib.parallel_config(backend), pytest.raises(MemberDivergedError) as caught:
        ensemble.fit(X, y)
    assert len(ensemble) == 6 - len(caught.value.diverged)


# -- clusters ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )  # fmt: skip
        with cluster, distributed.Client(cluster) as client:
            yield client


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("stack", [1, 2, "auto"])
def test_dask(dask_client, expected, stack):
    with joblib.parallel_config("dask"):
        ensemble = make_ensemble(stack=stack).fit(*data())
    assert_same(ensemble, expected)
    ran = dask_client.run(lambda: "skensemble" in __import__("sys").modules)
    assert list(ran.values()) == [True, True]


@pytest.mark.filterwarnings("default")
def test_dask_tells_of_divergence(dask_client):
    ensemble = DeepEnsembleClassifier(make_net(Fragile), 6, random_state=0, stack=1)
    with joblib.parallel_config("dask"), pytest.raises(MemberDivergedError) as caught:
        ensemble.fit(*data())
    assert len(ensemble) == 6 - len(caught.value.diverged)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("stack", [1, "auto"])
def test_ray(ray_cluster, expected, stack):
    with joblib.parallel_config("ray", n_jobs=2):
        ensemble = make_ensemble(stack=stack).fit(*data())
    assert_same(ensemble, expected)


def here(estimator, X, y):
    return float(os.getpid())


@pytest.fixture(scope="module")
def searched():
    return make_search().fit(*data())


def make_search(**kwargs):
    net = make_net(module__dropout=0.2)
    scoring = {"loss": "neg_log_loss", "here": here}
    return StackedGridSearchCV(
        NetworkClassifier(net, random_state=0),
        {"estimator__lr": [0.01, 0.02], "random_state": [0, 1], "estimator__max_epochs": [2, 4]},
        scoring=scoring, refit="loss", cv=3, **kwargs,
    )  # fmt: skip


def assert_same_search(found, searched):
    assert list(found.cv_results_) == list(searched.cv_results_)
    for name, values in searched.cv_results_.items():
        if name.endswith(("_loss", "_here")):  # nothing is trained once more to be scored elsewhere
            np.testing.assert_allclose(found.cv_results_[name], values, atol=1e-10, err_msg=name)
    assert found.best_params_ == searched.best_params_
    assert_same_network(found.best_estimator_, searched.best_estimator_)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_on_joblib_backends(searched, backend):
    with joblib.parallel_config(backend, n_jobs=2):
        assert_same_search(make_search().fit(*data()), searched)


@pytest.mark.filterwarnings("default")
def test_a_search_on_dask(dask_client, searched):
    with joblib.parallel_config("dask"):
        assert_same_search(make_search().fit(*data()), searched)


@pytest.mark.filterwarnings("default")
def test_a_search_on_ray(ray_cluster, searched):
    with joblib.parallel_config("ray", n_jobs=2):
        assert_same_search(make_search().fit(*data()), searched)


# -- shards --------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 9))
def test_shards_cover_the_members_in_order(n_members, size, n_workers):
    members = list(range(n_members))
    shards = make_shards(members, size, n_workers)
    assert [member for shard in shards for member in shard] == members
    sizes = [len(shard) for shard in shards]
    assert min(sizes) >= 1
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(shards) >= min(n_workers, n_members)
    assert len(shards) == max(-(-n_members // size), min(n_workers, n_members))


@pytest.mark.parametrize(
    ("device", "n_devices", "expected"),
    [("cuda", 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
     ("cuda", 3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]),
     ("cuda", 1, ["cuda"] * 4), ("cuda:1", 2, ["cuda:1"] * 4), ("cpu", 2, ["cpu"] * 4)],
)  # fmt: skip
def test_shards_go_round_the_devices(monkeypatch, device, n_devices, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    assert [shard_device(device, shard) for shard in range(4)] == expected


def test_every_shard_is_sent_to_its_device(monkeypatch):
    sent = []
    train = _sharding.train_shard

    def spy(job, members, device, record):
        sent.append(([member.number for member in members], device))
        return train(job, members, "cpu", record)

    monkeypatch.setattr(_sharding, "train_shard", spy)
    monkeypatch.setattr(_sharding, "shard_device", lambda device, shard: f"{device}:{shard % 2}")
    make_ensemble(stack=2).fit(*data())
    assert sent == [([0, 1], "cpu:0"), ([2, 3], "cpu:1"), ([4], "cpu:0")]


def test_fits_in_threads_do_not_disturb_each_other():
    X, y = data()

    def fit(seed):
        ensemble = DeepEnsembleClassifier(make_net(module__dropout=0.2), 2, random_state=seed)
        return ensemble.fit(X, y).predict_members(X)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fit, range(8)))
    for seed, members in enumerate(together):
        np.testing.assert_allclose(members, fit(seed), rtol=0, atol=1e-10)
