"""Calibration errors, the Brier score in parts, and selective prediction against slow loops."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nets import make_net, make_points
from scipy.stats import binom, norm
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import NetworkClassifier, StackedGridSearchCV
from skensemble.metrics import (
    ProbabilityScorer,
    abstention_threshold,
    augrc,
    aurc,
    brier_decomposition,
    classwise_calibration_error,
    coverage_at_risk,
    evaluate,
    expected_calibration_error,
    get_scorer,
    get_scorer_names,
    negative_log_likelihood,
    risk_at_coverage,
    risk_coverage_curve,
    smooth_calibration_error,
)

ERRORS = [expected_calibration_error, classwise_calibration_error, smooth_calibration_error]
MEASURES = [*ERRORS, aurc, augrc, risk_at_coverage, coverage_at_risk]


def draw(seed, n_rows=40, n_classes=4, decimals=None):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.5), n_rows)
    if decimals is not None:  # so that there are ties
        proba = np.round(proba, decimals) + 0.01
        proba /= proba.sum(1, keepdims=True)
    return rng.integers(0, n_classes, n_rows), proba


# -- calibration ---------------------------------------------------------------------------


def slow_gap(proba, came, edges):
    """Go through bins (lo, hi] one by one."""
    total, low = 0.0, -math.inf
    for high in [*edges, math.inf]:
        inside = [(p, c) for p, c in zip(proba, came, strict=True) if low < p <= high]
        if inside:
            frequency = sum(c for _, c in inside) / len(inside)
            total += (
                len(inside) / len(proba) * abs(frequency - sum(p for p, _ in inside) / len(inside))
            )
        low = high
    return total


def slow_edges(proba, n_bins, strategy):
    if strategy == "uniform":
        return [b / n_bins for b in range(1, n_bins)]
    ordered = sorted(proba)
    # The b-th edge is the smallest probability that a share b/n of the samples does not exceed.
    return sorted(
        {ordered[max(math.ceil(b * len(ordered) / n_bins) - 1, 0)] for b in range(1, n_bins)}
    )


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("n_bins", [1, 2, 7, 15])
@pytest.mark.parametrize("seed", range(4))
def test_binned_errors_are_the_slow_ones(seed, n_bins, strategy):
    y, proba = draw(seed, n_rows=42, decimals=1 if seed % 2 else None)
    options = {"n_bins": n_bins, "strategy": strategy, "labels": range(4)}
    confidence, right = proba.max(1), proba.argmax(1) == y
    slow = slow_gap(confidence, right, slow_edges(confidence, n_bins, strategy))
    assert expected_calibration_error(y, proba, **options) == pytest.approx(slow, abs=1e-12)
    by_class = [
        slow_gap(proba[:, k], y == k, slow_edges(proba[:, k], n_bins, strategy)) for k in range(4)
    ]
    found = classwise_calibration_error(y, proba, **options)
    assert found == pytest.approx(sum(by_class) / 4, abs=1e-12)


def slow_smooth(y, proba):
    """Integrate with the reflected kernel over a fine grid, and halve intervals of the width."""
    confidence = proba.max(1)
    gap = (proba.argmax(1) == y) - confidence
    t = (np.arange(20_000) + 0.5) / 20_000

    def error(width):
        mean = np.zeros_like(t)
        for p, g in zip(confidence, gap, strict=True):
            for image in range(-3, 4):
                mean += g * (norm.pdf(t, 2 * image + p, width) + norm.pdf(t, 2 * image - p, width))
        return np.abs(mean / len(confidence)).mean()

    low, high = 1e-3, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(3))
def test_smooth_error_is_the_slow_one(seed):
    y, proba = draw(seed, n_rows=12, n_classes=3)
    found = smooth_calibration_error(y, proba, labels=range(3))
    assert found == pytest.approx(slow_smooth(y, proba), abs=1e-4)


def test_smooth_error_is_continuous_and_the_binned_one_is_not():
    y = np.array([0, 1]).repeat(50)
    first = np.array([0.6, 0.6 + 2e-9]).repeat(50) - 1e-9  # right below an edge, or on both sides
    apart, together = np.column_stack([first, 1 - first]), np.full((100, 2), [0.6 - 1e-9, 0.4])
    smooth = [smooth_calibration_error(y, proba) for proba in (apart, together)]
    assert smooth[0] == pytest.approx(smooth[1], abs=1e-6)
    binned = [expected_calibration_error(y, proba) for proba in (apart, together)]
    assert binned[0] > binned[1] + 0.3


@pytest.mark.parametrize("measure", ERRORS)
def test_perfect_is_zero_and_hopeless_is_not(measure):
    y = np.arange(3).repeat(4)
    assert measure(y, np.eye(3)[y]) == pytest.approx(0, abs=1e-12)
    assert measure(y, np.eye(3)[(y + 1) % 3]) > 0.5
    half = np.full((40, 2), 0.5)
    assert measure(np.arange(40) % 2, half) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@given(seed=st.integers(0, 10_000), n_rows=st.integers(1, 30), n_classes=st.integers(2, 5))
@settings(max_examples=30)
def test_order_of_rows_and_columns_says_nothing(measure, seed, n_rows, n_classes):
    y, proba = draw(seed, n_rows, n_classes, decimals=1 if seed % 2 else None)
    proba += np.arange(n_classes) * 1e-7  # the largest of a row is one column in any order
    value = measure(y, proba, labels=range(n_classes))
    assert 0 <= value <= 1
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(n_rows), rng.permutation(n_classes)
    names = np.array([f"class {k}" for k in range(n_classes)], dtype=object)
    other = measure(names[y][rows], proba[rows][:, columns], labels=names[columns])
    assert other == pytest.approx(value, abs=1e-9)


# -- the Brier score -----------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), n_rows=st.integers(1, 40), n_classes=st.integers(2, 5))
@settings(max_examples=40)
def test_brier_adds_up_and_is_scikit_learns(seed, n_rows, n_classes):
    y, proba = draw(seed, n_rows, n_classes, decimals=1 if seed % 2 else None)
    parts = brier_decomposition(y, proba, labels=range(n_classes))
    expected = brier_score_loss(y, proba, labels=list(range(n_classes)), scale_by_half=False)
    assert parts.score == pytest.approx(expected, abs=1e-12)
    total = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert total == pytest.approx(parts.score, abs=1e-12)
    assert min(parts) >= -1e-12
    frequency = np.bincount(y, minlength=n_classes) / n_rows
    assert parts.uncertainty == pytest.approx((frequency * (1 - frequency)).sum(), abs=1e-12)


def test_brier_parts_say_what_they_are_named_for():
    y = np.array([0, 1] * 20)
    sure = np.eye(2)[y]
    assert brier_decomposition(y, sure) == pytest.approx((0, 0, 0.5, 0.5))
    turned = brier_decomposition(y, 0.5 + 0.1 * (sure - 0.5))  # tells apart, but is too shy
    assert turned.discrimination == pytest.approx(0.5)
    assert turned.miscalibration == pytest.approx(turned.score)
    flat = brier_decomposition(y, np.full((40, 2), 0.5))
    assert (flat.miscalibration, flat.discrimination) == pytest.approx((0, 0))


# -- selective prediction ------------------------------------------------------------------


def slow_risks(score, wrong, orders=4000):
    """Answer the surest rows first, ties in random order, and average."""
    rng, total = np.random.default_rng(0), np.zeros(len(score))
    for _ in range(orders):
        order = np.lexsort((rng.random(len(score)), -score))
        total += np.cumsum(wrong[order]) / np.arange(1, len(score) + 1)
    return total / orders


@pytest.mark.parametrize("decimals", [None, 1])
def test_risks_are_the_slow_ones(decimals):
    y, proba = draw(3, n_rows=25, n_classes=3, decimals=decimals)
    wrong = proba.argmax(1) != y
    curve = risk_coverage_curve(y, proba, labels=range(3))
    slow = slow_risks(proba.max(1), wrong, 1 if decimals is None else 4000)
    tolerance = 1e-12 if decimals is None else 0.03
    np.testing.assert_allclose(curve.risk, slow, atol=tolerance)
    assert aurc(y, proba, labels=range(3)) == pytest.approx(slow.mean(), abs=tolerance)
    generalised = (slow * curve.coverage).mean()
    assert augrc(y, proba, labels=range(3)) == pytest.approx(generalised, abs=tolerance)
    assert curve.risk[-1] == pytest.approx(wrong.mean())


def test_a_perfect_score_is_best_and_its_negative_worst():
    y, proba = draw(0, n_rows=200)
    right = (proba.argmax(1) == y).astype(float)
    for measure in (aurc, augrc):
        values = [measure(y, proba, score=one, labels=range(4)) for one in (right, None, -right)]
        assert values == sorted(values)
        assert values[0] < values[2]
    share = right.mean()
    assert risk_at_coverage(y, proba, coverage=share, score=right, labels=range(4)) == 0
    assert coverage_at_risk(y, proba, risk=0.0, score=right, labels=range(4)) == share


@given(seed=st.integers(0, 1000), risk=st.floats(0, 1), coverage=st.floats(0.01, 1))
@settings(max_examples=40)
def test_coverage_and_risk_are_points_of_the_curve(seed, risk, coverage):
    y, proba = draw(seed, n_rows=30, decimals=1 if seed % 2 else None)
    curve = risk_coverage_curve(y, proba, labels=range(4))
    answered = coverage_at_risk(y, proba, risk=risk, labels=range(4))
    if answered:
        assert risk_at_coverage(y, proba, coverage=answered, labels=range(4)) <= risk + 1e-9
    k = math.ceil(coverage * 30 - 1e-9)
    found = risk_at_coverage(y, proba, coverage=coverage, labels=range(4))
    assert found == pytest.approx(curve.risk[k - 1])


def test_a_score_may_be_whether_one_is_sure():
    y, proba = [0, 0, 1, 0], np.full((4, 2), [0.6, 0.4])
    assert coverage_at_risk(y, proba, risk=0.0, score=np.array([True, True, False, False])) == 0.5


def test_tied_rows_are_answered_together():
    y, proba = [0, 0, 1, 0], [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]
    assert coverage_at_risk(y, proba, risk=0.2) == 0.25
    assert coverage_at_risk(y, proba, risk=0.25) == 1.0


@given(seed=st.integers(0, 1000), risk=st.floats(0.02, 0.6))
@settings(max_examples=30)
def test_a_threshold_is_the_slow_one(seed, risk):
    y, proba = draw(seed, n_rows=80, n_classes=2, decimals=1 if seed % 2 else None)
    score, wrong = proba.max(1), proba.argmax(1) != y
    found = abstention_threshold(y, proba, risk=risk, confidence=0.9, labels=range(2))
    expected = math.inf
    for threshold in sorted(set(score), reverse=True):
        n, k = int((score >= threshold).sum()), int(wrong[score >= threshold].sum())
        if (1 - risk) ** n > 1 - 0.9:
            continue  # not even without an error
        # The bound is at most the risk if so few errors are unlikely at a rate of `risk`.
        if binom.cdf(k, n, risk) > 1 - 0.9:
            break
        expected = threshold
    assert found == pytest.approx(expected)
    careless = abstention_threshold(y, proba, risk=risk, confidence=None, labels=range(2))
    assert careless <= found
    if careless < math.inf:
        assert wrong[score >= careless].mean() <= risk + 1e-9


def test_new_rows_keep_to_the_risk_as_often_as_is_said():
    rng, kept = np.random.default_rng(0), []
    for _ in range(300):
        p = rng.uniform(0.5, 1, 4000)
        proba, y = np.column_stack([p, 1 - p]), (rng.random(4000) > p).astype(int)
        threshold = abstention_threshold(y[:300], proba[:300], risk=0.1, confidence=0.8)
        given = proba[300:].max(1) >= threshold
        kept.append(not given.any() or y[300:][given].mean() <= 0.1)
    assert 0.8 - 0.05 < np.mean(kept) < 1


def test_errors_of_selection():
    y, proba = draw(0)
    with pytest.raises(ValueError, match=r"The 'score' must be one number a row. Got: "):
        aurc(y, proba, score=[[1, 2]], labels=range(4))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        aurc(y, proba, score=[1, 2], labels=range(4))
    with pytest.raises(ValueError, match=r"The 'score' must be one number a row. Got: NaN"):
        aurc(y, proba, score=np.full(40, np.nan), labels=range(4))
    with pytest.raises(ValueError, match="'coverage' parameter of risk_at_coverage"):
        risk_at_coverage(y, proba, coverage=0.0, labels=range(4))
    with pytest.raises(ValueError, match="'risk' parameter of coverage_at_risk"):
        coverage_at_risk(y, proba, risk=-0.1, labels=range(4))


# -- scorers and a row ---------------------------------------------------------------------


def test_scorers_in_a_search_are_measures_on_held_out_rows():
    X, y = load_iris(return_X_y=True)
    names = [name for name in get_scorer_names() if hasattr(get_scorer(name), "measure")]
    assert len(names) == 8
    scoring = {name: pickle.loads(pickle.dumps(get_scorer(name))) for name in names}
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.01, 10.0]}, scoring=scoring, refit="neg_ece", cv=3,
    ).fit(X, y)  # fmt: skip
    train, test = next(StratifiedKFold(3).split(X, y))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X[train], y[train])
    proba = model.predict_proba(X[test])
    expected = -expected_calibration_error(y[test], proba)
    assert search.cv_results_["split0_test_neg_ece"][0] == pytest.approx(expected)
    expected = coverage_at_risk(y[test], proba)
    assert search.cv_results_["split0_test_coverage_at_risk"][0] == pytest.approx(expected)


def test_scorers_in_a_stacked_search_too():
    X, y = make_points()
    scoring = {name: get_scorer(name) for name in ("neg_ece", "neg_aurc", "accuracy")}
    space = {"estimator__lr": [0.001, 0.1]}
    settings = {"scoring": scoring, "refit": "neg_aurc", "cv": 2}
    one = NetworkClassifier(make_net(), random_state=0)
    stacked = StackedGridSearchCV(one, space, **settings).fit(X, y)
    plain = GridSearchCV(one, space, **settings).fit(X, y)
    for name in scoring:
        key = f"mean_test_{name}"
        np.testing.assert_allclose(stacked.cv_results_[key], plain.cv_results_[key], atol=1e-6)
    assert stacked.best_params_ == plain.best_params_


def test_a_fold_may_lack_a_class():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(X, y)
    found = get_scorer("neg_nll")(model, X[:60], y[:60])
    assert found == -negative_log_likelihood(y[:60], model.predict_proba(X[:60]), labels=range(3))


def test_scorers_by_name():
    assert get_scorer("accuracy")(DummyClassifier().fit([[0]], [1]), [[0]], [1]) == 1
    scorer = ProbabilityScorer(risk_at_coverage)
    assert get_scorer(scorer) is scorer
    with pytest.raises(ValueError, match=r"'scoring' must be a name.*neg_ece.*Got 'ece'"):
        get_scorer("ece")
    X, y = load_iris(return_X_y=True)
    scores = cross_val_score(LogisticRegression(max_iter=500), X, y, scoring=get_scorer("neg_aurc"))
    assert ((scores <= 0) & (scores > -0.1)).all()


def test_a_row_has_every_measure():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05)).fit(X[::2], y[::2])
    plain = evaluate(model, X[1::4], y[1::4])
    row = evaluate(model, X[1::4], y[1::4], X[3::4], y[3::4])
    assert plain == {name: row[name] for name in plain}
    assert set(row) - set(plain) == {"cnll", "cece"}
    proba = model.predict_proba(X[1::4])
    assert row["nll"] == negative_log_likelihood(y[1::4], proba)
    assert row["accuracy"] == model.score(X[1::4], y[1::4])
    assert row["cnll"] < row["nll"]  # so strong a penalty makes it shy
    with pytest.raises(ValueError, match=r"need both X_cal and y_cal\. Got no y_cal"):
        evaluate(model, X, y, X)
    with pytest.raises(TypeError, match="'X_cal' must be rows"):
        evaluate(model, X, y, 3.0, y)
    with pytest.raises(ValueError, match="'y_cal' must be labels"):
        evaluate(model, X, y, X, 3.0)


@pytest.mark.parametrize("measure", ERRORS)
def test_what_is_no_probability_is_refused(measure):
    for bad in ([[3.0, -1.0]] * 2, [[1.2, -0.2]] * 2):
        with pytest.raises(ValueError, match="y_proba must be probabilities, from 0 to 1"):
            measure([0, 1], bad)
    rounded = np.float32([[1 + 1e-7, 0.0], [0.0, 1 + 1e-7]])
    assert measure([0, 1], rounded) < 1e-5
