"""Students: one small network that learns what a teacher knows, and what it learned itself."""

from __future__ import annotations

import math
import numbers
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_memory
from torch import Tensor, nn

from skensemble._base import BaseNetworkClassifier, MemberDivergedError
from skensemble._engine import MemberResult
from skensemble._fitting import Given, Steps, Subfit, fit_alone
from skensemble._layers import Tap, find_taps
from skensemble._loader import FitData, Rows, joined
from skensemble._private import HasMethods, Interval, StrOptions, fit_context
from skensemble._recipe import ForgottenRecipe, Recipe
from skensemble._seeding import Purpose, member_seed, purpose_seed, root_seed
from skensemble._sharding import SAMPLE_ROWS, Member, Training
from skensemble._teachers import (
    check_given_logits,
    is_fitted,
    member_recipe,
    ready_to_fit,
    teacher_features,
    teacher_logits,
    teacher_modules,
)
from skensemble.ensemble import NetworkClassifier, divergence_message
from skensemble.objectives import (
    AdaptiveTerm,
    AttentionTerm,
    ConfidenceTerm,
    DirichletTerm,
    Distilled,
    FeatureTerm,
    HintTerm,
    LabelTerm,
    LogitTerm,
    Objective,
    PermutedTerm,
    ProxyDirichletTerm,
    RelationTerm,
    Term,
    TruncatedTerm,
)

__all__ = ["DistilledClassifier", "SelfDistiller"]

# Weight of the teacher's term where it stands beside the full cross-entropy.
_BETA = {"feature": 1.0, "hint": 100.0, "attention": 1000.0, "relation": 1.0, "truncated": 10.0}
_OBJECTIVES = {
    *_BETA, "label", "logit", "adaptive", "dirichlet", "proxy-dirichlet",
}  # fmt: skip
_CHUNK_ROWS = 4096
_FIXED_SEED = 0


class _StudentClassifier(BaseNetworkClassifier):
    """Networks that were taught, averaged by probability where there are several."""

    def _networks(self) -> Sequence[nn.Module]:
        return [student.module_ for student in self._students()]

    def _students(self) -> list[NetworkClassifier]:
        """Return the networks that predict."""
        return self.estimators_

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        log_proba = self._students()[0]._read(logits)
        if len(logits) == 1:
            return log_proba[0]
        return log_proba.logsumexp(0) - math.log(len(logits))

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        if len(logits) == 1:
            return self._students()[0]._fuse_proba(logits)
        return self._fuse_log_proba(logits).exp()

    def _fuse_score(self, logits: Tensor) -> Tensor:
        if len(logits) == 1:
            return self._students()[0]._fuse_score(logits)
        return self._fuse_log_proba(logits)

    def _teaching(self, logits: Tensor) -> Tensor:
        return self._students()[0]._teaching(logits)

    def _make_student(self, recipe: Recipe, seed: int, result: MemberResult) -> NetworkClassifier:
        student = NetworkClassifier(
            self._recipe_source(),
            class_weight=self.class_weight,
            precision=self.precision,
            random_state=seed,
        )
        student.classes_, student.n_features_in_ = self.classes_, self.n_features_in_
        student._reading = self._how_to_read(recipe.n_classes)
        student._set_result(recipe, result)
        return student

    def _make_member(self, recipe: Recipe, seed: int, result: MemberResult) -> NetworkClassifier:
        """Make a student that teaches nobody any more."""
        student = self._make_student(recipe, seed, result)
        self._name_features([student])
        return student

    def _how_to_read(self, n_classes: int) -> Callable[[Tensor], Tensor] | None:
        """Return what turns logits into log-probabilities, where that is not a softmax."""
        return None

    def _name_features(self, students: list[NetworkClassifier]) -> None:
        """Tell students the names of the features, once they need not teach nameless rows."""
        for student in students:
            if hasattr(self, "feature_names_in_"):
                student.feature_names_in_ = self.feature_names_in_

    @abstractmethod
    def _recipe_source(self) -> Any:
        """Return what the user gave as the recipe of a student."""

    @property
    def module_(self) -> nn.Module:
        """The fitted network, the first where there are several."""
        return self._students()[0].module_

    @property
    def history_(self) -> list[dict[str, Any]]:
        """The training record of `module_`."""
        return self._students()[0].history_


