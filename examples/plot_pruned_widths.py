"""
How narrow may a network be?
============================

A network of 64 and 64 hidden units is trained on digits, loses most of them, and is trained on;
beside it stands one that was as narrow from the start. Over three seeds the pruned one is ahead at
every width, by far at a width of four (.669 for .383) and still at 32 (.948 for .932, and .937 for
the whole one). Part of that is that it was trained twice, ten epochs each time. To be taught by
what it was does not help here: a word from the unpruned network costs accuracy at every width.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier

from skensemble import DistilledClassifier, NetworkClassifier, PrunedClassifier
from skensemble.nn import MLP

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X, X_test, y, y_test = train_test_split(X, y, train_size=600, stratify=y, random_state=0)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=10,
    batch_size=64,
)

# %%
# Three ways to the same width
# ----------------------------
widths = [4, 8, 16, 32]
seeds = range(3)


def narrow_ones(width, seed):
    """Return test accuracies by the way to a network of that width."""
    settings = {"keep": width / 64, "random_state": seed}
    pruned = PrunedClassifier(net, **settings).fit(X, y)
    taught = PrunedClassifier(net, distill=DistilledClassifier(), protocol="post", **settings)
    small = clone(net).set_params(module__hidden=(width, width))
    fresh = NetworkClassifier(small, random_state=seed).fit(X, y)
    return [one.score(X_test, y_test) for one in (pruned, taught.fit(X, y), fresh)]


found = np.array([[narrow_ones(width, seed) for seed in seeds] for width in widths])
whole = np.mean([NetworkClassifier(net, random_state=s).fit(X, y).score(X_test, y_test)
                 for s in seeds])  # fmt: skip
figure, ax = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
for way, name in enumerate(["pruned", "pruned, taught by what it was", "as narrow from the start"]):
    mean, spread = found[:, :, way].mean(1), found[:, :, way].std(1, ddof=1)
    ax.errorbar(widths, mean, spread, marker="o", capsize=3, label=name)
    print(f"{name:30}", " ".join(f"{w}: {m:.3f}" for w, m in zip(widths, mean, strict=True)))
print(f"whole: {whole:.3f}")
ax.axhline(whole, linestyle=":", color="gray", label="64 wide, unpruned")
ax.set(xscale="log", xlabel="width of both hidden layers", ylabel="test accuracy, 3 seeds")
ax.set_xticks(widths, widths)
ax.minorticks_off()
ax.legend()
plt.show()
