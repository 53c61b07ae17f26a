"""The tables benchmark: what is read of a file, which rows are split, what is summarised."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

ARFF = """% a comment
@relation toy
@ATTRIBUTE 'row name' {r1, r2}
@attribute size\t\tREAL
@attribute colour {'red', 'dark blue', green}
@attribute never integer
@attribute Class {a, b}
@attribute code {1, 2}
@data

% another
r1, 1.5, 'dark blue', ?, a, 1
r2, ?, '?', ?, b, 2
r1, 3, red, ?, ?, 1
r2, 4, red, ?, a, 2
%
"""


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import _table_peers
        import _table_runs
        import _table_summary
        import _tables

        yield {
            "tables": _tables,
            "summary": _table_summary,
            "run": _table_runs,
            "peers": _table_peers,
        }
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def tables(modules):
    return modules["tables"]


@pytest.fixture
def summary(modules):
    return modules["summary"]


@pytest.fixture
def run(modules):
    return modules["run"]


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


# -- reading -------------------------------------------------------------------------------


def test_arff_has_types_gaps_and_its_class(tables, tmp_path):
    table = tables.read_table(write(tmp_path, "toy.arff", ARFF))
    assert table.y.tolist() == ["a", "b", "a"]  # the row without a label is no row
    assert list(table.X) == ["row name", "size", "colour", "code"]  # 'never' has no value
    assert table.X["size"].dtype == np.float64
    np.testing.assert_array_equal(table.X["size"], [1.5, np.nan, 4])
    assert table.X["colour"].dtype == "category"
    assert table.X["colour"].isna().tolist() == [False, True, False]
    assert table.X["colour"][0] == "dark blue"
    assert table.X["code"].dtype == "category"  # nominal, though it looks like numbers
    assert not table.development  # no spec knows it


def test_csv_has_its_label_last_and_quotes_gone(tables, tmp_path):
    text = "1,'x',?,'-1'\n2, y,.5,'1'\n?,?,3,'1'\n"
    table = tables.read_table(write(tmp_path, "toy.csv", text))
    assert table.y.tolist() == ["-1", "1", "1"]
    assert [str(dtype) for dtype in table.X.dtypes] == ["float64", "category", "float64"]
    np.testing.assert_array_equal(table.X["c0"], [1, 2, np.nan])
    assert table.X["c1"].tolist()[:2] == ["x", "y"]
    assert table.X["c1"].isna().tolist() == [False, False, True]


def test_a_spec_says_label_identifiers_codes_and_bins(tables, tmp_path, monkeypatch):
    spec = tables.Spec(label="c0", drop=("c1",), categories=("c2",), edges=(8.5, 10.5))
    monkeypatch.setitem(tables.SPECS, "toy", spec)
    table = tables.read_table(write(tmp_path, "toy.csv", "8,100,1\n9,101,2\n10,102,2\n11,103,1\n"))
    assert table.y.tolist() == ["0", "1", "1", "2"]
    assert list(table.X) == ["c2"]
    assert table.X["c2"].dtype == "category"
    assert table.development


def test_rows_are_bounded_always_alike_and_rare_classes_dropped(tables):
    y = np.repeat(["a", "b", "c"], [30, 20, 9])
    X = pd.DataFrame({"x": np.arange(59.0), "k": pd.Categorical(y)})
    table = tables.bounded(tables.Table("toy", X, y, True), None)
    assert set(table.y) == {"a", "b"}
    assert list(table.X["k"].cat.categories) == ["a", "b"]
    assert table.X.index.tolist() == list(range(50))
    once, again = (tables.bounded(tables.Table("toy", X, y, True), 40) for _ in range(2))
    assert len(once.y) <= 40
    pd.testing.assert_frame_equal(once.X, again.X)


def test_an_unknown_table_is_named_with_the_known_ones(tables, tmp_path):
    write(tmp_path, "toy.csv", "1,a\n")
    assert tables.table_names([tmp_path]) == ["toy", "digits", "breast_cancer", "iris"]
    with pytest.raises(ValueError, match="must be one of .*'toy'.* Got 'tot' instead"):
        tables.load_table("tot", [tmp_path])


def test_inner_splits_never_see_test_rows(tables):
    y = np.repeat(["a", "b"], [40, 20])
    train, test = tables.outer_split(y, seed=3)
    assert sorted([*train, *test]) == list(range(60))
    assert len(train) == 36
    pairs = list(tables.inner_splits(y, train, 3, seed=3))
    assert len(pairs) == 3
    for fit, valid in pairs:
        assert sorted([*fit, *valid]) == sorted(train)
        assert (y[valid] == "b").sum() == 3  # 9 rows, a third of them b


# -- measuring -----------------------------------------------------------------------------


def test_measures_by_hand(run):
    found = run.measures(np.array([0, 1]), np.array([[0.75, 0.25], [1.0, 0.0]]))
    assert found["accuracy"] == 0.5
    assert found["brier"] == pytest.approx((2 * 0.25**2 + 2) / 2)
    certain = -np.log(np.finfo(np.float64).eps)
    assert found["log_loss"] == pytest.approx((-np.log(0.75) + certain) / 2)
    single = run.measures(np.array([1]), np.array([[1.0, 0.0]], dtype=np.float32))
    assert single["log_loss"] == pytest.approx(certain)  # clipped like doubles


def plan_of(run, folder, **more):
    setup = run.Setup("test", 100, 1)
    given = {"tag": "one", "prepare": False, "commit": None, "redo": frozenset()} | more
    return run.Plan(setup, (folder,), folder / "work.jsonl", **given)


def test_a_stopped_run_goes_on_where_it_was(run, tmp_path):
    plan = plan_of(run, tmp_path)
    names = ["LogisticRegression", "RandomForest"]
    for table, seed, missing in list(run.turns(["iris"], [0], names, plan))[:1]:
        run.run_split(table, seed, missing[:1], plan)
    with plan.work.open("a") as file:
        file.write('{"table": "iris", "se')
    assert list(run.turns(["iris"], [0, 1], names, plan)) == [
        ("iris", 0, ["RandomForest"]),
        ("iris", 1, ["RandomForest", "LogisticRegression"]),  # in turn
    ]
    run.run_split("iris", 0, ["RandomForest"], plan)
    assert [r["peer"] for r in run.read_records(plan.work)] == names
    redo = plan_of(run, tmp_path, redo=frozenset(["RandomForest"]))
    assert list(run.turns(["iris"], [0], names, redo)) == [("iris", 0, ["RandomForest"])]


def test_a_tag_tells_apart_ours_only(run, tmp_path):
    setup = {"part": "test", "max_rows": 100, "threads": 1}
    records = [
        {"table": "t", "seed": 0, "peer": "XGBoost", "tag": "", **setup},
        {"table": "t", "seed": 0, "peer": "Network", "tag": "one", **setup},
        {"table": "t", "seed": 1, "peer": "Network", "tag": "two", **setup},
        {"table": "t", "seed": 2, "peer": "XGBoost", "tag": "", **setup, "part": "cv3"},
    ]
    assert set(run.chosen(records, plan_of(run, tmp_path))) == {
        ("t", 0, "XGBoost"), ("t", 0, "Network")}  # fmt: skip
    prepared = plan_of(run, tmp_path, tag="two", prepare=True)
    assert set(run.chosen(records, prepared)) == {("t", 0, "XGBoost")}


def test_a_failure_is_recorded_with_what_it_said(run, tmp_path, monkeypatch):
    def fail(name, X, *_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(run, "make", fail)
    plan = plan_of(run, tmp_path)
    run.run_split("iris", 0, ["XGBoost"], plan)
    (record,) = run.read_records(plan.work)
    assert record["error"] == "RuntimeError: no such luck"
    assert "log_loss" not in record


def test_validation_measures_training_rows_only(run, tmp_path, monkeypatch):
    seen = []

    def watch(name, table, rows, seed, plan):
        seen.extend(np.concatenate(rows).tolist())
        return {"log_loss": float(len(seen))}

    monkeypatch.setattr(run, "one_fit", watch)
    table = run.load_table("iris", [])
    setup = run.Setup("cv2", 200, 1)
    plan = run.Plan(setup, (), tmp_path / "w", "one", False, None, frozenset())
    found = run.measure("Network", table, 0, plan)
    assert sorted(set(seen)) == sorted(run.outer_split(table.y, 0)[0])
    assert found == {"log_loss": 135.0}  # the mean of 90 and 180


def test_prepared_frames_have_no_gaps(modules):
    peers = modules["peers"]
    X = pd.DataFrame({
        "n": [1.0, np.nan, 3.0, 4.0],
        "k": pd.Categorical(["a", None, "b", "a"]),
    })  # fmt: skip
    fitted = peers.dense("passthrough")[0].fit(X)
    assert fitted.transform(X).shape == (4, 5)  # number, gap; a, b, gap
    kept = peers.without_gaps("passthrough")[0].fit_transform(X)
    assert not kept.iloc[:, :2].isna().any().any()
    assert kept.iloc[:, 2].dtype == "category"
    assert peers.named_gaps(X)["k"].tolist() == ["a", "missing", "b", "a"]


def test_the_script_runs_resumes_and_reports(tmp_path):
    work, out = tmp_path / "new" / "work.jsonl", tmp_path / "out.json"
    command = [sys.executable, "-W", "ignore", str(BENCHMARKS / "tables.py"), "--tables", "iris",
               "--seeds", "0", "1", "--peers", "LogisticRegression", "RandomForest",
               "--jobs", "2", "--work", str(work), "--out", str(out)]  # fmt: skip
    for _ in range(2):  # the second time there is nothing to run
        subprocess.run(command, check=True, capture_output=True)
        assert len(work.read_text().splitlines()) == 4
    found = json.loads(out.read_text())
    assert found["n_tables"] == 1
    assert found["provenance"]["script"] == "tables.py"
    assert set(found["contenders"]) == {"LogisticRegression", "RandomForest"}
    assert out.with_suffix(".md").read_text().startswith("1 tables (1 in the means")


# -- summary -------------------------------------------------------------------------------


def record(table, peer, log_loss, seed=0, **more):
    return {
        "table": table, "seed": seed, "peer": peer, "commit": "c", "n_rows": 1000,
        "n_features": 2, "n_categories": 0, "n_classes": 2, "development": True,
        "log_loss": log_loss, "accuracy": 1 - log_loss, "brier": log_loss, "ece": 0.02,
        "fit_seconds": 1.0, "predict_seconds": 0.5, "cpu_seconds": 2.0, **more,
    }  # fmt: skip


def test_ranks_and_means_are_over_shared_seeds(summary):
    records = [
        record("s", "a", 0.2), record("s", "a", 0.4, seed=1), record("s", "b", 0.3),
        record("t", "a", 0.1), record("t", "b", 0.1), record("u", "a", 0.1),
    ]  # fmt: skip
    cells = summary.table_means(records, ["a", "b"])
    assert sorted(cells) == ["s", "t"]  # nobody compares on u
    assert cells["s"]["a"]["log_loss"] == pytest.approx(0.2)  # b has no seed 1
    assert summary.mean_ranks(cells, ["a", "b"], "log_loss") == {"a": 1.25, "b": 1.75}
    assert summary.mean_ranks(cells, ["a", "b"], "accuracy") == {"a": 1.25, "b": 1.75}


def test_a_failure_has_the_last_rank_and_loses(summary):
    records = [record("s", "a", 0.2), record("s", "b", 0.3),
               record("t", "a", 0.1, error="E"), record("t", "b", 0.9)]  # fmt: skip
    found = summary.summarise(records, ("a",), "a")
    assert found["contenders"]["a"]["rank_log_loss"] == 1.5
    assert found["contenders"]["a"]["failed_tables"] == 1
    assert found["contenders"]["b"]["log_loss"] == pytest.approx(0.3)  # t has left the means
    assert (found["duels"][0]["wins"], found["duels"][0]["tables"]) == (1.0, 2)
    assert found["duels"][0]["gap"] == pytest.approx(-0.1)
    assert found["failures"] == [{"table": "t", "seed": 0, "peer": "a", "error": "E"}]


def test_wilson_interval(summary):
    low, high = summary.wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert summary.wilson(0, 5)[0] == pytest.approx(0)
    assert summary.wilson(5, 5)[1] == pytest.approx(1)


def test_duel_counts_ties_as_halves(summary):
    records = [record(t, "a", x) for t, x in zip("stu", [0.1, 0.2, 0.3], strict=True)]
    records += [record(t, "b", x) for t, x in zip("stu", [0.2, 0.2, 0.1], strict=True)]
    found = summary.duel(summary.table_means(records, ["a", "b"]), "a", "b")
    assert found["wins"] == 1.5
    assert found["gap"] == pytest.approx(0.1 / 3)
    assert found["gap_low"] <= found["gap"] <= found["gap_high"]


def test_targets_say_hit_miss_and_not_measured(summary):
    rows = {"DeepEnsemble": (0.2, 0.34), "LogisticRegression": (0.3, 0.3), "XGBoost": (0.2, 0.5)}
    records = [record(t, name, x) for name, pair in rows.items()
               for t, x in zip("st", pair, strict=True)]  # fmt: skip
    found = summary.summarise(records, ("DeepEnsemble",), "DeepEnsemble")
    met = {row["what"]: row["met"] for row in found["targets"]}
    assert met == {
        "mean rank in log loss below LogisticRegression": True,  # 1.75 to 2
        "mean rank in log loss below XGBoost": True,
        "mean accuracy short of the best peer": True,  # .73 to .70
        "processor seconds in total, 1 x RealMLP_TD_S's": None,
        "processor seconds in total, 3 x HistGradientBoosting calibrated's": None,
        "mean ECE, tables of 1,000 rows or more": True,
        "highest log loss over LogisticRegression's": False,
    }
    assert found["targets"][-1]["worse"] == {"t": pytest.approx(0.34 / 0.3)}
    text = summary.as_markdown(found)
    assert "**missed**" in text
    assert "not measured" in text
    assert json.dumps(found)


def test_an_equal_rank_is_no_better_rank(summary):
    records = [record("s", "DeepEnsemble", 0.2), record("s", "XGBoost", 0.2)]
    found = summary.summarise(records, ("DeepEnsemble",), "DeepEnsemble")
    assert found["targets"][0]["met"] is False