def _targets(term: Term, given: Given, key: Any, logits: Tensor) -> dict[str, np.ndarray]:
    """Compute what a term needs of its teacher for every row, once for all who need it."""

    def make() -> dict[str, np.ndarray]:
        parts = [term.targets(chunk) for chunk in logits.split(_CHUNK_ROWS)]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    settings = tuple(getattr(term, name) for name in term.scalars)
    return given.recall(("targets", key, term.key(), settings), make)


class DistilledClassifier(_StudentClassifier):
    """One network that learns from a teacher: an ensemble, or any other classifier.

    The student minimises ``(1 - alpha) * CE(y, s) + alpha * term(s, teacher)``; where the
    objective compares layers or is ``"truncated"``, ``CE(y, s) + beta * term``. With
    ``objective="label"`` the term is ``T² KL(σ(t/T) ‖ σ(s/T))`` [1]_.

    Parameters
    ----------
    teacher : classifier, default=None
        Anything with `predict_proba`. An unfitted one is cloned and fitted on the rows that
        `fit` is given; a fitted one is used as it is. Cross-validation clones it, and
        clones are unfitted: each fold then trains a teacher of its own, which has not
        seen the fold's test rows. ``FrozenEstimator(teacher)`` is never fitted again.
        ``None`` is an ensemble of five networks of the student's recipe.
    student : NeuralNetClassifier, Module class or instance, default=None
        The recipe; see `NetworkClassifier`. ``None`` takes that of the teacher's member
        where there is one, and the default network otherwise.
    objective : str or Term, default="label"
        "label", "logit" [2]_, "feature" [3]_, "hint", "attention", "relation",
        "truncated" [4]_, "adaptive" (AE-KD), "dirichlet" (EnD²), "proxy-dirichlet", or an
        object of your own that subclasses `skensemble.objectives.Term`.
    temperature : float, default=4.0
        Of "label", "adaptive" and "dirichlet".
    alpha : float, default=0.9
        Share of the teacher's term, from 0 (plain training) to 1 (labels are not used). Of
        "label", "logit", "adaptive", the Dirichlets and terms of your own.
    beta : float or "auto", default="auto"
        Weight of the teacher's term of the other objectives. "auto" is 1 for "feature" and
        "relation", 100 for "hint", 1000 for "attention", 10 for "truncated".
    tau : float or "auto", default="auto"
        Of "truncated"; "auto" is ``1 / log(n_classes) ** 2``.
    one_sided : bool, default=True
        Whether "truncated" only raises classes in which the student is below the teacher.
    cap : float, default=0.6
        Largest weight of one network of the teacher in "adaptive"; at least ``1 / M``.
    averaging : {"proba", "logit"}, default="proba"
        Whether "label" learns the mean of the probabilities of an ensemble's members or the
        softmax of their mean logits.
    layers : "last", list of str or dict of str to str, default="last"
        Layers to compare, by module name: of both networks, or of the student mapped to
        those of the teacher. "last" is the last feature map of a network on images, and the
        input of the last linear layer of others.
    n_students : int, default=1
        Students of different seeds, trained together.
    keep : {"all", "first"}, default="all"
        Whether the students are averaged, or only the first is kept.
    memory : str, joblib.Memory or None, default=None
        Where fitted teachers are remembered, so that candidates of a grid search share one
        a fold. A teacher's ``random_state=None`` is then a fixed number.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights in both terms, and for a
        teacher that is fitted here.
    stack : int or "auto", default="auto"
        How many students train together.
    n_jobs : int or None, default=None
        joblib workers that students are dealt out to.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed of the students, and of a teacher that has none.
    verbose : int, default=0
        1 tells what is trained how, 2 tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    teacher_ : classifier or None
        The fitted teacher; ``None`` where `fit` was given ``teacher_logits``.
    estimators_ : list of NetworkClassifier
        The students that are kept.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    SelfDistiller : A network that learns from its own earlier generations.
    StackedGridSearchCV : A grid over `temperature` and `alpha` in one training run.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.
    .. [2] Ba and Caruana, "Do deep nets really need to be deep?", 2014.
    .. [3] Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other
       techniques", 2020.
    .. [4] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skensemble import DistilledClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> student = DistilledClassifier(RandomForestClassifier(random_state=0), random_state=0)
    >>> student.fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "teacher": [HasMethods(["fit", "predict"]), ForgottenRecipe, None],
        "student": "no_validation",
        "objective": [StrOptions(_OBJECTIVES), Term],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
        "alpha": [Interval(numbers.Real, 0, 1, closed="both")],
        "beta": [Interval(numbers.Real, 0, None, closed="left"), StrOptions({"auto"})],
        "tau": [Interval(numbers.Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "one_sided": ["boolean"],
        "cap": [Interval(numbers.Real, 0, 1, closed="right")],
        "averaging": [StrOptions({"proba", "logit"})],
        "layers": [str, list, tuple, dict],
        "n_students": [Interval(numbers.Integral, 1, None, closed="left")],
        "keep": [StrOptions({"all", "first"})],
        "memory": [str, HasMethods(["cache"]), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "stack": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_jobs": [numbers.Integral, None],
        "precision": [StrOptions({"bf16"}), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        *,
        objective: Any = "label",
        temperature: float = 4.0,
        alpha: float = 0.9,
        beta: Any = "auto",
        tau: Any = "auto",
        one_sided: bool = True,
        cap: float = 0.6,
        averaging: str = "proba",
        layers: Any = "last",
        n_students: int = 1,
        keep: str = "all",
        memory: Any = None,
        class_weight: Any = None,
        stack: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.objective = objective
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta
        self.tau = tau
        self.one_sided = one_sided
        self.cap = cap
        self.averaging = averaging
        self.layers = layers
        self.n_students = n_students
        self.keep = keep
        self.memory = memory
        self.class_weight = class_weight
        self.stack = stack
        self.n_jobs = n_jobs
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # -- fit -----------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        teacher_logits: Any = None,
        X_unlabelled: Any = None,
    ) -> DistilledClassifier:
        """Train the teacher where it is not fitted, and then the student.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width). The teacher is
            given `X` as it is.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; also a teacher that is fitted here gets them.
        teacher_logits : array-like of shape (n_samples, n_classes), default=None
            What a teacher says, instead of asking `teacher`; with an axis in front for
            several networks. Rows of `X_unlabelled` follow those of `X`.
        X_unlabelled : array-like of shape (n_unlabelled, ...), default=None
            Further rows, on which the student learns from the teacher alone.

        Returns
        -------
        DistilledClassifier
            The fitted estimator.
        """
        options = {"teacher_logits": teacher_logits, "X_unlabelled": X_unlabelled}
        fit_alone(self, Given(X, y, sample_weight, options=options))
        return self

    def _recipe_source(self) -> Any:
        return member_recipe(self.teacher) if self.student is None else self.student

    def _steps(self, given: Given) -> Steps:
        root = root_seed(self.random_state)
        recipe, data = self._prepare(self._recipe_source(), given, root)
        if given.options.get("teacher_logits") is None:
            weight = given.sample_weight if self.class_weight is None else data.weight
            self.teacher_ = yield from self._find_teacher(given, weight, root)
        else:
            self.teacher_ = None
        objective: Objective = recipe.objective()
        data, has_unlabelled = self._add_unlabelled(data, given)
        if self._teacher_share() > 0:
            data, objective = self._teach(recipe, data, given, objective, has_unlabelled)
        elif has_unlabelled:
            raise ValueError(
                "'X_unlabelled' needs a teacher's term, which has no weight here. Got "
                f"alpha={self.alpha}, beta={self.beta!r}; leave the rows out or set them above 0."
            )
        seeds = [root, *(member_seed(root, number) for number in range(1, self.n_students))]
        members = [
            Member(number, seed, recipe, objective, data) for number, seed in enumerate(seeds)
        ]
        training = Training(
            members, self.stack, self.n_jobs, root, self.verbose, type(self).__name__
        )
        yield training
        self._take(recipe, training)

    def _take(self, recipe: Recipe, training: Training) -> None:
        lost = {
            number: result.diverged_at
            for number, result in training.results.items()
            if result.diverged_at is not None
        }
        students = [
            self._make_member(recipe, member.seed, training.results[member.number])
            for member in training.members
            if member.number not in lost
        ]
        if lost:
            raise MemberDivergedError(divergence_message(lost, self.n_students), lost)
        self._recipe = recipe
        self.estimators_ = students if self.keep == "all" else students[:1]

    # -- the teacher ---------------------------------------------------------------------

    def _find_teacher(self, given: Given, weight: Any, root: int) -> Steps:
        """Return the teacher if it is fitted, or have it fitted on the rows of this fit."""
        if isinstance(self.teacher, ForgottenRecipe):
            raise ValueError(
                "The file this estimator was loaded from does not hold its teacher. It can "
                "predict; to fit it, bring a teacher with set_params(teacher=...) or pass "
                "'teacher_logits'."
            )
        if self.teacher is not None and is_fitted(self.teacher):
            return self.teacher
        memory = check_memory(self.memory)
        seed = purpose_seed(root, Purpose.TEACHER)
        if self.random_state is None and memory.location is not None:
            seed = _FIXED_SEED
        teacher = ready_to_fit(self.teacher, self._recipe_source(), seed)
        wanted = Subfit(teacher, replace(given, sample_weight=weight, options={}), memory)
        yield wanted
        return wanted.result

    def _teacher_share(self) -> float:
        """Return the weight of the teacher's term."""
        if not self._adds():
            return float(self.alpha)
        return _BETA[self.objective] if self.beta == "auto" else float(self.beta)

    def _adds(self) -> bool:
        """Whether the term is added to the full cross-entropy, weighed by `beta`."""
        return isinstance(self.objective, str) and self.objective in _BETA

    def _add_unlabelled(self, data: FitData, given: Given) -> tuple[FitData, bool]:
        """Append rows without labels to those that the student sees."""
        more = given.options.get("X_unlabelled")
        if more is None:
            return data, False
        n_rows = len(data.X)

        def join() -> tuple[Any, np.ndarray, np.ndarray]:
            X = self._check_X(more, reset=False, in_shape=tuple(data.X.shape[1:]))
            labelled = np.repeat(np.array([1.0, 0.0]), [n_rows, len(X)])
            y = np.concatenate([data.y, np.zeros(len(X), data.y.dtype)])
            return joined(data.X, X), y, labelled

        X, y, labelled = given.recall(("joined", tuple(self.classes_)), join)
        weight = data.weight
        if weight is not None:
            weight = np.concatenate([weight, np.ones(len(X) - n_rows, weight.dtype)])
        rows = np.concatenate([data.rows, np.arange(n_rows, len(X))])
        extras = {"labelled": labelled}
        valid = data.valid
        if valid is not None and valid.X is data.X:
            valid = replace(valid, X=X, y=y, weight=weight, extras=extras)
        return replace(data, X=X, y=y, weight=weight, rows=rows, valid=valid, extras=extras), True

    def _teach(
        self, recipe: Recipe, data: FitData, given: Given, labels: Any, has_unlabelled: bool
    ) -> tuple[FitData, Objective]:
        """Add what the teacher says to the data, and its term to the objective."""
        term = self._term(recipe.n_classes)
        layers = _layer_names(self.layers) if term.uses_layers else {}
        extras = self._extras(term, layers, recipe, data, given)
        taps: tuple[Tap, ...] = ()
        if layers:
            sample = Rows(data.X, recipe.dtype).slice(0, SAMPLE_ROWS)
            taps = find_taps(recipe.build(0), list(layers), sample, "student")
        label_share = 1.0 if self._adds() else 1.0 - self.alpha
        objective = Distilled(labels, term, label_share, self._teacher_share(), taps)
        valid = data.valid
        if valid is not None and valid.X is data.X:
            valid = replace(valid, extras={**valid.extras, **extras})
        elif valid is not None:
            outside = self._extras(term, layers, recipe, valid, replace(given, shared={}), valid.X)
            if has_unlabelled:
                outside["labelled"] = np.ones(len(valid.X))
            valid = replace(valid, extras=outside)
        return replace(data, extras={**data.extras, **extras}, valid=valid), objective

    def _extras(
        self,
        term: Term,
        layers: dict[str, str],
        recipe: Recipe,
        data: FitData,
        given: Given,
        outside: Any = None,
    ) -> dict[str, np.ndarray]:
        """Ask the teacher about all rows, or about rows from `outside` of `fit`."""
        ready = given.options.get("teacher_logits")
        if layers:
            if ready is not None:
                raise ValueError(
                    f"objective={self.objective!r} compares layers, so 'teacher_logits' are not "
                    "enough; pass 'teacher', or use objective='label'."
                )
            modules = teacher_modules(self.teacher_, str(self.objective))
            key = ("features", id(self.teacher_), tuple(layers.items()))
            rows = Rows(data.X, recipe.dtype)

            def look() -> dict[str, np.ndarray]:
                found = teacher_features(modules, layers, rows)
                return {name: value.to(recipe.dtype).numpy() for name, value in found.items()}

            return given.recall(key, look)
        if ready is not None and outside is not None:
            raise ValueError(
                "'teacher_logits' do not cover the validation rows of a predefined train_split; "
                "use ValidSplit, or pass 'teacher'."
            )
        source = None if ready is not None else id(self.teacher_)

        def ask() -> Tensor:
            n_rows, n_classes = len(data.X), len(self.classes_)
            if ready is not None:
                return check_given_logits(ready, n_rows, n_classes, recipe.dtype)
            sources = [given.X, given.options.get("X_unlabelled")]
            sources = [outside] if outside is not None else [s for s in sources if s is not None]
            said = [teacher_logits(self.teacher_, s, self.classes_, recipe.dtype) for s in sources]
            return said[0] if len(said) == 1 else torch.cat(said)

        logits = given.recall(("logits", source, recipe.dtype), ask)
        return _targets(term, given, (source, recipe.dtype), logits)

    def _how_to_read(self, n_classes: int) -> Callable[[Tensor], Tensor] | None:
        term = self._term(n_classes)
        return term.log_proba if term.reads_logits and self._teacher_share() > 0 else None

    def _term(self, n_classes: int) -> Term:
        if isinstance(self.objective, Term):
            return self.objective
        tau = 1 / math.log(n_classes) ** 2 if self.tau == "auto" else self.tau
        temperature = float(self.temperature)
        terms: dict[str, Term] = {
            "label": LabelTerm(temperature, self.averaging),
            "logit": LogitTerm(),
            "feature": FeatureTerm(),
            "hint": HintTerm(),
            "attention": AttentionTerm(),
            "relation": RelationTerm(),
            "truncated": TruncatedTerm(float(tau), self.one_sided),
            "adaptive": AdaptiveTerm(temperature, self.cap),
            "dirichlet": DirichletTerm(temperature),
            "proxy-dirichlet": ProxyDirichletTerm(),
        }
        return terms[self.objective]

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are students to predict with."""
        return bool(getattr(self, "estimators_", None))


def _layer_names(layers: Any) -> dict[str, str]:
    """Return the teacher's layer for each of the student's."""
    if isinstance(layers, dict):
        return dict(layers)
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise ValueError("The 'layers' to compare must be at least one. Got none.")
    return {name: name for name in names}


class SelfDistiller(_StudentClassifier):
    """A network taught by its own earlier self, again and again: born-again networks.

    Generation 0 learns the labels. Each later generation has the same architecture and a
    fresh seed, and learns from the one before it [1]_.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, default=None
        The recipe of a generation; see `NetworkClassifier`.
    n_generations : int, default=1
        Generations after the first.
    variant : {"label", "cwtm", "dkpp"}, default="label"
        What a generation learns: the teacher's probabilities; the labels, each row weighed
        by the teacher's confidence; or the teacher's largest probability in its place and
        the others permuted. The latter two tell what of distillation is due to the weights
        and what to the order of the wrong classes.
    temperature : float, default=4.0
        Of the probabilities that are learned, and of the confidence.
    alpha : float, default=0.9
        Share of the teacher's term.
    average_generations : bool, default=False
        Whether the probabilities of all generations are averaged, or the last predicts.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed. Generation 0 is what `NetworkClassifier` makes of it.
    verbose : int, default=0
        1 tells what is trained how, 2 tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    generations_ : list of NetworkClassifier
        All generations, the plain one first; each has its `history_`.
    generation_scores_ : list of dict or None
        Loss and accuracy on the held-out rows after the last epoch of each generation;
        ``None`` where the recipe holds no rows out.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    DistilledClassifier : A student of another teacher.

    References
    ----------
    .. [1] Furlanello et al., "Born-again neural networks", 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import SelfDistiller
    >>> X, y = load_iris(return_X_y=True)
    >>> born_again = SelfDistiller(n_generations=2, random_state=0).fit(X, y)
    >>> len(born_again.generations_)
    3
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "n_generations": [Interval(numbers.Integral, 1, None, closed="left")],
        "variant": [StrOptions({"label", "cwtm", "dkpp"})],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
        "alpha": [Interval(numbers.Real, 0, 1, closed="both")],
        "average_generations": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "precision": [StrOptions({"bf16"}), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        n_generations: int = 1,
        *,
        variant: str = "label",
        temperature: float = 4.0,
        alpha: float = 0.9,
        average_generations: bool = False,
        class_weight: Any = None,
        precision: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_generations = n_generations
        self.variant = variant
        self.temperature = temperature
        self.alpha = alpha
        self.average_generations = average_generations
        self.class_weight = class_weight
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SelfDistiller:
        """Train one generation after the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        SelfDistiller
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _recipe_source(self) -> Any:
        return self.estimator

    def _students(self) -> list[NetworkClassifier]:
        return self.generations_ if self.average_generations else self.generations_[-1:]

    def _steps(self, given: Given) -> Steps:
        root = root_seed(self.random_state)
        recipe, plain = self._prepare(self.estimator, given, root)
        objective: Objective = recipe.objective()
        data = plain
        generations: list[NetworkClassifier] = []
        for number in range(self.n_generations + 1):
            seed = member_seed(root, number) if number else root
            if generations:
                data, objective = self._learn_from(generations[-1], recipe, plain, given, seed)
            member = Member(number, seed, recipe, objective, data)
            training = Training([member], verbose=self.verbose, owner=type(self).__name__)
            yield training
            result = training.results[number]
            if result.diverged_at is not None:
                lost = {number: result.diverged_at}
                raise MemberDivergedError(divergence_message(lost, self.n_generations + 1), lost)
            generations.append(self._make_student(recipe, seed, result))
        self._recipe = recipe
        self._name_features(generations)
        self.generations_ = generations
        self.generation_scores_ = None
        if plain.valid is not None:
            names = ("valid_loss", "valid_acc")
            self.generation_scores_ = [
                {name: one.history_[-1][name] for name in names} for one in generations
            ]

    def _learn_from(
        self, teacher: NetworkClassifier, recipe: Recipe, data: FitData, given: Given, seed: int
    ) -> tuple[FitData, Objective]:
        term = self._term(seed)
        extras = _self_targets(term, teacher, data.X, recipe)
        valid = data.valid
        if valid is not None:
            inside = valid.X is data.X
            own = extras if inside else _self_targets(term, teacher, valid.X, recipe)
            valid = replace(valid, extras=own)
        objective = Distilled(recipe.objective(), term, 1.0 - self.alpha, float(self.alpha))
        return replace(data, extras=extras, valid=valid), objective

    def _term(self, seed: int) -> Term:
        temperature = float(self.temperature)
        if self.variant == "cwtm":
            return ConfidenceTerm(temperature)
        if self.variant == "dkpp":
            return PermutedTerm(temperature, seed=purpose_seed(seed, Purpose.PERMUTE))
        return LabelTerm(temperature)

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are generations to predict with."""
        return bool(getattr(self, "generations_", None))


def _self_targets(
    term: Term, teacher: NetworkClassifier, X: Any, recipe: Recipe
) -> dict[str, np.ndarray]:
    logits = teacher_logits(teacher, X, teacher.classes_, recipe.dtype)
    return _targets(term, Given(X, None), None, logits)
