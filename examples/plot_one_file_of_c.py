"""
A classifier in one file of C
=============================

A sensor has no Python. What five networks know fits into one, and that into a file of C that needs
a compiler and nothing else: the scaling, what to do with a missing value, and the probabilities
are inside. With weights of one byte what is compiled is a third as large, and the map of its
probabilities is the same to the eye: on the right is how far it is off, nowhere more than .002.
On the lines both classes are as likely.
"""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.frozen import FrozenEstimator

from skensemble import DeepEnsembleClassifier, DistilledClassifier
from skensemble.deploy import export_c

X, y = make_moons(400, noise=0.25, random_state=0)
X[::10, 1] = np.nan  # the second sensor fails at times
X_test, y_test = make_moons(2000, noise=0.25, random_state=1)
ensemble = DeepEnsembleClassifier(n_estimators=5, random_state=0).fit(X, y)
student = DistilledClassifier(FrozenEstimator(ensemble), random_state=0).fit(X, y)

# %%
# Written and compiled
# --------------------
# Any compiler of C99 does. The loop over rows is ours; the file itself predicts one.
LOOP = """
void rows(const float *x, int n, float *p)
{
    for (int i = 0; i < n; i++)
        student_predict_proba(x + i * student_n_features, p + i * student_n_classes);
}
"""
folder = Path(tempfile.mkdtemp())
compiler = shutil.which("gcc") or shutil.which("cc") or "cc"


def compiled(weights):
    """Return the file's predict_proba, and the bytes of its code."""
    source, library = folder / f"{weights}.c", folder / f"{weights}.so"
    export_c(student, source, weights=weights)
    source.write_text(source.read_text() + LOOP)
    flags = ["-std=c99", "-O2", "-s", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library), "-lm"], check=True)
    call = ctypes.CDLL(str(library)).rows

    def predict_proba(rows):
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        out = np.empty((len(rows), 2), np.float32)
        call(ctypes.c_void_p(rows.ctypes.data), len(rows), ctypes.c_void_p(out.ctypes.data))
        return out

    return predict_proba, library.stat().st_size


files = {weights: compiled(weights) for weights in ("float32", "int8")}
for weights, (predict_proba, size) in files.items():
    proba = predict_proba(X_test)
    off = abs(proba - student.predict_proba(X_test)).max()
    print(f"{weights:8} {size / 1000:4.0f} kB, accuracy {(proba.argmax(1) == y_test).mean():.4f}, "
          f"at most {off:.0e} from predict_proba")  # fmt: skip
print("with the second sensor gone:", files["int8"][0]([[1.5, np.nan]]).round(3)[0])

# %%
# What one byte a weight changes
# ------------------------------
x0, x1 = np.meshgrid(np.linspace(-1.8, 2.8, 220), np.linspace(-1.3, 1.8, 160))
grid = np.c_[x0.ravel(), x1.ravel()]
maps = {name: call(grid)[:, 1].reshape(x0.shape) for name, (call, _) in files.items()}
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.3), sharey=True, layout="constrained")
shown = axes[0].pcolormesh(x0, x1, maps["int8"], cmap="RdBu", vmin=0, vmax=1, alpha=0.6)
axes[0].scatter(*X.T, c=y, cmap="RdBu", s=8, edgecolors="k", linewidths=0.3)
axes[0].set(title=f"int8: {files['int8'][1] / 1000:.0f} kB", xlabel="$x_1$", ylabel="$x_2$")
figure.colorbar(shown, ax=axes[0], label="probability of the blue class")
gap = abs(maps["int8"] - maps["float32"])
shown = axes[1].pcolormesh(x0, x1, gap, cmap="viridis", vmin=0)
axes[1].set(title=f"off from float32: {files['float32'][1] / 1000:.0f} kB", xlabel="$x_1$")
figure.colorbar(shown, ax=axes[1], label="|int8 - float32|")
for ax, name in zip(axes, ("int8", "float32"), strict=True):
    ax.contour(x0, x1, maps[name], [0.5], colors="k" if ax is axes[0] else "w", linewidths=1)
plt.show()
