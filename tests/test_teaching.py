"""What students hear beside a teacher's word on the rows it was trained on."""

import pickle

import numpy as np
import pandas as pd
import pytest
from nets import make_net, make_points
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    StackedGridSearchCV,
    TeacherCommittee,
)
from skensemble._base.folds import make_folds
from skensemble._data.rows import FitData
from skensemble._engine.training import Training
from skensemble._seeding import Purpose, purpose_seed
from skensemble.distillation import targets, transferring
from skensemble.objectives import HintTerm
from skensemble.transfer import Mixup, Munge

EPS = np.finfo(np.float32).eps
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


def same(a, b, X, tolerance=0.0):
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=0, atol=tolerance)


def tempered(log_proba, y):
    """Divide by the temperature of least log loss, with a prior at one; never sharpen."""

    def loss(log_t):
        said = log_softmax(log_proba / np.exp(log_t), axis=1)
        return -said[np.arange(len(y)), y].sum() + 0.5 * (log_t / 0.2) ** 2

    found = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    return log_proba / max(1.0, np.exp(found.x))


class Mixed:
    """Rows with two categories and gaps, whose label is noise or not."""

    def __init__(self, n=90, seed=0):
        rng = np.random.default_rng(seed)
        number = rng.standard_normal(n)
        self.X = pd.DataFrame(
            {
                "number": np.where(rng.random(n) < 0.1, np.nan, number),
                "count": rng.integers(0, 5, n),
                "city": pd.Categorical(rng.choice(["Rome", "Oslo", "Lima"], n)),
            }
        )
        self.y = (number + (self.X["city"] == "Oslo") > 0).to_numpy().astype(int)


def counted(monkeypatch):
    """Count the members of every training from now on."""
    trained, run = [], Training.run

    def count(self):
        trained.append(len(self.members))
        run(self)

    monkeypatch.setattr(Training, "run", count)
    return trained


# -- rows that a teacher has not seen ---------------------------------------------------------


@pytest.mark.parametrize(
    "teacher",
    [
        RandomForestClassifier(20, random_state=0),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)),
    ],
)
def test_training_rows_are_spoken_of_by_those_who_have_not_seen_them(teacher):
    X, y = make_points()
    settings = {"student": make_net(), "random_state": 3}
    student = DistilledClassifier(teacher, teacher_cv=FOLDS, **settings).fit(X, y)
    proba = cross_val_predict(teacher, X, y, cv=FOLDS, method="predict_proba")
    logits = tempered(np.log(np.maximum(proba, EPS)), y)
    same(student, DistilledClassifier(**settings).fit(X, y, teacher_logits=logits), X, 1e-4)
    np.testing.assert_array_equal(
        student.teacher_.predict_proba(X), clone(teacher).fit(X, y).predict_proba(X)
    )


def test_members_of_a_cross_fitted_ensemble_have_left_rows_out_already(monkeypatch):
    X, y = make_points()
    trained = []
    run = Training.run
    monkeypatch.setattr(
        Training, "run", lambda self: (trained.append(len(self.members)), run(self))
    )
    teacher = DeepEnsembleClassifier(make_net(), 3, cross_fit=3, random_state=0)
    student = DistilledClassifier(teacher, make_net(), teacher_cv=3, random_state=0).fit(X, y)
    assert trained == [3, 1]
    logits = np.log(np.maximum(student.teacher_.oof_proba_, EPS))
    again = DistilledClassifier(None, make_net(), random_state=0)
    same(student, again.fit(X, y, teacher_logits=logits), X, 1e-6)


def test_left_out_words_of_a_calibrated_ensemble_are_calibrated():
    X, y = make_points(300)
    net = make_net(max_epochs=2)  # which is less sure than it is right
    teacher = DeepEnsembleClassifier(net, 6, cross_fit=2, calibrate=True, random_state=0)
    student = DistilledClassifier(teacher, make_net(), teacher_cv=3, random_state=0).fit(X, y)
    ensemble = student.teacher_
    assert abs(ensemble.temperature_ - 1) > 0.05
    logits = np.log(np.maximum(ensemble.oof_proba_, EPS)) / ensemble.temperature_
    again = DistilledClassifier(None, make_net(), random_state=0)
    same(student, again.fit(X, y, teacher_logits=logits), X, 1e-6)


