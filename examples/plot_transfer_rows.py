"""
Rows that nobody has measured
=============================

A teacher can be asked about any row, and a student learns more of it where it hears it on more
rows. Munge and Interpolate stay close to where rows are, Noise widens it, and Mixup fills what
lies between. Over three seeds a student of a forest agrees with it on 97.4 % of test rows without
such rows, on 98.3 % with Mixup's. That is what they are for, and not the same as to be right: the
forest's log loss is .140, and the student that hears it best is nearer to that (.123) than the one
that hears least (.108).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_moons
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier

from skensemble import DistilledClassifier
from skensemble.metrics import negative_log_likelihood
from skensemble.nn import MLP
from skensemble.transfer import Interpolate, Mixup, Munge, Noise

X, y = make_moons(150, noise=0.15, random_state=0)
X_test, y_test = make_moons(4000, noise=0.15, random_state=1)
samplers = {"Munge": Munge(), "Interpolate": Interpolate(), "Noise": Noise(), "Mixup": Mixup()}

# %%
# What they look like
# -------------------
figure, axes = plt.subplots(1, 4, figsize=(10.4, 2.8), layout="constrained", sharey=True)
for ax, (name, sampler) in zip(axes, samplers.items(), strict=True):
    made = np.asarray(sampler.sample(X, 600, 0))
    ax.scatter(*made.T, s=4, color="C1", label="made")
    ax.scatter(*X.T, s=6, color="C0", label="training")
    ax.set_title(name)
axes[0].legend(loc="lower left", fontsize="small")

# %%
# What a student learns on them
# -----------------------------
teacher = RandomForestClassifier(100, min_samples_leaf=3, random_state=0).fit(X, y)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.005,
    max_epochs=20,
    batch_size=32,
)


def nearness(transfer, seed):
    """Return the student's log loss, and its agreement with the teacher."""
    student = DistilledClassifier(
        FrozenEstimator(teacher), net, temperature=1, alpha=1, transfer=transfer, random_state=seed
    ).fit(X, y)
    proba = student.predict_proba(X_test)
    return negative_log_likelihood(y_test, proba), np.mean(
        student.predict(X_test) == teacher.predict(X_test)
    )


told = {name: [nearness(one, seed) for seed in range(3)]
        for name, one in {"none": None, **samplers}.items()}  # fmt: skip
for name, each in told.items():
    loss, agree = np.mean(each, 0)
    print(f"{name:12} log loss {loss:.3f} ± {np.std([e[0] for e in each], ddof=1):.3f}, "
          f"agrees with the forest {agree:.1%}")  # fmt: skip
told = negative_log_likelihood(y_test, teacher.predict_proba(X_test))
print(f"{'the forest':12} log loss {told:.3f}")
plt.show()
