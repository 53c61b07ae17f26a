"""Pipelines as ONNX graphs: the numbers of predict_proba, row by row."""

import functools
import os
import stat

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import make_net
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
)
from skensemble._graphs.module import _digamma
from skensemble._tables.reader import TableReader, coded_rows
from skensemble.deploy import export_onnx, register_converters
from skensemble.nn import MLP
from skensemble.preprocessing import TablePreprocessor

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
to_onnx = pytest.importorskip("skl2onnx").to_onnx
_registration = pytest.importorskip("torch.onnx._internal.exporter._registration")

RNG = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(5, 2, N),
        "age": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(40, 9, N)),
        "city": RNG.choice(["Rome", "Oslo", "Lima"], N),
        "hue": RNG.choice(["red", "blue"], N),
        "rooms": RNG.integers(0, 4, N),
        "new": RNG.random(N) < 0.5,
    }
)
GAPS = FRAME.assign(city=FRAME["city"].mask(RNG.random(N) < 0.2, None))
NUMBERS = np.c_[FRAME["size"], FRAME["rooms"], RNG.normal(size=(N, 3))]
WORDS = np.where(NUMBERS[:, 0] + RNG.normal(size=N) > 5, "yes", "no").astype(object)
COUNTS = RNG.integers(0, 3, N)
# What no fit has seen.
ODD = pd.DataFrame(
    {
        "size": [5.0, -1e4, 7.0], "age": [np.nan, 40.0, 1e5], "city": ["Rome", "Paris", "Lima"],
        "hue": ["red", "green", "blue"], "rooms": [2, 99, 0], "new": [True, False, True],
    }
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_registry():
    """Torch's exporter reads its library anew for each graph, which takes half of the time."""
    registry = _registration.ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(registry.from_torchlib)
        patch.setattr(registry, "from_torchlib", staticmethod(once))
        yield


def net(hidden=4):
    return make_net(MLP, module__hidden=(hidden,), max_epochs=2)


def one():
    return NetworkClassifier(net(), random_state=0)


def feeds(session, X):
    """Return rows as the graph wants them."""
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": bool}
    found = {}
    for wanted in session.get_inputs():
        column = X[[wanted.name]].to_numpy() if hasattr(X, "columns") else np.asarray(X)
        if wanted.type == "tensor(string)":
            found[wanted.name] = np.where(pd.isna(column), "", column).astype(object)
        else:
            found[wanted.name] = column.astype(types[wanted.type])
    return found


def run(path, X, by_row=False):
    """Return what a graph says of all rows at once, or of each by itself."""
    session = onnxruntime.InferenceSession(path)
    assert [one.name for one in session.get_outputs()][:2] == ["label", "probabilities"]
    given = feeds(session, X)
    if not by_row:
        return session.run(None, given)
    rows = [{name: a[at : at + 1] for name, a in given.items()} for at in range(len(X))]
    return [
        np.concatenate(each) for each in zip(*(session.run(None, r) for r in rows), strict=True)
    ]


def assert_same(model, path, X):
    found = run(path, X, by_row=True)
    np.testing.assert_allclose(found[1], model.predict_proba(X), rtol=0, atol=1e-5)
    assert found[0].tolist() == model.predict(X).tolist()
    for ours, alone in zip(run(path, X), found, strict=True):
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-6)
        else:
            assert ours.tolist() == alone.tolist()


