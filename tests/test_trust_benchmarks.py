"""The benchmarks of sets and of rows from elsewhere: small ones run, and summaries say what is."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from skensemble.conformal import ConformalSets

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
MEASURES = ("coverage", "worst class", "size", "single")


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: __import__(name) for name in ("_bench", "conformal", "ood")}
    finally:
        sys.path.remove(str(BENCHMARKS))


def quick(module, name, folder, monkeypatch):
    out = folder / "out.json"
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(out)])
    module.main()
    return json.loads(out.read_text())


def test_an_interval_is_that_of_a_t_test(scripts):
    values = [1.0, 2.0, 4.0, 7.0]
    found = scripts["_bench"].interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found["mean"] - found["half_width"], found["mean"] + found["half_width"]) == (
        pytest.approx((low, high))
    )
    assert math.isnan(scripts["_bench"].interval([1.0])["half_width"])


def test_sets_run_and_hold_labels(scripts, tmp_path, monkeypatch):
    found = quick(scripts["conformal"], "conformal", tmp_path, monkeypatch)
    assert list(found["tables"]) == ["iris"]
    assert found["tables"]["iris"]["seeds"] == 2
    for way in (*scripts["conformal"].WAYS, "lac, split"):
        assert found["overall"][way]["coverage"] > 0.8
        assert 1 <= found["overall"][way]["size"] <= 3


def test_measures_of_sets(scripts):
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
    found = scripts["conformal"].measures(sets, np.array([0, 0, 2, 2]))
    assert found == {"coverage": 0.75, "worst class": 0.5, "size": 1.25, "single": 0.75}


def test_what_was_wanted_is_judged(scripts):
    module = scripts["conformal"]

    def row(table, seed, coverage, differ):
        ways = (*module.WAYS, "lac, split")
        return {
            "table": table, "seed": seed, "accuracy": 0.8, "sets that differ from MAPIE's": differ,
            **{way: {**dict.fromkeys(MEASURES, 1.0), "coverage": coverage} for way in ways},
        }  # fmt: skip

    good = [row("a", 0, 0.91, 0), row("a", 1, 0.911, 0), row("b", 0, 0.80, 2), row("b", 1, 0.9, 1)]
    wanted = module.summarise(good)["wanted"]
    assert wanted == {
        "mean coverage in [0.88, 0.95]": True,
        "tables whose interval is above 0.88": 1,
        "sets that differ from MAPIE's": 3,
    }
    unknown = [{**one, "sets that differ from MAPIE's": None} for one in good]
    assert module.summarise(unknown)["wanted"]["sets that differ from MAPIE's"] is None


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_are_those_of_mapie(scripts, score):
    pytest.importorskip("mapie")
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(4, 0.7), 150)
    y = np.array([rng.choice(4, p=p) for p in proba])
    assert scripts["conformal"].differing(proba[:50], y[:50], proba[50:], score) == 0


def test_rows_from_elsewhere_run(scripts, tmp_path, monkeypatch):
    found = quick(scripts["ood"], "ood", tmp_path, monkeypatch)["pairs"]["digits"]
    assert set(found["table"]) == {
        "one network", "ensemble", "student, label", "student, proxy-dirichlet",
    }  # fmt: skip
    one, many = found["table"]["one network"], found["table"]["ensemble"]
    assert "AUROC epistemic" in many
    assert "AUROC epistemic" not in one
    gap = many["AUROC entropy"]["mean"] - one["AUROC entropy"]["mean"]
    assert found["differences"]["ensemble - one network"]["mean"] == pytest.approx(gap)
    assert found["provenance"]["script"] == "ood.py"


def test_strange_classes_are_not_learned(scripts):
    X, y, X_test, y_test, X_far, net = scripts["ood"].digits(3)
    assert len(set(y)) == 8
    assert set(y_test) <= set(y)
    assert len(X) + len(X_test) + len(X_far) == 1797
    assert net is None
    assert isinstance(scripts["conformal"].WAYS["lac, CV+"][0], ConformalSets)
