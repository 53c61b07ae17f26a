"""What is chosen where nobody says how to train, and how raw tables are read."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble._recipes.defaults import choose
from skensemble.nn import CifarResNet, TabularNet
from skensemble.preprocessing import TablePreprocessor

RNG = np.random.default_rng(0)
N = 90
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(size=N) * 100 + 1e4,
        "age": np.where(RNG.random(N) < 0.2, np.nan, RNG.integers(0, 90, N)),
        "city": pd.Categorical(RNG.choice(["Rome", "Oslo", "Lima"], N)),
        "code": RNG.choice([f"c{i}" for i in range(20)], N),
        "member": RNG.random(N) < 0.5,
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 900, N), "D"),
        "same": 1.0,
    }
)
Y = np.where((FRAME["city"] == "Oslo") ^ FRAME["member"], "yes", "no")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Choose fewer steps: what is tested is not how well they learn."""
    monkeypatch.setattr("skensemble._recipes.defaults._STEPS", 60)
    monkeypatch.setattr("skensemble._recipes.defaults._LEAST_EPOCHS", {"few": 3, "many": 3})
    monkeypatch.setattr("skensemble._recipes.defaults._IMAGE_EPOCHS", 2)


def every_kind():
    return [
        NetworkClassifier(random_state=0),
        DeepEnsembleClassifier(n_estimators=2, random_state=0),
        DeepEnsembleClassifier(n_estimators=2, joint=True, random_state=0),
        BatchEnsembleClassifier(n_estimators=2, random_state=0),
        BatchEnsembleClassifier(n_estimators=2, merge="rank-mean", random_state=0),
        DistilledClassifier(random_state=0),
        DistilledClassifier(DeepEnsembleClassifier(n_estimators=2), random_state=0),
        SelfDistiller(random_state=0),
        PrunedClassifier(random_state=0),
        PrunedClassifier(distill=DistilledClassifier(), random_state=0),
        PrunedClassifier(DeepEnsembleClassifier(n_estimators=2), random_state=0),
    ]


@pytest.mark.parametrize("estimator", every_kind(), ids=str)
def test_raw_tables_everywhere(estimator, tmp_path):
    fitted = estimator.fit(FRAME, Y)
    proba = fitted.predict_proba(FRAME)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert list(fitted.feature_names_in_) == list(FRAME.columns)
    assert isinstance(fitted.preprocessor_, TablePreprocessor)
    unseen = FRAME.assign(city="Bern", age=np.nan)
    assert np.isfinite(fitted.predict_proba(unseen)).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(FRAME), proba)
    np.testing.assert_array_equal(clone(estimator).fit(FRAME, Y).predict_proba(FRAME), proba)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_array_equal(again.predict_proba(FRAME), proba)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(FRAME.rename(columns={"age": "years"}))


@pytest.mark.parametrize("estimator", every_kind()[:2], ids=str)
def test_frames_of_all_kinds_and_arrays_say_the_same(estimator):
    numbers = FRAME[["size", "age"]]
    proba = estimator.fit(numbers, Y).predict_proba(numbers)
    for X in (pl.from_pandas(numbers), numbers.to_numpy(), numbers.to_numpy().tolist()):
        np.testing.assert_array_equal(clone(estimator).fit(X, Y).predict_proba(X), proba)
    objects = FRAME.to_numpy()
    assert clone(estimator).fit(objects, Y).predict_proba(objects).shape == (N, 2)


def test_members_read_raw_rows_themselves():
    ensemble = DeepEnsembleClassifier(n_estimators=3, calibrate=False, random_state=0)
    ensemble.fit(FRAME, Y)
    mean = np.mean([member.predict_proba(FRAME) for member in ensemble], 0)
    np.testing.assert_allclose(ensemble.predict_proba(FRAME), mean, atol=1e-6)
    assert ensemble[0].estimator is None


def test_what_is_read_is_learned_on_the_rows_of_the_fit():
    twice = pd.concat([FRAME, FRAME.assign(size=1e9)], ignore_index=True)
    grid = {"n_estimators": [2]}
    source = DeepEnsembleClassifier(random_state=0)
    cv = [(np.arange(N), np.arange(N, 2 * N))]
    y = np.append(Y, Y)
    plain = GridSearchCV(source, grid, cv=cv, refit=False, scoring="neg_log_loss").fit(twice, y)
    stacked = StackedGridSearchCV(source, grid, cv=cv, refit=False, scoring="neg_log_loss")
    stacked.fit(twice, y)
    np.testing.assert_allclose(
        plain.cv_results_["mean_test_score"], stacked.cv_results_["mean_test_score"], rtol=1e-5
    )


