"""What skorch's own tests do with a net, done with a net as a recipe."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from nets import make_net
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler
from skorch.helper import DataFrameTransformer, SliceDataset, SliceDict
from torch import nn
from torch.utils.data import TensorDataset

from skensemble import DeepEnsembleClassifier, NetworkClassifier, StackedGridSearchCV

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def network(**kwargs):
    return NetworkClassifier(make_net(max_epochs=2, **kwargs), random_state=0)


def test_slices_of_a_dataset_are_rows():
    rows, labels = SliceDataset(PAIRS, idx=0), SliceDataset(PAIRS, idx=1)
    expected = network().fit(X.astype(float), Y).predict_proba(X)
    found = network().fit(rows, labels)
    np.testing.assert_array_equal(found.predict_proba(X), expected)
    np.testing.assert_array_equal(found.predict_proba(rows), expected)


def test_dicts_of_arrays_are_refused_in_words():
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=pd.Categorical(["u", "v"] * 30))
    for one, rows in (
        (network(), SliceDict(X=X)),
        (make_pipeline(DataFrameTransformer(), network()), frame),
    ):
        with pytest.raises(TypeError, match=r"X must be one array .* of .*np\.stack"):
            one.fit(rows, Y)


def test_a_dataset_as_x_lacks_labels():
    with pytest.raises(ValueError, match="requires y to be passed"):
        network().fit(PAIRS, None)


def test_parameters_of_the_module_make_another_network():
    one = network().fit(X, Y)
    one.set_params(estimator__module__hidden=(5,), estimator__max_epochs=3).fit(X, Y)
    assert [part.out_features for part in one.module_.modules() if isinstance(part, nn.Linear)] == [
        5, 2,
    ]  # fmt: skip
    assert len(one.history_) == 3


def test_parameters_of_callbacks_are_searched():
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.01)
    pipeline = Pipeline([("scale", StandardScaler()), ("net", network(
        callbacks=[("schedule", schedule)], optimizer=torch.optim.SGD, lr=0.5
    ))])  # fmt: skip
    grid = {"net__estimator__callbacks__schedule__step_size": [1, 100], "net__estimator__lr": [0.5]}
    theirs, ours = (
        kind(pipeline, grid, cv=2, scoring="neg_log_loss").fit(X, Y)
        for kind in (GridSearchCV, StackedGridSearchCV)
    )
    scores = ours.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, theirs.cv_results_["mean_test_score"], atol=1e-6)
    assert scores[0] != scores[1]


@pytest.mark.parametrize("through", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_predict_and_clones_do_not(through):
    ensemble = DeepEnsembleClassifier(make_net(max_epochs=1), 2, random_state=0).fit(X, Y)
    expected = ensemble.predict_proba(X)
    np.testing.assert_array_equal(through(ensemble).predict_proba(X), expected)
    again = clone(ensemble)
    assert not hasattr(again, "estimators_")
    np.testing.assert_array_equal(again.fit(X, Y).predict_proba(X), expected)
