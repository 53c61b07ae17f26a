"""
When they don't
===============

Where rows are Gaussian and a smooth function labels them there are no views to miss. An ensemble
then averages away nothing but noise in its members, and weight decay does that as well: at the
decay that single networks choose on validation rows, the ensemble has little or nothing left to
gain (Allen-Zhu and Li, 2023, Figure 3). Without decay it seems to help here too: the comparison
is fair only where the single network is tuned.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler

from skensemble import DeepEnsembleClassifier
from skensemble.datasets import make_labelled_gaussian
from skensemble.nn import MLP

DECAYS = [0, 0.003, 0.01, 0.02, 0.03, 0.05]
EPOCHS = 40


def accuracies(X, y, decay):
    """Return accuracies of single networks on validation and test rows, and the ensemble's."""
    net = NeuralNetClassifier(
        MLP,
        module__hidden=(64, 64),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__weight_decay=decay,
        lr=0.1,
        max_epochs=EPOCHS,
        batch_size=50,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=EPOCHS)],
    )
    train, valid, test = np.split(np.arange(len(X)), [500, 1500])
    ensemble = DeepEnsembleClassifier(net, 8, random_state=0).fit(X[train], y[train])
    singles = [100 * np.array([one.score(X[at], y[at]) for one in ensemble])
               for at in (valid, test)]  # fmt: skip
    return singles[0].mean(), singles[1], 100 * ensemble.score(X[test], y[test])


figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
places = np.arange(len(DECAYS))
for ax, labeller, name in zip(axes, ["linear", "fc2"], ["a linear map", "a network of two layers"],
                              strict=True):  # fmt: skip
    X, y = make_labelled_gaussian(
        6500, shape=40, n_classes=5, labeller=labeller, dtype=np.float32, random_state=0
    )
    valid, singles, together = zip(*(accuracies(X, y, decay) for decay in DECAYS), strict=True)
    singles, together = np.array(singles), np.array(together)
    gain = together - singles.mean(1)
    best = int(np.argmax(valid))
    print(f"{labeller}: decay {DECAYS[best]} chosen; gain {gain[0]:.1f} without, {gain[best]:.1f} "
          "with it")  # fmt: skip

    ax.fill_between(places, singles.min(1), singles.max(1), color="C0", alpha=0.2, lw=0)
    ax.plot(places, singles.mean(1), "o-", color="C0", label="one network: mean and range of 8")
    ax.plot(places, together, "s-", color="C1", label="ensemble of the 8")
    ax.axvline(best, color="0.5", ls=":", label="decay chosen on validation rows")
    for at in (0, best):
        ax.annotate(
            f"{gain[at]:+.1f}",
            (at, together[at]),
            xytext=(4, 12),
            textcoords="offset points",
            weight="bold",
            color="C1",
        )
    ax.margins(y=0.12)
    ax.set_xticks(places, [f"{decay:g}" for decay in DECAYS])
    ax.set(xlabel="weight decay", title=f"labelled by {name}")
axes[0].set_ylabel("test accuracy, %")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
              frameon=False)  # fmt: skip
figure.suptitle("Gaussian rows: a tuned network leaves the ensemble little to gain")
plt.show()
