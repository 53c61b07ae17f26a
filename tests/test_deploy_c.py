"""Students as files of C99: compiled without a warning, and compared with predict_proba."""

import copy
import ctypes
import errno
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from domain_checks import fitted, make_rows
from hypothesis import given, settings, strategies as st
from nets import make_net
from registry import ESTIMATORS
from sklearn.base import is_classifier
from sklearn.pipeline import make_pipeline
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    SelfDistiller,
)
from skensemble._tables.reader import coded_rows
from skensemble.deploy import export_c
from skensemble.deploy.c_text import _string, quantized
from skensemble.nn import MLP, CifarResNet, TabularNet, quantile_bins

GCC = shutil.which("gcc")
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared"]
needs_gcc = pytest.mark.skipif(GCC is None, reason="there is no gcc")
RNG = np.random.default_rng(0)
N = 60
NUMBERS = RNG.normal(size=(N, 3)).astype(np.float32)
CODED = np.c_[NUMBERS, RNG.integers(0, 4, (N, 1)), RNG.integers(0, 2, (N, 1))].astype(np.float32)
WORDS = RNG.choice(["a", "b", "c"], N)
FLOATS = ctypes.POINTER(ctypes.c_float)


class Compiled:
    """What a file of C says."""

    def __init__(self, source, n_classes, name="student"):
        library = source.with_suffix(".so")
        done = subprocess.run(
            [GCC, *FLAGS, str(source), "-o", str(library), "-lm"], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        self.library, self.n_classes, self.name = ctypes.CDLL(str(library)), n_classes, name

    def predict_proba(self, rows):
        call = getattr(self.library, f"{self.name}_predict_proba")
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        out = np.full((len(rows), self.n_classes), np.nan, np.float32)
        for row, proba in zip(rows, out, strict=True):
            call(row.ctypes.data_as(FLOATS), proba.ctypes.data_as(FLOATS))
        return out

    def predict(self, rows):
        call = getattr(self.library, f"{self.name}_predict")
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        return [call(row.ctypes.data_as(FLOATS)) for row in rows]

    def classes(self):
        kind = ctypes.c_char_p * self.n_classes
        return [one.decode() for one in kind.in_dll(self.library, f"{self.name}_classes")]

    def code(self, column, category):
        call = getattr(self.library, f"{self.name}_code")
        call.restype = ctypes.c_float
        return call(column, None if category is None else category.encode())


def compiled(model, folder, **settings):
    name = settings.get("name", "student")
    path = folder / f"{settings.get('weights', 'float32')}-{name}.c"
    export_c(model, path, **settings)
    return Compiled(path, len(model.classes_), name)


def net(module=MLP, **arguments):
    arguments = {"hidden": (5, 4), **arguments}
    return make_net(module, max_epochs=2, **{f"module__{k}": v for k, v in arguments.items()})


BINS = quantile_bins(NUMBERS, 4)
STATISTICS = ([0.5, -1.0, 2.0], [2.0, 0.5, 1.5])
NETS = {
    "relu": net(),
    "gelu": net(activation="gelu", dropout=0.1),
    "tanh": net(activation="tanh", hidden=(1,)),
    "silu-no-hidden": net(activation="silu", hidden=(), normalize=STATISTICS),
    "tabular": net(TabularNet),
    "piecewise": net(TabularNet, embedding="piecewise", bins=[BINS[0], [], BINS[2]]),
    "two-numbers": net(TabularNet, embedding="piecewise", numeric=2, bins=BINS[:2]),
    "periodic": net(TabularNet, embedding="periodic", n_frequencies=3, embedding_size=2),
    "residual": net(TabularNet, blocks="residual", activation="gelu"),
}


@needs_gcc
@pytest.mark.parametrize("name", NETS)
def test_networks(name, tmp_path):
    model = NetworkClassifier(NETS[name], random_state=0).fit(NUMBERS, WORDS)
    with torch.no_grad():
        for one in model.module_.parameters():
            one.mul_(3)  # so that nothing is near to its start
    code = compiled(model, tmp_path)
    rows = np.r_[NUMBERS, 30 * NUMBERS[:9], np.zeros((1, 3), np.float32)]
    np.testing.assert_allclose(
        code.predict_proba(rows), model.predict_proba(rows), rtol=0, atol=1e-5
    )
    assert [model.classes_[at] for at in code.predict(rows)] == model.predict(rows).tolist()
    assert code.classes() == model.classes_.tolist()


@needs_gcc
@pytest.mark.parametrize("embedding", [None, "piecewise", "periodic"])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_codes_of_categories(embedding, weights, tmp_path):
    bins = BINS if embedding == "piecewise" else None
    recipe = net(TabularNet, embedding=embedding, bins=bins, cardinalities=(4, 2), category_size=3)
    model = NetworkClassifier(recipe, random_state=0).fit(CODED, WORDS)
    code = compiled(model, tmp_path, weights=weights)
    expected = model.predict_proba(CODED)
    if weights == "int8":
        expected = rounded(model).predict_proba(CODED)
    np.testing.assert_allclose(code.predict_proba(CODED), expected, rtol=0, atol=1e-5)
    # What torch refuses must not be read from elsewhere.
    wild = np.float32([[0, 0, 0, 1e9, -1], [0, 0, 0, np.nan, np.inf]])
    assert np.isfinite(code.predict_proba(wild)).all()


@needs_gcc
def test_images_are_flattened(tmp_path):
    images = RNG.random((N, 2, 3, 3)).astype(np.float32)
    recipe = net(normalize=([0.3, 0.6], [0.2, 0.4]))
    model = NetworkClassifier(recipe, random_state=0).fit(images, WORDS)
    found = compiled(model, tmp_path).predict_proba(images.reshape(N, -1))
    np.testing.assert_allclose(found, model.predict_proba(images), rtol=0, atol=1e-5)


ENSEMBLE = DeepEnsembleClassifier(net(), 4, cross_fit=2, calibrate=True, random_state=0)
SEVERAL = {
    "temperature": ENSEMBLE,
    "logit": copy.deepcopy(ENSEMBLE).set_params(averaging="logit"),
    "vote": DeepEnsembleClassifier(net(), 3, averaging="vote", random_state=0),
    "student": DistilledClassifier(DeepEnsembleClassifier(net(), 2), net(), random_state=0),
    "students": DistilledClassifier(
        DeepEnsembleClassifier(net(), 2), net(), n_students=2, random_state=0
    ),
    "self": SelfDistiller(net(), random_state=0),
    "pruned": PrunedClassifier(net(), keep=0.5, random_state=0),
}


@needs_gcc
@pytest.mark.parametrize("name", SEVERAL)
def test_ensembles_and_students(name, tmp_path):
    model = SEVERAL[name].fit(NUMBERS, WORDS)
    if name in ("temperature", "logit"):
        model.temperature_ = 0.4  # far from what rows without a pattern say
    found = compiled(model, tmp_path).predict_proba(NUMBERS)
    np.testing.assert_allclose(found, model.predict_proba(NUMBERS), rtol=0, atol=1e-5)


@needs_gcc
def test_a_temperature_far_from_one_keeps_small_probabilities(tmp_path):
    model = copy.deepcopy(ENSEMBLE).fit(NUMBERS, WORDS)
    model.temperature_ = 20.0
    with torch.no_grad():
        for member in model:
            for one in member.module_.parameters():
                one.mul_(8)
    found = compiled(model, tmp_path).predict_proba(NUMBERS)
    np.testing.assert_allclose(found, model.predict_proba(NUMBERS), rtol=0, atol=1e-5)


CLASSIFIERS = [one for one in ESTIMATORS if is_classifier(one)]
ONLY_ONNX = ("Pipeline", "BatchEnsemble", "NTK", "Committee", "channel_splits", "proxy-dirichlet")


@needs_gcc
@pytest.mark.parametrize("at", range(len(CLASSIFIERS)))
def test_every_classifier_is_written_or_refused_in_words(at, tmp_path):
    model, X = fitted(CLASSIFIERS[at]), make_rows()[0]
    found, refusal = None, "none"
    try:
        found = compiled(model, tmp_path).predict_proba(X)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if found is None:
        assert "use export_onnx" in refusal or "must be a classifier of skensemble" in refusal
        assert any(word in repr(CLASSIFIERS[at]) for word in ONLY_ONNX)
    else:
        np.testing.assert_allclose(found, model.predict_proba(X), rtol=0, atol=1e-5)


# -- tables ----------------------------------------------------------------------------------

CITIES = ["Rome", 'O"slo\\', "??/ */", "\u00fc\n", "NAME_"]


def frame(n_rows=N):
    return pd.DataFrame(
        {
            "size */ ??/": RNG.normal(5, 2, n_rows),
            "age": np.where(RNG.random(n_rows) < 0.3, np.nan, RNG.normal(40, 9, n_rows)),
            "city": RNG.choice([*CITIES, None], n_rows),
            "hue": RNG.choice(["red", "blue"], n_rows),
            "many": RNG.choice([f"m{i}" for i in range(15)], n_rows),
            "new": RNG.choice([True, False], n_rows),
            "same": 1.0,
            "empty": np.full(n_rows, np.nan),
        }
    )


FRAME = frame()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    if GCC is None:
        pytest.skip("there is no gcc")
    model = DeepEnsembleClassifier(n_estimators=2, random_state=0).fit(FRAME, WORDS)
    assert {"one-hot", "sign", "code", "scaled", "none"} == set(model.preprocessor_.encodings_)
    return model, compiled(model, tmp_path_factory.mktemp("c"), name="tab")


@settings(max_examples=60)
@given(data=st.data())
def test_tables_with_missing_and_unseen_values(table, data):
    model, code = table
    number = st.one_of(st.just(np.nan), st.floats(-1e5, 1e5, width=32))
    row = pd.DataFrame(
        {
            "size */ ??/": [data.draw(number)],
            "age": [data.draw(number)],
            "city": pd.Series([data.draw(st.sampled_from([*CITIES, None, "Lima"]))], dtype=object),
            "hue": [data.draw(st.sampled_from(["red", "blue", "green"]))],
            "many": [data.draw(st.sampled_from(["m0", "m7", "m14", "m99"]))],
            "new": [data.draw(st.booleans())],
            "same": [data.draw(number)],
            "empty": [np.nan],
        }
    )
    rows = coded_rows(model.preprocessor_, row)
    words = row.loc[0, ["city", "hue", "many"]]
    assert [code.code(at, one) for at, one in zip((2, 3, 4), words, strict=True)] == list(
        rows[0, 2:5]
    )
    assert code.code(5, str(row["new"][0])) == rows[0, 5]
    np.testing.assert_allclose(
        code.predict_proba(rows), model.predict_proba(row), rtol=0, atol=2e-5
    )


def test_codes_that_are_none(table):
    """They are "other", and NaN is missing, also where `fit` saw no missing value."""
    model, code = table
    rows = coded_rows(model.preprocessor_, FRAME[:1]).repeat(5, 0)
    rows[:, 2] = [-1, 2.5, 1e30, 99, 0]
    found = code.predict_proba(rows)
    assert (found == found[4]).all()
    other, missing = FRAME[:1].assign(hue="green"), FRAME[:1].assign(city=None, hue=None)
    rows = coded_rows(model.preprocessor_, FRAME[:1]).repeat(2, 0)
    rows[0, 3], rows[1, 2:4] = np.inf, np.nan
    expected = model.predict_proba(pd.concat([other, missing]))
    np.testing.assert_allclose(code.predict_proba(rows), expected, rtol=0, atol=2e-5)


def test_threads_do_not_disturb_each_other(table):
    model, code = table
    rows = coded_rows(model.preprocessor_, frame(300))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(code.predict_proba, [rows] * 8))
    assert all(np.array_equal(one, found[0]) for one in found)


