"""Measures against slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import log_loss

from skensemble.metrics import (
    disagreement,
    expected_calibration_error,
    negative_log_likelihood,
    pairwise_kl,
)


def draw(seed, n_rows=40, n_classes=4):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.5), n_rows)
    return rng.integers(0, n_classes, n_rows), proba


def slow_ece(y, proba, n_bins):
    """Put samples into bins (lo, hi] one by one."""
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        inside = [
            (max(row), float(row.tolist().index(max(row)) == label))
            for row, label in zip(proba, y, strict=True)
            if low < max(row) <= high
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(a for _, a in inside) / len(inside)
            total += len(inside) / len(y) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("n_bins", [1, 2, 7, 15])
@pytest.mark.parametrize("seed", range(5))
def test_ece_is_the_slow_one(seed, n_bins):
    y, proba = draw(seed)
    ece = expected_calibration_error(y, proba, n_bins=n_bins, labels=range(4))
    assert ece == pytest.approx(slow_ece(y, proba, n_bins), abs=1e-12)
    if n_bins == 15:
        assert expected_calibration_error(y, proba, labels=range(4)) == ece


def test_ece_bins_are_open_below_and_closed_above():
    # 0.5 belongs to (0, 0.5]: with 0.51 in the same bin the gaps would cancel.
    y, proba = [0, 1], [[0.5, 0.5], [0.51, 0.49]]
    apart = expected_calibration_error(y, proba, n_bins=2)
    assert apart == pytest.approx((abs(1 - 0.5) + abs(0 - 0.51)) / 2)
    assert expected_calibration_error(y, proba, n_bins=1) == pytest.approx(abs(0.5 - 0.505))


@pytest.mark.parametrize("seed", range(5))
def test_nll_is_the_slow_one_and_scikit_learns(seed):
    y, proba = draw(seed)
    slow = -sum(math.log(row[label]) for row, label in zip(proba, y, strict=True)) / len(y)
    nll = negative_log_likelihood(y, proba, labels=range(4))
    assert nll == pytest.approx(slow, abs=1e-12)
    assert nll == pytest.approx(log_loss(y, proba, labels=range(4)), abs=1e-12)


def test_nll_does_not_clip():
    assert negative_log_likelihood([0, 1], [[1.0, 0.0], [1.0, 0.0]]) == math.inf
    assert negative_log_likelihood([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0


@pytest.mark.parametrize("measure", [negative_log_likelihood, expected_calibration_error])
@given(seed=st.integers(0, 10_000), n_rows=st.integers(1, 30), n_classes=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_bounds_order_and_labels(measure, seed, n_rows, n_classes):
    y, proba = draw(seed, n_rows, n_classes)
    value = measure(y, proba, labels=range(n_classes))
    assert 0 <= value <= (math.inf if measure is negative_log_likelihood else 1)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(n_rows), rng.permutation(n_classes)
    names = np.array([f"class {k}" for k in range(n_classes)], dtype=object)
    other = measure(names[y][rows], proba[rows][:, columns], labels=names[columns])
    assert other == pytest.approx(value, abs=1e-10)


def test_perfect_and_hopeless():
    y = np.array([0, 1, 2])
    assert expected_calibration_error(y, np.eye(3)) == 0
    assert expected_calibration_error(y, np.eye(3)[[1, 2, 0]]) == 1


def test_float32_is_taken_as_it_is():
    y, proba = draw(0)
    half = proba.astype(np.float32)
    for measure in (negative_log_likelihood, expected_calibration_error):
        assert measure(y, half, labels=range(4)) == pytest.approx(
            measure(y, proba, labels=range(4)), abs=1e-5
        )


@pytest.mark.parametrize("measure", [negative_log_likelihood, expected_calibration_error])
def test_errors(measure):
    with pytest.raises(ValueError, match="y_proba has 3 columns for 2 labels; pass 'labels'"):
        measure([0, 1], np.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"values that are not among the labels \[0, 1\]"):
        measure([0, 2], np.full((2, 2), 0.5), labels=[0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        measure([0, 1, 1], np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="NaN"):
        measure([0, 1], np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="Expected 2D array"):
        measure([0, 1], [0.5, 0.5])


def test_ece_needs_a_bin():
    with pytest.raises(ValueError, match=r"'n_bins' parameter of .* must be an int in .*\. Got 0"):
        expected_calibration_error([0, 1], np.full((2, 2), 0.5), n_bins=0)


# -- diversity -----------------------------------------------------------------------------


def draw_members(seed, n_members=3, n_rows=7, n_classes=4):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(n_classes, 0.7), (n_members, n_rows))


def slow_pairs(members, measure):
    """Average a measure of two rows over ordered pairs and samples."""
    M, n, _ = members.shape
    values = [
        measure(members[i, at], members[j, at])
        for at in range(n) for i in range(M) for j in range(M) if i != j
    ]  # fmt: skip
    return sum(values) / len(values)


@given(st.integers(0, 1000), st.integers(2, 5))
def test_diversity_is_the_slow_one(seed, n_members):
    members = draw_members(seed, n_members)
    kl = slow_pairs(members, lambda p, q: sum(a * math.log(a / b) for a, b in zip(p, q)))  # noqa: B905
    other = slow_pairs(members, lambda p, q: float(p.argmax() != q.argmax()))
    assert pairwise_kl(members) == pytest.approx(kl, rel=1e-10)
    assert disagreement(members) == pytest.approx(other, rel=1e-10)


@given(st.integers(0, 1000), st.permutations(range(3)))
def test_diversity_knows_no_order_and_is_zero_for_copies(seed, order):
    members = draw_members(seed)
    assert pairwise_kl(members[order]) == pytest.approx(pairwise_kl(members), rel=1e-10)
    assert disagreement(members[order]) == pytest.approx(disagreement(members), rel=1e-10)
    copies = np.stack([members[0]] * 3)
    assert pairwise_kl(copies) == pytest.approx(0.0, abs=1e-12)
    assert disagreement(copies) == 0.0


def test_diversity_at_the_edge():
    certain = [[[1.0, 0.0]], [[1.0, 0.0]]]
    assert pairwise_kl(certain) == 0.0
    assert pairwise_kl([[[1.0, 0.0]], [[0.0, 1.0]]]) == math.inf
    assert disagreement([[[1.0, 0.0]], [[0.0, 1.0]]]) == 1.0
    for measure in (pairwise_kl, disagreement):
        with pytest.raises(ValueError, match="from at least 2 members"):
            measure([[[1.0, 0.0]]])
        with pytest.raises(ValueError, match="from at least 2 members"):
            measure([[1.0, 0.0]])