def test_twins_of_ours_are_trained_beside_their_teacher(monkeypatch):
    X, y = make_points()
    trained = []
    run = Training.run
    monkeypatch.setattr(
        Training, "run", lambda self: (trained.append(len(self.members)), run(self))
    )
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=0)
    student = DistilledClassifier(
        teacher, make_net(), objective="adaptive", teacher_cv=3, random_state=0
    ).fit(X, y)
    assert sum(trained) == 2 * 4 + 1
    same(student.teacher_, teacher.fit(X, y), X, 1e-6)
    assert student.score(X, y) > 0.6


def test_noise_is_learned_by_heart_only_from_a_teacher_who_knows_it():
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 2, 300)
    net = make_net(max_epochs=60, lr=0.02, module__hidden=(64,))
    student = DistilledClassifier(
        RandomForestClassifier(30, random_state=0), net,
        temperature=0.5, alpha=1.0, random_state=0,
    )  # fmt: skip
    by_heart = student.fit(X, y).score(X, y)
    # What is left is each row's part in what twins say of its neighbours.
    assert student.set_params(teacher_cv=4).fit(X, y).score(X, y) < by_heart - 0.05


def test_nothing_leaks_through_defaults_in_cross_validation():
    X = np.random.default_rng(0).standard_normal((160, 3))
    y = np.random.default_rng(1).integers(0, 2, 160)
    student = DistilledClassifier(RandomForestClassifier(20, random_state=0), random_state=0)
    assert 0.35 < cross_val_score(student.set_params(patience=1), X, y, cv=2).mean() < 0.65


def test_members_of_a_student_hear_one_twin_each():
    X, y = make_points()
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0)
    many = BatchEnsembleClassifier(make_net(), 2)
    student = DistilledClassifier(ensemble, many, teacher_cv=FOLDS, random_state=0).fit(X, y)
    logits = np.empty((2, len(X), 3))
    for train, held in FOLDS.split(X, y):
        twin = clone(ensemble).fit(X[train], y[train])
        logits[:, held] = twin.predict_members(X[held], response="logit")
    mean = np.log(np.mean(softmax(logits, -1), 0))
    logits /= np.median(mean / tempered(mean, y))
    alike = DistilledClassifier(None, clone(many), random_state=0)
    same(student, alike.fit(X, y, teacher_logits=logits), X, 1e-4)


def test_kernels_hear_of_rows_that_were_left_out():
    X, y = make_points()
    forest = RandomForestClassifier(20, random_state=0)
    kernel = NTKClassifier(make_net())
    student = DistilledClassifier(forest, kernel, teacher_cv=FOLDS, random_state=0).fit(X, y)
    proba = cross_val_predict(forest, X, y, cv=FOLDS, method="predict_proba")
    logits = tempered(np.log(np.maximum(proba, EPS)), y)
    alike = DistilledClassifier(None, clone(kernel), random_state=0)
    same(student, alike.fit(X, y, teacher_logits=logits), X, 1e-5)


def test_a_student_of_many_members_follows_the_rules_too():
    data = Mixed(60)
    student = DistilledClassifier(
        GaussianFast(), BatchEnsembleClassifier(n_estimators=2), averaging="proba",
        transfer_size=1, patience=1, random_state=0,
    ).fit(data.X, data.y)  # fmt: skip
    assert student.predict_proba(data.X).shape == (60, 2)
    assert "valid_acc" in student.history_[-1]


def test_a_class_that_a_fold_lacks_is_unlikely_there():
    X, y = make_points()
    y = np.where(np.arange(len(y)) == 7, 9, y)
    student = DistilledClassifier(GaussianFast(), make_net(), teacher_cv=2, random_state=0)
    assert student.fit(X, y).predict_proba(X).shape == (len(X), 4)


