"""Students of all kinds of teachers, against slow trainers written here."""

import copy
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import ResidualCNN, ResidualMLP, SmallCNN, assert_same_network, make_net, weights_of
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    MemberDivergedError,
    NetworkClassifier,
    SelfDistiller,
)
from skensemble._seeding import Purpose, member_seed, purpose_seed
from skensemble._stacking import GraphStack, LoopStack, VmapStack
from skensemble.objectives import Term

TERMS = (
    "label", "logit", "feature", "hint", "attention", "relation", "truncated", "adaptive",
    "dirichlet", "proxy-dirichlet",
)  # fmt: skip
LAYERED = ("feature", "hint", "attention", "relation")


def data(n_rows=60, n_classes=3, seed=0):
    X, y = make_classification(
        n_rows, 6, n_informative=5, n_redundant=0, n_classes=n_classes, random_state=seed
    )
    return X, y


def images(n_rows=40):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3, 6, 6))
    y = np.arange(n_rows) % 3
    X[np.arange(n_rows), y] += 1.0
    return X, y


@pytest.fixture(scope="module")
def teacher():
    return DeepEnsembleClassifier(make_net(), 3, random_state=5).fit(*data())


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
    X, y = data()
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
    X, y = data()
    net = make_net(module__hidden=(7,), batch_size=60, max_epochs=3, optimizer=torch.optim.SGD)
    one = teacher[0]
    student = DistilledClassifier(one, net, objective="hint", beta=2.0, random_state=11)
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
    X, y = data()
    net = make_net(module__dropout=0.2)
    plain = NetworkClassifier(net, random_state=3).fit(X, y)
    student = DistilledClassifier(teacher, net, alpha=0.0, random_state=3).fit(X, y)
    assert_same_network(student, plain, atol=0)
    np.testing.assert_array_equal(student.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("objective", ["label", "logit", "adaptive", "dirichlet"])
def test_alpha_one_does_not_see_the_labels(teacher, objective):
    X, y = data()
    student = DistilledClassifier(
        teacher, make_net(), objective=objective, alpha=1.0, random_state=3
    )
    first = copy.deepcopy(weights_of(student.fit(X, y)))
    second = weights_of(student.fit(X, np.random.default_rng(0).permutation(y)))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize("objective", TERMS)
def test_the_teacher_stays_as_it_was(teacher, objective):
    X, y = data()
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
    X, y = data()
    net = make_net(module__hidden=(12,), max_epochs=30)
    settings = {"alpha": 1.0} if objective not in (*LAYERED, "truncated") else {}
    if objective == "truncated":
        settings = {"beta": 1000.0}
    student = DistilledClassifier(teacher, net, objective=objective, random_state=1, **settings)
    noise = np.random.default_rng(1).permutation(y)
    student.fit(X, noise)
    if objective in LAYERED:
        plain = NetworkClassifier(net, random_state=1).fit(X, noise)
        assert not np.allclose(student.predict_proba(X), plain.predict_proba(X))
    else:
        enough = 0.65 if objective == "truncated" else 0.85  # it keeps all of the labels' term
        assert (student.predict(X) == teacher.predict(X)).mean() > enough


@pytest.mark.parametrize("objective", TERMS)
@pytest.mark.parametrize(
    ("module", "kind"),
    [(None, GraphStack), (ResidualMLP, GraphStack), (SmallCNN, VmapStack),
     (ResidualCNN, VmapStack)],
)  # fmt: skip
def test_students_are_the_same_stacked_and_alone(monkeypatch, objective, module, kind):
    X, y = data() if kind is GraphStack else images()
    net = make_net(max_epochs=2) if module is None else make_net(module, max_epochs=2)
    ensemble = DeepEnsembleClassifier(net, 2, random_state=9).fit(X, y)
    seen = []
    from skensemble._engine import StackNet

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
    X, y = data()
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
    X, y = data(20)
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


# -- teachers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(20, random_state=0),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        lambda: CalibratedClassifierCV(GaussianNB(), cv=2),
        lambda: NetworkClassifier(make_net(), random_state=0),
        lambda: DeepEnsembleClassifier(make_net(), 2, joint=True, random_state=0),
        lambda: DistilledClassifier(GaussianNB(), make_net(), random_state=0),
        lambda: DistilledClassifier(
            None, make_net(), objective="proxy-dirichlet", n_students=2, random_state=0
        ),
        lambda: SelfDistiller(make_net(), random_state=0),
    ],
)
@pytest.mark.parametrize("fitted", [False, True])
def test_any_classifier_teaches(make, fitted):
    X, y = data()
    labels = np.array(["b", "c", "a"])[y]
    teacher = make().fit(X, labels) if fitted else make()
    net = make_net(module__hidden=(20,), max_epochs=40)
    student = DistilledClassifier(teacher, net, random_state=0, alpha=1.0).fit(X, labels)
    assert (student.teacher_ is teacher) == fitted
    agree = (student.predict(X) == student.teacher_.predict(X)).mean()
    assert agree > 0.85
    assert set(student.classes_) == {"a", "b", "c"}


