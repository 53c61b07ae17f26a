"""Fitted estimators as torch modules, which torch.export takes."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from nets import SmallCNN, make_net
from sklearn.linear_model import LogisticRegression

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
)
from skensemble.deploy import as_module, coded_rows
from skensemble.nn import MLP

RNG = np.random.default_rng(0)
N = 40
NUMBERS = RNG.normal(size=(N, 4))
IMAGES = RNG.random((N, 1, 6, 6)).astype(np.float32)
WORDS = RNG.choice(["a", "b"], N)
FRAME = pd.DataFrame(
    {
        "size": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(size=N)),
        "city": RNG.choice(["Rome", "Oslo", "Lima", None], N),
        "new": RNG.random(N) < 0.5,
    }
)


def net(module=MLP, **arguments):
    return make_net(module, max_epochs=1, **arguments)


MODELS = {
    "student": DistilledClassifier(DeepEnsembleClassifier(net(), 2), net(), random_state=0),
    "temperature": DeepEnsembleClassifier(net(), 4, cross_fit=2, calibrate=True, random_state=0),
    "batch": BatchEnsembleClassifier(net(), 2, random_state=0),
    "pruned": PrunedClassifier(net(), keep=0.5, random_state=0),
    "images": NetworkClassifier(net(SmallCNN), random_state=0),
    "table": NetworkClassifier(random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_exported_programs_predict_the_same(name):
    X = {"images": IMAGES, "table": FRAME}.get(name, NUMBERS)
    model = MODELS[name].fit(X, WORDS)
    rows = torch.tensor(coded_rows(model, X) if name == "table" else X, dtype=torch.float32)
    module = as_module(model)
    free = ({0: torch.export.Dim("n_samples", min=1)},)
    program = torch.export.export(module, (rows[:2],), dynamic_shapes=free)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for n_rows in (1, 5, N):
        expected = model.predict_proba(X[:n_rows])
        for one in (module, again):
            np.testing.assert_allclose(one(rows[:n_rows]), expected, rtol=0, atol=1e-5)


def test_a_module_is_a_copy_and_learns_nothing():
    model = NetworkClassifier(net(), random_state=0).fit(NUMBERS, WORDS)
    before = model.predict_proba(NUMBERS)
    module = as_module(model)
    assert not any(one.requires_grad for one in module.parameters())
    assert not module.training
    with torch.no_grad():
        for one in module.parameters():
            one.zero_()
    assert np.array_equal(model.predict_proba(NUMBERS), before)


def test_what_was_read_may_be_given():
    model = NetworkClassifier(random_state=0).fit(FRAME, WORDS)
    read = torch.from_numpy(model.preprocessor_.transform(FRAME))
    found = as_module(model, preprocessed=True)(read)
    np.testing.assert_allclose(found, model.predict_proba(FRAME), rtol=0, atol=1e-5)


def test_refusals():
    with pytest.raises(TypeError, match="Got LogisticRegression; of a pipeline give the last"):
        as_module(LogisticRegression().fit(NUMBERS, WORDS))
    with pytest.raises(ValueError, match=r"which torch.export has no graph for"):
        as_module(NTKClassifier(net(), random_state=0).fit(NUMBERS, WORDS))
    model = NetworkClassifier(net(), random_state=0).fit(NUMBERS, WORDS)
    with pytest.raises(TypeError, match="Got NetworkClassifier, which is given numbers as they"):
        coded_rows(model, NUMBERS)
