"""
One row at a time
=================

A service asks for one row at a time, and what costs then is not arithmetic. An estimator checks
its input and makes a tensor; a forest walks 300 trees in Python's hands. Exported to ONNX, the
same probabilities (to 1e-6) come within tens of microseconds, and preparation of the table is in
the graph. The times in the picture are those of the machine that drew it; the order is what stays.
All three are equally good here, as far as 143 test rows can tell.
"""

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skensemble import DeepEnsembleClassifier, DistilledClassifier

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
forest = RandomForestClassifier(300, random_state=0).fit(X, y)
ensemble = DeepEnsembleClassifier(n_estimators=5, random_state=0).fit(X, y)
student = DistilledClassifier(FrozenEstimator(ensemble), random_state=0).fit(X, y)

# %%
# Written, and read by onnxruntime
# --------------------------------
# The graph reads raw numbers: what prepares the table is in it.
rows = X_test.astype(np.float32)
sessions = {}
for name, model in {"ensemble": ensemble, "student": student}.items():
    path = Path(tempfile.mkdtemp()) / f"{name}.onnx"
    model.export_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    sessions[name] = session
    told = session.run(None, {session.get_inputs()[0].name: rows})
    proba = next(one for one in told if np.ndim(one) == 2)
    print(f"{name}: {path.stat().st_size / 1000:.0f} kB, "
          f"at most {abs(proba - model.predict_proba(X_test)).max():.0e} off")  # fmt: skip


def median_time(predict, n_calls):
    """Return the median over calls of a prediction of one row, in microseconds."""
    seconds = []
    for call in range(n_calls):
        row = rows[call % len(rows)][None]
        start = time.perf_counter()
        predict(row)
        seconds.append(time.perf_counter() - start)
    return 1e6 * np.median(seconds)


# %%
# Who answers how fast
# --------------------
calls = {
    "forest of 300": (forest.predict_proba, 20),
    "ensemble": (ensemble.predict_proba, 20),
    "student": (student.predict_proba, 50),
    **{
        f"{name}, exported": (
            lambda row, session=session: session.run(None, {session.get_inputs()[0].name: row}),
            500,
        )
        for name, session in sessions.items()
    },
}
times = {name: median_time(*each) for name, each in calls.items()}
figure, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
bars = ax.barh(list(times), list(times.values()), color=["C7", "C1", "C0", "C1", "C0"])
ax.bar_label(bars, [f"{one:,.0f} µs" for one in times.values()], padding=3)
ax.set(xscale="log", xlabel="one row, median, one thread")
ax.margins(x=0.25)
ax.invert_yaxis()
for name, model in {"forest": forest, "ensemble": ensemble, "student": student}.items():
    print(f"{name:9} accuracy {model.score(X_test, y_test):.3f}")
plt.show()