class GaussianFast(ClassifierMixin, BaseEstimator):
    """Says how often each class was seen, and remembers the rows it was given."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.share_, self.seen_ = counts / counts.sum(), X
        return self

    def predict_proba(self, X):
        type(self).asked = [*getattr(type(self), "asked", []), X]
        return np.tile(self.share_, (len(X), 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


def test_what_cannot_be_left_out_is_refused():
    X, y = make_points()
    with pytest.raises(ValueError, match="'teacher_cv' must be at most the number of rows, 60"):
        DistilledClassifier(LogisticRegression(), make_net(), teacher_cv=61).fit(X, y)
    fitted = LogisticRegression().fit(X, y)
    net = make_net()
    with pytest.raises(ValueError, match="needs a teacher that is fitted here"):
        DistilledClassifier(FrozenEstimator(fitted), net, teacher_cv=3).fit(X, y)
    with pytest.raises(ValueError, match="asks the teacher about rows that nobody has seen"):
        DistilledClassifier(None, net, teacher_cv=3, augmentation="mixup").fit(X, y)
    with pytest.raises(ValueError, match="compares layers"):
        DistilledClassifier(None, net, teacher_cv=3, objective=HintTerm()).fit(X, y)
    with pytest.raises(ValueError, match="are what a teacher says already"):
        DistilledClassifier(None, net, teacher_cv=3).fit(X, y, teacher_logits=np.zeros((60, 3)))
    with pytest.raises(ValueError, match="'teacher_cv' parameter"):
        DistilledClassifier(None, net, teacher_cv=1).fit(X, y)


# -- transfer rows -----------------------------------------------------------------------------


def test_transfer_rows_are_unlabelled_rows_that_a_sampler_makes():
    X, y = make_points()
    settings = {"student": make_net(), "random_state": 3}
    teacher = FrozenEstimator(LogisticRegression().fit(X, y))
    made = Munge(swap=0.3).over(X, purpose_seed(3, Purpose.TRANSFER)).rows(np.arange(2 * len(X)))
    student = DistilledClassifier(teacher, transfer=Munge(swap=0.3), transfer_size=2, **settings)
    alike = DistilledClassifier(teacher, **settings).fit(X, y, X_unlabelled=made)
    same(student.fit(X, y), alike, X)


def test_rows_that_are_made_for_each_batch_are_those_that_are_kept(monkeypatch):
    X, y = make_points()
    student = DistilledClassifier(
        LogisticRegression(), make_net(), transfer="mixup", patience=2, random_state=0
    )
    kept = clone(student).fit(X, y)
    monkeypatch.setattr(transferring, "_KEPT_BYTES", 0)
    same(kept, student.fit(X, y), X)


def test_a_teacher_is_asked_in_parts_where_it_says_much(monkeypatch):
    X, y = make_points()
    teacher = FrozenEstimator(DeepEnsembleClassifier(make_net(), 3, random_state=0).fit(X, y))
    student = DistilledClassifier(teacher, make_net(), transfer="noise", random_state=0)
    whole = clone(student).fit(X, y)
    twins = clone(student).set_params(teacher=clone(teacher.estimator), teacher_cv=3)
    whole_twins = clone(twins).fit(X, y)
    monkeypatch.setattr(targets, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(targets, "_CHUNK_NUMBERS", 1)
    same(whole, student.fit(X, y), X, 1e-5)
    same(whole_twins, twins.fit(X, y), X, 1e-5)


def test_a_teacher_of_raw_tables_is_asked_about_frames_of_the_same_kind():
    data = Mixed()
    GaussianFast.asked = []
    student = DistilledClassifier(GaussianFast(), patience=1, random_state=0).fit(data.X, data.y)
    assert student.predict_proba(data.X).shape == (90, 2)
    n_made = 0
    for X in GaussianFast.asked:
        assert (X.dtypes == data.X.dtypes).all()
        assert set(X["city"]) <= {"Rome", "Oslo", "Lima"}
        assert set(X["count"]) <= set(data.X["count"])
        n_made += len(X)
    assert n_made == 90 + 90 + 9 * 90  # twins on their folds, the whole table, transfer rows


def test_the_scale_of_weights_does_not_matter_to_transfer_rows():
    X, y = make_points()
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    teacher = FrozenEstimator(LogisticRegression().fit(X, y))
    student = DistilledClassifier(teacher, make_net(), transfer="munge", random_state=0)
    light, heavy = (clone(student).fit(X, y, scale * weight) for scale in (1, 1000))
    same(light, heavy, X, 1e-6)
    same(clone(student).fit(X, y, np.full(len(y), 7.0)), clone(student).fit(X, y), X, 1e-6)


class Sampling:
    """Any object with the method."""

    def __init__(self, share=1):
        self.share = share

    def sample(self, X, n, random_state):
        n *= self.share
        return X[np.random.default_rng(random_state).integers(len(X), size=n)]


def test_an_object_of_the_users_samples():
    X, y = make_points()
    student = DistilledClassifier(
        LogisticRegression(), make_net(), transfer=Sampling(), transfer_size=1, random_state=0
    )
    rows = Sampling().sample(X, len(X), purpose_seed(0, Purpose.TRANSFER))
    alike = clone(student).set_params(transfer=None).fit(X, y, X_unlabelled=rows)
    same(student.fit(X, y), alike, X)


def test_what_cannot_be_transferred_is_refused():
    X, y = make_points()
    with pytest.raises(ValueError, match="'teacher_logits' are not enough"):
        DistilledClassifier(None, make_net(), transfer="munge").fit(
            X, y, teacher_logits=np.zeros((60, 3))
        )
    with pytest.raises(ValueError, match="need a teacher's term"):
        DistilledClassifier(None, make_net(), transfer="munge", alpha=0.0).fit(X, y)
    images = np.zeros((60, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match=r"of Munge must be a table of shape"):
        DistilledClassifier(
            FrozenEstimator(GaussianFast().fit(images, y)), make_net(), transfer="munge"
        ).fit(images, y)
    nothing = Sampling(0)
    with pytest.raises(ValueError, match="must return rows from sample"):
        DistilledClassifier(LogisticRegression(), make_net(), transfer=nothing).fit(X, y)
    with pytest.raises(ValueError, match="'transfer_size' parameter"):
        DistilledClassifier(None, make_net(), transfer_size=0).fit(X, y)
    with pytest.raises(ValueError, match="learns no rows but those"):
        DistilledClassifier(None, NTKClassifier(make_net()), transfer="munge").fit(X, y)


def test_parameters_of_samplers_are_searched():
    X, y = make_points()
    student = DistilledClassifier(
        LogisticRegression(), make_net(), transfer=Munge(), transfer_size=1, random_state=0
    )
    grid = {"transfer__swap": [0.1, 0.9], "temperature": [1, 4]}
    stacked = StackedGridSearchCV(student, grid, cv=2).fit(X, y)
    plain = GridSearchCV(student, grid, cv=2).fit(X, y)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_defaults_are_searched_as_scikit_learn_does():
    data = Mixed(60)
    student = DistilledClassifier(
        DecisionTreeClassifier(random_state=0), patience=1, transfer_size=1, random_state=0
    )
    pipe_free = data.X[["number", "count"]].fillna(0.0)
    grid = {"alpha": [0.5, 0.9]}
    stacked = StackedGridSearchCV(student, grid, cv=2, scoring="neg_log_loss").fit(
        pipe_free, data.y
    )
    plain = GridSearchCV(student, grid, cv=2, scoring="neg_log_loss").fit(pipe_free, data.y)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-5
    )


# -- patience ----------------------------------------------------------------------------------


def test_a_recipe_means_what_it_says_until_it_is_asked_for_more():
    X, y = make_points()
    student = DistilledClassifier(LogisticRegression(), make_net(max_epochs=4), random_state=0)
    assert len(student.fit(X, y).history_) == 4
    assert len(student.set_params(patience=2.5).fit(X, y).history_) == 10
    longer = DistilledClassifier(LogisticRegression(), make_net(max_epochs=10), random_state=0)
    same(student, longer.fit(X, y), X)


def test_a_student_stops_where_it_agrees_no_better():
    X, y = make_points()
    student = DistilledClassifier(
        LogisticRegression(), make_net(max_epochs=30, lr=0.05), transfer="munge", patience=20,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    history = student.history_
    assert len(history) < 600
    best = min(range(len(history)), key=lambda epoch: history[epoch]["valid_loss"])
    assert len(history) - 1 - best == round(0.15 * 600)


def test_held_out_transfer_rows_are_scored_by_their_teacher():
    X, y = make_points()
    constant = GaussianFast().fit(X, np.where(np.arange(len(y)) % 10, 1, y))
    student = DistilledClassifier(
        FrozenEstimator(constant), make_net(), transfer="munge", patience=2, alpha=1.0,
        temperature=1.0, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert student.history_[-1]["valid_acc"] == 1.0


def test_a_cosine_as_long_as_the_recipe_is_stretched_with_it():
    X, y = make_points()
    net, longer = (
        make_net(
            max_epochs=epochs, callbacks=[("rate", LRScheduler("CosineAnnealingLR", T_max=epochs))]
        )
        for epochs in (5, 10)
    )
    student = DistilledClassifier(LogisticRegression(), net, patience=2, random_state=0)
    plain = DistilledClassifier(LogisticRegression(), longer, random_state=0)
    same(student.fit(X, y), plain.fit(X, y), X)
    assert net.callbacks[0][1].kwargs == {"T_max": 5}


def test_a_rule_of_the_users_is_the_only_one():
    X, y = make_points()
    net = make_net(max_epochs=10, train_split=ValidSplit(0.2, random_state=0))
    net.set_params(callbacks=[("stop", EarlyStopping(patience=2, monitor="valid_loss"))])
    student = DistilledClassifier(LogisticRegression(), net, patience=3, random_state=0)
    longer = clone(net).set_params(max_epochs=30)
    plain = DistilledClassifier(LogisticRegression(), longer, random_state=0)
    same(student.fit(X, y), plain.fit(X, y), X)


# -- several teachers --------------------------------------------------------------------------


def test_a_committee_is_the_mean_of_its_teachers():
    X, y = make_points()
    both = [LogisticRegression(), RandomForestClassifier(20, random_state=0)]
    named = [(str(at), one) for at, one in enumerate(both)]
    for weights in (None, [3, 1]):
        ours = TeacherCommittee(both, weights).fit(X, y)
        theirs = VotingClassifier(named, voting="soft", weights=weights).fit(X, y)
        same(ours, theirs, X, 1e-12)
        student = DistilledClassifier(ours, make_net(), temperature=1.0, random_state=0)
        alike = DistilledClassifier(
            FrozenEstimator(theirs), make_net(), temperature=1.0, random_state=0
        )
        same(student.fit(X, y), alike.fit(X, y), X, 1e-5)


def test_a_list_is_a_committee_whose_voices_are_weighed():
    X, y = make_points()
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0)
    both = [ensemble, RandomForestClassifier(20, random_state=0)]
    student = DistilledClassifier(both, make_net(), objective="adaptive", random_state=0).fit(X, y)
    voices = np.log(np.maximum(student.teacher_.predict_teachers(X), EPS))
    alike = DistilledClassifier(None, make_net(), objective="adaptive", random_state=0)
    same(student, alike.fit(X, y, teacher_logits=voices), X, 1e-5)
    frozen = [FrozenEstimator(one) for one in student.teacher_.teachers_]
    again = DistilledClassifier(frozen, make_net(), objective="adaptive", random_state=0)
    same(student, again.fit(X, y), X)
    assert [type(one) for one in clone(student).teacher] == [type(one) for one in both]


def test_parameters_of_each_teacher_are_searched():
    X, y = make_points()
    committee = TeacherCommittee([LogisticRegression(), RandomForestClassifier(random_state=0)])
    committee.set_params(**{"0__C": 0.5, "1__n_estimators": 7})
    assert (committee.teachers[0].C, committee.teachers[1].n_estimators) == (0.5, 7)
    assert clone(committee).get_params()["1__n_estimators"] == 7
    with pytest.raises(ValueError, match="must be one of"):
        committee.set_params(**{"2__C": 1.0})
    student = DistilledClassifier(committee, make_net(), random_state=0)
    search = GridSearchCV(student, {"teacher__0__C": [0.1, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_["teacher__0__C"] == search.best_estimator_.teacher_.teachers_[0].C


def test_committees_that_cannot_be_are_refused():
    X, y = make_points()
    one = LogisticRegression()
    with pytest.raises(ValueError, match="at least one classifier"):
        DistilledClassifier([], make_net()).fit(X, y)
    with pytest.raises(ValueError, match=r"one number of zero or more for each of the 1"):
        TeacherCommittee([one], weights=[1, 2]).fit(X, y)
    other = FrozenEstimator(LogisticRegression().fit(X, y + 1))
    with pytest.raises(ValueError, match="must have the same classes"):
        TeacherCommittee([one, other]).fit(X, y)


# -- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "teacher",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
        GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0]},
            cv=2,
        ),
    ],
)
def test_weights_find_their_way_into_a_teacher(teacher, routing):
    X, y = make_points()
    weight = np.random.default_rng(0).uniform(0.2, 3.0, len(y))
    names = {"Pipeline": "logisticregression__sample_weight"}
    inner = getattr(teacher, "estimator", teacher)
    name = names.get(type(inner).__name__, "sample_weight")
    expected = clone(teacher).fit(X, y, **{name: weight}).predict_proba(X)
    with config_context(enable_metadata_routing=routing):
        student = DistilledClassifier(teacher, make_net(), random_state=0).fit(X, y, weight)
        np.testing.assert_allclose(student.teacher_.predict_proba(X), expected, atol=1e-6)


# -- groups ------------------------------------------------------------------------------------


class Together(LogisticRegression):
    """Notes which groups it learned and which it was asked about."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):
        self.learned_ = set(X[:, -1])
        return super().fit(X, y)

    def predict_proba(self, X):
        self.seen.append((self.learned_, set(X[:, -1])))
        return super().predict_proba(X)


