"""Students of all kinds of teachers, and teachers inside of cross-validation."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from nets import assert_same_network, make_net, make_points, weights_of
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
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
from skensemble.objectives import HintTerm, Term, TruncatedTerm

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
    X, y = make_points()
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
    X, y = make_points()
    X = X.astype(np.float32)
    net = make_net(module__in_shape=(6,), module__n_classes=3, max_epochs=20, verbose=0)
    net = net.fit(X, y) if fitted else net
    student = DistilledClassifier(net, random_state=0, objective="feature").fit(X, y)
    assert isinstance(student.teacher_, type(net) if fitted else NetworkClassifier)
    assert student.score(X, y) > 0.5


def test_no_teacher_is_five_networks_of_the_student():
    X, y = make_points()
    student = DistilledClassifier(student=make_net(), random_state=0).fit(X, y)
    assert isinstance(student.teacher_, DeepEnsembleClassifier)
    assert len(student.teacher_) == 5
    members = {member.random_state for member in student.teacher_}
    assert student.estimators_[0].random_state not in members


def test_no_student_is_the_teachers_member(teacher):
    X, y = make_points()
    for one in (teacher, FrozenEstimator(teacher)):
        student = DistilledClassifier(one, random_state=0).fit(X, y)
        shapes = [p.shape for p in student.module_.parameters()]
        assert shapes == [p.shape for p in teacher[0].module_.parameters()]


def test_a_frozen_teacher_is_used_as_it_is_and_survives_cloning(teacher):
    X, y = make_points()
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

    X, y = make_points()
    args = {"student": make_net(), "random_state": 0}
    a = DistilledClassifier(Backwards().fit(X, y), **args).fit(X, y)
    b = DistilledClassifier(GaussianNB().fit(X, y), **args).fit(X, y)
    assert_same_network(a, b, atol=0)


def test_teacher_logits_may_be_brought(teacher):
    X, y = make_points()
    args = {"student": make_net(), "random_state": 0}
    asked = DistilledClassifier(teacher, **args).fit(X, y)
    said = teacher.predict_members(X, response="logit")
    brought = DistilledClassifier(**args).fit(X, y, teacher_logits=said)
    assert brought.teacher_ is None
    assert_same_network(asked, brought, atol=0)


def test_unlabelled_rows_teach_by_the_teacher_alone(teacher):
    X, y = make_points()
    more = make_points(seed=1)[0]
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
    X, y = make_points()
    more = make_points(200, seed=1)[0]
    net = make_net(batch_size=4)
    student = DistilledClassifier(teacher, net, random_state=0).fit(X, y, X_unlabelled=more)
    assert np.isfinite(student.predict_proba(X)).all()
    assert len(student.history_) == net.max_epochs


def test_validation_rows_and_early_stopping(teacher):
    X, y = make_points(200)
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
        choice = batch.targets["choice"].expand(log_p.shape[:-1]).unsqueeze(-1)
        return -log_p.gather(-1, choice).squeeze(-1).mean(-1)


def test_an_objective_of_ones_own(teacher):
    X, y = make_points()
    net = make_net(max_epochs=30)
    student = DistilledClassifier(teacher, net, objective=Own(), alpha=1.0, random_state=0)
    student.fit(X, np.random.default_rng(0).permutation(y))
    assert Own.calls
    assert (student.predict(X) == teacher.predict(X)).mean() > 0.9


def test_the_temperature_of_a_dirichlet_goes_to_one(teacher, monkeypatch):
    from skensemble import losses

    X, y = make_points()
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
    X, y = make_points()
    args = {"objective": "hint", "n_students": 3, "random_state": 2}
    here = DistilledClassifier(teacher, make_net(), **args).fit(X, y)
    there = DistilledClassifier(teacher, make_net(), n_jobs=2, **args).fit(X, y)
    for a, b in zip(here.estimators_, there.estimators_, strict=True):
        assert_same_network(a, b, atol=1e-10)


def test_class_weights_reach_a_teacher_that_is_fitted_here():
    X, y = make_points()
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
    X, y = make_points()
    args = {"student": make_net(), "random_state": 0}
    mean = teacher.predict_members(X, response="logit").mean(0)
    averaged = DistilledClassifier(teacher, averaging="logit", **args).fit(X, y)
    brought = DistilledClassifier(**args).fit(X, y, teacher_logits=mean)
    assert_same_network(averaged, brought, atol=1e-10)
    usual = DistilledClassifier(teacher, **args).fit(X, y)
    assert not np.allclose(usual.predict_proba(X), averaged.predict_proba(X))
    one, two = (
        DistilledClassifier(teacher, objective=TruncatedTerm(one_sided=side), **args).fit(X, y)
        for side in (True, False)
    )
    assert not np.allclose(one.predict_proba(X), two.predict_proba(X))


# -- errors --------------------------------------------------------------------------------


def test_errors_name_what_is_wrong(teacher):
    X, y = make_points()
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
        DistilledClassifier(teacher, make_net(), objective=HintTerm(layers="nope")).fit(X, y)
    with pytest.raises(ValueError, match="'temperature' parameter of DistilledClassifier"):
        clone(student).set_params(temperature=0.0).fit(X, y)
    with pytest.raises(ValueError, match="expecting 6 features"):
        student.fit(X, y, X_unlabelled=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="'X_unlabelled' and 'transfer' need a teacher's"):
        DistilledClassifier(teacher, make_net(), alpha=0.0).fit(X, y, X_unlabelled=X)


def test_bad_input_leaves_a_fitted_student_as_it_was(teacher):
    X, y = make_points()
    student = DistilledClassifier(teacher, make_net(), random_state=0).fit(X, y)
    before = student.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        student.fit(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="at least 2 classes"):
        student.fit(X, np.zeros(len(y)))
    np.testing.assert_array_equal(student.predict_proba(X), before)


def test_a_student_that_diverges_is_named(teacher):
    X, y = make_points()
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
    X, y = make_points()
    counter = tmp_path / "count"
    student = DistilledClassifier(
        Counting(str(counter)), make_net(max_epochs=1), memory=str(tmp_path / "memory")
    )
    grid = {"temperature": [1.0, 4.0], "alpha": [0.5, 1.0]}
    GridSearchCV(student, grid, cv=3, n_jobs=n_jobs).fit(X, y)
    assert counter.read_text() == "x" * 4


def test_without_memory_every_fit_has_its_teacher(tmp_path):
    X, y = make_points()
    counter = tmp_path / "count"
    student = DistilledClassifier(Counting(str(counter)), make_net(max_epochs=1))
    GridSearchCV(student, {"alpha": [0.5, 1.0]}, cv=3).fit(X, y)
    assert counter.read_text() == "x" * 7


def test_memory_gives_our_teachers_a_fixed_seed(tmp_path):
    X, y = make_points()
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
    net = make_net(module__hidden=(64, 64), max_epochs=60, lr=0.01, batch_size=128)
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
