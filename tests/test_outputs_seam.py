"""Outputs need not be logits: a regressor needs nothing new of engine, fits and files."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from nets import make_net
from sklearn.base import RegressorMixin

import skensemble
from skensemble._base.estimator import BaseNetworks
from skensemble._base.single import SingleModule
from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.training import Training
from skensemble._files.registry import in_files
from skensemble._fits.given import Given
from skensemble._fits.running import fit_alone
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import member_seed
from skensemble.objectives import Objective

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
TARGET = X[:, 0] - 2 * X[:, 1]


@dataclass(frozen=True, eq=False)
class Squares(Objective):
    """Mean of squared errors, one a member."""

    def __call__(self, outputs, batch):
        return ((outputs - batch.y) ** 2).sum(-1).mean(-1)

    def held_out_scores(self, outputs, batch):
        return {"valid_error": (outputs - batch.y).abs().sum(-1)}


@in_files
class OneMean(SingleModule, RegressorMixin):
    """One network of a regressor."""

    def __init__(self, estimator=None, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def _steps(self, given):
        raise AssertionError("members are made by their ensemble")

    def _networks(self):
        return [self.module_]


@in_files
class Means(BaseNetworks, RegressorMixin):
    """The mean of networks that learn numbers."""

    _members_attribute = "estimators_"

    def __init__(self, estimator=None, stack="auto", held_out=None, random_state=None):
        self.estimator = estimator
        self.stack = stack
        self.held_out = held_out
        self.random_state = random_state

    def fit(self, X, y):
        fit_alone(self, Given(X, y))
        return self

    def _steps(self, given):
        X = self._check_X(given.X, reset=True)
        recipe = read_recipe(self.estimator).bind(X, 1)
        data = FitData(X, np.asarray(given.y, float)[:, None], None, np.arange(len(X)))
        if self.held_out is not None:
            rows = data.rows
            data = replace(
                data, rows=rows[self.held_out :], valid=replace(data, rows=rows[: self.held_out])
            )
        seeds = [member_seed(self.random_state, number) for number in range(3)]
        members = [Member(n, seed, recipe, Squares(), data) for n, seed in enumerate(seeds)]
        training = Training(members, self.stack)
        yield training
        self._recipe = recipe
        self.estimators_ = [
            self._make_member(recipe, seed, training.results[n]) for n, seed in enumerate(seeds)
        ]

    def _make_member(self, recipe, seed, result):
        member = OneMean(self.estimator, seed)
        self._share_fitted(member)
        member._set_result(recipe, result)
        return member

    def _networks(self):
        return [member.module_ for member in self.estimators_]

    def predict(self, X):
        return self._collect(X, lambda outputs: outputs.mean(0)[:, 0])


def make_means(**kwargs):
    net = make_net(optimizer=torch.optim.Adam, lr=0.02, max_epochs=60)
    return Means(net, random_state=0, **kwargs)


def test_numbers_are_learned_in_stacks_as_one_by_one(tmp_path):
    together, alone = (make_means(stack=stack).fit(X, TARGET) for stack in ("auto", 1))
    assert together.score(X, TARGET) > 0.8
    np.testing.assert_allclose(together.predict(X), alone.predict(X), atol=1e-10)
    together.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_array_equal(again.predict(X), together.predict(X))


def test_what_is_measured_on_held_out_rows_is_the_objectives_word():
    fitted = make_means(held_out=20).fit(X, TARGET)
    for member in fitted.estimators_:
        row = member.history_[-1]
        assert "valid_acc" not in row
        with torch.no_grad():
            said = member.module_(torch.from_numpy(X[:20]))[:, 0].numpy()
        assert row["valid_error"] == pytest.approx(np.abs(said - TARGET[:20]).mean())