def grouped():
    X, y = make_points()
    groups = np.arange(len(y)) % 6
    return np.column_stack([X, groups]), y, groups


def test_twins_keep_groups_together():
    X, y, groups = grouped()
    Together.seen.clear()
    cv = GroupKFold(3)
    student = DistilledClassifier(Together(), make_net(max_epochs=1), teacher_cv=cv)
    student.fit(X, y, groups=groups)
    twins = [(learned, asked) for learned, asked in Together.seen if len(learned) < 6]
    assert len(twins) == 3
    assert all(not learned & asked for learned, asked in twins)
    with pytest.raises(ValueError, match="'teacher_cv' must be able to split the rows.*groups"):
        clone(student).fit(X, y)
    with pytest.raises(ValueError, match=r"'groups' of fit must have one entry a row"):
        clone(student).fit(X, y, groups=groups[:-1])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_a_teacher_keeps_groups_together(tmp_path, routing, remembered, piped):
    X, y, groups = grouped()
    ensemble = DeepEnsembleClassifier(
        make_net(max_epochs=1), 2, cross_fit=GroupKFold(2), random_state=0
    )
    teacher = make_pipeline(StandardScaler(), ensemble) if piped else ensemble
    memory = str(tmp_path) if remembered else None
    with config_context(enable_metadata_routing=routing):
        student = DistilledClassifier(
            teacher, make_net(max_epochs=1), memory=memory, random_state=0
        ).fit(X, y, groups=groups)
    last = student.teacher_[-1] if piped else student.teacher_
    assert len(last.folds_) == 2
    for held_out in last.folds_:
        assert not set(groups[held_out]) & set(np.delete(groups, held_out))


