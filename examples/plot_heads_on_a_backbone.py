"""
What a start from weights buys
==============================

A network that has learned six digits starts ensembles of ten on the other four, of which there are
six rows each. Ten heads on the frozen network cost next to nothing, as its features are computed
once, but are no better than these features. Ten networks that go on from its weights are good after
ten epochs; ten that draw their own weights are as good after thirty.
"""

# %%
# A backbone that has seen six digits
# -----------------------------------
# It stands for any network with weights, of torchvision, timm or transformers.
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier, NetworkClassifier, Pretrained
from skensemble.metrics import negative_log_likelihood
from skensemble.nn import SimpleCNN

torch.set_num_threads(1)  # networks this small only wait for a second thread

digits = load_digits()
X, y = (digits.images[:, None] / 16).astype(np.float32), digits.target
known = y < 6
settings = {
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.AdamW,
    "lr": 3e-3,
    "batch_size": 12,
}
first = NeuralNetClassifier(SimpleCNN, max_epochs=15, **settings)
backbone = NetworkClassifier(first, random_state=0).fit(X[known], y[known]).module_

# %%
# Four digits it has never seen
# -----------------------------
# Six rows of each to learn, all others to be tested; and a budget of epochs.
X_train, X_test, y_train, y_test = train_test_split(
    X[~known], y[~known], train_size=24, stratify=y[~known], random_state=0
)
net = NeuralNetClassifier(backbone, **settings)
recipes = {
    "drawn anew": Pretrained(net, start="reset"),
    "frozen, new heads": Pretrained(net, freeze="backbone"),
    "from the weights": Pretrained(net),
}
budgets = [3, 10, 30, 100]
seconds = {name: [] for name in recipes}
nll = {name: [] for name in recipes}
for name, recipe in recipes.items():
    ensemble = DeepEnsembleClassifier(recipe, n_estimators=10, random_state=0)
    for n_epochs in budgets:
        ensemble.set_params(estimator__network__max_epochs=n_epochs)
        start = time.perf_counter()
        ensemble.fit(X_train, y_train)
        seconds[name].append(time.perf_counter() - start)
        proba = ensemble.predict_proba(X_test)
        nll[name].append(negative_log_likelihood(y_test, proba))
        print(
            f"{name:18} {n_epochs:3} epochs {seconds[name][-1]:5.2f} s: "
            f"accuracy {ensemble.score(X_test, y_test):.3f}, NLL {nll[name][-1]:.3f}, "
            f"disagreement {ensemble.uncertainty(X_test).epistemic.mean():.4f} nats"
        )

# %%
# The picture
# -----------
colors = dict(zip(recipes, ("#999999", "#E69F00", "#0072B2"), strict=True))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for name in recipes:
    for ax, at in ((axes[0], budgets), (axes[1], seconds[name])):
        ax.plot(at, nll[name], color=colors[name], marker="o", markersize=4, label=name)
axes[0].set(xlabel="epochs", ylabel="NLL of digits 6 to 9", xscale="log", xticks=budgets)
axes[0].set_xticklabels(budgets)
axes[0].minorticks_off()
axes[1].set(xlabel="seconds to fit ten", xscale="log", xticks=[0.1, 0.3, 1, 3, 10])
axes[1].set_xticklabels(["0.1", "0.3", "1", "3", "10"])
axes[1].minorticks_off()
axes[0].legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
