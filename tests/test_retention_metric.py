"""What a student kept of its teacher, against a slow loop."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import accuracy_score, log_loss

from skensemble.metrics import distillation, negative_log_likelihood, retention

SEEDS = st.integers(0, 10_000)
POINTS = [
    "teacher_loss", "student_loss", "plain_loss", "teacher_accuracy", "student_accuracy",
    "plain_accuracy", "agreement", "divergence", "kept",
]  # fmt: skip


def draw(seed, n_rows=60, n_classes=3):
    """Return labels, a good teacher, a student in between, and a bad plain network."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n_rows)
    logits = rng.normal(size=(3, n_rows, n_classes))
    sharp = np.array([2.5, 2.0, 0.5])[:, None, None]
    logits += sharp * np.eye(n_classes)[y]
    proba = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    teacher, student, plain = proba
    return y, student, teacher, plain


def slow(y, student, teacher, plain, weight):
    """Go through the rows one by one."""
    total, found = sum(weight), dict.fromkeys(POINTS, 0.0)
    for at, label in enumerate(y):
        share = weight[at] / total
        for name, proba in (("student", student), ("teacher", teacher), ("plain", plain)):
            row = proba[at].tolist()
            found[f"{name}_loss"] -= share * math.log(row[label])
            found[f"{name}_accuracy"] += share * (row.index(max(row)) == label)
        said, learned = teacher[at].tolist(), student[at].tolist()
        found["agreement"] += share * (said.index(max(said)) == learned.index(max(learned)))
        for p, q in zip(said, learned, strict=True):
            found["divergence"] += share * p * math.log(p / q)
    gain = found["plain_loss"] - found["teacher_loss"]
    found["kept"] = (found["plain_loss"] - found["student_loss"]) / gain
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_retention_is_the_slow_one(seed, weighted):
    given = draw(seed)
    weight = np.random.default_rng(seed).random(60) * 3 if weighted else np.ones(60)
    found = retention(*given, sample_weight=weight if weighted else None, n_bootstrap=0)
    assert found.as_dict() == {
        **{name: pytest.approx(value) for name, value in slow(*given, weight).items()},
        "kept_interval": pytest.approx((math.nan, math.nan), nan_ok=True),
    }


def test_losses_are_scikit_learns():
    y, student, teacher, plain = draw(0)
    found = retention(y, student, teacher, plain, n_bootstrap=0)
    assert found.student_loss == pytest.approx(log_loss(y, student))
    assert found.teacher_loss == pytest.approx(negative_log_likelihood(y, teacher))
    assert found.plain_accuracy == pytest.approx(accuracy_score(y, plain.argmax(1)))


@pytest.mark.parametrize("weighted", [False, True])
def test_interval_is_that_of_rows_drawn_one_by_one(weighted):
    y, student, teacher, plain = draw(1)
    weight = np.random.default_rng(1).random(60) + 0.5 if weighted else None
    found = retention(y, student, teacher, plain, sample_weight=weight, n_bootstrap=400)
    state, shares = np.random.RandomState(0), []
    drawn = state.randint(60, size=(400, 60))
    for rows in drawn:
        some = None if weight is None else weight[rows]
        part = (y[rows], student[rows], teacher[rows], plain[rows])
        shares.append(retention(*part, labels=range(3), sample_weight=some, n_bootstrap=0).kept)
    assert found.kept_interval == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
    assert found.kept_interval[0] < found.kept < found.kept_interval[1]


def test_the_interval_covers_the_truth():
    """About 95 of 100 do, where the truth is the share on very many rows."""
    truth = retention(*draw(0, 200_000), n_bootstrap=0).kept
    bounds = [retention(*draw(seed, 300), n_bootstrap=300).kept_interval for seed in range(1, 101)]
    assert 87 <= sum(low <= truth <= high for low, high in bounds) <= 100


def test_draws_are_repeatable_and_in_parts(monkeypatch):
    given = draw(2)
    first = retention(*given, random_state=3).kept_interval
    assert retention(*given, random_state=3).kept_interval == first
    assert retention(*given, random_state=4).kept_interval != first
    monkeypatch.setattr(distillation, "_MOST_COUNTS", 130)
    assert retention(*given, random_state=3).kept_interval == pytest.approx(first)