def test_groups_are_routed_to_a_student():
    X, y, groups = grouped()
    with config_context(enable_metadata_routing=True):
        student = DistilledClassifier(
            LogisticRegression(), make_net(max_epochs=1), teacher_cv=GroupKFold(3), random_state=0
        )
        alone = clone(student).fit(X, y, groups=groups)
        piped = make_pipeline(student.set_fit_request(groups=True)).fit(X, y, groups=groups)
        same(alone, piped, X)


def test_groups_that_nobody_minds_are_refused():
    X, y, groups = grouped()
    net, match = make_net(max_epochs=1), "'groups' of fit need a splitter as 'teacher_cv'"
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    for teacher, cv in ((LogisticRegression(), 3), (LogisticRegression(), None), (frozen, "auto")):
        with pytest.raises(ValueError, match=match):
            DistilledClassifier(teacher, net, teacher_cv=cv).fit(X, y, groups=groups)
    logits = np.zeros((len(y), 3))
    with pytest.raises(ValueError, match=match):
        DistilledClassifier(None, net).fit(X, y, teacher_logits=logits, groups=groups)


# -- what is kept ------------------------------------------------------------------------------


def test_a_teacher_that_is_not_kept_is_in_no_pickle():
    X, y = make_points()
    forest = RandomForestClassifier(200, random_state=0).fit(X, y)
    kept = DistilledClassifier(FrozenEstimator(forest), make_net(), random_state=0)
    slim = clone(kept).set_params(keep_teacher=False)
    assert pickle.loads(pickle.dumps(slim)).fit(X, y).teacher_ is None  # unfitted, it needs it
    slim.fit(X, y)
    assert len(pickle.dumps(slim)) < 0.2 * len(pickle.dumps(kept.fit(X, y)))
    again = pickle.loads(pickle.dumps(slim))
    same(again, kept, X)
    with pytest.raises(ValueError, match="does not hold its teacher"):
        again.fit(X, y)
    assert slim.teacher.estimator is forest
    slim.fit(X, y)


