"""
Temperature and alpha, all at once
==================================

How soft should the teacher's probabilities be, and how much should they count against the labels?
A grid answers. Here 6 temperatures x 6 alphas x 5 folds, 180 students of five fold teachers, train
in a few stacks; each fold's teacher has not seen the fold's test rows.
"""

# %%
# Data and recipe
# ---------------
# Few rows, so that a teacher has something to add.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier, DistilledClassifier, StackedGridSearchCV
from skensemble.nn import MLP

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=500, stratify=y, random_state=0
)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    max_epochs=40,
    batch_size=64,
)

# %%
# The search
# ----------
temperatures = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
alphas = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
search = StackedGridSearchCV(
    DistilledClassifier(DeepEnsembleClassifier(net, n_estimators=10), net, random_state=0),
    {"temperature": temperatures, "alpha": alphas},
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    scoring="neg_log_loss",
    verbose=1,
).fit(X_train, y_train)
print(search.best_params_, "test:", search.score(X_test, y_test))

# %%
# The picture
# -----------
# The lowest row is plain training, whatever the temperature. ``ParameterGrid`` sorts names, so
# that alpha is the slower of the two.
loss = -search.cv_results_["mean_test_score"].reshape(len(alphas), len(temperatures))
figure, ax = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
image = ax.imshow(loss, origin="lower", aspect="auto", cmap="viridis_r")
for row, column in np.ndindex(loss.shape):
    dark = loss[row, column] < (loss.min() + loss.max()) / 2
    ax.text(column, row, f"{loss[row, column]:.3f}", ha="center", va="center", fontsize=8,
            color="white" if not dark else "black")  # fmt: skip
ax.set_xticks(range(len(temperatures)), [f"{t:g}" for t in temperatures])
ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
ax.set(xlabel="temperature T", ylabel="alpha, the teacher's share")
figure.colorbar(image, label="negative log-likelihood, mean of 5 folds")
plt.show()
