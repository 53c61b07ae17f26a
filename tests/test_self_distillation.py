"""Generations of students."""

import numpy as np
import pytest
import torch
from nets import assert_same_network, make_net, make_points, weights_of
from sklearn.base import clone
from sklearn.datasets import load_iris
from skorch.dataset import ValidSplit

from skensemble import DistilledClassifier, NetworkClassifier, SelfDistiller
from skensemble._seeding import member_seed


def test_generation_zero_is_a_plain_network_and_the_next_is_its_student():
    X, y = make_points()
    born = SelfDistiller(make_net(), 2, temperature=2.0, alpha=0.7, random_state=6).fit(X, y)
    plain = NetworkClassifier(make_net(), random_state=6).fit(X, y)
    assert_same_network(born.generations_[0], plain, atol=0)
    for number in (1, 2):
        student = DistilledClassifier(
            born.generations_[number - 1], make_net(), temperature=2.0, alpha=0.7,
            random_state=member_seed(6, number),
        ).fit(X, y)  # fmt: skip
        assert_same_network(born.generations_[number], student, atol=0)
    modules = [one.module_ for one in born.generations_]
    assert len({id(module) for module in modules}) == 3
    np.testing.assert_array_equal(born.predict_proba(X), born.generations_[-1].predict_proba(X))


def test_generations_may_be_averaged():
    X, y = make_points()
    born = SelfDistiller(make_net(), 2, average_generations=True, random_state=6).fit(X, y)
    mean = np.mean([one.predict_proba(X) for one in born.generations_], 0)
    np.testing.assert_allclose(born.predict_proba(X), mean, atol=1e-12)


@pytest.mark.parametrize("variant", ["label", "cwtm", "dkpp"])
def test_variants_are_different_and_learn(variant):
    X, y = make_points(200)
    net = make_net(max_epochs=20)
    born = SelfDistiller(net, 1, variant=variant, random_state=6).fit(X, y)
    again = clone(born).fit(X, y)
    assert_same_network(born, again, atol=0)
    assert born.score(X, y) > 0.7
    other = SelfDistiller(net, 1, variant="dkpp" if variant != "dkpp" else "cwtm", random_state=6)
    other.fit(X, y)
    assert any((weights_of(other)[k] != v).any() for k, v in weights_of(born).items())


def test_confidence_weights_equal_the_formula():
    X, y = make_points()
    net = make_net(batch_size=-1, optimizer=torch.optim.SGD, max_epochs=4)
    born = SelfDistiller(net, 1, variant="cwtm", temperature=1.0, alpha=1.0, random_state=6)
    born.fit(X, y)
    top = born.generations_[0].predict_proba(X).max(1)
    weighted = NetworkClassifier(net, random_state=member_seed(6, 1)).fit(X, y, sample_weight=top)
    assert_same_network(born, weighted, atol=1e-10)


def test_generations_have_scores_where_rows_are_held_out():
    X, y = load_iris(return_X_y=True)
    assert SelfDistiller(make_net(), 1, random_state=0).fit(X, y).generation_scores_ is None
    net = make_net(train_split=ValidSplit(0.2, stratified=True))
    born = SelfDistiller(net, 2, random_state=0).fit(X, y)
    assert len(born.generation_scores_) == 3
    assert all(0 <= one["valid_acc"] <= 1 for one in born.generation_scores_)
