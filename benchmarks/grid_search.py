"""Claim: a grid over temperature and alpha costs a fraction of what it costs elsewhere.

    python benchmarks/grid_search.py                 # 4 T x 4 alpha x 5 folds, all peers
    python benchmarks/grid_search.py --big           # 32 T x 32 alpha as well, and a picture
    python benchmarks/grid_search.py --pipeline      # the grid over pipelines, and nothing else
    python benchmarks/grid_search.py --quick         # does it run at all?

A teacher of ten MLPs 64-128-128-10 is distilled into one MLP 64-64-10 on scikit-learn's
digits: 4 temperatures x 4 alphas x 5 folds, refit on all rows, 20 epochs, batch 128, Adam
1e-3. All contenders run in one process, in turn, the order rotated each round; a ratio is
the median over rounds of (peer's seconds / ours in the same round). The clock runs over
construction and `fit` of the search. Scores are mean test log-likelihoods of the best
candidate and the search's choice; the grids agree up to the noise of other seeds, which
``mean |difference|`` shows against the spread over folds.

Contenders
    ours                 StackedGridSearchCV; fold teachers and all students stacked
    skorch, ten in turn  GridSearchCV over a hand-written estimator: in each fit, ten skorch
                         nets in turn, then a skorch net with a distillation loss
    GridSearchCV         over our DistilledClassifier, a teacher in each fit
    with memory          the same with memory=, one teacher a fold
    ours, frozen         StackedGridSearchCV with a FrozenEstimator
    skorch KD, frozen    GridSearchCV over a hand-written skorch distillation net whose
                         teacher is a fitted ensemble; its logits are computed once a fit

With ``--pipeline`` the same grid is searched over ``make_pipeline(StandardScaler(), student)``, as
most people write it, by `GridSearchCV` and by `StackedGridSearchCV`; and one network behind a
scaler is cross-validated by scikit-learn's `cross_val_score` and by ours, in which only folds can
train together (those of 1,797 rows are of two sizes). Wanted: 8 times as fast, and never slower.

The frozen teacher saw the test folds; that is what the comparison of *cost* wants and
what a study must not do. The first peer takes many minutes and runs in fewer rounds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _bench import Run, print_machine, print_table, provenance, summarise, write_json
from sklearn import model_selection
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.helper import SliceDict
from torch import Tensor, nn

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
)
from skensemble.model_selection import cross_val_score
from skensemble.nn import MLP

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "joblib", "skensemble")
GRID = {"temperature": [1.0, 2.0, 4.0, 8.0], "alpha": [0.25, 0.5, 0.75, 1.0]}
BATCH, LR, MEMBERS = 128, 1e-3, 10
TARGETS = {"skorch, ten in turn": 40.0, "GridSearchCV": 8.0, "with memory": 3.0}
FROZEN_TARGETS = {"skorch KD, frozen": 6.0}
PIPELINE_TARGETS = {"GridSearchCV, pipeline": 8.0}
FOLDS_TARGETS = {"scikit-learn": 1.0}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as float32 in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def recipe(hidden: tuple[int, ...], epochs: int) -> NeuralNetClassifier:
    """Return a skorch net of MLPs."""
    return NeuralNetClassifier(
        MLP,
        module__in_shape=(64,),
        module__n_classes=10,
        module__hidden=hidden,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        max_epochs=epochs,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


# -- what one would write without this library ---------------------------------------------


class StudentModule(nn.Module):
    """A student that hands the teacher's probabilities on to the loss."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.net = MLP((64,), 10, hidden)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""
        return self.net(x), t


