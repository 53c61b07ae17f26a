"""
Why do ensembles work?
======================

On multi-view data every class shows up in two ways. A network that is trained by gradient descent
learns, for most classes, one of the two and then stops: that is enough for its training
rows, nearly all of which show both. Which one it learns is settled by its initial weights. So
networks of different seeds miss different views, and together they miss none: on rows that show a
single view the ensemble is right where half of its members are not (Allen-Zhu and Li, 2023).
"""

import matplotlib.pyplot as plt
import numpy as np

from skensemble import DeepEnsembleClassifier
from skensemble.datasets import make_multiview_classification
from skensemble.inspection import LearnedViewsDisplay
from skensemble.nn import gradient_descent

X, y, views = make_multiview_classification(
    500, return_views=True, dtype=np.float32, random_state=0
)
ensemble = DeepEnsembleClassifier(gradient_descent(), 8, averaging="logit", random_state=0)
ensemble.fit(X, y)

# Rows with a single view, which the training rows hardly have.
X_test, y_test = make_multiview_classification(
    4000, single_view=1.0, features=views.features, dtype=np.float32, random_state=1
)
members = [100 * (member.predict(X_test) == y_test).mean() for member in ensemble]
together = 100 * (ensemble.predict(X_test) == y_test).mean()
print(f"rows with one view: a member {np.mean(members):.0f} %, all together {together:.0f} %")

display = LearnedViewsDisplay.from_estimator(ensemble, views.features)
display.ax_.set_title(
    f"{display.ax_.get_title()}\n"
    f"right on rows with one view: a member {np.mean(members):.0f} %, together {together:.0f} %"
)
plt.show()