@pytest.mark.parametrize("fitted", [False, True])
def test_a_skorch_net_teaches(fitted):
    X, y = data()
    X = X.astype(np.float32)
    net = make_net(module__in_shape=(6,), module__n_classes=3, max_epochs=20, verbose=0)
    net = net.fit(X, y) if fitted else net
    student = DistilledClassifier(net, random_state=0, objective="feature").fit(X, y)
    assert isinstance(student.teacher_, type(net) if fitted else NetworkClassifier)
    assert student.score(X, y) > 0.5


def test_no_teacher_is_five_networks_of_the_student():
    X, y = data()
    student = DistilledClassifier(student=make_net(), random_state=0).fit(X, y)
    assert isinstance(student.teacher_, DeepEnsembleClassifier)
    assert len(student.teacher_) == 5
    members = {member.random_state for member in student.teacher_}
    assert student.estimators_[0].random_state not in members


def test_no_student_is_the_teachers_member(teacher):
    X, y = data()
    for one in (teacher, FrozenEstimator(teacher)):
        student = DistilledClassifier(one, random_state=0).fit(X, y)
        shapes = [p.shape for p in student.module_.parameters()]
        assert shapes == [p.shape for p in teacher[0].module_.parameters()]


def test_a_frozen_teacher_is_used_as_it_is_and_survives_cloning(teacher):
    X, y = data()
    frozen = FrozenEstimator(teacher)
    student = clone(DistilledClassifier(frozen, make_net(), random_state=0)).fit(X, y)
    assert student.teacher_.estimator is teacher


def test_classes_are_aligned_whatever_their_order():
    class Backwards(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.inner_ = GaussianNB().fit(X, y)
            self.classes_ = self.inner_.classes_[::-1]
            return self

        def predict_proba(self, X):
            return self.inner_.predict_proba(X)[:, ::-1]

        def predict(self, X):
            return self.inner_.predict(X)

    X, y = data()
    args = {"student": make_net(), "random_state": 0}
    a = DistilledClassifier(Backwards().fit(X, y), **args).fit(X, y)
    b = DistilledClassifier(GaussianNB().fit(X, y), **args).fit(X, y)
    assert_same_network(a, b, atol=0)


def test_teacher_logits_may_be_brought(teacher):
    X, y = data()
    args = {"student": make_net(), "random_state": 0}
    asked = DistilledClassifier(teacher, **args).fit(X, y)
    said = teacher.predict_members(X, response="logit")
    brought = DistilledClassifier(**args).fit(X, y, teacher_logits=said)
    assert brought.teacher_ is None
    assert_same_network(asked, brought, atol=0)


def test_unlabelled_rows_teach_by_the_teacher_alone(teacher):
    X, y = data()
    more = data(seed=1)[0]
    net = make_net(batch_size=-1, optimizer=torch.optim.SGD, iterator_train__shuffle=False)
    student = DistilledClassifier(teacher, net, alpha=0.5, temperature=2.0, random_state=0)
    got = clone(student).set_params(teacher=FrozenEstimator(teacher))
    got = weights_of(got.fit(X, y, X_unlabelled=more))

    everything = np.concatenate([X, more])
    target = torch.softmax(
        torch.from_numpy(teacher.predict_members(everything, response="logit")) / 2.0, -1
    ).mean(0)
    xs, labels = torch.from_numpy(everything), torch.from_numpy(y)
    fresh = NetworkClassifier(clone(net).set_params(lr=0.0), random_state=0).fit(X, y)
    module = fresh.module_.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=net.lr)
    for _ in range(net.max_epochs):
        optimizer.zero_grad()
        s = module(xs)
        ce = torch.nn.functional.cross_entropy(s[: len(y)], labels)
        kl = (target * (target.log() - (s / 2.0).log_softmax(-1))).sum(-1).mean()
        (0.5 * ce + 0.5 * 4.0 * kl).backward()
        optimizer.step()
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(got[name], value.numpy(), rtol=0, atol=1e-10)


