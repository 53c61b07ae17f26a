"""
What a network sees instead of a digit
======================================

Augmentations alter every batch anew, labels with it where rows are mixed. An augmentation of one's
own that only looks on shows what becomes of the first images. On digits of 8 x 8 pixels, 150 of
them, **none helps** (two seeds): plain rows have a log loss of .30, mixed ones .40, mirrored ones
.80, since a mirrored 2 is no 2. There are 25 epochs, few for rows that are harder to learn;
photographs of things that may be flipped are another matter.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier
from skensemble.augmentation import Augmentation, CropFlip, CutMix, Cutout, MixUp
from skensemble.metrics import negative_log_likelihood
from skensemble.nn import SimpleCNN

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
X, X_test, y, y_test = train_test_split(X, y, train_size=150, stratify=y, random_state=0)
net = NeuralNetClassifier(
    SimpleCNN,
    module__width=8,
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.005,
    max_epochs=25,
    batch_size=50,
)

# %%
# To look on, without altering anything
# -------------------------------------
# An augmentation of your own is a method. In a list it is applied after those that stand before it.


class Watch(Augmentation):
    """Keep the first batch that comes by."""

    seen = None

    def alter(self, batch, draws):
        if self.seen is None:
            self.seen = batch.x[0].clone()
        return batch


kinds = {
    "as they are": [],
    "crop": [CropFlip(padding=1, flip=0.0)],
    "crop and mirror": [CropFlip(padding=1)],
    "cutout": [Cutout(side=4)],
    "cutmix": [CutMix(p=1.0)],
    "mixup": [MixUp()],
}
figure, axes = plt.subplots(len(kinds), 8, figsize=(6.4, 5.0), layout="constrained")
scores = {}
for line, (name, kind) in zip(axes, kinds.items(), strict=True):
    watch = Watch()
    found = []
    for seed in range(2):
        ensemble = DeepEnsembleClassifier(net, 3, augmentation=[*kind, watch], random_state=seed)
        ensemble.fit(X, y)
        proba = ensemble.predict_proba(X_test)
        found.append((ensemble.score(X_test, y_test), negative_log_likelihood(y_test, proba)))
    scores[name] = np.array(found)
    for ax, image in zip(line, watch.seen, strict=False):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# What it brings
# --------------
for name, found in scores.items():
    accuracy, loss = found.mean(0)
    print(f"{name:16} accuracy {accuracy:.3f}, NLL {loss:.3f} ± {found[:, 1].std(ddof=1):.3f}")
plt.show()
