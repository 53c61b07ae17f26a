"""
A search at the end of a pipeline
=================================

Put the search at the end of a pipeline, rather than the pipeline into a search, and candidates
still train together. Here a random forest teaches a network, and 16 candidates on five folds are
80 students in one stack beside the folds' forests. The row of alpha 0 is plain training, whatever
the temperature: a log loss of .168, where the best student has .096 (seed 0; test rows say .095).
The best temperature is 1: a forest is seldom sure, and wants no softening.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

from skensemble import DistilledClassifier, StackedGridSearchCV
from skensemble.inspection import SearchHeatMapDisplay
from skensemble.nn import MLP

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    X.astype(np.float32), y, train_size=0.5, stratify=y, random_state=0
)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.003,
    max_epochs=30,
    batch_size=32,
)

# %%
# 16 candidates on five folds
# ---------------------------
search = StackedGridSearchCV(
    DistilledClassifier(RandomForestClassifier(50, random_state=0), net, random_state=0),
    {"temperature": [0.5, 1.0, 2.0, 4.0], "alpha": [0.0, 0.3, 0.6, 0.9]},
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    scoring="neg_log_loss",
    verbose=1,
)
model = make_pipeline(StandardScaler(), search).fit(X, y)
print(search.best_params_)

# %%
# The map
# -------
SearchHeatMapDisplay.from_estimator(search, "alpha", "temperature")
scores = search.cv_results_["mean_test_score"]
without = [one for one, params in zip(scores, search.cv_results_["params"], strict=True)
           if params["alpha"] == 0]  # fmt: skip
print(f"log loss in the folds: without a teacher {-np.mean(without):.3f}, best {-scores.max():.3f}")
print(f"on test rows: {-model.score(X_test, y_test):.3f}")
plt.show()
