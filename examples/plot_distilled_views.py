"""
What a distilled network has learned
====================================

On multi-view data a network that learns from labels finds one view of each class and stops. One
that learns from an ensemble finds the views that the ensemble has, although it sees the same
rows: rows that show a class hold faint traces of others, and in how sure the ensemble is of those
others it says which views it knows. Self-distillation is the ensemble of two in disguise: the
student has the views its own initial weights lead it to, and those of its teacher (Allen-Zhu
and Li, 2023).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble.datasets import make_multiview_classification
from skensemble.inspection import LearnedViews, LearnedViewsDisplay, learned_views
from skensemble.nn import gradient_descent

data = {"dtype": np.float32}
X, y, views = make_multiview_classification(500, return_views=True, **data, random_state=0)
# Rows with a single view, which the training rows hardly have.
X_test, y_test = make_multiview_classification(
    3000, single_view=1.0, features=views.features, **data, random_state=1
)


def student_of(teacher, temperature, weight, lr):
    """Learn from labels and ``weight * (softmax(s/T) - softmax(t/T))`` in the logits' gradient."""
    beta = weight / temperature
    return DistilledClassifier(
        FrozenEstimator(teacher),
        gradient_descent(lr=lr * (1 + beta), n_steps=400),
        temperature=temperature,
        alpha=beta / (1 + beta),
        averaging="logit",
        random_state=7,
    ).fit(X, y)


teachers = DeepEnsembleClassifier(gradient_descent(), 8, averaging="logit", random_state=0)
teachers.fit(X, y)
# The students below start from the same weights as this one.
alone = NetworkClassifier(gradient_descent(), random_state=7).fit(X, y)
networks = {
    "labels alone": alone,
    "one network's student": student_of(teachers[0], 5.0, 10.0, 1.5),
    "the ensemble's student": student_of(teachers, 8.0, 100.0, 1.0),
}

figure, (above, below) = plt.subplots(
    2, 1, figsize=(8.4, 6.0), height_ratios=(10, 4), layout="constrained"
)
LearnedViewsDisplay.from_estimator(teachers, views.features, ax=above)
above.set_title("eight networks, and what they know together")
found = [learned_views(network, views.features) for network in networks.values()]
rows = LearnedViews(
    np.concatenate([one.response for one in found]),
    np.concatenate([one.learned for one in found]),
    teachers.classes_,
)
LearnedViewsDisplay(rows).plot(ax=below, names=list(networks), union=False)
scores = {name: 100 * network.score(X_test, y_test) for name, network in networks.items()}
for place, score in enumerate(scores.values()):
    below.text(20.0, place, f"{score:.0f} %", va="center")
below.set_title("what one network has learned; right on rows with one view")
print(", ".join(f"{name}: {score:.0f} %" for name, score in scores.items()))
print(f"the ensemble: {100 * teachers.score(X_test, y_test):.0f} %")
plt.show()