def test_files_hold_what_was_asked_for(tmp_path):
    X, y = make_points()
    student = DistilledClassifier(
        LogisticRegression(), make_net(), transfer=Mixup(alpha=0.4), transfer_size=1.5,
        teacher_cv=3, patience=2, report=2, random_state=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="no better than a plain network"):
        student.fit(X, y)
    student.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    for name in ("transfer", "transfer_size", "teacher_cv", "patience", "report"):
        assert again.get_params()[name] == student.get_params()[name]
    for name, value in student.report_.items():
        np.testing.assert_array_equal(again.report_[name], value)
    same(again, student, X)


# -- the report --------------------------------------------------------------------------------


def test_a_report_is_of_rows_that_nobody_has_seen():
    X, y = make_points(300)
    student = DistilledClassifier(
        LogisticRegression(), make_net(max_epochs=3, lr=0.002), report=3, random_state=0
    )
    with pytest.warns(UserWarning, match="no better than a plain network"):
        reported = clone(student).set_params(teacher=GaussianFast()).fit(X, y).report_
    assert np.isnan(reported["kept"])
    reported = student.fit(X, y).report_
    data = FitData(X, y, None, np.arange(len(y)))
    folds = make_folds(3, 3, data, None, 0)
    splits = [(rows, held) for rows, held in zip(folds.train, folds.held_out, strict=True)]
    plain = NetworkClassifier(make_net(max_epochs=3, lr=0.002), random_state=0)
    unreported = clone(student).set_params(report=False)
    for name, one in {
        "teacher": LogisticRegression(), "plain": plain, "student": unreported
    }.items():  # fmt: skip
        said = np.zeros((len(y), 3))
        for train, held in splits:
            said[held] = clone(one).fit(X[train], y[train]).predict_proba(X[held])
        assert reported[f"{name}_loss"] == pytest.approx(log_loss(y, said), abs=2e-4)
    gain = reported["plain_loss"] - reported["teacher_loss"]
    assert reported["kept"] == pytest.approx(
        (reported["plain_loss"] - reported["student_loss"]) / gain
    )
    assert reported["student_bytes"] > 0
    assert reported["teacher_seconds_per_row"] > 0
    assert not hasattr(student.set_params(report=False).fit(X, y), "report_")


