"""Members are the same whoever trains them: processes, threads, dask, ray."""

import warnings

import joblib
import numpy as np
import pytest
import torch
from registry import cheap_net
from sklearn.datasets import make_classification
from skorch.callbacks import GradientNormClipping

from skensemble import DeepEnsembleClassifier
from skensemble._sharding import Member, make_shards, shard_device


@pytest.fixture(scope="module")
def data():
    return make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)


def logits(data, **kwargs):
    net = cheap_net(module__dropout=0.2, callbacks=[GradientNormClipping(1.0)])
    ensemble = DeepEnsembleClassifier(net, 4, random_state=0, **kwargs).fit(*data)
    return ensemble.predict_members(data[0], response="logit")


@pytest.fixture(scope="module")
def alone(data):
    return logits(data)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(data, alone, backend):
    with joblib.parallel_config(backend):
        np.testing.assert_allclose(logits(data, n_jobs=2), alone, rtol=0, atol=1e-10)


def test_stacked_shards(data):
    def members(**kwargs):
        ensemble = DeepEnsembleClassifier(cheap_net(), 4, random_state=0, **kwargs).fit(*data)
        return ensemble.predict_members(data[0], response="logit")

    np.testing.assert_allclose(members(n_jobs=2), members(stack=3), rtol=0, atol=1e-10)


def test_dask(data, alone):
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask's own, about sockets and event loops
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config("dask"),
        ):
            np.testing.assert_allclose(logits(data, n_jobs=2), alone, rtol=0, atol=1e-10)


def test_ray(data, alone):
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ray's own, about its future defaults
        from ray.util.joblib import register_ray

        register_ray()
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            with joblib.parallel_config("ray"):
                np.testing.assert_allclose(logits(data, n_jobs=2), alone, rtol=0, atol=1e-10)
        finally:
            ray.shutdown()


@pytest.mark.parametrize(
    ("n_members", "size", "n_workers", "sizes"),
    [(10, 10, 1, [10]), (10, 8, 2, [5, 5]), (3, 1, 8, [1, 1, 1]), (5, 2, 1, [1, 2, 2])],
)
def test_shards(n_members, size, n_workers, sizes):
    members = [Member(number, number) for number in range(n_members)]
    shards = make_shards(members, size, n_workers)
    assert [len(shard) for shard in shards] == sizes
    assert [member for shard in shards for member in shard] == members


def test_shards_go_round_the_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [shard_device("cuda", shard) for shard in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert shard_device("cuda:1", 0) == "cuda:1"
    assert shard_device("cpu", 1) == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert shard_device("cuda", 3) == "cuda"