def test_unlabelled_rows_in_small_batches_stay_finite(teacher):
    X, y = data()
    more = data(200, seed=1)[0]
    net = make_net(batch_size=4)
    student = DistilledClassifier(teacher, net, random_state=0).fit(X, y, X_unlabelled=more)
    assert np.isfinite(student.predict_proba(X)).all()
    assert len(student.history_) == net.max_epochs


def test_validation_rows_and_early_stopping(teacher):
    X, y = data(200)
    net = make_net(
        train_split=ValidSplit(0.25, stratified=True), max_epochs=60,
        callbacks=[EarlyStopping(patience=3, load_best=True)],
    )  # fmt: skip
    student = DistilledClassifier(teacher, net, n_students=3, random_state=0).fit(X, y)
    assert {"valid_loss", "valid_acc"} <= set(student.history_[0])
    assert len({len(one.history_) for one in student.estimators_}) > 1


class Own(Term):
    """A user's term: cross-entropy with the teacher's choice."""

    calls: ClassVar[list[int]] = []

    def targets(self, teacher):
        return {"choice": teacher.mean(-2).argmax(-1)}

    def __call__(self, logits, batch):
        self.calls.append(len(logits))
        log_p = logits.log_softmax(-1)
        choice = batch.extras["choice"].expand(log_p.shape[:-1]).unsqueeze(-1)
        return -log_p.gather(-1, choice).squeeze(-1).mean(-1)


def test_an_objective_of_ones_own(teacher):
    X, y = data()
    net = make_net(max_epochs=30)
    student = DistilledClassifier(teacher, net, objective=Own(), alpha=1.0, random_state=0)
    student.fit(X, np.random.default_rng(0).permutation(y))
    assert Own.calls
    assert (student.predict(X) == teacher.predict(X)).mean() > 0.9


def test_the_temperature_of_a_dirichlet_goes_to_one(teacher, monkeypatch):
    from skensemble import losses

    X, y = data()
    seen = []
    nll = losses.dirichlet_nll

    def spy(*args, temperature):
        seen.append(temperature)
        return nll(*args, temperature=temperature)

    monkeypatch.setattr(losses, "dirichlet_nll", spy)
    net = make_net(max_epochs=5, batch_size=-1)
    DistilledClassifier(teacher, net, objective="dirichlet", temperature=9.0).fit(X, y)
    assert seen == [9.0, 9.0, 9.0, 5.0, 1.0]


def test_layers_travel_to_workers(teacher):
    X, y = data()
    args = {"objective": "hint", "n_students": 3, "random_state": 2}
    here = DistilledClassifier(teacher, make_net(), **args).fit(X, y)
    there = DistilledClassifier(teacher, make_net(), n_jobs=2, **args).fit(X, y)
    for a, b in zip(here.estimators_, there.estimators_, strict=True):
        assert_same_network(a, b, atol=1e-10)


