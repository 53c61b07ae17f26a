"""A finite setting of the theorems of Allen-Zhu and Li (2023), and how it is measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble.datasets import make_multiview_classification
from skensemble.inspection import learned_views
from skensemble.nn import gradient_descent

MU = 0.03
Row = dict[str, float]


@dataclass(frozen=True)
class Teaching:
    """Cross-entropy and ``weight * (softmax(s/T) - softmax(t/T))`` in the logits' gradient.

    ``weight / T`` times ``T² KL`` beside the cross-entropy is ``alpha = beta / (1 + beta)`` with
    ``beta = weight / T``, at a learning rate larger by ``1 + beta``.
    """

    temperature: float
    weight: float
    lr: float
    n_steps: int

    @property
    def full_lr(self) -> float:
        """Return the learning rate at which the shares of both parts are as they should be."""
        return self.lr * (1 + self.weight / self.temperature)

    def students(self, teacher: Any, net: Any, seed: int, n_students: int) -> DistilledClassifier:
        """Return unfitted students, of a recipe at `full_lr`."""
        beta = self.weight / self.temperature
        return DistilledClassifier(
            FrozenEstimator(teacher),
            net,
            temperature=self.temperature,
            alpha=beta / (1 + beta),
            averaging="logit",
            n_students=n_students,
            random_state=seed,
        )


@dataclass(frozen=True)
class Setting:
    """Data, network and descent; what is not named is as the library has it."""

    data: dict[str, Any] = field(default_factory=dict)
    net: dict[str, Any] = field(default_factory=dict)
    n_rows: int = 500
    mu: float = MU
    lr: float = 5.0
    n_steps: int = 300


@dataclass(frozen=True)
class Experiment:
    """All that one run of the theorems needs."""

    setting: Setting
    student: Teaching
    self_student: Teaching
    n_members: int = 12


# As an earlier search on other seeds left it, but for the first line. The theorems are about
# networks without training errors, and 100 steps at a rate of 15 left some in up to 7 of 12. On
# draws 1001 to 1004 all members fit after 300 steps at a rate of 45. One of 48 did not after 130
# of these, nor after 400 at a rate of 15, which take longer.
DEFAULT = Experiment(
    Setting(lr=45.0, n_steps=300),
    Teaching(8.0, 100.0, 1.0, 400),
    Teaching(5.0, 10.0, 1.5, 300),
    n_members=12,
)


class Draw:
    """One draw of training rows, and new rows of either kind to measure errors on.

    An error is that of a row of the distribution, over mu: rows with one view and rows with
    both are drawn apart and weighed, which is the same and wants fewer rows.
    """

    def __init__(self, setting: Setting, seed: int, n_new: int) -> None:
        self.setting = setting
        data = {"dtype": np.float32, **setting.data}
        self.X, self.y, self.views = make_multiview_classification(
            setting.n_rows, single_view=setting.mu, return_views=True, random_state=seed, **data
        )
        self.new = [
            make_multiview_classification(
                n_new, single_view=share, features=self.views.features,
                random_state=10_000 + 2 * seed + int(share), **data,
            )
            for share in (0.0, 1.0)
        ]  # fmt: skip

    def error(self, model: Any) -> float:
        """Return the share of errors over mu."""
        both, single = (float((model.predict(X) != y).mean()) for X, y in self.new)
        mu = self.setting.mu
        return single + (1 - mu) / mu * both

    def errors(self, models: Iterable[Any]) -> float:
        """Return the mean error over mu."""
        return statistics.fmean(self.error(model) for model in models)

    def training_errors(self, model: Any) -> int:
        """Count wrong training rows."""
        return int((model.predict(self.X) != self.y).sum())

    def fitted(self, model: Any) -> float:
        """Return training accuracy in per cent."""
        return 100 - 100 / len(self.y) * self.training_errors(model)

    def learned(self, ensemble: Any, students: Iterable[Any]) -> Row:
        """Return how training rows were learned, by members above all: the theorems' premise."""
        fitted = [self.fitted(member) for member in ensemble]
        return {
            "members with training errors": float(sum(share < 100 for share in fitted)),
            "students with training errors": float(sum(self.fitted(s) < 100 for s in students)),
            "training errors of the ensemble": float(self.training_errors(ensemble)),
            "fitted": statistics.fmean(fitted),
            "fitted, least": min(fitted),
        }

    def net(self, lr: float, n_steps: int, **changes: Any) -> NeuralNetClassifier:
        """Return the setting's recipe."""
        options = {**self.setting.net, **changes}
        net = gradient_descent(lr=lr, n_steps=n_steps)
        return net.set_params(**{f"module__{name}": value for name, value in options.items()})

    def ensemble(self, n_members: int, seed: int) -> DeepEnsembleClassifier:
        """Train networks that differ by their seed."""
        net = self.net(self.setting.lr, self.setting.n_steps)
        ensemble = DeepEnsembleClassifier(net, n_members, averaging="logit", random_state=seed)
        return ensemble.fit(self.X, self.y)

    def trained_sum(self, n_members: int, seed: int) -> DeepEnsembleClassifier:
        """Train the mean of networks as one, at their number times the rate.

        So each member goes as far as it would alone where the mean errs as it would.
        """
        net = self.net(n_members * self.setting.lr, self.setting.n_steps)
        together = DeepEnsembleClassifier(net, n_members, joint=True, random_state=seed)
        return together.fit(self.X, self.y)

    def added_logits(self, n_members: int, seed: int) -> NetworkClassifier:
        """Train the sum of networks, at the rate of one: a network with the filters of all.

        It is not the mean at another rate, since its logits are as many times larger; it has
        fitted long before half of the steps.
        """
        n_filters = n_members * int(self.setting.net.get("n_filters", 6))
        net = self.net(self.setting.lr, max(1, self.setting.n_steps // 2), n_filters=n_filters)
        return NetworkClassifier(net, random_state=seed).fit(self.X, self.y)

    def student(self, teacher: Any, how: Teaching, seed: int, n_students: int) -> Any:
        """Train students of a teacher."""
        net = self.net(how.full_lr, how.n_steps)
        return how.students(teacher, net, seed, n_students).fit(self.X, self.y)


# -- one seed --------------------------------------------------------------------------------

STORED = Path(__file__).resolve().parent / "results" / "multiview.json"


def measure(seed: int, experiment: Experiment, students: int, n_new: int = 10_000) -> Row:
    """Return the errors over mu of one draw, and how its training rows were learned."""
    draw, members = Draw(experiment.setting, seed, n_new), experiment.n_members
    start = time.process_time()
    ensemble = draw.ensemble(members, seed)
    seconds = time.process_time() - start
    together, added = draw.trained_sum(members, seed), draw.added_logits(members, seed)
    student = draw.student(ensemble, experiment.student, seed + 100, students)
    mine = draw.student(ensemble[0], experiment.self_student, seed + 200, students)
    learned = learned_views(ensemble, draw.views.features)
    singles = [draw.error(member) for member in ensemble]
    return {
        "single": statistics.fmean(singles),
        "luckiest member": min(singles),
        "ensemble": draw.error(ensemble),
        "as many members": draw.error(ensemble[:students]),
        "trained sum": draw.error(together),
        "trained sum, logits added": draw.error(added),
        "distilled": draw.errors(student.estimators_),
        "ensemble of distilled": draw.error(student),
        "self-distilled": draw.errors(mine.estimators_),
        **draw.learned(ensemble, (*student.estimators_, *mine.estimators_)),
        "fitted, sum": draw.fitted(together),
        "fitted, sum, logits added": draw.fitted(added),
        "classes without a view": float((~learned.learned.any(-1)).sum()),
        "views of a member": float(learned.learned.mean()),
        "views of all": float(learned.union.mean()),
        "members": float(members),
        "cpu seconds": seconds,
    }


def describe(experiment: Experiment, students: int) -> str:
    """Return what a stored result must have been run with."""
    return repr((experiment, students))


def stored_or_measured(seed: int, experiment: Experiment, students: int, n_new: int) -> Row:
    """Return what `multiview.py` has stored of a seed, or measure it."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if stored.get("setting") == describe(experiment, students) and str(seed) in stored["rows"]:
        return stored["rows"][str(seed)]
    return measure(seed, experiment, students, n_new)
