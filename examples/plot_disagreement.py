"""
Where there were no rows
========================

One network is unsure along one line, and as sure as can be everywhere else, however far from any
row. Ten networks agree near the rows, also about where classes overlap, and go apart where there
were none: what they disagree about is .007 nats on average near rows and .080 more than two units
away (seed 0). In most directions they still agree and are sure, so that disagreement finds some
rows from elsewhere and not all.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_moons
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier
from skensemble.nn import MLP

X, y = make_moons(200, noise=0.15, random_state=0)
X = X.astype(np.float32)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=40,
    batch_size=50,
)
ensemble = DeepEnsembleClassifier(net, n_estimators=10, random_state=0).fit(X, y)
side = np.linspace(-4.0, 5.0, 120, dtype=np.float32)
grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
found = ensemble.uncertainty(grid)
alone = ensemble[0].predict_proba(grid)
entropy = -(alone * np.log(np.clip(alone, 1e-12, 1))).sum(1)

# %%
# One network, and what ten disagree about
# -------------------------------------------
pictures = {
    "one network: entropy": entropy,
    "ten: what all find unsure": found.aleatoric,
    "ten: what they disagree about": found.epistemic,
}
figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.4), layout="constrained", sharey=True)
for ax, (name, values) in zip(axes, pictures.items(), strict=True):
    drawn = ax.contourf(side, side, values.reshape(120, 120), np.linspace(0, 0.7, 15), cmap="magma")
    ax.scatter(*X.T, c=np.where(y, "C0", "C2"), s=5)
    ax.set_title(name, fontsize="medium")
figure.colorbar(drawn, ax=axes, label="nats")

# %%
# In numbers
# ----------
nearest = np.min(np.linalg.norm(grid[:, None] - X[None], axis=2), 1)
for name, values in pictures.items():
    near, far = values[nearest < 0.3].mean(), values[nearest > 2].mean()
    print(f"{name:33} near rows {near:.3f}, more than 2 away {far:.3f}")
plt.show()