def test_class_weights_reach_a_teacher_that_is_fitted_here():
    X, y = data()
    seen = []

    class Spy(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    weights = {0: 3.0, 1: 1.0, 2: 0.5}
    DistilledClassifier(Spy(), make_net(), class_weight=weights, random_state=0).fit(X, y)
    np.testing.assert_allclose(seen[0], np.array([3.0, 1.0, 0.5])[y])
    pipe = make_pipeline(StandardScaler(), Spy())
    DistilledClassifier(pipe, make_net(), random_state=0).fit(X, y, sample_weight=y + 1.0)
    np.testing.assert_allclose(seen[1], y + 1.0)
    knn = DistilledClassifier(KNeighborsClassifier(), make_net())
    with pytest.raises(ValueError, match="must take 'sample_weight' in fit"):
        knn.fit(X, y, sample_weight=y + 1.0)


def test_mean_logits_and_two_sides_are_options_that_count(teacher):
    X, y = data()
    args = {"student": make_net(), "random_state": 0}
    mean = teacher.predict_members(X, response="logit").mean(0)
    averaged = DistilledClassifier(teacher, averaging="logit", **args).fit(X, y)
    brought = DistilledClassifier(**args).fit(X, y, teacher_logits=mean)
    assert_same_network(averaged, brought, atol=1e-10)
    usual = DistilledClassifier(teacher, **args).fit(X, y)
    assert not np.allclose(usual.predict_proba(X), averaged.predict_proba(X))
    one, two = (
        DistilledClassifier(teacher, objective="truncated", one_sided=side, **args).fit(X, y)
        for side in (True, False)
    )
    assert not np.allclose(one.predict_proba(X), two.predict_proba(X))


# -- layers --------------------------------------------------------------------------------


def test_layers_by_name_differ_from_the_last():
    X, y = images()
    net = make_net(SmallCNN, max_epochs=2)
    teacher = NetworkClassifier(net, random_state=1).fit(X, y)
    args = {"student": net, "objective": "attention", "random_state": 0}
    last = DistilledClassifier(teacher, **args).fit(X, y)
    named = DistilledClassifier(teacher, layers=["body.5"], **args).fit(X, y)
    first = DistilledClassifier(teacher, layers=["body.2"], **args).fit(X, y)
    mapped = DistilledClassifier(teacher, layers={"body.2": "body.2"}, **args).fit(X, y)
    assert_same_network(last, named, atol=0)
    assert_same_network(first, mapped, atol=0)
    assert any((weights_of(first)[k] != v).any() for k, v in weights_of(last).items())


def test_a_wider_teacher_gives_hints_through_a_regressor():
    X, y = images()
    teacher = NetworkClassifier(make_net(SmallCNN, module__width=6), random_state=1).fit(X, y)
    for objective in LAYERED:
        net = make_net(SmallCNN, module__width=3, max_epochs=2)
        student = DistilledClassifier(teacher, net, objective=objective, random_state=0).fit(X, y)
        assert np.isfinite(student.predict_proba(X)).all()


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", LAYERED)
def test_layer_objectives_want_networks(objective):
    X, y = data()
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="compares layers, so the teacher must be made of netw"):
        DistilledClassifier(forest, make_net(), objective=objective).fit(X, y)
    with pytest.raises(ValueError, match="'teacher_logits' are not enough"):
        DistilledClassifier(forest, make_net(), objective=objective).fit(
            X, y, teacher_logits=np.zeros((len(y), 3))
        )


def test_errors_name_what_is_wrong(teacher):
    X, y = data()
    student = DistilledClassifier(teacher, make_net(), random_state=0)
    with pytest.raises(ValueError, match=r"same classes. Got \[2\] known to the teacher alone"):
        clone(student).set_params(teacher=FrozenEstimator(teacher)).fit(X[y < 2], y[y < 2])
    ridge = DistilledClassifier(RidgeClassifier().fit(X, y), make_net())
    with pytest.raises(TypeError, match="must have predict_proba. Got RidgeClassifier"):
        ridge.fit(X, y)
    with pytest.raises(ValueError, match=r"n_classes\) = \(60, 3\).*Got \(60, 2"):
        student.fit(X, y, teacher_logits=np.zeros((60, 2)))
    with pytest.raises(ValueError, match="must be finite"):
        student.fit(X, y, teacher_logits=np.full((60, 3), np.nan))
    with pytest.raises(ValueError, match="'layers' must name modules of the teacher"):
        DistilledClassifier(teacher, make_net(), objective="hint", layers="nope").fit(X, y)
    with pytest.raises(ValueError, match="'temperature' parameter of DistilledClassifier"):
        clone(student).set_params(temperature=0.0).fit(X, y)
    with pytest.raises(ValueError, match="expecting 6 features"):
        student.fit(X, y, X_unlabelled=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="'X_unlabelled' needs a teacher's term"):
        DistilledClassifier(teacher, make_net(), alpha=0.0).fit(X, y, X_unlabelled=X)


def test_bad_input_leaves_a_fitted_student_as_it_was(teacher):
    X, y = data()
    student = DistilledClassifier(teacher, make_net(), random_state=0).fit(X, y)
    before = student.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        student.fit(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="at least 2 classes"):
        student.fit(X, np.zeros(len(y)))
    np.testing.assert_array_equal(student.predict_proba(X), before)