NUMERIC = ["size", "age"]
FILLED = make_pipeline(SimpleImputer(), StandardScaler())
ONE_HOT = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
MIXED = make_column_transformer((FILLED, NUMERIC), (ONE_HOT, ["city", "hue"]))
DISTILLED = DistilledClassifier(
    DeepEnsembleClassifier(net(), 2), net(), teacher_cv=2, random_state=0
)  # fmt: skip
ARRAYS = {
    "standard": StandardScaler(),
    "min-max": MinMaxScaler(clip=True),
    "robust": RobustScaler(),
    "pca": make_pipeline(StandardScaler(), PCA(2, random_state=0)),
    "k-best": SelectKBest(k=3),
    "polynomial": make_pipeline(StandardScaler(), PolynomialFeatures(2)),
    "bins": KBinsDiscretizer(3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    "quantiles": QuantileTransformer(n_quantiles=9),
    "power": PowerTransformer(),
    "union": make_union(StandardScaler(), PCA(2, random_state=0)),
    "identity": make_pipeline(FunctionTransformer(), StandardScaler()),
    "nested": Pipeline([("a", Pipeline([("b", StandardScaler()), ("c", "passthrough")]))]),
}
FRAMES = {
    "one-hot": MIXED,
    "ordinal": make_column_transformer((FILLED, NUMERIC), (ORDINAL, ["city", "hue"])),
    "passthrough": make_column_transformer(
        (ONE_HOT, ["city"]), ("drop", ["hue", "new"]), remainder=SimpleImputer()
    ),
    "integers": make_column_transformer((StandardScaler(), ["rooms"]), (ONE_HOT, ["hue"])),
    "integer-codes": make_column_transformer((ONE_HOT, ["rooms"]), (FILLED, NUMERIC)),
    "booleans": make_column_transformer((FILLED, NUMERIC), ("passthrough", ["new"])),
    "selector": make_column_transformer(
        (FILLED, make_column_selector(dtype_include=float)),
        (ONE_HOT, make_column_selector("city|hue")),
    ),
    "table": TablePreprocessor(),
}
ENDS = {
    "ensemble": DeepEnsembleClassifier(net(), 2, random_state=0),
    "temperature": DeepEnsembleClassifier(net(), 4, cross_fit=2, calibrate=True, random_state=0),
    "batch": BatchEnsembleClassifier(net(), 2, random_state=0),
    "student": DISTILLED,
    "self": SelfDistiller(net(), random_state=0),
    "pruned": PrunedClassifier(net(), keep=0.5, random_state=0),
    "chosen": NetworkClassifier(random_state=0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, tmp_path):
    model = make_pipeline(ARRAYS[name], one()).fit(NUMBERS, WORDS)
    export_onnx(model, tmp_path / "file")
    assert_same(model, tmp_path / "file", NUMBERS[:9].astype(np.float32))


@pytest.mark.parametrize("name", FRAMES)
def test_frames_with_rows_that_no_fit_has_seen(name, tmp_path):
    model = make_pipeline(FRAMES[name], one()).fit(FRAME, COUNTS)
    export_onnx(model, tmp_path / "file", FRAME)
    rows = pd.concat([FRAME[:7], ODD]).astype({"size": np.float32, "age": np.float32})
    assert_same(model, tmp_path / "file", rows)


@pytest.mark.parametrize("name", ENDS)
def test_ends(name, tmp_path):
    model = make_pipeline(StandardScaler(), ENDS[name]).fit(NUMBERS, WORDS)
    export_onnx(model, tmp_path / "file")
    assert_same(model, tmp_path / "file", NUMBERS[:9].astype(np.float32))
    if name == "temperature":
        assert model[-1].temperature_ != 1.0


@pytest.mark.parametrize(("with_rows", "in_pipeline"), [(True, True), (False, True), (True, False)])
def test_a_table_that_the_classifier_reads_itself(with_rows, in_pipeline, tmp_path):
    own = NetworkClassifier(random_state=0)
    model = Pipeline([("net", own)]) if in_pipeline else own
    model.fit(GAPS, WORDS)
    export_onnx(model, tmp_path / "file", GAPS if with_rows else None)
    session = onnxruntime.InferenceSession(tmp_path / "file")
    kinds = {one.name: one.type for one in session.get_inputs()}
    assert list(kinds) == list(GAPS)
    assert kinds["city"] == kinds["hue"] == "tensor(string)"
    assert kinds["new"] == ("tensor(bool)" if with_rows else "tensor(float)")
    assert_same(model, tmp_path / "file", pd.concat([GAPS[:9], ODD]))


def test_numbers_and_objects_as_categories(tmp_path):
    X = pd.DataFrame(
        {
            "code": pd.Categorical(FRAME["rooms"]),
            "half": pd.Categorical(FRAME["rooms"] / 2),
            "mixed": np.where(FRAME["new"], True, None).astype(object),
            "empty": np.full(N, None, object),
            "size": FRAME["size"].astype(np.float32),
        }
    )
    model = NetworkClassifier(random_state=0).fit(X, WORDS)
    export_onnx(model, tmp_path / "file", X)
    rows = X.assign(code=X["code"].astype(object).mask(X.index % 5 == 0, None))
    assert_same(model, tmp_path / "file", rows.astype({"code": object})[:9])


def test_searches_and_frozen_ones(tmp_path):
    search = GridSearchCV(make_pipeline(StandardScaler(), one()), {"standardscaler": ["passthrough",
                          RobustScaler()]}, cv=2).fit(NUMBERS, WORDS)  # fmt: skip
    export_onnx(FrozenEstimator(search), tmp_path / "file")
    assert_same(search, tmp_path / "file", NUMBERS[:9].astype(np.float32))


@pytest.mark.parametrize("labels", [[False, True], [-3, 200], [-1.0, 2.0], ["", 'ü "q"']])
def test_labels_keep_their_kind(labels, tmp_path):
    y = np.array(labels)[(WORDS == "yes").astype(int)]
    model = Pipeline([("net", one())]).fit(NUMBERS, y)
    export_onnx(model, tmp_path / "file")
    found, _ = run(tmp_path / "file", NUMBERS)
    assert found.tolist() == model.predict(NUMBERS).tolist()
    assert set(found.tolist()) <= set(labels)


# -- uncertainty -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        ENDS["temperature"],
        BatchEnsembleClassifier(net(), 2, random_state=0),
        DistilledClassifier(
            DeepEnsembleClassifier(net(), 2), net(), objective="proxy-dirichlet", random_state=0
        ),
    ],
    ids=["temperature", "batch", "dirichlet"],
)
def test_uncertainty(end, tmp_path):
    model = make_pipeline(StandardScaler(), end).fit(NUMBERS, WORDS)
    export_onnx(model, tmp_path / "file", uncertainty=True)
    X = NUMBERS[:9].astype(np.float32)
    assert_same(model, tmp_path / "file", X)
    expected = model[-1].uncertainty(model[:-1].transform(X))
    told = np.stack([expected.total, expected.aleatoric, expected.epistemic], 1)
    found = run(tmp_path / "file", X)
    np.testing.assert_allclose(found[2], told, rtol=0, atol=3e-6)


