"""Students against slow trainers written here, and what holds for all of them."""

import copy
from functools import cache

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import (
    ResidualCNN,
    ResidualMLP,
    SmallCNN,
    assert_same_network,
    make_images,
    make_net,
    make_points,
    weights_of,
)
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble._seeding import Purpose, member_seed, purpose_seed
from skensemble.objectives import AttentionTerm, HintTerm, TruncatedTerm

TERMS = (
    "label", "logit", "feature", "hint", "attention", "relation", "truncated", "adaptive",
    "dirichlet", "proxy-dirichlet",
)  # fmt: skip
LAYERED = ("feature", "hint", "attention", "relation")


# -- against a slow trainer ----------------------------------------------------------------


def slow_batches(n_rows, seed, batch_size, epochs):
    draw = torch.Generator().manual_seed(purpose_seed(seed, Purpose.ORDER))
    for _ in range(epochs):
        order = torch.randperm(n_rows, generator=draw)
        yield from (order[at : at + batch_size] for at in range(0, n_rows, batch_size))


def slow_student(recipe, X, y, weight, loss, seed):
    """Train one student by hand; `loss` maps logits, rows to a number."""
    fresh = NetworkClassifier(clone(recipe).set_params(lr=0.0), random_state=seed).fit(X, y)
    module = fresh.module_.train()  # initial weights: nothing was learned
    optimizer = recipe.optimizer(module.parameters(), lr=recipe.lr)
    X, y, weight = (torch.from_numpy(np.asarray(a)) for a in (X, y, weight))
    for rows in slow_batches(len(X), seed, recipe.batch_size, recipe.max_epochs):
        optimizer.zero_grad()
        loss(module(X[rows]), rows).backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_student_equals_a_slow_trainer(teacher, alpha):
    X, y = make_points()
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    net, T = make_net(module__hidden=(7,), batch_size=20, optimizer=torch.optim.SGD, lr=0.1), 3.0
    said = torch.from_numpy(teacher.predict_members(X, response="logit"))
    target = torch.softmax(said / T, -1).mean(0)
    labels, weights = torch.from_numpy(y), torch.from_numpy(weight)

    def loss(s, rows):
        w = weights[rows] / weights[rows].sum()
        total = 0.0
        for i, row in enumerate(rows):
            log_p, log_q = torch.log_softmax(s[i], 0), torch.log_softmax(s[i] / T, 0)
            kl = (target[row] * (target[row].log() - log_q)).sum()
            total = total + w[i] * (-(1 - alpha) * log_p[labels[row]] + alpha * T**2 * kl)
        return total

    expected = slow_student(net, X, y, weight, loss, 11)
    student = DistilledClassifier(teacher, net, temperature=T, alpha=alpha, random_state=11)
    got = weights_of(student.fit(X, y, sample_weight=weight))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-10)


def test_feature_student_equals_a_slow_trainer(teacher):
    X, y = make_points()
    net = make_net(module__hidden=(7,), batch_size=60, max_epochs=3, optimizer=torch.optim.SGD)
    one = teacher[0]
    student = DistilledClassifier(one, net, objective=HintTerm(weight=2.0), random_state=11)
    got = weights_of(student.fit(X, y))

    xs, labels = torch.from_numpy(X), torch.from_numpy(y)
    with torch.no_grad():
        wanted = torch.relu(one.module_.layers[1](xs))
    seed = purpose_seed(11, Purpose.REGRESSOR)
    bound = 7**-0.5
    draw = torch.Generator().manual_seed(seed)
    R = (torch.rand((1, 12, 7), generator=draw, dtype=torch.float64) * 2 * bound - bound)[0]
    R.requires_grad_()
    fresh = NetworkClassifier(clone(net).set_params(lr=0.0), random_state=11).fit(X, y)
    module = fresh.module_.train()
    optimizer = torch.optim.SGD([*module.parameters(), R], lr=net.lr)
    for rows in slow_batches(len(X), 11, 60, 3):
        optimizer.zero_grad()
        hidden = torch.relu(module.layers[1](xs[rows]))
        ce = torch.nn.functional.cross_entropy(module(xs[rows]), labels[rows])
        (ce + 2.0 * ((hidden @ R.T - wanted[rows]) ** 2).mean()).backward()
        optimizer.step()
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(got[name], value.numpy(), rtol=0, atol=1e-10)


# -- invariants ----------------------------------------------------------------------------