class DistillationNet(NeuralNetClassifier):
    """skorch with the usual distillation loss; the teacher's logits are an input."""

    def __init__(self, *args: Any, temperature: float = 4.0, alpha: float = 0.9, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.temperature = temperature
        self.alpha = alpha

    def get_loss(self, y_pred: Any, y_true: Tensor, X: Any = None, training: bool = False) -> Any:
        """Mix the two terms."""
        s, t = y_pred
        T = self.temperature
        target = (t / T).softmax(-1).mean(1)
        soft = F.kl_div((s / T).log_softmax(-1), target, reduction="batchmean")
        return (1 - self.alpha) * F.cross_entropy(s, y_true) + self.alpha * T * T * soft


class HandWritten(ClassifierMixin, BaseEstimator):
    """A distilled classifier as an engineer would write it today, on skorch."""

    def __init__(
        self,
        teacher: Any = None,
        epochs: int = 20,
        temperature: float = 4.0,
        alpha: float = 0.9,
    ) -> None:
        self.teacher = teacher
        self.epochs = epochs
        self.temperature = temperature
        self.alpha = alpha

    def fit(self, X: np.ndarray, y: np.ndarray) -> HandWritten:
        """Train ten teachers where none is given, and the student."""
        if self.teacher is None:
            nets = [recipe((128, 128), self.epochs).fit(X, y) for _ in range(MEMBERS)]
            said = np.stack([net.forward(X).numpy() for net in nets], 1)
        else:
            said = self.teacher.estimator.predict_members(X, response="logit").swapaxes(0, 1)
        self.net_ = DistillationNet(
            StudentModule,
            module__hidden=(64,),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=LR,
            max_epochs=self.epochs,
            batch_size=BATCH,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            temperature=self.temperature,
            alpha=self.alpha,
        ).fit(SliceDict(x=X, t=np.ascontiguousarray(said)), y)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Predict with the student."""
        with torch.no_grad():
            return self.net_.module_.net.eval()(torch.from_numpy(X)).softmax(-1).numpy()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict labels."""
        return self.classes_[self.predict_proba(X).argmax(1)]


# -- contenders ----------------------------------------------------------------------------


class Contest:
    """All searches on one data set; keeps what each found."""

    def __init__(self, epochs: int, grid: dict[str, list[float]], folds: int, rows: int) -> None:
        self.X, self.y = digits()
        self.X, self.y = self.X[:rows], self.y[:rows]
        self.epochs, self.grid, self.folds = epochs, grid, folds
        self.found: dict[str, list[Any]] = {}

    def _cv(self, seed: int) -> StratifiedKFold:
        return StratifiedKFold(self.folds, shuffle=True, random_state=seed)

    def ensemble(self) -> DeepEnsembleClassifier:
        """Return the unfitted teacher."""
        return DeepEnsembleClassifier(recipe((128, 128), self.epochs), MEMBERS)

    def student(self, teacher: Any, seed: int, **kwargs: Any) -> DistilledClassifier:
        """Return our unfitted student."""
        return DistilledClassifier(teacher, recipe((64,), self.epochs), random_state=seed, **kwargs)

    def run(self, name: str, seed: int, make: Callable[[], Any]) -> Run:
        """Time one search."""
        start = time.perf_counter()
        search = make().fit(self.X, self.y)
        seconds = time.perf_counter() - start
        self.found.setdefault(name, []).append(search)
        return Run(seconds, float(search.best_score_))

    def search(self, kind: Any, estimator: Any, seed: int) -> Any:
        """Return an unfitted search."""
        return kind(estimator, self.grid, cv=self._cv(seed), scoring="neg_log_loss")

    def ours(self, seed: int) -> Run:
        """Stack everything."""
        estimator = self.student(self.ensemble(), seed)
        return self.run("ours", seed, lambda: self.search(StackedGridSearchCV, estimator, seed))

    def plain(self, seed: int) -> Run:
        """Use scikit-learn's search, a teacher in each fit."""
        estimator = self.student(self.ensemble(), seed)
        return self.run("GridSearchCV", seed, lambda: self.search(GridSearchCV, estimator, seed))

    def remembered(self, seed: int) -> Run:
        """Use scikit-learn's search, one teacher a fold."""
        folder = tempfile.mkdtemp()
        try:
            estimator = self.student(self.ensemble(), seed, memory=folder)
            make = lambda: self.search(GridSearchCV, estimator, seed)  # noqa: E731
            return self.run("with memory", seed, make)
        finally:
            shutil.rmtree(folder)

    def by_hand(self, seed: int) -> Run:
        """Use the hand-written estimator, ten teachers in each fit."""
        torch.manual_seed(seed)
        estimator = HandWritten(epochs=self.epochs)
        make = lambda: self.search(GridSearchCV, estimator, seed)  # noqa: E731
        return self.run("skorch, ten in turn", seed, make)

    def frozen(self, seed: int) -> FrozenEstimator:
        """Return a fitted teacher, which is nobody's cost."""
        ensemble = self.ensemble().set_params(random_state=seed)
        return FrozenEstimator(ensemble.fit(self.X, self.y))

    def ours_frozen(self, seed: int) -> Run:
        """Stack the students of a frozen teacher."""
        estimator = self.student(self.frozen(seed), seed)
        make = lambda: self.search(StackedGridSearchCV, estimator, seed)  # noqa: E731
        return self.run("ours, frozen", seed, make)

    def by_hand_frozen(self, seed: int) -> Run:
        """Use the hand-written estimator with a frozen teacher."""
        torch.manual_seed(seed)
        estimator = HandWritten(self.frozen(seed), epochs=self.epochs)
        make = lambda: self.search(GridSearchCV, estimator, seed)  # noqa: E731
        return self.run("skorch KD, frozen", seed, make)

    def piped(self, kind: Any, name: str, seed: int) -> Run:
        """Search a pipeline that ends in the student."""
        step = self.student(self.ensemble(), seed)
        pipeline = make_pipeline(StandardScaler(), step)
        grid = {f"distilledclassifier__{key}": values for key, values in self.grid.items()}
        make = lambda: kind(pipeline, grid, cv=self._cv(seed), scoring="neg_log_loss")  # noqa: E731
        return self.run(name, seed, make)

    def search_seeds(self, n_candidates: int, n_rows: int, seed: int) -> float:
        """Return the seconds of a search over seeds of one network, on the first rows."""
        search = StackedGridSearchCV(
            NetworkClassifier(recipe((64,), self.epochs)),
            {"random_state": list(range(n_candidates))},
            cv=KFold(self.folds, shuffle=True, random_state=seed),
            refit=False,
        )
        start = time.perf_counter()
        search.fit(self.X[:n_rows], self.y[:n_rows])
        return time.perf_counter() - start

    def folds_of(self, function: Any, seed: int) -> Run:
        """Cross-validate one network behind a scaler."""
        network = NetworkClassifier(recipe((64,), self.epochs), random_state=seed)
        pipeline = make_pipeline(StandardScaler(), network)
        start = time.perf_counter()
        scores = function(pipeline, self.X, self.y, cv=self._cv(seed), scoring="neg_log_loss")
        return Run(time.perf_counter() - start, float(np.mean(scores)))

    def agreement(self, name: str, reference: str) -> dict[str, Any]:
        """Compare the mean test scores of a peer's grid with ours, candidate by candidate."""
        theirs, ours = self.found[name][0], self.found[reference][0]
        a, b = (one.cv_results_["mean_test_score"] for one in (theirs, ours))
        return {
            "best_params": theirs.best_params_,
            "best_params_ours": ours.best_params_,
            "mean_difference": float(np.abs(a - b).mean()),
            "largest_difference": float(np.abs(a - b).max()),
            "spread_over_folds": float(ours.cv_results_["std_test_score"].mean()),
        }


def heat_map(search: Any, path: Path) -> None:
    """Draw mean test scores over temperature and alpha."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = search.cv_results_
    temperatures = np.unique(results["param_temperature"].astype(float))
    alphas = np.unique(results["param_alpha"].astype(float))
    scores = np.zeros((len(alphas), len(temperatures)))
    for T, alpha, score in zip(
        results["param_temperature"], results["param_alpha"], results["mean_test_score"],
        strict=True,
    ):  # fmt: skip
        scores[np.searchsorted(alphas, alpha), np.searchsorted(temperatures, T)] = -score
    figure = Figure(figsize=(7.5, 5.5), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.pcolormesh(temperatures, alphas, scores, shading="nearest", cmap="viridis_r")
    axes.set_xscale("log", base=2)
    axes.set_xticks([t for t in (1, 2, 4, 8, 16) if temperatures[0] <= t <= temperatures[-1]])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("temperature T")
    axes.set_ylabel("alpha, the teacher's share")
    best = search.best_params_
    axes.plot(best["temperature"], best["alpha"], "o", mfc="none", mec="white", ms=12, mew=2)
    figure.colorbar(image, label="negative log-likelihood, mean of the test folds")
    axes.set_title(f"{scores.size:,} candidates on {search.n_splits_} folds; ring: the best")
    figure.savefig(path)
    print(f"picture: {path}")


def rounds_of(contenders: dict[str, tuple[Any, int]], rounds: int) -> dict[str, list[Run]]:
    """Let contenders take turns; some stop after fewer rounds."""
    names = list(contenders)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for seed in range(rounds):
        first = seed % len(names)
        for name in names[first:] + names[:first]:
            run, limit = contenders[name]
            if seed < limit:
                runs[name].append(run(seed))
    return runs


def compare(
    contest: Contest, contenders: dict, reference: str, targets: dict, rounds: int
) -> dict[str, Any]:
    """Run one table."""
    runs = rounds_of(contenders, rounds)
    rows: dict[str, Any] = {}
    for name, mine in runs.items():
        if mine:
            pair = {reference: runs[reference][: len(mine)], name: mine}
            rows[name] = summarise(pair, reference, targets)[name]
    rows[reference] = summarise({reference: runs[reference]}, reference, {})[reference]
    print_table("4 T x 4 alpha x folds + refit; score: log-likelihood of the best", rows, reference)
    for name in rows:
        if name != reference and name in contest.found:
            rows[name]["agreement"] = contest.agreement(name, reference)
            found = rows[name]["agreement"]
            print(
                f"  {name}: best {found['best_params']}, ours {found['best_params_ours']}; mean "
                f"|difference| {found['mean_difference']:.4f}, over folds "
                f"{found['spread_over_folds']:.4f}"
            )
    return rows


def compare_pipelines(contest: Contest, rounds: int) -> dict[str, Any]:
    """Search pipelines, and cross-validate one."""
    searches = {
        name: (partial(contest.piped, kind, name), rounds)
        for name, kind in (
            ("ours, pipeline", StackedGridSearchCV),
            ("GridSearchCV, pipeline", GridSearchCV),
        )
    }
    folds = {
        "ours": (partial(contest.folds_of, cross_val_score), 5 * rounds),
        "scikit-learn": (partial(contest.folds_of, model_selection.cross_val_score), 5 * rounds),
    }
    return {
        "pipelines": compare(contest, searches, "ours, pipeline", PIPELINE_TARGETS, rounds),
        "cross-validation": compare(contest, folds, "ours", FOLDS_TARGETS, 5 * rounds),
        "fold sizes": compare_fold_sizes(contest, 5 * rounds),
    }


def compare_fold_sizes(contest: Contest, rounds: int) -> dict[str, float]:
    """Return how much longer folds of two sizes take than folds of one, by candidates."""
    n_equal = len(contest.X) // contest.folds * contest.folds
    found = {}
    for n_candidates in (1, 4, 16):
        pairs = [
            [contest.search_seeds(n_candidates, n_rows, seed) for n_rows in (n_equal, n_equal + 2)]
            for seed in range(rounds)
        ]
        found[str(n_candidates)] = statistics.median(two / one for one, two in pairs)
        print(f"{n_candidates} candidates: two sizes of folds / one {found[str(n_candidates)]:.2f}")
    return found


def compare_teachers(contest: Contest, args: argparse.Namespace, content: dict[str, Any]) -> None:
    """Search with teachers of the folds, and with a frozen one; keep each table as it is done."""
    unfrozen = {
        "ours": (contest.ours, args.rounds),
        "with memory": (contest.remembered, args.rounds),
        "GridSearchCV": (contest.plain, args.rounds),
        "skorch, ten in turn": (contest.by_hand, args.slow_rounds),
    }
    content["fold teachers"] = compare(contest, unfrozen, "ours", TARGETS, args.rounds)
    write_json(args.out, content)
    frozen = {
        "ours, frozen": (contest.ours_frozen, args.rounds),
        "skorch KD, frozen": (contest.by_hand_frozen, args.rounds),
    }
    content["frozen teacher"] = compare(
        contest, frozen, "ours, frozen", FROZEN_TARGETS, args.rounds
    )
    write_json(args.out, content)


def search_big(contest: Contest, n: int, out: Path, content: dict[str, Any]) -> None:
    """Search n x n candidates, and draw the map."""
    contest.grid = {
        "temperature": np.geomspace(0.5, 16, n).round(4).tolist(),
        "alpha": np.linspace(0, 1, n).round(4).tolist(),
    }
    run = contest.ours(0)
    search = contest.found["ours"][-1]
    print(f"\n{n} T x {n} alpha: {run.seconds:.1f} s, best {search.best_params_}")
    content["big"] = {
        "grid": contest.grid, "seconds": run.seconds, "best": search.best_params_,
        "scores": search.cv_results_["mean_test_score"].tolist(),
    }  # fmt: skip
    write_json(out.with_name(f"{out.stem}_big.json"), content)
    heat_map(search, out.with_name(f"{out.stem}.png"))


def main() -> None:
    """Run the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="of skorch, ten in turn")
    parser.add_argument("--big", action="store_true", help="32 T x 32 alpha, and a picture")
    parser.add_argument("--only-big", action="store_true")
    parser.add_argument("--pipeline", action="store_true", help="pipelines alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=here / "grid_search.json")
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    epochs, grid = (2, {"temperature": [1.0, 4.0], "alpha": [0.5]}) if args.quick else (20, GRID)
    contest = Contest(epochs, grid, 2 if args.quick else 5, 300 if args.quick else 1797)
    content: dict[str, Any] = {"provenance": facts, "epochs": epochs, "grid": grid}
    Contest(1, {"temperature": [1.0]}, 2, 200).ours(0)  # imports are nobody's cost
    if args.pipeline:
        content |= compare_pipelines(contest, args.rounds)
        write_json(args.out.with_name(f"{args.out.stem}_pipeline.json"), content)
        return
    if not args.only_big:
        compare_teachers(contest, args, content)
    if args.big or args.only_big:
        search_big(contest, 4 if args.quick else 32, args.out, content)


if __name__ == "__main__":
    main()