def test_a_foreign_teacher_sees_the_table_as_it_came():
    numbers = FRAME[["size", "since"]].assign(since=lambda d: d["since"].astype("int64"))
    student = DistilledClassifier(LogisticRegression(), random_state=0).fit(numbers, Y)
    assert list(student.teacher_.feature_names_in_) == ["size", "since"]
    assert student.predict_proba(numbers).shape == (N, 2)


def test_a_recipe_is_left_alone():
    net = NetworkClassifier(skensemble.nn.MLP, random_state=0)
    assert not get_tags(net).input_tags.allow_nan
    with pytest.raises(ValueError, match="NaN"):
        net.fit(FRAME[["size", "age"]], Y)
    assert net.fit(FRAME[["size"]], Y).preprocessor_ is None
    assert NTKClassifier().fit(FRAME[["size"]], Y).preprocessor_ is None
    assert get_tags(NetworkClassifier()).input_tags.allow_nan


def test_images_are_chosen_for_too():
    images = RNG.random((24, 3, 8, 8)).astype(np.float32)
    ensemble = DeepEnsembleClassifier(n_estimators=2, random_state=0).fit(images, np.arange(24) % 2)
    assert type(ensemble[0].module_) is CifarResNet
    assert ensemble.preprocessor_ is None
    assert ensemble.oof_proba_.shape == (24, 2)


def test_graphs_read_numbers_and_are_given_what_was_read(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    numbers = FRAME[["size", "age", "same"]].astype("float32")
    ensemble = DeepEnsembleClassifier(n_estimators=2, random_state=0).fit(numbers, Y)
    ensemble.export_onnx(tmp_path / "raw.onnx")
    graph = onnxruntime.InferenceSession(tmp_path / "raw.onnx")
    got = graph.run(["probabilities"], {"X": numbers.to_numpy()})[0]
    np.testing.assert_allclose(got, ensemble.predict_proba(numbers), atol=1e-5)
    ensemble.fit(FRAME, Y)
    ensemble.export_onnx(tmp_path / "read.onnx", preprocessed=True)
    graph = onnxruntime.InferenceSession(tmp_path / "read.onnx")
    got = graph.run(["probabilities"], {"X": ensemble.preprocessor_.transform(FRAME)})[0]
    np.testing.assert_allclose(got, ensemble.predict_proba(FRAME), atol=1e-5)


@given(st.integers(1, 10**7), st.integers(1, 500))
def test_budgets_count_steps(n_rows, n_features):
    choice = choose((n_features,), n_rows, None)
    told = choice.training
    assert choice.module is TabularNet
    assert told.batch_size & (told.batch_size - 1) == 0
    assert 16 <= told.batch_size <= 1024
    assert 3 <= told.max_epochs <= 400
    stopping = told.early_stopping()
    assert stopping.load_best
    assert 5 <= stopping.patience <= max(5, told.max_epochs)


def test_what_is_chosen_is_said(capsys):
    DeepEnsembleClassifier(n_estimators=2, random_state=0, verbose=1).fit(FRAME, Y)
    said = capsys.readouterr().out
    assert "DeepEnsembleClassifier: chosen are TabularNet, AdamW at 0.001 with decay" in said


def test_cross_validation_takes_it_as_it_is():
    assert len(cross_val_score(NetworkClassifier(random_state=0), FRAME, Y, cv=2)) == 2


@pytest.mark.parametrize("estimator", [NetworkClassifier(), DeepEnsembleClassifier(None, 2)])
def test_scikit_learns_checks_of_defaults(estimator):
    """All but one, of dense and of sparse rows, without which there are no defaults as these.

    A row of weight two is not a row twice where rows are held out, batches and dropout drawn.
    """
    torch.manual_seed(0)
    done = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {one["check_name"] for one in done if one["status"] == "failed"}
    assert failed <= {
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
        # Sixty steps are too few for these, which the setting below learns.
        "check_classifiers_train",
    }
    assert len(done) > 50


def test_altered_rows_need_a_teacher_that_reads_alike():
    numbers = FRAME[["size", "age"]]
    teacher = DeepEnsembleClassifier(n_estimators=2)
    student = DistilledClassifier(teacher, perturbation="ods", random_state=0).fit(numbers, Y)
    assert student.score(numbers, Y) > 0
    DistilledClassifier(teacher, objective="hint", random_state=0).fit(numbers, Y)
    foreign = LogisticRegression().fit(numbers.fillna(0), Y)
    with pytest.raises(ValueError, match="so the teacher must read it alike"):
        DistilledClassifier(foreign, augmentation="mixup", random_state=0).fit(numbers, Y)
