"""
A pipeline in a search
======================

How many features, and how much of the teacher? Both belong into one search over one pipeline, where
the selection is made anew on each fold's training rows. Here a random forest teaches a network, and
4 numbers of features x 4 alphas x 5 folds are 80 students. Scaler and selection are fitted once a
fold and number, not once a candidate, and the 20 students of equally many features train in one
stack.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
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
student = DistilledClassifier(
    RandomForestClassifier(50, random_state=0), net, temperature=1.0, random_state=0
)
pipeline = make_pipeline(StandardScaler(), SelectKBest(), student)

# %%
# 16 candidates on five folds
# ---------------------------
search = StackedGridSearchCV(
    pipeline,
    {"selectkbest__k": [4, 8, 16, 30], "distilledclassifier__alpha": [0.0, 0.3, 0.6, 0.9]},
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    scoring="neg_log_loss",
    verbose=1,
)
start = time.perf_counter()
search.fit(X, y)
print(f"{search.best_params_} after {time.perf_counter() - start:.0f} s")

# %%
# The map
# -------
# The column of alpha 0 is plain training. What the search returns is an ordinary pipeline.
SearchHeatMapDisplay.from_estimator(search, "selectkbest__k", "distilledclassifier__alpha")
scores = search.cv_results_["mean_test_score"]
without = [one for one, params in zip(scores, search.cv_results_["params"], strict=True)
           if params["distilledclassifier__alpha"] == 0]  # fmt: skip
print(f"log loss in the folds: without a teacher {-max(without):.3f}, best {-scores.max():.3f}")
print(f"on test rows: {-search.score(X_test, y_test):.3f}")
print(search.best_estimator_[:-1])
plt.show()