def test_uncertainty_of_one_network_is_refused(tmp_path):
    model = make_pipeline(StandardScaler(), one()).fit(NUMBERS, WORDS)
    for fitted in (model, model[-1]):
        with pytest.raises(ValueError, match="must be that of at least 2 networks"):
            export_onnx(fitted, tmp_path / "file", uncertainty=True)


@given(st.lists(st.floats(1, 1e7), min_size=1, max_size=9))
def test_digamma(values):
    from scipy.special import digamma

    found = _digamma(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(found, digamma(values), rtol=1e-9, atol=1e-9)


# -- the reading of tables -------------------------------------------------------------------

CELLS = {
    "number": st.one_of(st.none(), st.floats(-1e4, 1e4, width=32)),
    "word": st.sampled_from([None, "a", "b", "c"]),
    "truth": st.sampled_from([None, True, False]),
    "count": st.integers(0, 3),
}


@settings(max_examples=60)
@given(st.data(), st.sampled_from([False, True, 2, "auto"]), st.integers(1, 3))
def test_codes_are_read_as_the_table_reads_its_rows(data, embed, min_count):
    def frame(n_rows):
        return pd.DataFrame(
            {
                name: pd.Series([data.draw(cell) for _ in range(n_rows)], dtype=kind)
                for (name, cell), kind in zip(
                    CELLS.items(), [float, object, object, int], strict=True
                )
            }
        )

    table = TablePreprocessor(embed=embed, min_count=min_count).fit(frame(8))
    rows = frame(4).astype({"word": object})
    rows.loc[0, "word"] = "unseen"
    expected = table.transform(rows)
    codes = coded_rows(table, rows)
    # A missing category may be given as NaN too.
    gaps = np.where(rows.isna(), np.float32(np.nan), codes)
    for given_rows in (codes, gaps):
        found = TableReader(table)(torch.from_numpy(given_rows)).numpy()
        if expected.shape[1]:
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


# -- skl2onnx's own ways ---------------------------------------------------------------------


def test_to_onnx_at_its_newest_opset_and_with_its_options():
    register_converters()
    model = make_pipeline(StandardScaler(), one()).fit(NUMBERS, WORDS)
    X = NUMBERS[:9].astype(np.float32)
    dicts = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString()).run(
        None, {"X": X}
    )[1]
    np.testing.assert_allclose(
        [[row[name] for name in ("no", "yes")] for row in dicts], model.predict_proba(X), atol=1e-5
    )
    graph = to_onnx(model, X[:1], options={"zipmap": False}, target_opset=21)
    found = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"X": X})
    np.testing.assert_allclose(found[1], model.predict_proba(X), atol=1e-5)
    graph = to_onnx(model, X[:1], options={"zipmap": "columns"})
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = np.stack(session.run(None, {"X": X})[1:], 1)
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-5)
    with pytest.raises(ValueError, match="must be of opset 18 or newer. Got target_opset=15"):
        to_onnx(model, X[:1], target_opset=15)


@functools.cache
def inside(name):
    """Return one of scikit-learn's ensembles with ours inside, as skl2onnx's tests have theirs."""
    members = [("net", one()), ("line", LogisticRegression())]
    return {
        "voting": lambda: VotingClassifier(members, voting="soft", flatten_transform=False),
        "stacking": lambda: StackingClassifier(members, cv=2),
        "calibrated": lambda: CalibratedClassifierCV(one(), cv=2),
        "isotonic": lambda: CalibratedClassifierCV(one(), cv=2, method="isotonic"),
        "one-rest": lambda: OneVsRestClassifier(one()),
        "bagging": lambda: BaggingClassifier(one(), 2, random_state=0),
        "search": lambda: GridSearchCV(one(), {"estimator__lr": [0.1, 0.2]}, cv=2),
    }[name]().fit(NUMBERS, WORDS if name in ("calibrated", "voting") else COUNTS)