def test_alpha_zero_is_plain_training_to_the_bit(teacher):
    X, y = make_points()
    net = make_net(module__dropout=0.2)
    plain = NetworkClassifier(net, random_state=3).fit(X, y)
    student = DistilledClassifier(teacher, net, alpha=0.0, random_state=3).fit(X, y)
    assert_same_network(student, plain, atol=0)
    np.testing.assert_array_equal(student.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("objective", ["label", "logit", "adaptive", "dirichlet"])
def test_alpha_one_does_not_see_the_labels(teacher, objective):
    X, y = make_points()
    student = DistilledClassifier(
        teacher, make_net(), objective=objective, alpha=1.0, random_state=3
    )
    first = copy.deepcopy(weights_of(student.fit(X, y)))
    second = weights_of(student.fit(X, np.random.default_rng(0).permutation(y)))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize("objective", TERMS)
def test_the_teacher_stays_as_it_was(teacher, objective):
    X, y = make_points()
    for member in teacher:
        member.module_.train()  # a mode the student must put back
    before = joblib.hash([weights_of(member) for member in teacher])
    try:
        DistilledClassifier(teacher, make_net(), objective=objective, random_state=0).fit(X, y)
        assert joblib.hash([weights_of(member) for member in teacher]) == before
        assert all(member.module_.training for member in teacher)
    finally:
        for member in teacher:
            member.module_.eval()


@pytest.mark.parametrize("objective", TERMS)
def test_every_objective_moves_the_student_towards_its_teacher(teacher, objective):
    """With shuffled labels only the teacher can tell what is right."""
    X, y = make_points()
    net = make_net(module__hidden=(12,), max_epochs=30)
    settings = {"alpha": 1.0} if objective not in (*LAYERED, "truncated") else {}
    term = objective
    if objective == "truncated":
        term = TruncatedTerm(weight=1000.0)
    student = DistilledClassifier(teacher, net, objective=term, random_state=1, **settings)
    noise = np.random.default_rng(1).permutation(y)
    student.fit(X, noise)
    if objective in LAYERED:
        plain = NetworkClassifier(net, random_state=1).fit(X, noise)
        assert not np.allclose(student.predict_proba(X), plain.predict_proba(X))
    else:
        enough = 0.65 if objective == "truncated" else 0.85  # it keeps all of the labels' term
        assert (student.predict(X) == teacher.predict(X)).mean() > enough


@cache
def digits(optimizer, n_classes):
    """Return training and new rows of handwritten digits, a recipe, and what its networks know."""
    X, y = load_digits(n_class=n_classes, return_X_y=True)
    X = X / 16
    rates = {"Adam": {"lr": 0.01}, "SGD": {"lr": 0.05, "optimizer__momentum": 0.9}}
    net = make_net(
        module__hidden=(32,), batch_size=32, max_epochs=10,
        optimizer=getattr(torch.optim, optimizer), **rates[optimizer],
    )  # fmt: skip
    new = np.arange(len(y)) % 2 == 1
    teacher = DeepEnsembleClassifier(net, 3, random_state=5).fit(X[~new], y[~new])
    plain = NetworkClassifier(net, random_state=0).fit(X[~new], y[~new])
    return X[~new], y[~new], X[new], y[new], net, teacher, plain.score(X[new], y[new])


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
@pytest.mark.parametrize("objective", ["label", "truncated", "adaptive"])
def test_defaults_learn_what_a_network_learns_without_a_teacher(objective, optimizer, n_classes):
    X, y, X_new, y_new, net, teacher, plain = digits(optimizer, n_classes)
    student = DistilledClassifier(teacher, net, objective=objective, random_state=0).fit(X, y)
    assert student.score(X_new, y_new) > plain - 0.03


def test_one_side_as_published_is_an_option_whose_logits_run_away():
    X, y, _, _, net, teacher, _ = digits("Adam", 10)
    published, default = (
        DistilledClassifier(
            teacher, net, objective=TruncatedTerm(one_sided=side), random_state=0
        ).fit(X, y)
        for side in (True, False)
    )
    size = np.abs(published.decision_function(X)).mean()
    assert size > 20 * np.abs(default.decision_function(X)).mean()


@cache
def taught(module):
    """Return rows, labels, a recipe and two networks of it that have learned them."""
    X, y = make_images() if module in (SmallCNN, ResidualCNN) else make_points()
    net = make_net(max_epochs=2) if module is None else make_net(module, max_epochs=2)
    return X, y, net, DeepEnsembleClassifier(net, 2, random_state=9).fit(X, y)


@pytest.mark.parametrize("objective", TERMS)
@pytest.mark.parametrize(
    ("module", "kind"),
    [(None, GraphStack), (ResidualMLP, GraphStack), (SmallCNN, VmapStack),
     (ResidualCNN, VmapStack)],
)  # fmt: skip
def test_students_are_the_same_stacked_and_alone(monkeypatch, objective, module, kind):
    X, y, net, ensemble = taught(module)
    seen = []
    from skensemble._engine.net import StackNet

    train = StackNet.train
    monkeypatch.setattr(
        StackNet, "train", lambda net, *args: (seen.append(type(net.module)), train(net, *args))[1]
    )
    args = {"objective": objective, "n_students": 3, "random_state": 2}
    stacked = DistilledClassifier(ensemble, net, **args).fit(X, y)
    assert seen == [kind]
    alone = DistilledClassifier(ensemble, net, stack=1, **args).fit(X, y)
    assert seen[1:] == [LoopStack] * 3
    for a, b in zip(stacked.estimators_, alone.estimators_, strict=True):
        assert_same_network(a, b, atol=1e-8)


def test_students_differ_by_seed_and_the_first_is_the_only_one(teacher):
    X, y = make_points()
    many = DistilledClassifier(teacher, make_net(), n_students=3, random_state=4).fit(X, y)
    one = DistilledClassifier(teacher, make_net(), random_state=4).fit(X, y)
    first = clone(many).set_params(keep="first").fit(X, y)
    assert [student.random_state for student in many.estimators_] == [
        4, member_seed(4, 1), member_seed(4, 2),
    ]  # fmt: skip
    assert len(first.estimators_) == 1
    assert_same_network(many.estimators_[0], one)
    assert_same_network(first, one)
    mean = np.mean([student.predict_proba(X) for student in many.estimators_], 0)
    np.testing.assert_allclose(many.predict_proba(X), mean, atol=1e-12)
    np.testing.assert_allclose(many.predict_log_proba(X), np.log(mean), atol=1e-10)


@settings(max_examples=8)
@given(st.sampled_from([0.5, 2.0, 5.0]), st.floats(0.1, 1.0), st.integers(0, 100))
def test_a_weight_of_two_is_a_row_twice(temperature, alpha, seed):
    X, y = make_points(20)
    net = make_net(batch_size=-1, optimizer=torch.optim.SGD, iterator_train__shuffle=False)
    said = np.random.default_rng(seed).normal(size=(20, 3))
    student = DistilledClassifier(
        RandomForestClassifier(), net, temperature=temperature, alpha=alpha, random_state=seed
    )
    weight = np.ones(20)
    weight[:5] = 2.0
    a = clone(student).fit(X, y, sample_weight=weight, teacher_logits=said)
    twice = [*range(20), *range(5)]
    b = clone(student).fit(X[twice], y[twice], teacher_logits=said[twice])
    assert_same_network(a, b, atol=1e-9)


# -- layers --------------------------------------------------------------------------------


def test_layers_by_name_differ_from_the_last():
    X, y = make_images()
    net = make_net(SmallCNN, max_epochs=2)
    teacher = NetworkClassifier(net, random_state=1).fit(X, y)
    last, named, first, mapped = (
        DistilledClassifier(
            teacher, net, objective=AttentionTerm(layers=layers), random_state=0
        ).fit(X, y)
        for layers in ("last", ["body.5"], ["body.2"], {"body.2": "body.2"})
    )
    assert_same_network(last, named, atol=0)
    assert_same_network(first, mapped, atol=0)
    assert any((weights_of(first)[k] != v).any() for k, v in weights_of(last).items())


def test_a_wider_teacher_gives_hints_through_a_regressor():
    X, y = make_images()
    teacher = NetworkClassifier(make_net(SmallCNN, module__width=6), random_state=1).fit(X, y)
    for objective in LAYERED:
        net = make_net(SmallCNN, module__width=3, max_epochs=2)
        student = DistilledClassifier(teacher, net, objective=objective, random_state=0).fit(X, y)
        assert np.isfinite(student.predict_proba(X)).all()


@pytest.mark.parametrize("objective", LAYERED)
def test_layer_objectives_want_networks(objective):
    X, y = make_points()
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="compares layers, so the teacher must be made of netw"):
        DistilledClassifier(forest, make_net(), objective=objective).fit(X, y)
    with pytest.raises(ValueError, match="'teacher_logits' are not enough"):
        DistilledClassifier(forest, make_net(), objective=objective).fit(
            X, y, teacher_logits=np.zeros((len(y), 3))
        )


@pytest.mark.parametrize("dtype", [complex, object, str])
def test_teacher_logits_must_be_real_numbers(dtype):
    X, y = make_points()
    student = DistilledClassifier(student=make_net())
    with pytest.raises(ValueError, match="'teacher_logits' must be real numbers. Got the dtype"):
        student.fit(X, y, teacher_logits=np.zeros((len(y), 3)).astype(dtype))
