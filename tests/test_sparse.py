"""Sparse rows train the networks that dense ones train, and become dense a batch at a time."""

import numpy as np
import pytest
from nets import make_net
from registry import ESTIMATORS
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import get_tags

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
    load,
)
from skensemble._data.rows import joined
from skensemble._data.sparse import SparseRows
from skensemble._engine.training import Training

X, Y = make_classification(60, 8, n_informative=5, random_state=0)
X[np.abs(X) < 0.7] = 0
S = sparse.csr_array(X)
TAKING = [one for one in ESTIMATORS if get_tags(one).input_tags.sparse]
TEXTS = [f"{'oak elm' if one else 'ash fir'} {'sun' if number % 3 else 'rain'} w{number % 7}"
         for number, one in enumerate(Y)]  # fmt: skip


def seeded(estimator):
    seeds = {"random_state": 0} if "random_state" in estimator.get_params() else {}
    return clone(estimator).set_params(**seeds)


def test_all_classifiers_of_networks_take_them():
    kinds = {type(one).__name__ for one in TAKING}
    others = {type(one).__name__ for one in ESTIMATORS} - kinds
    assert others == {"ChannelSplit", "ModuleFeatures", "NTKFeatures", "TablePreprocessor"}


@pytest.mark.parametrize("estimator", TAKING, ids=lambda one: type(one).__name__)
def test_they_train_what_dense_rows_train(estimator):
    dense, thin = seeded(estimator).fit(X, Y), seeded(estimator).fit(S, Y)
    np.testing.assert_allclose(thin.predict_proba(S), dense.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(dense.predict_proba(S), thin.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array", "lil_matrix"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_formats_and_dtypes(form, dtype):
    rows = X.round().astype(dtype)
    thin = getattr(sparse, form)(rows)
    one, other = (NetworkClassifier(make_net(), random_state=0).fit(R, Y) for R in (rows, thin))
    np.testing.assert_allclose(other.predict_proba(thin), one.predict_proba(rows), atol=1e-12)
    assert other.predict_proba(thin).dtype == one.predict_proba(rows).dtype


def test_they_are_never_dense_as_a_whole(monkeypatch):
    asked, plain = [], SparseRows.__getitem__

    def heard(self, index):
        found = plain(self, index)
        asked.append(len(found))
        return found

    monkeypatch.setattr(SparseRows, "__getitem__", heard)
    rows = sparse.random_array((4000, 1000), density=0.01, random_state=0, format="csr")
    y = np.arange(4000) % 2
    net = make_net(max_epochs=1, batch_size=100)
    ensemble = DeepEnsembleClassifier(net, 3, bootstrap=True, cross_fit=2, random_state=0)
    student = DistilledClassifier(ensemble, net, random_state=0).fit(rows, y)
    student.predict_proba(rows)
    assert max(asked) <= 3 * 100


def test_defaults_take_them():
    student = DistilledClassifier(DeepEnsembleClassifier(n_estimators=2), random_state=0)
    student.fit(S, Y)
    assert student.score(S, Y) > 0.8
    assert student.teacher_.preprocessor_ is None


def test_texts_in_a_search():
    net = make_net(max_epochs=3)
    pipeline = make_pipeline(TfidfVectorizer(), NetworkClassifier(net, random_state=0))
    grid = {
        "tfidfvectorizer__use_idf": [True, False],
        "networkclassifier__estimator__lr": [0.01, 0.05],
    }
    theirs = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(TEXTS, Y)
    sizes, plain = [], Training.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", lambda one: (sizes.append(len(one.members)), plain(one))[1])
        ours = StackedGridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(TEXTS, Y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-10
    )
    # All four candidates, but for folds that know fewer words.
    assert max(sizes) % 4 == 0
    assert sum(sizes) == 13


def test_any_teacher_is_shown_them_as_they_came():
    class Noting(LogisticRegression):
        def predict_proba(self, X):
            NOTED.append(sparse.issparse(X))
            return super().predict_proba(X)

    NOTED = []
    DistilledClassifier(Noting(), make_net(), random_state=0).fit(S, Y)
    assert NOTED
    assert all(NOTED)


def test_unlabelled_rows_stay_sparse():
    net = make_net(max_epochs=2)
    one, other = (
        DistilledClassifier(LogisticRegression(), net, random_state=0).fit(
            rows[:40], Y[:40], X_unlabelled=rows[40:]
        )
        for rows in (X, S)
    )
    np.testing.assert_allclose(other.predict_proba(S), one.predict_proba(X), atol=1e-12)
    assert isinstance(joined(SparseRows(S), SparseRows(S)), SparseRows)


def test_what_is_wrong_is_said():
    net = NetworkClassifier(make_net(), random_state=0)
    broken = S.copy()
    broken.data[3] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        net.fit(broken, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        net.fit(S, Y[:5])
    net.fit(S, Y)
    with pytest.raises(ValueError, match="X has 7 features, but NetworkClassifier is expecting 8"):
        net.predict(S[:, :7])
    student = DistilledClassifier(LogisticRegression(), make_net(), transfer="munge")
    with pytest.raises(ValueError, match=r"which must be dense.*transfer=None"):
        student.fit(S, Y)
    table = NetworkClassifier(random_state=0).fit(X, Y)  # which reads it by a preprocessor
    with pytest.raises(TypeError, match="Sparse data was passed"):
        table.predict(S)


def test_a_pipeline_of_texts_is_kept(tmp_path):
    net = make_net(max_epochs=2)
    pipeline = Pipeline([("words", TfidfVectorizer()), ("net", NetworkClassifier(net))])
    pipeline.fit(TEXTS, Y)
    pipeline["net"].save(tmp_path / "net")
    words = pipeline["words"].transform(TEXTS)
    loaded = load(tmp_path / "net")
    np.testing.assert_array_equal(loaded.predict_proba(words), pipeline.predict_proba(TEXTS))