@needs_gcc
def test_a_table_of_which_nothing_is_read(tmp_path):
    X = pd.DataFrame({"same": np.ones(N), "word": "w"})
    model = NetworkClassifier(random_state=0).fit(X, WORDS)
    found = compiled(model, tmp_path).predict_proba(coded_rows(model.preprocessor_, X[:2]))
    np.testing.assert_allclose(found, model.predict_proba(X[:2]), rtol=0, atol=1e-5)


# -- int8 ------------------------------------------------------------------------------------


def rounded(model):
    """Return the classifier whose weights were rounded in torch, row by row."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for network in twin._networks():
            for layer in network.modules():
                if isinstance(layer, (nn.Linear, nn.Embedding)):
                    for row in layer.weight:
                        step = row.abs().max() / 127
                        row.copy_((row / step).round() * step)
    return twin


@needs_gcc
@pytest.mark.parametrize("name", ["relu", "piecewise", "periodic", "residual"])
def test_int8_is_what_rounded_weights_say(name, tmp_path):
    model = NetworkClassifier(NETS[name], random_state=0).fit(NUMBERS, WORDS)
    found = compiled(model, tmp_path, weights="int8").predict_proba(NUMBERS)
    expected = rounded(model).predict_proba(NUMBERS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert abs(found - model.predict_proba(NUMBERS)).max() > 1e-5  # it is another one


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_quantized_rows(n_rows, n_columns, seed):
    weight = np.random.default_rng(seed).normal(size=(n_rows, n_columns)).astype(np.float32)
    weight[0] *= seed % 3  # zeros too
    whole, scale = quantized(weight)
    assert abs(whole.astype(int)).max(1).tolist() == [127 * bool(row.any()) for row in weight]
    assert (abs(whole * scale[:, None] - weight) <= 0.5001 * scale[:, None]).all()


# -- names -----------------------------------------------------------------------------------


@needs_gcc
def test_hostile_names(tmp_path):
    names = ['"', "\\", "??/", "*/ //", "\u00e9\U0001f600", "NAME", "a\nb\t", "", "%s", "\\0"]
    y = np.array(names, dtype=object)[np.arange(N) % len(names)]
    model = NetworkClassifier(net(), random_state=0).fit(NUMBERS, y)
    assert compiled(model, tmp_path, name="NAME").classes() == model.classes_.tolist()


@given(st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_strings_are_ascii_and_mean_what_was_given(text):
    found = _string(text)
    assert found.isascii()
    assert "?" not in found
    assert found[0] == found[-1] == '"'
    back, rest = bytearray(), found[1:-1]
    while rest:
        size = 4 if rest[0] == "\\" else 1
        back.append(int(rest[1:4], 8) if size == 4 else ord(rest[0]))
        rest = rest[size:]
    assert bytes(back) == text.encode("utf-8", "surrogatepass")


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "2a", "a-b", "\u00e9", "a b"])
def test_names_that_are_none_in_c(name, tmp_path):
    model = NetworkClassifier(net(), random_state=0).fit(NUMBERS, WORDS)
    with pytest.raises(ValueError, match="must be the start of names in C"):
        export_c(model, tmp_path / "file.c", name=name)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (BatchEnsembleClassifier(net(), 2), TypeError, "Got a BatchEnsembleClassifier; merge its"),
        (
            DistilledClassifier(DeepEnsembleClassifier(net()), net(), objective="proxy-dirichlet"),
            ValueError, "objective reads them otherwise, 'proxy-dirichlet'; use export_onnx",
        ),
        (NetworkClassifier(make_net()), TypeError, "networks of skensemble.nn.MLP or TabularNet"),
    ],
    ids=["batch", "dirichlet", "module"],
)  # fmt: skip
def test_what_is_not_written(model, kind, message, tmp_path):
    if isinstance(model, NetworkClassifier):
        model = NetworkClassifier(make_net(CifarResNet, module__width=2, max_epochs=1))
        model.fit(RNG.random((N, 1, 8, 8)).astype(np.float32), WORDS)
    else:
        model.fit(NUMBERS, WORDS)
    with pytest.raises(kind, match=message):
        export_c(model, tmp_path / "file.c")
    assert os.listdir(tmp_path) == []


def test_what_else_is_not_written(tmp_path):
    path = tmp_path / "file.c"
    pipeline = make_pipeline(NetworkClassifier(net())).fit(NUMBERS, WORDS)
    with pytest.raises(TypeError, match="must be a classifier of skensemble, .* Got Pipeline"):
        export_c(pipeline, path)
    long = NetworkClassifier(net(), random_state=0).fit(NUMBERS, np.char.add("x" * 5000, WORDS))
    with pytest.raises(ValueError, match="at most 4000 bytes, none of them zero. Got 'xxx.*5001;"):
        export_c(long, path)
    dates = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=N)})
    with pytest.raises(ValueError, match="Got the column 'day' of kind 'date'"):
        export_c(NetworkClassifier(random_state=0).fit(dates, WORDS), path)
    with pytest.raises(ValueError, match="'weights' parameter of export_c must be"):
        export_c(long, path, weights="int4")
    assert os.listdir(tmp_path) == []


def test_a_file_is_replaced_at_once(tmp_path, monkeypatch):
    model = NetworkClassifier(net(), random_state=0).fit(NUMBERS, WORDS)
    path = tmp_path / "file.c"
    path.write_text("before")

    def full(number):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="the disk is full"):
            export_c(model, path)
    assert (os.listdir(tmp_path), path.read_text()) == (["file.c"], "before")
    export_c(model, path)
    assert path.read_text().isascii()
