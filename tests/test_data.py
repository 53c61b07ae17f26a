"""Every kind of input trains the network that plain arrays train."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from nets import SmallCNN, assert_same_network, differ, make_net
from sklearn.datasets import load_iris

from skensemble import DeepEnsembleClassifier


@pytest.fixture(scope="module")
def table():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return ((X - X.mean(0)) / X.std(0))[order], y[order]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.integers(0, 120, (60, 2, 6, 6), dtype=np.uint8)
    X[:, 0] += (50 * y).astype(np.uint8)[:, None, None]
    return X, y


def fit(X, y, net=None, **kwargs):
    kwargs.setdefault("n_estimators", 2)
    net = make_net() if net is None else net
    return DeepEnsembleClassifier(net, random_state=0, **kwargs).fit(X, y)


def assert_same(a, b, atol=0.0):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert_same_network(left, right, atol)


# -- containers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [np.ndarray.tolist, pd.DataFrame, pl.DataFrame, np.asfortranarray, torch.from_numpy,
     lambda X: X[::-1].copy()[::-1], lambda X: X.astype(">f8"),
     lambda X: np.repeat(X, 2, axis=1)[:, ::2]],
    ids=["lists", "pandas", "polars", "fortran", "torch", "reversed", "big endian", "strided"],
)  # fmt: skip
def test_tables_of_any_kind(table, convert):
    X, y = table
    plain, other = fit(X, y), fit(convert(X), y)
    assert_same(plain, other)
    expected = plain.predict_proba(X)
    np.testing.assert_allclose(other.predict_proba(convert(X)), expected, atol=1e-14)


def test_read_only_arrays(table):
    X, y = table
    frozen, labels = X.copy(), y.copy()
    frozen.setflags(write=False)
    labels.setflags(write=False)
    weight = np.ones(len(y))
    weight.setflags(write=False)
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0)
    assert_same(ensemble.fit(frozen, labels, sample_weight=weight), fit(X, y), atol=1e-12)
    assert ensemble.predict(frozen).shape == y.shape


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_names_of_features_are_kept_and_checked(table, frame):
    X, y = table
    names = ["sepal l", "sepal w", "petal l", "petal w"]
    X_named = frame(dict(zip(names, X.T, strict=True)))
    ensemble = fit(X_named, y)
    assert ensemble.feature_names_in_.tolist() == names
    assert ensemble[0].feature_names_in_.tolist() == names
    assert ensemble.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        ensemble.predict(X_named[names[::-1]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        ensemble.predict(X)
    assert not hasattr(fit(X, y), "feature_names_in_")


def test_integers_are_numbers(table):
    X, y = table
    whole = (X * 10).astype(np.int64)
    plain = fit(whole.astype(np.float64), y)
    assert_same(fit(whole, y), plain)
    assert_same(fit(whole.tolist(), y), plain)
    small = np.clip(whole + 50, 0, 255)
    assert_same(fit(small.astype(np.uint8), y), fit(small.astype(np.float32), y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_of_the_input_is_trained_and_returned(table, dtype):
    X, y = table
    ensemble = fit(X.astype(dtype), y)
    assert all(value.dtype == getattr(torch, np.dtype(dtype).name)
               for member in ensemble for value in member.module_.parameters())  # fmt: skip
    for result in (ensemble.predict_proba(X.astype(dtype)), ensemble.predict_members(X)):
        assert result.dtype == dtype
    assert fit(X.astype(np.float16), y).predict_proba(X).dtype in (np.float32, np.float64)


def test_more_axes_than_two(images):
    X, y = images
    X = X.astype(np.float64)
    flat = fit(X.reshape(60, -1), y)
    for shape in [(60, 72), (60, 2, 36), (60, 2, 6, 6), (60, 2, 3, 2, 6)]:
        ensemble = fit(X.reshape(shape), y)
        assert_same(ensemble, flat, atol=1e-12)
        assert ensemble.n_features_in_ == shape[1]
        with pytest.raises(ValueError, match="features|shape"):
            ensemble.predict(X.reshape(60, 8, 9))


@pytest.mark.parametrize("net", [make_net(SmallCNN), make_net()], ids=["cnn", "mlp"])
def test_bytes_of_images_are_scaled(images, net):
    X, y = images
    scaled = X.astype(np.float32) / 255
    ensemble, plain = fit(X, y, net), fit(scaled, y, net)
    for a, b in zip(ensemble, plain, strict=True):
        assert a.module_.state_dict().keys() == b.module_.state_dict().keys()
    np.testing.assert_allclose(ensemble.predict_proba(X), plain.predict_proba(scaled), atol=1e-3)
    np.testing.assert_allclose(plain.predict_proba(X), plain.predict_proba(scaled), atol=1e-6)
    assert X.dtype == np.uint8
    assert X.max() > 1


# -- disks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_memory_maps_train_what_arrays_train(tmp_path, images, dtype, mode):
    X, y = images
    X = X.astype(dtype)
    X.tofile(tmp_path / "X")
    on_disk = np.memmap(tmp_path / "X", dtype, mode, shape=X.shape)
    net = make_net(SmallCNN)
    assert_same(fit(on_disk, y, net), fit(X, y, net))
    ensemble = fit(on_disk, y, net)
    np.testing.assert_array_equal(ensemble.predict_proba(on_disk), ensemble.predict_proba(X))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "X", dtype), X.ravel())


MEASURE = """
import sys, threading, time
import numpy as np
from nets import make_net
from skensemble import DeepEnsembleClassifier

def anonymous():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

def watch():
    global peak
    while running:
        peak = max(peak, anonymous())
        time.sleep(0.002)