@given(seed=SEEDS, n_rows=st.integers(2, 40), n_classes=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_a_teacher_keeps_all_and_a_plain_network_nothing(seed, n_rows, n_classes):
    y, student, teacher, plain = draw(seed, n_rows, n_classes)
    labels = range(n_classes)
    whole = retention(y, teacher, teacher, plain, labels=labels, n_bootstrap=50)
    assume(not math.isnan(whole.kept))
    assert whole.kept == 1
    assert whole.agreement == 1
    assert whole.divergence == 0
    nothing = retention(y, plain, teacher, plain, labels=labels, n_bootstrap=50)
    assert nothing.kept == 0
    if not math.isnan(whole.kept_interval[0]):
        assert whole.kept_interval == (1, 1)
        assert nothing.kept_interval == (0, 0)
    assert retention(y, student, teacher, plain, labels=labels, n_bootstrap=0).divergence >= 0


@given(seed=SEEDS, counts=st.lists(st.integers(0, 3), min_size=20, max_size=20))
@settings(max_examples=40, deadline=None)
def test_weights_are_repeated_rows(seed, counts):
    assume(sum(counts))
    given = draw(seed, 20)
    rows = np.repeat(np.arange(20), counts)
    weighed = retention(*given, labels=range(3), sample_weight=counts, n_bootstrap=0)
    repeated = retention(*(one[rows] for one in given), labels=range(3), n_bootstrap=0)
    for name in POINTS:
        expected = pytest.approx(getattr(repeated, name), nan_ok=True)
        assert getattr(weighed, name) == expected


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_order_of_rows_and_names_of_labels_do_not_matter(seed):
    y, student, teacher, plain = draw(seed)
    order = np.random.default_rng(seed).permutation(60)
    found = retention(y, student, teacher, plain, n_bootstrap=0)
    names, columns = np.array(["c", "a", "b"]), [1, 2, 0]
    mixed = (one[order][:, columns] for one in (student, teacher, plain))
    named = retention(names[y][order], *mixed, labels=names[columns], n_bootstrap=0)
    for name in POINTS:
        assert getattr(named, name) == pytest.approx(getattr(found, name))


def test_without_a_plain_network_there_is_no_share():
    y, student, teacher, _ = draw(0)
    found = retention(y, student, teacher)
    assert math.isnan(found.kept)
    assert math.isnan(found.plain_loss)
    assert math.isnan(found.plain_accuracy)
    assert np.isnan(found.kept_interval).all()
    assert found.student_loss == pytest.approx(log_loss(y, student))


def test_without_a_better_teacher_there_is_no_share():
    y, student, teacher, plain = draw(0)
    for weak in (plain, plain[::-1]):
        assert math.isnan(retention(y, student, weak, teacher).kept)
    assert math.isnan(retention(y, student, plain, plain).kept)


def test_a_teacher_that_is_hardly_better_has_no_interval():
    y, student, _, plain = draw(0)
    better = plain.copy()
    at = np.arange(60)
    better[at, y] *= np.where(at < 31, 1.05, 0.95)
    better /= better.sum(1, keepdims=True)
    found = retention(y, student, better, plain)
    assert math.isfinite(found.kept)
    assert np.isnan(found.kept_interval).all()


def test_zeros_cost_infinity_unless_their_rows_do_not_count():
    y, student, teacher, plain = draw(0)
    student = student.copy()
    student[0] = np.eye(3)[(y[0] + 1) % 3]
    found = retention(y, student, teacher, plain)
    assert found.student_loss == math.inf
    assert found.divergence == math.inf
    assert math.isnan(found.kept)
    counted = retention(y, student, teacher, plain, sample_weight=[0] + [1] * 59)
    assert counted.kept == pytest.approx(retention(y[1:], student[1:], teacher[1:], plain[1:]).kept)


def test_numbers_are_plain():
    found = retention(*draw(0)).as_dict()
    assert list(found) == [*POINTS, "kept_interval"]
    assert all(type(found[name]) is float for name in POINTS)
    assert json.loads(json.dumps(found))["kept_interval"] == list(found["kept_interval"])


def test_what_is_wrong_is_said():
    y, student, teacher, plain = draw(0)
    for n_bootstrap in (-1, 0.5, None):
        with pytest.raises(ValueError, match=r"The 'n_bootstrap' parameter .* must be an int"):
            retention(y, student, teacher, plain, n_bootstrap=n_bootstrap)
    for name in ("student", "teacher", "plain"):
        given = {"student": student, "teacher": teacher, "plain": plain}
        given[name] = given[name][:, :2]
        wrong = {f"{one}_proba": proba for one, proba in given.items()}
        with pytest.raises(ValueError, match=rf"{name}_proba has 2 columns for 3 labels"):
            retention(y, **wrong)
        wrong[f"{name}_proba"] = np.full((60, 3), np.nan)
        with pytest.raises(ValueError, match=rf"{name}_proba contains NaN"):
            retention(y, **wrong)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        retention(y, student, teacher[:-1])
    with pytest.raises(ValueError, match="not among the labels"):
        retention(y, student, teacher, labels=[0, 1, 5])
    with pytest.raises(ValueError, match="Negative values"):
        retention(y, student, teacher, sample_weight=-np.ones(60))
    with pytest.raises(ValueError, match="zero"):
        retention(y, student, teacher, sample_weight=np.zeros(60))
