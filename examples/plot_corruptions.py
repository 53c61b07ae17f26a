"""
Rows that get worse
===================

Rows that come later are seldom as good as those that were learned. Here columns get noise, are
shifted, or have a share of their cells permuted, at five severities. With seed 0 the ensemble has
an accuracy of .953 over all of them, one network .928 and a forest .894; in log loss it is .132,
.256 and .275. Shifts leave the networks where they were and take the forest, whose thresholds
stay, down to .64: what is robust to one corruption need not be to another.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from skensemble import DeepEnsembleClassifier
from skensemble.inspection import CorruptionDisplay

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, train_size=0.5, stratify=y, random_state=0)
ensemble = DeepEnsembleClassifier(n_estimators=5, random_state=0).fit(X, y)
models = {
    "one network": ensemble[0],
    "five together": ensemble,
    "random forest": RandomForestClassifier(300, random_state=0).fit(X, y),
}

# %%
# Accuracy and log loss
# ---------------------
figure, axes = plt.subplots(2, 3, figsize=(9.6, 6.0), layout="constrained", sharey="row")
for column, (name, model) in enumerate(models.items()):
    for line, scoring in zip(axes, (None, "neg_log_loss"), strict=True):
        display = CorruptionDisplay.from_estimator(
            model, X_test, y_test, ["noise", "shift", "permute"], scoring=scoring, ax=line[column]
        )
        print(f"{name:14} {display.score_name:13} {display.mean():.3f} over corruptions")
    axes[0, column].set_title(name)
plt.show()