path, dtype, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
net = make_net(max_epochs=1, batch_size=256)
ensemble = DeepEnsembleClassifier(net, 2, random_state=0)
warm = np.random.default_rng(0).random((600, *SHAPE)).astype(np.float32)
ensemble.fit(warm, np.arange(600) % 2).predict(warm)
X = np.memmap(path, dtype, "r", shape=(rows, *SHAPE))
y = np.arange(rows) % 2
start = peak = anonymous()
running = True
thread = threading.Thread(target=watch)
thread.start()
ensemble.fit(X, y)
fitted = peak
ensemble.predict(X)
running = False
thread.join()
print(X.nbytes / 2**20, fitted - start, peak - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (500,)), ("uint8", (3, 16, 16))], ids=["table", "images"]
)
def test_memory_maps_are_not_copied(tmp_path, dtype, shape):
    rows = 200 * 2**20 // (np.dtype(dtype).itemsize * int(np.prod(shape)))
    block = np.random.default_rng(0).random((2**20,)) * 200
    block = block.astype(dtype)
    with (tmp_path / "X").open("wb") as file:
        for _ in range(200 * 2**20 // block.nbytes + 1):
            file.write(block.tobytes())
    code = textwrap.dedent(MEASURE).replace("SHAPE", repr(shape))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "X"), dtype, str(rows)],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}",
             "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    size, in_fit, in_all = map(float, done.stdout.split())
    assert size > 190
    assert in_fit < 60
    assert in_all < 60


class Store:
    """An array on disk that reads increasing row numbers and slices, and nothing else."""

    def __init__(self, array):
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.largest_read = 0

    def __len__(self):
        return len(self._array)

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            assert rows.ndim == 1
            assert (np.diff(rows) > 0).all()
        part = self._array[rows]
        self.largest_read = max(self.largest_read, len(part))
        return part


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_array_stores(images, dtype, bootstrap):
    X, y = images
    X = X.astype(dtype)
    net = make_net(SmallCNN, batch_size=8)
    store = Store(X)
    a, b = fit(store, y, net, bootstrap=bootstrap), fit(X, y, net, bootstrap=bootstrap)
    assert_same(a, b)
    np.testing.assert_array_equal(a.predict_proba(store), b.predict_proba(X))
    weight = np.arange(60) % 2
    a.fit(store, y, sample_weight=weight)
    assert_same(a, b.fit(X, y, sample_weight=weight))


def test_array_stores_are_never_read_as_a_whole(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 40))
    store = Store(X)
    monkeypatch.setattr("skensemble._base.estimator._CHUNK_NUMBERS", {"cpu": 4000})
    monkeypatch.setattr("skensemble._base.checks._STORE_CHUNK", 4000)
    ensemble = fit(store, np.arange(3000) % 2)
    ensemble.predict(store)
    assert 32 <= store.largest_read <= 100


def test_array_stores_are_checked(table):
    X, y = table
    broken = X.copy()
    broken[70, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN or infinity in rows 0 to"):
        fit(Store(broken), y)
    with pytest.raises(ValueError, match="at least 2 axes and 1 row"):
        fit(Store(X[:0]), y[:0])
    with pytest.raises(ValueError, match="at least 2 axes and 1 row"):
        fit(Store(X[:, 0]), y)
    with pytest.raises(ValueError, match=r"samples of shape \(3,\), but DeepEns.*\(4,\)"):
        fit(X, y).predict(Store(X[:, :3]))


# -- labels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [["oak", "ash", "elm"], np.array(["oak", "ash", "elm"], dtype=object), [3, -1, 100],
     [2.0, 0.0, 1.0], np.array([0, 1, 200], dtype=np.uint8)],
    ids=["str", "object", "int", "float", "uint8"],
)  # fmt: skip
def test_labels_of_any_type(table, names):
    X, y = table
    names = np.asarray(names)
    labels = names[y]
    ensemble = fit(X, labels, make_net(max_epochs=30))
    np.testing.assert_array_equal(ensemble.classes_, np.unique(labels))
    assert ensemble.classes_.dtype == names.dtype
    predicted = ensemble.predict(X)
    assert predicted.dtype == names.dtype
    assert (predicted == labels).mean() > 0.93
    assert_same(
        ensemble, fit(X, np.unique(labels, return_inverse=True)[1], make_net(max_epochs=30))
    )
    columns = ensemble.classes_[ensemble.predict_proba(X).argmax(1)]
    np.testing.assert_array_equal(columns, predicted)


def test_boolean_labels(table):
    X, y = table
    ensemble = fit(X, y == 0)
    assert ensemble.classes_.tolist() == [False, True]
    assert ensemble.predict(X).dtype == bool
    assert ensemble.score(X, y == 0) > 0.95
    assert ensemble.decision_function(X).shape == (150,)
    np.testing.assert_array_equal(ensemble.decision_function(X) > 0, ensemble.predict(X))


@pytest.mark.parametrize(
    "convert",
    [list, pd.Series, pl.Series, lambda y: pd.Series(pd.Categorical(y)),
     lambda y: pd.Series(y, index=np.arange(len(y))[::-1])],
    ids=["list", "pandas", "polars", "categorical", "index"],
)  # fmt: skip
def test_labels_in_any_container(table, convert):
    X, y = table
    names = np.array(["ash", "elm", "oak"])[y]
    ensemble = fit(X, convert(names))
    assert_same(ensemble, fit(X, y))
    assert set(ensemble.predict(X)) <= {"ash", "elm", "oak"}


def test_column_of_labels_warns(table):
    X, y = table
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        ensemble = fit(X, y[:, None])
    assert_same(ensemble, fit(X, y))
    assert differ(*ensemble)
