"""
How many members?
=================

Train sixteen networks once, then ask what fewer of them would have done: a slice of a fitted
ensemble is an ensemble. The first five or so bring most of the gain. One test row more or less
moves the accuracy by 0.001, so its wiggles mean little; the likelihood is the steadier measure.
"""

# %%
# Data and recipe
# ---------------
# Half of the digits for training, half for testing; the networks differ by their seed alone.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier
from skensemble.metrics import negative_log_likelihood
from skensemble.nn import MLP

torch.set_num_threads(1)  # networks this small only wait for a second thread

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=60,
    batch_size=64,
)

# %%
# Three ensembles of sixteen
# --------------------------
# ``ensemble[:m]`` has the members that an ensemble of ``m`` with the same seed would have.
sizes = np.arange(1, 17)
accuracy, nll = [], []
for seed in range(3):
    ensemble = DeepEnsembleClassifier(net, n_estimators=16, random_state=seed)
    ensemble.fit(X_train, y_train)
    parts = [ensemble[:m] for m in sizes]
    accuracy.append([part.score(X_test, y_test) for part in parts])
    nll.append([negative_log_likelihood(y_test, part.predict_proba(X_test)) for part in parts])

# %%
# The picture
# -----------
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, values, label in zip(
    axes,
    (accuracy, nll),
    ("accuracy, test half", "negative log-likelihood, test half"),
    strict=True,
):
    for at, line in enumerate(values):
        name = "one ensemble (seed)" if at == 0 else None
        ax.plot(sizes, line, color="#56B4E9", linewidth=1, label=name)
    mean = np.mean(values, axis=0)
    ax.plot(sizes, mean, color="#0072B2", linewidth=2.5, marker="o", markersize=4, label="mean")
    ax.set(xlabel="members", ylabel=label, xticks=[1, 4, 8, 12, 16])
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False, loc="lower right")
for m in (1, 2, 4, 8, 16):
    print(
        f"{m:>2} members: accuracy {np.mean(accuracy, 0)[m - 1]:.4f}, "
        f"NLL {np.mean(nll, 0)[m - 1]:.3f}"
    )
plt.show()
