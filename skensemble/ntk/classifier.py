"""The linearised network as a classifier."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skensemble._base.checks import N_JOBS
from skensemble._base.fusion import FusedMembers
from skensemble._data.rows import FitData, Rows
from skensemble._engine.bar import tell
from skensemble._engine.results import MemberResult
from skensemble._files.checks import Check, integer, many, mapping, real, text
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._private import Interval, StrOptions, fit_context
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, generator, member_seed, root_seed
from skensemble.ensembles.network import NetworkClassifier
from skensemble.ntk import solvers
from skensemble.ntk.descent import descend
from skensemble.ntk.gradients import Gradients
from skensemble.ntk.kernels import diagonal_of, fold_rows, kernel_of, multiplier
from skensemble.ntk.linearised import OUTPUTS, Linearisation

# Rows of a kernel that are still factored; rows a batch of the iterative solvers.
_FACTORED = {"cpu": 20_000, "cuda": 60_000}
_CHOSEN = 512
# Folded weights are kept up to this many numbers, the kernel with the training rows beyond.
_FOLDED = 1 << 27
# The temperature where nothing was left out to choose it by.
_TEMPERATURE = 0.1


@dataclass(frozen=True)
class _Problem:
    """What all members of a fit share: rows, targets, and how it is computed."""

    recipe: Recipe
    outputs: str | int
    x: Tensor
    targets: Tensor
    labels: Tensor
    weight: Tensor | None
    chunk_size: int | str

    def gradients(self, seed: int) -> Gradients:
        """Build a network and what maps rows to its gradients."""
        module = self.recipe.build(seed).to(self.recipe.training.device).eval()
        sample = self.x[:2] if len(self.x) > 1 else torch.cat([self.x, self.x])
        return Gradients(module, sample, self.outputs)

    def kernel(self, seed: int) -> Tensor:
        """Return the kernel of the rows."""
        return kernel_of(self.gradients(seed), self.x, None, self.chunk_size)


@in_files
class NTKClassifier(FusedMembers):
    """Ridge regression on the gradients of a random network: its tangent kernel.

    A network is replaced by its first-order expansion around its initial weights, and
    that is fitted in closed form to one-hot labels minus their mean [1]_. Each member is
    another draw of the initial weights; members are fitted apart and averaged, or their
    features are put together, which for kernels is usually the better [2]_.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, default=None
        The recipe of one network; see `NetworkClassifier`. Of the optimiser nothing is used.
        Norms are those of evaluation mode.
    features : {"ntk", "ntk-prime", "trace", "gp"}, default="ntk"
        "ntk": the gradient of one output, with weights for each class, as of a network that
        has one output. "ntk-prime": the gradients of all outputs, with weights in common; its
        kernel has `n_classes` rows a sample. "trace": the gradients of all outputs, with
        weights for each class. "gp": the features that the last layer is given.
    n_estimators : int, default=1
        Number of draws.
    combine : {"ensemble", "sum"}, default="ensemble"
        Whether members are fitted apart and their outputs averaged, or fitted together on
        the mean of their kernels. The memory of either does not grow with `n_estimators`.
    reg : float or "loo", default=0.01
        The ridge, relative to the mean of the kernel's diagonal. "loo" chooses it by the
        squared error of leaving one row out, in closed form; see ``reg_``.
    solver : {"auto", "cholesky", "eigh", "cg", "sgd"}, default="auto"
        Factor the kernel in float64; conjugate gradients on products with the gradients, or
        stochastic gradient descent, which never hold a kernel. "auto" factors
        up to 20,000 rows (60,000 on CUDA), then iterates with "cg".
    temperature : float or "auto", default="auto"
        Divides the outputs before the softmax. "auto" is the one that explains the labels best
        where rows are left out, and 0.1 for the solvers that cannot tell.
    tol : float, default=1e-6
        Of "cg": relative residual.
    max_iter : int or None, default=None
        Of "cg", at most, 1000 if not given; of "sgd", epochs, 100 if not given.
    chunk_size : int or "auto", default="auto"
        Rows whose gradients are held at a time.
    dtype : {"float32", "float64"} or None, default=None
        Of kernels; ``None`` is that of `X`.
    device : str or None, default=None
        Where kernels are computed, solved and used; ``None`` is the net's device.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    n_jobs : int or None, default=None
        joblib workers that build kernels.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights.
    verbose : int, default=0
        1 tells of every kernel and of parameters that no layer explains.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    estimators_ : list of NetworkClassifier
        The linearised networks. With ``combine="sum"`` they are parts of one fit.
    reg_ : list of float
        The ridge of each member, one where they are fitted together.
    temperature_ : float
        What outputs are divided by.
    n_iter_ : int
        Iterations of "cg", the most of any member, or epochs of "sgd"; 1 where none are made.
    layers_ : dict of str to str
        How each parameter of the network is differentiated: by its "layer", by "torch.func"
        (slower), or "unused".
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    skensemble.ntk.empirical_ntk : The kernel.
    skensemble.ntk.NTKFeatures : The features, as a transformer.

    References
    ----------
    .. [1] Jacot, Gabriel and Hongler, "Neural tangent kernel", 2018.
    .. [2] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NTKClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> NTKClassifier(reg="loo", random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _averagings: ClassVar[tuple[str, ...]] = ("logit",)
    averaging: ClassVar[str] = "logit"

    _members_attribute = "estimators_"
    _found: ClassVar[dict[str, Check]] = {
        "reg_": many(real(0)),
        "temperature_": real(0, above=True),
        "layers_": mapping(text()),
        "n_iter_": integer(0),
    }
    _learns_targets = True
    _chooses = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "features": [StrOptions(set(OUTPUTS))],
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "combine": [StrOptions({"ensemble", "sum"})],
        "reg": [Interval(numbers.Real, 0, None, closed="neither"), StrOptions({"loo"})],
        "solver": [StrOptions({"auto", "cholesky", "eigh", "cg", "sgd"})],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "tol": [Interval(numbers.Real, 0, None, closed="neither")],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "chunk_size": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "device": [str, None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "n_jobs": N_JOBS,
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        features: str = "ntk",
        n_estimators: int = 1,
        combine: str = "ensemble",
        reg: Any = 0.01,
        solver: str = "auto",
        temperature: Any = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        chunk_size: Any = "auto",
        dtype: str | None = None,
        device: str | None = None,
        class_weight: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.n_estimators = n_estimators
        self.combine = combine
        self.reg = reg
        self.solver = solver
        self.temperature = temperature
        self.tol = tol
        self.max_iter = max_iter
        self.chunk_size = chunk_size
        self.dtype = dtype
        self.device = device
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NTKClassifier:
        """Fit the linearised networks.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; weight two is the same as the row twice.

        Returns
        -------
        NTKClassifier
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _steps(self, given: Given) -> Steps:
        yield from ()  # nothing is trained by the engine
        root = root_seed(self.random_state)
        recipe, data = self._prepare(self.estimator, given, root)
        problem = self._problem(recipe, data, given)
        seeds = [member_seed(root, number) for number in range(self.n_estimators)]
        self.n_iter_ = 1
        iterates = self._solver(problem) in ("cg", "sgd")
        solve = self._iterate if iterates else self._factor
        results, left_out = solve(problem, seeds)
        self.temperature_ = self._choose_temperature(problem, left_out)
        self._finish(problem, seeds, results)

    def _problem(self, recipe: Recipe, data: FitData, given: Given) -> _Problem:
        if recipe.outputs_proba:
            raise ValueError(
                "NTKClassifier linearises logits, but the net's criterion NLLLoss says that its "
                "module returns probabilities. Leave its softmax out and use CrossEntropyLoss."
            )
        if self.dtype is not None:
            recipe = replace(recipe, dtype=getattr(torch, self.dtype))
        if self.device is not None:
            recipe = recipe.on(self.device)
        rows = torch.from_numpy(data.rows).unsqueeze(0)
        x = Rows(data.X, recipe.dtype, recipe.training.device).take(rows)[0]
        n_classes = len(self.classes_)
        shares = labels = np.eye(n_classes)[data.y]
        if given.taught is not None:
            taught, share = given.taught
            shares = (1 - share) * labels + share * taught
        targets = torch.from_numpy(shares[data.rows] - 1 / n_classes).to(x.device)
        targets = targets.unsqueeze(2 if self.features == "ntk-prime" else 1)
        weight = None if data.weight is None else torch.from_numpy(data.weight[data.rows])
        weight = None if weight is None else weight.to(x.device, torch.float64)
        labels = torch.from_numpy(labels[data.rows]).to(x.device)
        outputs = OUTPUTS[self.features]
        return _Problem(recipe, outputs, x, targets, labels, weight, self.chunk_size)

    def _solver(self, problem: _Problem) -> str:
        if self.solver != "auto":
            return self.solver
        rows = problem.targets.shape[0] * problem.targets.shape[1]
        kind = torch.device(problem.recipe.training.device).type
        few = rows <= _FACTORED.get(kind, _FACTORED["cpu"])
        return "cholesky" if few or self.reg == "loo" else "cg"

    # -- with a kernel -------------------------------------------------------------------

    def _factor(
        self, problem: _Problem, seeds: Sequence[int]
    ) -> tuple[list[list[Tensor]], Tensor | None]:
        """Solve by factoring; return each network's weights, and left-out outputs."""
        wanted = self.temperature == "auto"
        solver = self._solver(problem)
        args = problem.targets, problem.weight, self.reg, solver, wanted
        if self.combine == "sum":
            total: Any = None
            for kernel in self._kernels(problem, seeds):
                total = kernel if total is None else total.add_(kernel)
            solution = solvers.factor_and_solve(total.div_(len(seeds)), *args)
            solutions = [solution] * len(seeds)
            self.reg_ = [solution.ridge]
            left_out = solution.left_out
        else:
            solutions, left_out = [], None
            for kernel in self._kernels(problem, seeds):
                solution = solvers.factor_and_solve(kernel, *args)
                if solution.left_out is not None:
                    part = solution.left_out / len(seeds)
                    left_out = part if left_out is None else left_out + part
                solutions.append(replace(solution, left_out=None))
            self.reg_ = [solution.ridge for solution in solutions]
        folded = [
            self._fold(problem, seed, solution.dual)
            for seed, solution in zip(seeds, solutions, strict=True)
        ]
        return folded, left_out

    def _kernels(self, problem: _Problem, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield the kernel of each network as it is done."""
        start = time.perf_counter()
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        for number, kernel in enumerate(parallel(delayed(problem.kernel)(seed) for seed in seeds)):
            if self.verbose:
                self._say(f"kernel {number + 1} of {len(seeds)}", start)
            yield kernel

    def _fold(self, problem: _Problem, seed: int, dual: Tensor) -> list[Tensor]:
        """Turn coefficients of rows into weights of features, where these are not too many."""
        gradients = problem.gradients(seed)
        if gradients.n_features() * dual.shape[-1] > _FOLDED:
            return [dual.to(problem.x), problem.x]
        return fold_rows(gradients, problem.x, dual.to(problem.x), problem.chunk_size)

    # -- without -------------------------------------------------------------------------

    def _iterate(
        self, problem: _Problem, seeds: Sequence[int]
    ) -> tuple[list[list[Tensor]], Tensor | None]:
        """Solve by products with gradients; return each network's weights."""
        if self.reg == "loo":
            raise ValueError(
                "reg='loo' needs a factorisation. Use solver='eigh', or set 'reg' to a number."
            )
        self.reg_ = [float(self.reg)] * (1 if self.combine == "sum" else len(seeds))
        groups = [list(seeds)] if self.combine == "sum" else [[seed] for seed in seeds]
        solve = self._conjugate if self._solver(problem) == "cg" else self._descend
        return [weights for group in groups for weights in solve(problem, group)], None

    def _ridge(self, problem: _Problem, group: Sequence[Gradients]) -> float:
        diagonals: Any = sum(diagonal_of(one, problem.x).double() for one in group)
        return float(self.reg) * solvers.mean_diagonal(diagonals / len(group), problem.weight)

    def _conjugate(self, problem: _Problem, seeds: Sequence[int]) -> list[list[Tensor]]:
        group = [problem.gradients(seed) for seed in seeds]
        times = self._mean_product(problem, group)
        ridge = self._ridge(problem, group)
        draw = generator(seeds[0], Purpose.ORDER)
        n_chosen = min(_CHOSEN // problem.targets.shape[1] + 1, len(problem.x))
        chosen = torch.randperm(len(problem.x), generator=draw)[:n_chosen].to(problem.x.device)
        columns: Any = 0.0
        for gradients in group:
            part = kernel_of(gradients, problem.x, problem.x[chosen], problem.chunk_size)
            columns = columns + part.double() / len(group)
        dual, steps = solvers.conjugate_gradients(
            times,
            problem.targets,
            problem.weight,
            ridge,
            solvers.nystroem(columns, chosen, problem.weight, ridge),
            self.tol,
            self.max_iter or 1000,
        )
        self.n_iter_ = max(self.n_iter_, steps)
        if self.verbose:
            self._say(f"{steps} conjugate gradients")
        return [self._fold(problem, seed, dual) for seed in seeds]

    def _mean_product(self, problem: _Problem, group: Sequence[Gradients]) -> solvers.Times:
        """Return what multiplies by the mean of the networks' kernels."""
        products = [
            multiplier(one, problem.x, problem.chunk_size, keep=len(group) == 1) for one in group
        ]

        def times(v: Tensor) -> Tensor:
            total: Any = sum(product(v.to(problem.x)).double() for product in products)
            return total / len(products)

        return times

    def _descend(self, problem: _Problem, seeds: Sequence[int]) -> list[list[Tensor]]:
        group = [problem.gradients(seed) for seed in seeds]
        times = self._mean_product(problem, group)
        top = solvers.largest_eigenvalue(times, problem.targets, problem.weight)
        ridge = self._ridge(problem, group)
        self.n_iter_ = self.max_iter or 100
        return descend(
            group,
            problem.x,
            problem.targets,
            problem.weight,
            ridge=ridge,
            top=top,
            diagonal=ridge / float(self.reg),
            epochs=self.n_iter_,
            draw=generator(seeds[0], Purpose.ORDER),
        )

    # -- what is kept --------------------------------------------------------------------

    def _choose_temperature(self, problem: _Problem, left_out: Tensor | None) -> float:
        if self.temperature != "auto":
            return float(self.temperature)
        if left_out is None:
            return _TEMPERATURE
        return solvers.fit_temperature(left_out.flatten(1), problem.labels, problem.weight)

    def _finish(self, problem: _Problem, seeds: Sequence[int], weights: list[list[Tensor]]) -> None:
        dual = len(weights[0]) == 2 and weights[0][1] is problem.x
        shapes = [list(one.shape) for one in weights[0]]
        plain = problem.recipe
        recipe = plain.wrapped(Linearisation(self.features, shapes, dual))
        gradients = problem.gradients(seeds[0])
        self.layers_ = dict(gradients.report)
        if self.verbose:
            slow = [name for name, how in self.layers_.items() if how == "torch.func"]
            self._say(f"by torch.func: {', '.join(slow) or 'nothing'}")
        self._recipe = recipe
        members = []
        for seed, own in zip(seeds, weights, strict=True):
            state = plain.build(seed).state_dict(prefix="body.")
            state |= {f"weight_{number}": one for number, one in enumerate(own)}
            state["shift"] = torch.tensor(1 / len(self.classes_))
            state["temperature"] = torch.tensor(self.temperature_)
            members.append(self._make_member(recipe, seed, MemberResult(state)))
        self.estimators_ = members

    def _make_member(self, recipe: Recipe, seed: int, result: MemberResult) -> NetworkClassifier:
        """Make one linearised network a classifier."""
        member = NetworkClassifier(
            self.estimator, class_weight=self.class_weight, random_state=seed
        )
        self._share_fitted(member)
        member._set_result(recipe, result)
        return member

    def _say(self, what: str, start: float | None = None) -> None:
        seconds = "" if start is None else f", {time.perf_counter() - start:.1f} s"
        tell("NTKClassifier", f"{what}{seconds}")

    def _networks(self) -> Sequence[nn.Module]:
        return [member.module_ for member in self.estimators_]

    def _teaching(self, logits: Tensor) -> Tensor:
        return logits.mean(0, keepdim=True) if self.combine == "sum" else logits

    def _count_voices(self) -> int:
        return 1 if self.combine == "sum" else super()._count_voices()

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are networks to predict with."""
        return bool(getattr(self, "estimators_", None))

    def __len__(self) -> int:
        check_is_fitted(self)
        return len(self.estimators_)
