"""
A student that knows what it does not know
==========================================

The members of an ensemble disagree about rows unlike those that they have learned. An ordinary
student is told their mean, in which that cannot be seen. One that is taught a Dirichlet
distribution keeps it, in one network: the spread of its distribution takes the place of the
disagreement. With seed 0, on 300 digits, it tells digits from digits with shuffled pixels in 96.9
% of pairs, the ensemble in 94.6 %; on digits the two correlate by .83. It costs a little accuracy
(.928 for .935). And the ordinary student's largest probability does as well here (95.8 %): compare
with the simple score before you take the other.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skensemble import DeepEnsembleClassifier, DistilledClassifier
from skensemble.metrics import ood_auroc

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
ensemble = DeepEnsembleClassifier(n_estimators=5, random_state=0).fit(X, y)
teacher = FrozenEstimator(ensemble)
dirichlet = DistilledClassifier(
    teacher, objective="proxy-dirichlet", alpha=1.0, random_state=0
).fit(X, y)
plain = DistilledClassifier(teacher, random_state=0).fit(X, y)

# %%
# Familiar rows, and rows from elsewhere
# --------------------------------------
# The same pixels in other places.
strange = np.random.default_rng(0).permuted(X_test, axis=1)
doubts = {
    "ensemble: disagreement": [ensemble.uncertainty(rows).epistemic for rows in (X_test, strange)],
    "Dirichlet: its spread": [dirichlet.uncertainty(rows).epistemic for rows in (X_test, strange)],
    "student: largest probability": [
        1 - plain.predict_proba(rows).max(1) for rows in (X_test, strange)
    ],
}
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
for ax, (name, (known, unknown)) in zip(axes, doubts.items(), strict=True):
    area = ood_auroc(-known, -unknown)
    bins = np.linspace(0, max(known.max(), unknown.max()), 30)
    ax.hist(known, bins, alpha=0.6, density=True, label="digits")
    ax.hist(unknown, bins, alpha=0.6, density=True, label="shuffled pixels")
    ax.set_title(f"{name}\ntells them apart: {area:.3f}", fontsize="medium")
    print(f"{name:30} {area:.3f}")
axes[0].legend()
told = np.corrcoef(*(one.uncertainty(X_test).epistemic for one in (ensemble, dirichlet)))[0, 1]
print(f"correlation of the two on digits: {told:.2f}")
for name, model in {"ensemble": ensemble, "Dirichlet": dirichlet, "student": plain}.items():
    print(f"{name:10} accuracy {model.score(X_test, y_test):.3f}")
plt.show()
