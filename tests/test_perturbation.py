"""Altered rows: steps, gradients, and what students learn on them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import ResidualMLP, SmallCNN, assert_same_network, make_data, make_net, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch.dataset import ValidSplit

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
)
from skensemble._seeding import Purpose, generator
from skensemble.metrics import pairwise_kl
from skensemble.perturbation import (
    KINDS,
    ODS,
    ConfODS,
    Gaussian,
    Perturbation,
    TDivSDiv,
    scaled_step,
)

T = 2.0


def voices(n_networks, n_features=5, n_classes=3, seed=0):
    """Return smooth networks as one function, (network, sample, class)."""
    draw = torch.Generator().manual_seed(seed)
    W = torch.randn(n_networks, n_features, n_classes, generator=draw, dtype=torch.float64)
    return lambda x: torch.tanh(torch.einsum("b...i,mik->mb...k", x, W)) * 2.0


def slope(function, x, eps=1e-6):
    """Differentiate a function of one row number by number."""
    out = np.zeros_like(x)
    for at in range(len(x)):
        up, down = x.copy(), x.copy()
        up[at] += eps
        down[at] -= eps
        out[at] = (function(up) - function(down)) / (2 * eps)
    return out


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def rows(n=4, d=5, seed=3):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, d))


def alter(kind, x, step=0.01, seed=1, **kwargs):
    draw = torch.Generator().manual_seed(seed)
    out = kind(step).alter(torch.from_numpy(x), voices(3), voices(3, seed=9), T, draw, **kwargs)
    return out.numpy() - x


# -- directions against finite differences -------------------------------------------------


@pytest.mark.parametrize("confident", [False, True])
def test_ods_climbs_a_random_mix_of_probabilities(confident):
    x, step = rows(), 0.01
    got = alter(ConfODS if confident else ODS, x, step)
    draw = torch.Generator().manual_seed(1)
    at = int(torch.randint(3, (), generator=draw))
    w = (torch.rand((4, 3), generator=draw, dtype=torch.float64) * 2 - 1).numpy()
    say = voices(3)
    for i, row in enumerate(x):

        def proba(r):
            return softmax(say(torch.from_numpy(r)[None])[at, 0].numpy() / T)

        g = slope(lambda r, i=i: w[i] @ proba(r), row)
        expected = step * math.sqrt(5) * g / np.linalg.norm(g)
        expected *= proba(row).max() if confident else 1.0
        np.testing.assert_allclose(got[i], expected, rtol=0, atol=1e-8)


def test_tdiv_sdiv_climbs_the_difference_with_the_other_member_held_fixed():
    x, step = rows(), 0.01
    got = alter(TDivSDiv, x, step)
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randperm(3, generator=draw)[:2].tolist()
    teacher, student = voices(3), voices(3, seed=9)
    for i, row in enumerate(x):

        def logits(say, m, r):
            return say(torch.from_numpy(r)[None])[m, 0].numpy() / T

        fixed = [softmax(logits(say, b, row)) for say in (teacher, student)]

        def difference(r, fixed=fixed):
            both = [
                -(p * np.log(softmax(logits(say, a, r)))).sum()
                for say, p in zip((teacher, student), fixed, strict=True)
            ]
            return both[0] - both[1]

        g = slope(difference, row)
        np.testing.assert_allclose(got[i], step * math.sqrt(5) * g / np.linalg.norm(g), atol=1e-8)


@settings(max_examples=30)
@given(st.sampled_from([ODS, TDivSDiv, Gaussian]), st.floats(1e-4, 0.5), st.integers(0, 99))
def test_steps_have_their_length(kind, step, seed):
    got = alter(kind, rows(), step, seed)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), step * math.sqrt(5), rtol=1e-6)
    spread = np.array([1.0, 10.0, 0.1, 2.0, 0.0])
    got = alter(kind, rows(), step, seed, spread=torch.from_numpy(spread))
    assert np.abs(got[:, 4]).max() == 0
    length = np.linalg.norm(got[:, :4] / spread[:4], axis=1)
    np.testing.assert_allclose(length, step * math.sqrt(5), rtol=1e-6)


@given(st.integers(0, 99))
def test_steps_of_confods_are_no_longer_than_those_of_ods(seed):
    ods, conf = (np.linalg.norm(alter(kind, rows(), 0.1, seed), axis=1) for kind in (ODS, ConfODS))
    assert (conf <= ods + 1e-12).all()
    assert (conf >= ods / 3 - 1e-12).all()


@pytest.mark.parametrize("kind", [ODS, ConfODS, TDivSDiv, Gaussian])
def test_altered_rows_stay_in_their_range(kind):
    x = rows()
    got = x + alter(kind, x, 10.0, bounds=(0.0, 1.0))
    assert got.min() == 0.0
    assert got.max() == 1.0


def test_a_flat_teacher_gives_no_step_and_no_nan():
    assert scaled_step(torch.zeros(2, 3), 0.1).abs().max() == 0


# -- students --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    X, y = make_data(60)
    return X, y, DeepEnsembleClassifier(make_net(max_epochs=10), 2, random_state=5).fit(X, y)


def start_of(student, X, y):
    still = clone(student).set_params(
        teacher=FrozenEstimator(student.teacher),
        **{"student__estimator__lr" if "student__estimator__lr" in student.get_params()
           else "student__lr": 0.0},
    )  # fmt: skip
    return still.fit(X, y).estimators_[0].module_.train()


@pytest.mark.parametrize("name", ["ods", "confods", "gaussian"])
def test_one_step_of_a_student_is_the_formula(table, name):
    X, y, teacher = table
    net = make_net(
        ResidualMLP, batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3,
        iterator_train__shuffle=False,
    )  # fmt: skip
    alpha, step = 0.6, 0.3
    student = DistilledClassifier(
        teacher, net, perturbation=KINDS[name](step), temperature=T, alpha=alpha, random_state=6
    )
    module = start_of(student, X, y)
    module.norm.reset_running_stats()
    x, labels = torch.from_numpy(X), torch.from_numpy(y)

    def say(r):
        return torch.stack([member.module_(r) for member in teacher])

    kind = {"ods": ODS, "confods": ConfODS, "gaussian": Gaussian}[name](step)
    draw = generator(6, Purpose.PERTURB)
    altered = kind.alter(x.clone(), say, None, T, draw, torch.from_numpy(X.std(0)))
    q = torch.softmax(say(altered).detach() / T, -1).mean(0)
    ce = torch.nn.functional.cross_entropy(module(x), labels)
    log_p = torch.log_softmax(module(altered) / T, -1)
    kl = (q * (q.log() - log_p)).sum(-1).mean()
    ((1 - alpha) * ce + alpha * T**2 * kl).backward()
    got = student.fit(X, y).module_.state_dict()
    for key, value in module.named_parameters():
        torch.testing.assert_close(got[key], value.detach() - 0.3 * value.grad)
    for key, value in module.named_buffers():  # two forward passes, none for the look
        torch.testing.assert_close(got[key], value)


def test_one_step_of_students_with_members_is_the_formula(table):
    X, y, teacher = table
    net = make_net(
        batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3,
        iterator_train__shuffle=False,
    )  # fmt: skip
    body = BatchEnsembleClassifier(net, 2, init="normal", fast_lr_factor=1.0)
    alpha, step = 0.6, 0.3
    student = DistilledClassifier(
        teacher, body, perturbation=TDivSDiv(step), temperature=T, alpha=alpha,
        random_state=6,
    )  # fmt: skip
    module = start_of(student, X, y)
    x, labels = torch.from_numpy(X), torch.from_numpy(y)

    def say(r):
        return torch.stack([member.module_(r) for member in teacher])

    draw = generator(6, Purpose.PERTURB)
    altered = TDivSDiv(step).alter(
        x.clone(), say, lambda r: module(r).transpose(0, 1), T, draw, torch.from_numpy(X.std(0))
    )
    module.zero_grad()
    q = torch.softmax(say(altered).detach() / T, -1)
    logits, loss = module(altered), 0.0
    for m in range(2):
        kl = (q[m] * (q[m].log() - torch.log_softmax(logits[:, m] / T, -1))).sum(-1).mean()
        ce = torch.nn.functional.cross_entropy(logits[:, m], labels)
        loss = loss + ((1 - alpha) * ce + alpha * T**2 * kl) / 2
    loss.backward()
    got = student.fit(X, y).estimators_[0].module_.state_dict()
    for key, value in module.named_parameters():
        torch.testing.assert_close(got[key], value.detach() - 0.3 * value.grad)


@pytest.mark.parametrize("name", ["ods", "confods", "gaussian"])
def test_students_are_the_same_stacked_and_alone(table, name):
    X, y, teacher = table
    student = DistilledClassifier(
        FrozenEstimator(teacher), make_net(), perturbation=KINDS[name](0.2), n_students=3,
        random_state=2,
    )  # fmt: skip
    stacked = clone(student).fit(X, y)
    for settings_ in ({"stack": 1}, {"n_jobs": 2}):
        other = clone(student).set_params(**settings_).fit(X, y)
        for a, b in zip(stacked.estimators_, other.estimators_, strict=True):
            assert_same_network(a, b, atol=1e-8)


def histories(student):
    return [{k: v for k, v in row.items() if "diversity" in k} for row in student.history_]


@pytest.mark.parametrize("name", [None, "confods"])
def test_diversity_is_reported_on_the_rows_of_the_teachers_term(table, name):
    X, y, teacher = table
    net = make_net(batch_size=-1, max_epochs=2, lr=0.0, iterator_train__shuffle=False)
    body = BatchEnsembleClassifier(net, 2, init="normal")
    student = DistilledClassifier(
        teacher, body, perturbation=name and ConfODS(0.3), temperature=T, random_state=6
    )
    quiet = clone(student).set_params(teacher=FrozenEstimator(teacher)).fit(X, y)
    assert histories(quiet) == [{}, {}]
    told = student.set_params(report_diversity=True).fit(X, y)
    members = told.estimators_[0]
    for key, value in quiet.module_.state_dict().items():
        torch.testing.assert_close(told.module_.state_dict()[key], value, rtol=0, atol=0)
    draw = generator(6, Purpose.PERTURB)
    for row in histories(told):
        rows = torch.from_numpy(X)
        if name is not None:
            spread = torch.from_numpy(X.std(0))
            rows = ConfODS(0.3).alter(
                rows.clone(), lambda r: torch.stack([member.module_(r) for member in teacher]),
                None, T, draw, spread,
            )  # fmt: skip
        expected = {
            "train_diversity": pairwise_kl(members.predict_members(rows.numpy())),
            "train_teacher_diversity": pairwise_kl(teacher.predict_members(rows.numpy())),
        }
        assert row == pytest.approx(expected, rel=1e-9)


def test_diversity_of_held_out_rows_of_several_students_and_of_layers(table, capsys):
    X, y, teacher = table
    net = make_net(max_epochs=2, train_split=ValidSplit(3, stratified=True))
    body = BatchEnsembleClassifier(net, 2, init="normal")
    student = DistilledClassifier(
        FrozenEstimator(teacher),
        body,
        report_diversity=True,
        n_students=2,
        random_state=0,
        verbose=2,
    ).fit(X, y)
    assert "train_teacher_diversity" in capsys.readouterr().out
    alone = clone(student).set_params(stack=1, verbose=0).fit(X, y)
    names = {f"{part}_{of}diversity" for part in ("train", "valid") for of in ("", "teacher_")}
    for one, other in zip(student.estimators_, alone.estimators_, strict=True):
        for row, expected in zip(histories(one), histories(other), strict=True):
            assert set(row) == names
            assert row == pytest.approx(expected, rel=1e-7)
    by_layer = DistilledClassifier(
        FrozenEstimator(teacher), net, objective="hint", report_diversity=True, random_state=0
    ).fit(X, y)
    assert {k for row in histories(by_layer) for k in row} == {k for k in names if "teacher" in k}


def test_diversity_of_nobody_is_refused(table):
    X, y, teacher = table
    for args in ({"teacher": teacher[0]}, {"teacher": teacher, "alpha": 0.0}):
        student = DistilledClassifier(student=make_net(), report_diversity=True, **args)
        with pytest.raises(ValueError, match="needs a teacher of at least 2 networks"):
            student.fit(X, y)


def test_the_teacher_is_left_as_it_was(table):
    X, y, teacher = table
    before = [weights_of(member) for member in teacher]
    DistilledClassifier(teacher, make_net(), perturbation="ods", random_state=0).fit(X, y)
    for member, kept in zip(teacher, before, strict=True):
        assert not member.module_.training
        assert all(p.grad is None for p in member.module_.parameters())
        for name, value in weights_of(member).items():
            np.testing.assert_array_equal(value, kept[name])


def test_images_keep_their_range_and_must_have_it():
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(24, 3, 6, 6)), np.arange(24) % 3
    teacher = NetworkClassifier(make_net(SmallCNN), random_state=1).fit(X, y)
    seen = []

    class Spy(ODS):
        def alter(self, x, *args):
            out = super().alter(x, *args)
            seen.append((float(out.min()), float(out.max()), float((out - x).abs().max())))
            return out

    student = DistilledClassifier(teacher, perturbation=Spy(0.5), random_state=0).fit(X, y)
    low, high, moved = (np.array(values) for values in zip(*seen, strict=True))
    assert low.min() >= 0
    assert high.max() <= 1
    assert moved.min() > 0.01
    assert isinstance(student.perturbation, Perturbation)
    with pytest.raises(ValueError, match=r"X must lie in 'input_range', here \(0.0, 1.0\)"):
        clone(student).set_params(teacher=FrozenEstimator(teacher)).fit(5 * X, y)
    free = clone(student).set_params(teacher=FrozenEstimator(teacher))
    free.set_params(perturbation__input_range=None)
    free.fit(5 * X, y)


def test_grids_agree_with_scikit_learn(table):
    X, y, teacher = table
    student = DistilledClassifier(
        FrozenEstimator(teacher), make_net(max_epochs=3), perturbation=ConfODS(0.2),
        random_state=0,
    )  # fmt: skip
    grid = {"alpha": [0.5, 1.0], "temperature": [1.0, 4.0]}
    theirs = GridSearchCV(student, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(student, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    a, b = (one.cv_results_["mean_test_score"] for one in (theirs, ours))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def test_errors(table):
    X, y, teacher = table
    args = {"student": make_net(), "perturbation": "ods"}
    with pytest.raises(ValueError, match="must be made of networks of skensemble. Got Logistic"):
        DistilledClassifier(LogisticRegression(), **args).fit(X, y)
    with pytest.raises(ValueError, match="'teacher_logits' are not enough"):
        DistilledClassifier(teacher, **args).fit(X, y, teacher_logits=np.zeros((60, 3)))
    with pytest.raises(ValueError, match="needs an objective on outputs. Got 'hint'"):
        DistilledClassifier(teacher, objective="hint", **args).fit(X, y)
    with pytest.raises(ValueError, match="at least 2 networks in the teacher and 2 in the student"):
        DistilledClassifier(teacher, make_net(), perturbation="tdiv-sdiv").fit(X, y)
    three = BatchEnsembleClassifier(make_net(), 3)
    with pytest.raises(ValueError, match="so they must be as many. Got 2 and 3"):
        DistilledClassifier(teacher, three, averaging="proba", perturbation="tdiv-sdiv").fit(X, y)
    with pytest.raises(ValueError, match="The 'step' parameter of ODS must be a float"):
        DistilledClassifier(teacher, make_net(), perturbation=ODS(0.0)).fit(X, y)
