"""The judgement of the papers' claims: effects, intervals, verdicts."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import pytest
from scipy import stats

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def claims():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import claims

        yield claims
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_an_effect_has_the_interval_of_a_paired_t_test(claims):
    gains = [1.0, 2.0, 4.0, 3.0]
    rows = [{"a": 50 + seed + gain, "b": 50.0 + seed} for seed, gain in enumerate(gains)]
    found = claims.judge_effect(claims.Effect("a - b", {"a": 1, "b": -1}), rows)
    test = stats.ttest_rel([row["a"] for row in rows], [row["b"] for row in rows])
    low, high = test.confidence_interval(0.95)
    assert found["values"] == pytest.approx(gains)
    assert found["mean"] - found["half_width"] == pytest.approx(low)
    assert found["mean"] + found["half_width"] == pytest.approx(high)


@pytest.mark.parametrize(
    ("values", "side", "threshold", "level"),
    [
        ([1.0, 1.1, 0.9], "above", 0.0, 2),
        ([1.0, -0.9, 0.5], "above", 0.0, 1),
        ([-1.0, 0.5, 0.1], "above", 0.0, 0),
        ([1.0, 1.1, 0.9], "above", 1.0, 0),
        ([1.0, 1.1, 0.9], "below", 1.5, 2),
        ([1.0, 1.1, 0.9], "below", 1.05, 1),
        ([1.0, 1.1, 0.9], "below", 0.0, 0),
        ([3.0], "above", 0.0, 1),  # one seed proves nothing
    ],
)
def test_levels(claims, values, side, threshold, level):
    effect = claims.Effect("x", {"x": 1}, threshold, side)
    assert claims.judge_effect(effect, [{"x": value} for value in values])["level"] == level


def test_verdicts(claims):
    assert claims.verdict([2, 2]) == "holds"
    assert claims.verdict([2, 1]) == claims.verdict([0, 1]) == claims.verdict([2, 0])
    assert claims.verdict([2, 0]) == "holds in part"
    assert claims.verdict([0, 0]) == "does not at this scale"


def test_shares_of_the_gain(claims):
    def value(column, share, row):
        return sum(w * row[name] for name, w in claims.beyond(column, share).items())

    row = {"single": 50.0, "ensemble": 60.0, "distilled": 57.0}
    assert value("distilled", 0.5, row) == pytest.approx(2.0)  # 7 of 10, which is 2 beyond half
    assert value("distilled", 0.7, row) == pytest.approx(0.0)


def test_the_table_is_complete(claims):
    names = [claim.name for claim in claims.CLAIMS]
    assert len(set(names)) == len(names)
    assert {claim.workload for claim in claims.CLAIMS} == set(claims.WORKLOADS)
    for preset in claims.PRESETS.values():
        assert set(preset.seeds) == set(claims.WORKLOADS)
        assert min(preset.seeds.values()) > 1
    for claim in claims.CLAIMS:
        for effect in claim.effects:
            assert effect.side in ("above", "below")
            assert math.isclose(sum(effect.weights.values()), 0, abs_tol=1e-12) or (
                "sd" in effect.weights  # a spread does not move with the accuracies
            )


def test_parts_are_run_once_and_only_complete_seeds_count(claims, tmp_path, monkeypatch, capsys):
    calls = []

    def part(task):
        calls.append(task.seed)
        if task.seed == 1 and len(calls) < 3:
            raise KeyboardInterrupt
        return {"x": float(task.seed)}

    monkeypatch.setattr(claims, "WORKLOADS", {"views": {"all": part}})
    preset = dataclasses.replace(claims.PRESETS["quick"], seeds={"views": 2})
    with pytest.raises(KeyboardInterrupt):
        claims.run(preset, tmp_path, None, report=False)
    assert [row["x"] for row in claims.run(preset, tmp_path, None, report=True)["views"]] == [0.0]
    rows = claims.run(preset, tmp_path, None, report=False)["views"]
    assert [row["x"] for row in rows] == [0.0, 1.0]
    assert calls == [0, 1, 1]
    assert "seed 1" in capsys.readouterr().out


def test_other_sizes_are_refused_and_more_seeds_are_not(claims, tmp_path):
    preset, path = claims.PRESETS["quick"], tmp_path / "sizes.json"
    assert claims.check_sizes(path, preset)
    assert claims.check_sizes(path, dataclasses.replace(preset, seeds={"views": 9}))
    assert not claims.check_sizes(path, dataclasses.replace(preset, epochs=9))
    assert json.loads(path.read_text())["epochs"] == preset.epochs