def test_a_report_wants_a_teacher_that_can_be_fitted():
    X, y = make_points()
    frozen = FrozenEstimator(GaussianFast().fit(X, y))
    with pytest.raises(ValueError, match="fits teachers on folds"):
        DistilledClassifier(frozen, make_net(), report=True).fit(X, y)


def test_rules_are_told_of(capsys):
    data = Mixed(60)
    DistilledClassifier(GaussianFast(), transfer_size=2, patience=1, verbose=1, random_state=0).fit(
        data.X, data.y
    )
    told = capsys.readouterr().out
    assert "training rows heard of from 5 twins of the teacher, 120 rows made by 'munge'" in told


# -- defaults ----------------------------------------------------------------------------------


def test_rules_are_for_students_without_a_recipe():
    X, y = make_points()
    boosting = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    student = DistilledClassifier(boosting, make_net(), random_state=0)
    explicit = {"temperature": 4.0, "teacher_cv": None, "transfer": None, "patience": 1}
    same(clone(student).fit(X, y), student.set_params(**explicit).fit(X, y), X)


def test_the_words_of_a_calibrated_ensemble_are_calibrated():
    X, y = make_points()
    teacher = DeepEnsembleClassifier(
        make_net(), 3, cross_fit=3, calibrate=True, averaging="logit", random_state=0
    ).fit(X, y)
    teacher.temperature_ = 1.7
    logits = teacher.predict_members(X, response="logit") / 1.7
    student = DistilledClassifier(FrozenEstimator(teacher), make_net(), random_state=0).fit(X, y)
    alike = DistilledClassifier(None, make_net(), random_state=0)
    same(student, alike.fit(X, y, teacher_logits=logits), X, 1e-5)
