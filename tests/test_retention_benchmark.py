"""The benchmark of what students keep: what is run when, and what is made of records."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import _retention
        import _retention_summary
        import retention

        yield {"run": _retention, "summary": _retention_summary, "script": retention}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def run(modules):
    return modules["run"]


@pytest.fixture
def summary(modules):
    return modules["summary"]


# -- what is run ---------------------------------------------------------------------------


def plan_of(run, folder, **more):
    given = {"keep": None, "commit": None, "images": None, "sizes": run.ImageSizes()} | more
    setup = run.Setup(max_rows=60, threads=1, tag="one")
    return run.Plan(setup, (), device="cpu", work=folder / "work.jsonl", **given)


def test_defaults_of_a_seed_go_before_its_other_arms_and_before_the_next_seed(run, tmp_path):
    cases = [run.Case("tables", name, seed) for name in ("iris", "wine") for seed in (0, 1)]
    arms = ["no-folds", "default"]
    found = list(run.turns(cases, [run.OURS, "RandomForest"], arms, plan_of(run, tmp_path)))
    seen = [(turn.case.name, turn.case.seed, turn.todo[0][1]) for turn in found]
    one = [("iris", "default"), ("wine", "default"), ("iris", "no-folds"), ("wine", "no-folds")]
    assert seen == [(name, seed, arm) for seed in (0, 1) for name, arm in one]
    # Our ensemble's students have no folds to do without.
    assert found[0].todo == ((run.OURS, "default"), ("RandomForest", "default"))
    assert found[2].todo == (("RandomForest", "no-folds"),)


def test_digits_and_images_have_our_ensemble_and_the_default_only(run):
    for cell in ("digits", "images"):
        assert run.wanted(cell, run.TEACHERS, list(run.ARMS)) == [(run.OURS, "default")]
    assert len(run.wanted("tables", run.TEACHERS, list(run.ARMS))) == 5 * 4 - 1


def test_what_is_there_is_not_run_again(run, tmp_path):
    plan = plan_of(run, tmp_path)
    case = run.Case("tables", "iris", 0)
    record = case._asdict() | {"teacher": "RandomForest", "arm": "default"}
    run.append_record(plan.work, record | {"max_rows": 60, "threads": 1, "tag": "two"})
    assert len(list(run.turns([case], ["RandomForest"], ["default"], plan))) == 1
    run.append_record(plan.work, record | {"max_rows": 60, "threads": 1, "tag": "one"})
    assert not list(run.turns([case], ["RandomForest"], ["default"], plan))


def test_a_failure_is_recorded_with_what_it_said(run, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(run.Shared, "run", fail)
    plan = plan_of(run, tmp_path)
    run.run_turn(run.Turn(run.Case("tables", "iris", 0), (("RandomForest", "default"),)), plan)
    (record,) = run.read_records(plan.work)
    assert record["error"] == "RuntimeError: no such luck"


@pytest.mark.parametrize(("name", "shape"), [("rows-150", (64,)), ("images-150", (1, 8, 8))])
def test_digits_have_as_many_rows_as_they_say(run, tmp_path, name, shape):
    data = run.load(run.Case("digits", name, 0), plan_of(run, tmp_path))
    assert data.X.shape == (150, *shape)
    assert len(data.X_test) == 1797 - 150
    assert data.X.max() <= 1


def test_sizes_of_images_are_read(run):
    assert run.ImageSizes.read(["epochs=3"]) == run.ImageSizes(epochs=3)
    with pytest.raises(ValueError, match="Got epoch=3 instead"):
        run.ImageSizes.read(["epoch=3"])


def test_what_is_kept_is_not_fitted_again(run, tmp_path, monkeypatch):
    sizes = run.ImageSizes(n_train=30, n_test=20, depth=8, width=4, pool=4, epochs=1, members=2)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 2
    monkeypatch.setattr(run, "_cifar", lambda path: (images, labels, images, labels))
    plan = plan_of(run, tmp_path, images=tmp_path, sizes=sizes, keep=tmp_path / "keep")
    case = run.Case("images", "cifar10", 0)
    first = run.Shared(case, plan).run(run.OURS, "default")
    assert set(first["measures"]["student"]) >= {"log_loss", "auc", "bytes", "train_accuracy"}
    monkeypatch.setattr(run.Shared, "_fit_and_judge", None)
    again = run.Shared(case, plan).run(run.OURS, "default")
    assert again["measures"]["teacher"] == first["measures"]["teacher"]
    assert again["measures"]["student"]["log_loss"] == first["measures"]["student"]["log_loss"]


def test_the_script_runs_resumes_and_reports(modules, run, tmp_path, monkeypatch):
    work, out = tmp_path / "new" / "work.jsonl", tmp_path / "out.json"
    argv = ["retention.py", "--cells", "tables", "--tables", "iris", "--seeds", "0",
            "--teachers", "RandomForest", "--arms", "default", "--max-rows", "60",
            "--work", str(work), "--out", str(out)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", argv)
    quick = {"teacher_cv": None, "transfer": None, "patience": 1}
    monkeypatch.setitem(run.ARMS, "default", quick)
    modules["script"].main()
    monkeypatch.setattr(run, "Shared", None)
    modules["script"].main()  # there is nothing left to run
    assert len(work.read_text().splitlines()) == 1
    found = json.loads(out.read_text())
    assert found["provenance"]["script"] == "retention.py"
    assert found["tables"]["iris"]["teachers"]["RandomForest"]["seeds"] == [0]
    row = found["cells"]["tables"]["RandomForest"]["default"]
    assert row["student"]["bytes"] > 0


def test_measures_by_hand(run):
    y = np.array([0, 0, 1])
    proba = run.sure([[0.8, 0.2], [0.0, 1.0], [0.4, 0.6]], 2)
    found = run.measures(y, proba)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 1e-7, 0.6]).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["auc"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="or not finite"):
        run.sure([[np.nan, 1.0]], 2)


# -- what is made of it --------------------------------------------------------------------


def record(name, losses, teacher="DeepEnsemble", arm="default", cell="tables", seed=0, **more):
    costs = {"many_row_seconds": 1e-6, "one_row_seconds": 1e-3, "bytes": 100, "cpu_seconds": 2.0}
    measures = {
        who: {"log_loss": loss, "accuracy": 1 - loss, "auc": 1 - loss / 2, **costs, **more}
        for who, loss in zip(("plain", "teacher", "student"), losses, strict=True)
    }
    return {
        "cell": cell, "name": name, "seed": seed, "teacher": teacher, "arm": arm, "commit": "c",
        "n_rows": 100, "n_features": 2, "n_categories": 0, "n_classes": 2, "development": True,
        "measures": measures, "agreement": 0.9,
    }  # fmt: skip


def test_kept_is_of_means_over_seeds_and_only_where_there_is_something(summary):
    found = summary.units_of([
        record("a", (0.5, 0.3, 0.32)), record("a", (0.5, 0.5, 0.48), seed=1),
        record("b", (0.5, 0.499, 0.45)), record("c", (0.5, 0.6, 0.4)),
    ])  # fmt: skip
    assert found["a"]["kept"] == pytest.approx(0.1 / 0.1)
    assert found["b"]["kept"] is found["c"]["kept"] is None
    assert found["c"]["to_plain"] == pytest.approx(0.8)
    row = summary.over_tables(found)
    assert (row["n_tables"], row["n_splits"], row["n_kept"]) == (3, 4, 1)
    assert row["better_than_plain"] == 1
    assert row["worst"] == "b"


def test_an_arm_stands_beside_the_default_on_the_cases_of_both(summary):
    default = [record("a", (0.5, 0.3, 0.3)), record("b", (0.5, 0.3, 0.5))]
    arm = [record("a", (0.5, 0.3, 0.4), arm="no-transfer"),
           record("a", (0.5, 0.3, 0.9), arm="no-transfer", seed=1)]  # fmt: skip
    found = summary.summarise(default + arm)["without"]["DeepEnsemble"]["no-transfer"]
    assert (found["n_tables"], found["n_splits"]) == (1, 1)
    assert found["kept_median"] == pytest.approx(0.5)
    assert found["kept_median_of_default"] == pytest.approx(1.0)
    assert found["log_loss_to_default"] == pytest.approx(4 / 3)
    assert found["worse_than_default"] == 1


def test_targets_say_hit_miss_open_and_not_measured(summary):
    records = [
        record("a", (0.5, 0.3, 0.31)),
        record("b", (0.5, 0.3, 0.52)),
        record("rows-150", (0.5, 0.3, 0.4), cell="digits"),
        record("cifar10", (0.5, 0.3, 0.3), cell="images", train_accuracy=0.98),
        {"cell": "tables", "name": "a", "seed": 0, "teacher": "LightGBM", "arm": "default",
         "commit": "c", "error": "E", **dict.fromkeys(summary.ABOUT, 1)},
    ]  # fmt: skip
    records[3] |= dict.fromkeys(summary.SIZES, 1)
    found = summary.summarise(records)
    said = {row["what"]: (row["met"], row["undecided"]) for row in found["targets"]}
    assert said["tables, DeepEnsemble: median share kept"] == (False, False)
    assert said["tables, RandomForest: median share kept"] == (None, False)
    assert said["digits as rows, DeepEnsemble: median share kept"] == (False, False)
    assert said["images, DeepEnsemble: median share kept"] == (None, True)
    worst = "tables, DeepEnsemble: largest log loss over a plain network's"
    assert said[worst] == (False, False)
    assert found["failures"][0]["error"] == "E"
    assert "undecided" in summary.as_text(found)
    assert json.dumps(found)