@pytest.mark.parametrize(
    "name", ["voting", "stacking", "calibrated", "isotonic", "one-rest", "bagging", "search"]
)
def test_inside_of_other_ensembles(name):
    register_converters()
    model, X = inside(name), NUMBERS[:9].astype(np.float32)
    graph = to_onnx(model, X[:1], options={"zipmap": False})
    found = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"X": X})
    np.testing.assert_allclose(found[1], model.predict_proba(X), rtol=0, atol=1e-5)


def test_inputs_that_are_put_together():
    """Two inputs of one step, as in skl2onnx's ``test_combine_inputs``."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    register_converters()
    model = make_pipeline(StandardScaler(), one()).fit(NUMBERS, WORDS)
    types = [("a", FloatTensorType([None, 2])), ("b", FloatTensorType([None, 3]))]
    graph = to_onnx(model, initial_types=types, options={"zipmap": False})
    X = NUMBERS[:9].astype(np.float32)
    run_it = onnxruntime.InferenceSession(graph.SerializeToString()).run
    np.testing.assert_allclose(
        run_it(None, {"a": X[:, :2], "b": X[:, 2:]})[1], model.predict_proba(X), atol=1e-5
    )
    alone = one().fit(NUMBERS.round(), WORDS)
    types[0] = ("a", Int64TensorType([None, 2]))
    graph = to_onnx(alone, initial_types=types, options={"zipmap": False})
    X = NUMBERS[:9].round().astype(np.float32)
    found = onnxruntime.InferenceSession(graph.SerializeToString()).run(
        None, {"a": X[:, :2].astype(np.int64), "b": X[:, 2:]}
    )
    np.testing.assert_allclose(found[1], alone.predict_proba(X), atol=1e-5)


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (SplineTransformer(), "Got SplineTransformer as 'splinetransformer': skl2onnx has no"),
        (
            make_union(StandardScaler(), FunctionTransformer(np.abs)),
            "Got FunctionTransformer as 'featureunion__functiontransformer': .*Use another",
        ),
        (SimpleImputer(add_indicator=True), "must give 6 columns, as in fit. Got 5"),
    ],
    ids=["unknown", "function", "indicator"],
)
def test_steps_that_cannot_be_converted_are_named(steps, message, tmp_path):
    X = NUMBERS.copy()
    if isinstance(steps, SimpleImputer):
        X[0, 0] = np.nan
    model = make_pipeline(steps, one()).fit(X, WORDS)
    with pytest.raises(ValueError, match=message):
        export_onnx(model, tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_what_else_is_refused(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(TypeError, match="Got LogisticRegression at the end"):
        export_onnx(make_pipeline(LogisticRegression()).fit(NUMBERS, WORDS), path)
    kernel = make_pipeline(StandardScaler(), NTKClassifier(net(), random_state=0))
    with pytest.raises(ValueError, match="ONNX has no graph for"):
        export_onnx(kernel.fit(NUMBERS, WORDS), path)
    model = make_pipeline(TablePreprocessor(), one()).fit(FRAME, WORDS)
    with pytest.raises(ValueError, match=r"must have the columns of fit, .* Got \['size'\]"):
        export_onnx(model, path, FRAME[["size"]])
    with pytest.raises(ValueError, match="with both; use a data frame"):
        export_onnx(model, path, FRAME.to_numpy())
    dates = FRAME.assign(size=pd.date_range("2020-01-01", periods=N))
    with pytest.raises(ValueError, match="Got the column 'size' of kind 'date'; fit on its number"):
        export_onnx(make_pipeline(TablePreprocessor(), one()).fit(dates, WORDS), path)
    alone = NetworkClassifier(random_state=0)
    blank = FRAME.assign(city=FRAME["city"].replace("Rome", ""))
    with pytest.raises(ValueError, match="no category '', since an empty string stands for"):
        export_onnx(alone.fit(blank, WORDS), path)
    label = FRAME.rename(columns={"city": "label"})
    with pytest.raises(ValueError, match="must be others than those of the outputs"):
        export_onnx(alone.fit(label, WORDS), path)
    label = FRAME[["size"]].rename(columns={"size": "label"})
    scaled = make_pipeline(StandardScaler(), one()).fit(label, WORDS)
    with pytest.raises(ValueError, match="must differ from each other and .* Got 'label'"):
        export_onnx(scaled, path, label)
    assert os.listdir(tmp_path) == []


def test_a_graph_of_a_pipeline_is_replaced_at_once_and_says_nothing_of_this_machine(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o600)
    export_onnx(make_pipeline(StandardScaler(), one()).fit(NUMBERS, WORDS), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]
    assert b"site-packages" not in path.read_bytes()
    assert b"skensemble/" not in path.read_bytes()
