"""
A fit that was killed goes on
=============================

``checkpoint=`` keeps what a fit has done so far in a folder: weights, optimiser, generators,
history. Here a fit is interrupted three times, and the same line is run again. It ends with the
bits of a fit in one go, not just with similar numbers: the two sets of curves lie on each other.
"""

import signal
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier

from skensemble import Checkpoint, DeepEnsembleClassifier
from skensemble.inspection import TrainingCurvesDisplay
from skensemble.nn import MLP

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
net = NeuralNetClassifier(
    MLP,
    module__hidden=(64, 64),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.001,
    max_epochs=20,
    batch_size=32,
)
ensemble = DeepEnsembleClassifier(
    net, n_estimators=4, random_state=0, checkpoint=Checkpoint(tempfile.mkdtemp(), every=1)
)

start = time.perf_counter()
whole = DeepEnsembleClassifier(net, n_estimators=4, random_state=0).fit(X, y)
took = time.perf_counter() - start

# %%
# Interrupted three times
# -----------------------
# After a third of the time that a whole fit takes somebody presses Ctrl-C, and the same line is
# run again.


def interrupt(*_):
    raise KeyboardInterrupt


signal.signal(signal.SIGALRM, interrupt)
for number in (1, 2, 3):
    signal.setitimer(signal.ITIMER_REAL, took / 3)
    try:
        ensemble.fit(X, y)
        print("done before anybody could interrupt it")
    except KeyboardInterrupt:
        print("interrupted:", number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
ensemble.fit(X, y)  # to its end

# %%
# The same bits
# -------------
same = np.array_equal(ensemble.predict_members(X), whole.predict_members(X))
print("the same bits as a fit in one go:", same)
display = TrainingCurvesDisplay.from_estimator(ensemble)
TrainingCurvesDisplay.from_estimator(whole, ax=display.ax_)
for line in display.ax_.lines[4:]:
    line.set(color="black", linestyle=":")
display.ax_.set(yscale="log", title="interrupted (blue), in one go (dotted)")
display.ax_.get_legend().remove()
plt.show()
