"""The benchmark of serving: what is made of seconds, and that what serves agrees."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

for package in ("onnxruntime", "onnxscript", "skl2onnx"):
    pytest.importorskip(package)
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import serving

        yield serving
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_latency_is_quantiles_of_all_calls_and_ratios_of_medians_within_rounds(script):
    slow = [[3.0, 3.0, 9.0], [8.0, 8.0, 8.0]]
    found = script.latency({script.PRIMARY: [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], "slow": slow})
    assert found["slow"]["ratios"] == [3.0, 4.0]
    assert found["slow"]["ratio_median"] == 3.5
    assert found["slow"]["p50"] == 8e6
    assert found["slow"]["calls"] == 6
    assert 8e6 < found["slow"]["p99"] < 9e6


def made_up(script, us, size, own_ratios, boosting_ratios):
    """Return latencies and qualities in which every export of the student is alike."""
    row = {"p50": us, "ratios": own_ratios}
    one_row = dict.fromkeys(script.OURS, row) | {script.BOOSTING: {"ratios": boosting_ratios}}
    sizes = {name: {"bytes": size} for name in script.OURS} | {script.FOREST: {"bytes": 1000}}
    return one_row, [sizes]


def test_verdicts_are_by_what_was_written_before(script):
    good = made_up(script, 100.0, 10, [1.0, 1.0, 1.0], [0.5, 2.0, 3.0])
    told = script.verdicts(*good)[script.PRIMARY]
    assert told == {
        "fast": True, "share": 0.01, "small": True, "times_boosting": 2.0,
        "faster_than_boosting": True,
    }  # fmt: skip
    bad = made_up(script, 100.1, 11, [1.0, 1.0, 1.0], [0.5, 1.0, 3.0])
    told = script.verdicts(*bad)[script.PRIMARY]
    assert [told[key] for key in ("fast", "small", "faster_than_boosting")] == [False] * 3


@pytest.mark.parametrize(
    ("ratio", "accuracy", "worth"), [(0.9, 0.896, True), (1.0, 0.9, False), (0.5, 0.89, False)]
)
def test_int8_must_be_faster_and_as_accurate(script, ratio, accuracy, worth):
    table = {
        "quality": [{"student, ONNX": {"accuracy": 0.9},
                     "student, ONNX int8": {"accuracy": accuracy}}],
        "one_row": {"student, ONNX": {"ratio_median": 1.0},
                    "student, ONNX int8": {"ratio_median": ratio}},
    }  # fmt: skip
    assert script.worth({"table": table}) == [worth]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_what_is_compiled_serves_one_row_and_many(script, tmp_path):
    from nets import make_net

    from skensemble import NetworkClassifier
    from skensemble.nn import MLP

    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    net = make_net(MLP, module__hidden=(4,), max_epochs=1)
    student = NetworkClassifier(net, random_state=0).fit(X, np.arange(30) % 3)
    served = script._compiled(student, tmp_path / "row.bin", tmp_path, "float32")
    X[0].tofile(tmp_path / "row.bin")
    for rows in (X[:1], X):
        np.testing.assert_allclose(served.predict(rows), student.predict_proba(rows), atol=1e-5)
    named = {script.PRIMARY: served, "again": served}
    starts = script.start_ups(named, 2)
    assert [len(one) for one in starts.values()] == [2, 2]
    bursts = script.bursts(named, X, 1, rounds=2, calls=4)
    assert [[len(one) for one in each] for each in bursts.values()] == [[4, 4], [4, 4]]


def test_tables_are_halved(script):
    found = script.read("digits", None, 0)
    assert (len(found.X), found.X.dtype, found.X.shape[1]) == (898, np.float32, 64)
    assert len(found.X_test) == len(found.y_test) == 899
