"""Scores of rows from inside and outside of a distribution, against pairs one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from skensemble.metrics import fpr_at_tpr, ood_auroc

SCORES = st.lists(st.integers(-4, 4) | st.floats(-5, 5), min_size=1, max_size=25)


def slow_auroc(inside, outside):
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    return sum(pairs) / len(pairs)


def slow_fpr(inside, outside, tpr):
    """Try every threshold; the highest that lets enough pass."""
    fine = [t for t in inside if sum(a >= t for a in inside) / len(inside) >= tpr]
    return sum(b >= max(fine) for b in outside) / len(outside)


@given(inside=SCORES, outside=SCORES, tpr=st.floats(0.01, 1) | st.sampled_from([0.1, 0.95, 1.0]))
@settings(max_examples=150, deadline=None)
def test_they_are_the_slow_ones_and_scikit_learns(inside, outside, tpr):
    auroc, fpr = ood_auroc(inside, outside), fpr_at_tpr(inside, outside, tpr=tpr)
    assert auroc == pytest.approx(slow_auroc(inside, outside), abs=1e-12)
    assert fpr == pytest.approx(slow_fpr(inside, outside, tpr), abs=1e-12)
    y = [1] * len(inside) + [0] * len(outside)
    assert auroc == pytest.approx(roc_auc_score(y, inside + outside), abs=1e-12)
    false, true, _ = roc_curve(y, inside + outside, drop_intermediate=False)
    assert fpr == pytest.approx(false[true >= tpr].min(), abs=1e-12)


@given(inside=SCORES, outside=SCORES)
@settings(max_examples=50, deadline=None)
def test_order_is_all_that_counts(inside, outside):
    auroc = ood_auroc(inside, outside)
    assert ood_auroc(outside, inside) == pytest.approx(1 - auroc, abs=1e-12)
    ranks = {value: rank for rank, value in enumerate(sorted({*inside, *outside}))}
    low, high = ([ranks[value] for value in one] for one in (inside, outside))
    assert ood_auroc(low, high) == auroc
    assert fpr_at_tpr(low, high) == fpr_at_tpr(inside, outside)
    assert fpr_at_tpr(low, high, tpr=1.0) >= fpr_at_tpr(low, high)


@pytest.mark.parametrize("n_in", [10, 20, 30, 49, 100])
def test_shares_that_floats_do_not_hold(n_in):
    inside = np.arange(n_in)
    for k in range(1, n_in + 1):
        assert fpr_at_tpr(inside, inside, tpr=k / n_in) == pytest.approx(k / n_in)


def test_edges_and_kinds_of_input():
    assert ood_auroc([2, 3], [0, 1]) == 1.0
    assert fpr_at_tpr([2, 3], [0, 1]) == 0.0
    assert ood_auroc([1], [1]) == 0.5
    assert ood_auroc([0.0, math.inf], [-math.inf]) == 1.0
    assert ood_auroc(torch.tensor([1.0, 0.0]), np.array([[0.5]], np.float32).ravel()) == 0.5


@pytest.mark.parametrize("measure", [ood_auroc, fpr_at_tpr])
def test_errors(measure):
    with pytest.raises(ValueError, match="'score_in' must be one number a row. Got NaN"):
        measure([math.nan], [0.0])
    with pytest.raises(ValueError, match="'score_out' must be one number a row. Got no row"):
        measure([1.0], [])
    with pytest.raises(ValueError, match="'score_out' must be one number a row. Got: .*1d array"):
        measure([1.0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="'score_in' must be one number a row"):
        measure(["a"], [1.0])


@pytest.mark.parametrize("tpr", [0, 1.5, "x"])
def test_a_share_is_a_share(tpr):
    with pytest.raises(ValueError, match="The 'tpr' parameter of fpr_at_tpr must be a float"):
        fpr_at_tpr([1.0], [0.0], tpr=tpr)
