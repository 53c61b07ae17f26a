"""The judgement of the papers' claims: effects, intervals, verdicts; and that all of it runs."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from skorch import NeuralNetClassifier
from torch import nn

from skensemble import NetworkClassifier
from skensemble.nn import gradient_descent

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def claims():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import claims

        yield claims
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def table(claims):
    import _claims

    return _claims


@pytest.fixture(scope="module")
def experiments(claims):
    import _experiments

    return _experiments


def rows_of(*values, **others):
    return [{"x": value, "fitted": 100.0, **others} for value in values]


def claim_of(table, *effects, needs=None):
    needs = {"fitted": 99.0} if needs is None else needs
    return table.Claim("name", "says", "source", "digits", effects, needs)


# -- effects and verdicts ----------------------------------------------------------------------


def test_an_effect_has_the_interval_of_a_paired_t_test(table):
    gains = [1.0, 2.0, 4.0, 3.0]
    rows = [{"a": 50 + seed + gain, "b": 50.0 + seed} for seed, gain in enumerate(gains)]
    found = table.judge_effect(table.difference("a", "b"), rows)
    test = stats.ttest_rel([row["a"] for row in rows], [row["b"] for row in rows])
    low, high = test.confidence_interval(0.95)
    assert found["values"] == pytest.approx(gains)
    assert found["mean"] - found["half_width"] == pytest.approx(low)
    assert found["mean"] + found["half_width"] == pytest.approx(high)


@pytest.mark.parametrize(
    ("values", "side", "threshold", "lies"),
    [
        ([1.0, 1.1, 0.9], "above", 0.0, "right"),
        ([1.0, -0.9, 0.5], "above", 0.0, "open"),
        ([-1.0, 0.5, 0.1], "above", 0.0, "open"),
        ([1.0, 1.1, 0.9], "above", 2.0, "wrong"),
        ([1.0, 1.1, 0.9], "below", 1.5, "right"),
        ([1.0, 1.1, 0.9], "below", 1.05, "open"),
        ([1.0, 1.1, 0.9], "below", 0.0, "wrong"),
        ([3.0], "above", 0.0, "open"),  # one seed proves nothing
        ([0.0, 0.0, 0.0], "above", 0.0, "open"),  # nor do seeds that say the same
    ],
)
def test_where_an_interval_lies(table, values, side, threshold, lies):
    effect = table.alone("x", threshold, side)
    assert table.judge_effect(effect, [{"x": value} for value in values])["lies"] == lies


@given(
    st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=8),
    st.integers(-20, 20),
)
def test_sides_are_mirror_images(table, values, threshold):
    rows = [{"x": value} for value in values]
    above = table.judge_effect(table.alone("x", threshold, "above"), rows)["lies"]
    below = table.judge_effect(table.alone("x", threshold, "below"), rows)["lies"]
    assert below == {"right": "wrong", "wrong": "right", "open": "open"}[above]


STEADY, NEAR = (1.0, 1.1, 0.9, 1.0, 1.05), (1.0, -0.9, 0.5, 0.2, -0.1)


@pytest.mark.parametrize(
    ("thresholds", "values", "verdict", "why"),
    [
        ((0.0,), STEADY, "holds", ""),
        ((0.0, 0.5), STEADY, "holds", ""),
        ((0.0, 2.0), STEADY, "does not", ""),
        ((0.0,), NEAR, "undecided", "an interval"),
        ((0.0, 9.0), NEAR, "does not", ""),  # one is wrong, whatever the other
        ((0.0,), STEADY[:4], "undecided", "4 seeds of at least 5"),
        ((2.0,), STEADY[:4], "undecided", "4 seeds of at least 5"),
    ],
)
def test_verdicts(table, thresholds, values, verdict, why):
    claim = claim_of(table, *(table.alone("x", one, "above") for one in thresholds))
    found = table.judge_claim(claim, rows_of(*values))
    assert found["verdict"] == verdict
    assert found["why"].startswith(why)
    assert bool(found["why"]) == (verdict == "undecided")


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_networks_that_do_not_fit_decide_nothing(table, threshold):
    claim = claim_of(table, table.alone("x", threshold, "above"))
    found = table.judge_claim(claim, rows_of(*STEADY, fitted=98.5))
    assert found["verdict"] == "undecided"
    assert found["why"] == "fitted 98.50 of at least 99 %"
    assert table.judge_claim(claim, rows_of(*STEADY, fitted=99.0))["verdict"] != "undecided"


def test_the_premise_of_the_theorems_wants_every_member_of_every_seed(table):
    claim = claim_of(table, table.alone("x", 0.0, "above"), needs=table.EVERY_MEMBER)
    rows = rows_of(*STEADY, **{"fitted, least": 100.0})
    assert table.judge_claim(claim, rows)["verdict"] == "holds"
    rows[2]["fitted, least"] = 99.8  # one row of 500, in one seed
    assert table.judge_claim(claim, rows)["verdict"] == "undecided"


def test_shares_of_the_gain(table):
    def value(share):
        return sum(w * row[name] for name, w in table.less_share("x", share).weights.items())

    row = {"single": 50.0, "ensemble": 60.0, "x": 57.0}
    assert value(0.5) == pytest.approx(2.0)  # 7 of 10, which is 2 beyond half
    assert value(0.7) == pytest.approx(0.0)


# -- the table ---------------------------------------------------------------------------------


def test_the_table_is_complete(claims, table):
    names = [claim.name for claim in table.CLAIMS]
    assert len(set(names)) == len(names)
    for preset in claims.PRESETS.values():
        assert {claim.workload for claim in table.CLAIMS} == set(preset)
    assert min(one.seeds for one in claims.PRESETS["cpu"].values()) >= table.MIN_SEEDS
    for claim in table.CLAIMS:
        for effect in claim.effects:
            assert effect.side in ("above", "below")
            # A difference does not move with accuracies; an error over mu is one by itself.
            assert math.isclose(sum(effect.weights.values()), 0, abs_tol=1e-12) or (
                list(effect.weights.values()) == [1.0] and "mu" in effect.what
            )


def test_only_kernels_and_gaussian_rows_are_excused_from_fitting(table):
    excused = {claim.workload for claim in table.CLAIMS if not claim.needs}
    assert excused == {*table.KERNELS, "linear", "fc2"}


@pytest.fixture(scope="module")
def quick(claims, tmp_path_factory):
    """Return a row of every workload of the quick preset."""
    folder, preset = tmp_path_factory.mktemp("claims"), claims.PRESETS["quick"]
    one = {name: dataclasses.replace(planned, seeds=1) for name, planned in preset.items()}
    return claims.run(one, folder, None, tuple(one))


def test_every_column_of_a_claim_is_measured(table, quick, capsys):
    for claim in table.CLAIMS:
        (row,) = quick[claim.workload]
        for effect in claim.effects:
            assert set(effect.weights) <= set(row), claim.name
        assert set(claim.needs) <= set(row), claim.name
        assert table.judge_claim(claim, [row])["why"] == "1 seeds of at least 5"


def test_every_workload_tells_how_its_networks_fit(table, quick):
    for name, (row,) in quick.items():
        if name not in table.KERNELS:
            assert 0 <= row["fitted, least"] <= row["fitted"] <= 100, name


# -- running -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fake:
    """A workload that is interrupted once."""

    calls: list = dataclasses.field(default_factory=list, repr=False)
    size: int = 1

    def parts(self):
        return {"all": self.part}

    def part(self, task):
        self.calls.append(task.seed)
        if task.seed == 1 and len(self.calls) < 3:
            raise KeyboardInterrupt
        return {"x": float(task.seed)}


def test_parts_are_run_once_and_only_complete_seeds_count(claims, tmp_path, capsys):
    fake = Fake()
    preset = {"views": claims.Planned(fake, 2)}
    with pytest.raises(KeyboardInterrupt):
        claims.run(preset, tmp_path, None, ["views"])
    assert [row["x"] for row in claims.run(preset, tmp_path, None, [])["views"]] == [0.0]
    rows = claims.run(preset, tmp_path, None, ["views"])["views"]
    assert [row["x"] for row in rows] == [0.0, 1.0]
    assert fake.calls == [0, 1, 1]
    assert "seed 1" in capsys.readouterr().out


def test_only_what_is_named_is_run_and_all_is_read(claims, tmp_path):
    first, second = Fake(calls=[0, 0, 0]), Fake(calls=[0, 0, 0])
    preset = {"views": claims.Planned(first, 1), "digits": claims.Planned(second, 1)}
    claims.run(preset, tmp_path, None, ["views"])
    found = claims.run(preset, tmp_path, None, ["digits"])
    assert (len(first.calls), len(second.calls)) == (4, 4)
    assert [row["x"] for row in found["views"] + found["digits"]] == [0.0, 0.0]


def test_other_sizes_are_refused_and_more_seeds_are_not(claims, tmp_path):
    fake = Fake(calls=[0, 0, 0])
    claims.run({"views": claims.Planned(fake, 2)}, tmp_path, None, ["views"])
    assert (
        len(claims.run({"views": claims.Planned(fake, 3)}, tmp_path, None, ["views"])["views"]) == 3
    )
    other = {"views": claims.Planned(Fake(size=2), 2)}
    with pytest.raises(
        claims.OtherSizesError, match=r"must hold Fake\(size=2\). Got Fake\(size=1\)"
    ):
        claims.run(other, tmp_path, None, [])


def test_all_workloads_come_to_a_verdict_before_any_has_more_seeds(claims, table):
    order = claims.order_of({"a": claims.Planned(None, 7), "b": claims.Planned(None, 6)})
    least = table.MIN_SEEDS
    assert order[: 2 * least] == [(name, seed) for name in "ab" for seed in range(least)]
    assert order[2 * least :] == [("a", 5), ("a", 6), ("b", 5)]


# -- the trained sum ---------------------------------------------------------------------------


class SameStart(nn.Module):
    """Two layers whose weights start the same whatever the seed."""

    def __init__(self, n_classes):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, n_classes)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(0.5 * torch.randn(weights.shape, generator=draw))

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)))


def momentum_net(**changes):
    settings = {
        "lr": 0.1, "max_epochs": 20, "batch_size": -1, "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9, "optimizer__nesterov": True, "optimizer__weight_decay": 0.05,
        "criterion": nn.CrossEntropyLoss, **changes,
    }  # fmt: skip
    return NeuralNetClassifier(SameStart, **settings)


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    return draw.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3


def test_a_mean_of_equal_networks_goes_as_one_of_them_would_alone(experiments, rows):
    X, y = rows
    alone = NetworkClassifier(momentum_net(), random_state=0).fit(X, y)
    together = experiments.trained_sum(momentum_net(), 4, 0).fit(X, y)
    assert_allclose(together.predict_proba(X), alone.predict_proba(X), atol=1e-4)
    # Decay that is not divided, or a rate that is not multiplied, is another network.
    for net in (momentum_net(optimizer__weight_decay=0.2), momentum_net(lr=0.025)):
        other = experiments.trained_sum(net, 4, 0).fit(X, y)
        assert np.abs(other.predict_proba(X) - alone.predict_proba(X)).max() > 0.01


def test_a_recipe_without_decay_keeps_none(experiments):
    net = experiments.for_mean(gradient_descent(lr=2.0), 3)
    assert net.lr == 6.0
    assert "optimizer__weight_decay" not in net.get_params()


def test_the_sum_of_logits_is_another_network_than_their_mean(rows):
    """Members step alike where both say the same, but added logits are larger.

    By hand, gradient descent on linear networks, which start at zero: after one step of rate r the
    members are the same in both, and the sum's logits M times those of the mean.
    """
    X, y = rows
    onehot, rate, n_members = np.eye(3)[y], 0.5, 4

    def logits_after(steps, add):
        weights = np.zeros((n_members, 4, 3))
        share, lr = (1.0, rate) if add else (1 / n_members, n_members * rate)
        for _ in range(steps):
            exp = np.exp(X @ weights.sum(0) * share)
            step = X.T @ (exp / exp.sum(1, keepdims=True) - onehot) / len(X)
            weights -= lr * share * step
        return X @ weights.sum(0) * share

    assert_allclose(logits_after(1, True), n_members * logits_after(1, False), atol=1e-7)
    assert not np.allclose(logits_after(5, True), n_members * logits_after(5, False), atol=0.01)


def test_multiview_rows_are_taken_from_the_stored_result(claims, tmp_path, monkeypatch):
    import _multiview

    path = tmp_path / "multiview.json"
    described = _multiview.describe(_multiview.DEFAULT, 2)
    path.write_text(json.dumps({"setting": described, "rows": {"3": {"single": 0.4}}}))
    monkeypatch.setattr(_multiview, "STORED", path)
    monkeypatch.setattr(_multiview, "measure", lambda *args: {"single": -1.0})
    take = _multiview.stored_or_measured
    assert take(3, _multiview.DEFAULT, 2, 10) == {"single": 0.4}
    assert take(4, _multiview.DEFAULT, 2, 10) == {"single": -1.0}
    assert take(3, _multiview.DEFAULT, 1, 10) == {"single": -1.0}