def test_a_student_that_diverges_is_named(teacher):
    X, y = data()
    net = make_net(optimizer=torch.optim.SGD, lr=1e30)
    with pytest.raises(MemberDivergedError, match="member 0 in epoch"):
        DistilledClassifier(teacher, net, objective="logit", random_state=0).fit(X, y)


# -- cross-validation ----------------------------------------------------------------------


class Counting(GaussianNB):
    """Counts its fits in a file that all processes share."""

    def __init__(self, path=None):
        super().__init__()
        self.path = path

    def fit(self, X, y, sample_weight=None):
        with open(self.path, "a") as file:
            file.write("x")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_memory_fits_a_teacher_once_a_fold(tmp_path, n_jobs):
    X, y = data()
    counter = tmp_path / "count"
    student = DistilledClassifier(
        Counting(str(counter)), make_net(max_epochs=1), memory=str(tmp_path / "memory")
    )
    grid = {"temperature": [1.0, 4.0], "alpha": [0.5, 1.0]}
    GridSearchCV(student, grid, cv=3, n_jobs=n_jobs).fit(X, y)
    assert counter.read_text() == "x" * 4


def test_without_memory_every_fit_has_its_teacher(tmp_path):
    X, y = data()
    counter = tmp_path / "count"
    student = DistilledClassifier(Counting(str(counter)), make_net(max_epochs=1))
    GridSearchCV(student, {"alpha": [0.5, 1.0]}, cv=3).fit(X, y)
    assert counter.read_text() == "x" * 7


def test_memory_gives_our_teachers_a_fixed_seed(tmp_path):
    X, y = data()
    ensemble = DeepEnsembleClassifier(make_net(), 2)
    students = [
        DistilledClassifier(ensemble, make_net(), memory=str(tmp_path)).fit(X, y) for _ in range(2)
    ]
    a, b = (student.teacher_.predict_proba(X) for student in students)
    np.testing.assert_array_equal(a, b)
    assert any(
        (weights_of(students[0])[name] != value).any()
        for name, value in weights_of(students[1]).items()
    )


def test_a_teacher_that_saw_the_test_rows_leaks_their_labels():
    """Noise for labels: chance is all that an honest student can have."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 10)), rng.integers(0, 2, 300)
    teacher = RandomForestClassifier(50, random_state=0).fit(X, y)
    net = make_net(module__hidden=(64, 64), max_epochs=60, lr=0.01)
    args = {"student": net, "alpha": 1.0, "temperature": 1.0, "random_state": 0}
    more = X  # the rows a leaking study distils on: its test rows are among them

    def scores(frozen):
        honest = DistilledClassifier(FrozenEstimator(teacher) if frozen else teacher, **args)
        found = []
        for train in np.arange(300).reshape(5, 60):
            kept = np.setdiff1d(np.arange(300), train)
            student = clone(honest).fit(X[kept], y[kept], X_unlabelled=more if frozen else None)
            found.append(student.score(X[train], y[train]))
        return np.mean(found)

    assert abs(scores(frozen=False) - 0.5) < 0.08
    assert scores(frozen=True) > 0.65
    honest = cross_val_score(DistilledClassifier(teacher, **args), X, y, cv=5).mean()
    assert abs(honest - 0.5) < 0.08


# -- self-distillation ---------------------------------------------------------------------


def test_generation_zero_is_a_plain_network_and_the_next_is_its_student():
    X, y = data()
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
    X, y = data()
    born = SelfDistiller(make_net(), 2, average_generations=True, random_state=6).fit(X, y)
    mean = np.mean([one.predict_proba(X) for one in born.generations_], 0)
    np.testing.assert_allclose(born.predict_proba(X), mean, atol=1e-12)


@pytest.mark.parametrize("variant", ["label", "cwtm", "dkpp"])
def test_variants_are_different_and_learn(variant):
    X, y = data(200)
    net = make_net(max_epochs=20)
    born = SelfDistiller(net, 1, variant=variant, random_state=6).fit(X, y)
    again = clone(born).fit(X, y)
    assert_same_network(born, again, atol=0)
    assert born.score(X, y) > 0.7
    other = SelfDistiller(net, 1, variant="dkpp" if variant != "dkpp" else "cwtm", random_state=6)
    other.fit(X, y)
    assert any((weights_of(other)[k] != v).any() for k, v in weights_of(born).items())


def test_confidence_weights_equal_the_formula():
    X, y = data()
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
