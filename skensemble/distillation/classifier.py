"""Students: one small network that learns what a teacher knows."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from sklearn.base import clone
from sklearn.utils.validation import check_memory
from torch import Tensor

from skensemble._base.augmenting import augment
from skensemble._base.errors import MemberDivergedError
from skensemble._base.states import plain_params
from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.training import Training
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._forgotten import ForgottenRecipe
from skensemble._parameters import refuse_inner
from skensemble._private import HasMethods, Interval, StrOptions, fit_context
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, member_seed, purpose_seed, root_seed
from skensemble.augmentation.names import CONSTRAINTS
from skensemble.distillation.files import params_with_teacher, plain_without_teacher, upgrade_params
from skensemble.distillation.kernels import check_kernel_student, kernel_student, learns_targets
from skensemble.distillation.lesson import Lesson, shares
from skensemble.distillation.students import StudentClassifier
from skensemble.distillation.teachers import (
    check_given_logits,
    find_teacher,
    member_recipe,
    teacher_logits,
)
from skensemble.distillation.unlabelled import add_unlabelled
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.objectives import Objective, Term
from skensemble.objectives.distilled import SharedWeights, WithDiversity
from skensemble.objectives.names import TERMS, read_term
from skensemble.perturbation import KINDS, Perturbation, read_perturbation

__all__ = ["DistilledClassifier"]


# The seed of remembered teachers, where nobody has set one.
_FIXED_SEED = 0


@in_files
class DistilledClassifier(StudentClassifier):
    """One network that learns from a teacher: an ensemble, or any other classifier.

    The student minimises ``(1 - alpha) * CE(y, s) + alpha * term(s, teacher)``; where the
    objective compares layers or is ``"truncated"``, ``CE(y, s) + weight * term``. With
    ``objective="label"`` the term is ``T² KL(σ(t/T) ‖ σ(s/T))`` [1]_.

    Parameters
    ----------
    teacher : classifier, default=None
        Anything with `predict_proba`. An unfitted one is cloned and fitted on the rows that
        `fit` is given; a fitted one is used as it is. Cross-validation clones it, and
        clones are unfitted: each fold then trains a teacher of its own, which has not
        seen the fold's test rows. ``FrozenEstimator(teacher)`` is never fitted again.
        ``None`` is an ensemble of five networks of the student's recipe.
    student : net, Module class or instance, BatchEnsembleClassifier or NTKClassifier
        The recipe; see `NetworkClassifier`. A `BatchEnsembleClassifier` is a student of
        several members; with its ``merge="factor-mean"`` they are folded into one network
        in the end (LatentBE). An `NTKClassifier` is fitted to ``(1 - alpha) y + alpha p`` with
        the teacher's probabilities `p` at the temperature. ``None`` takes that of the
        teacher's member where there is one, and the default network otherwise.
    objective : str or Term, default="label"
        "label", "logit" [2]_, "feature" [3]_, "hint", "attention", "relation",
        "truncated" [4]_, "adaptive" (AE-KD), "dirichlet" (EnD²), "proxy-dirichlet", which are
        the terms of `skensemble.objectives` with their defaults; a term with parameters of its
        own, such as ``HintTerm(weight=10.0, layers=["0"])``, which are searched as
        ``objective__weight``; or an object of your own that subclasses
        `skensemble.objectives.Term`.
    temperature : float, default=4.0
        Of "label" and "adaptive"; of "dirichlet", where it goes to 1 in the second half of
        the epochs; of perturbations. A term that has a temperature of its own keeps it.
    alpha : float, default=0.9
        Share of the teacher's term, from 0 (plain training) to 1 (labels are not used). Of
        "label", "logit", "adaptive", the Dirichlets and terms of your own; those that compare
        layers and "truncated" have a ``weight`` beside the full cross-entropy instead.
    averaging : {"auto", "proba", "logit", "one-to-one"}, default="auto"
        Whether "label" learns the mean of the probabilities of an ensemble's members, the
        softmax of their mean logits, or, each member of a `BatchEnsembleClassifier`, from
        the teacher's member of its number [5]_. "auto" is "one-to-one" for such a student
        and "proba" for others.
    perturbation : {"ods", "confods", "tdiv-sdiv", "gaussian"}, Perturbation or None
        Alter the rows on which the teacher's term is learned, where the teacher's networks
        differ [6]_. The teacher is then asked for every batch. "tdiv-sdiv" is for students
        with members, and alters the rows for the labels too; "gaussian" is the control. An
        object of `skensemble.perturbation` has the length of the step and the range to keep,
        ``ODS(step=0.1, input_range=None)``, searched as ``perturbation__step``.
    report_diversity : bool, default=False
        Record for every epoch, in the student's ``history_`` and with ``verbose=2`` in
        print, how far the networks of the teacher are apart on the rows that its term is
        learned on (``train_teacher_diversity``), and the members of a student that has
        some (``train_diversity``); with a validation split ``valid_`` likewise. Both are
        `skensemble.metrics.pairwise_kl`, without a temperature.
    n_students : int, default=1
        Students of different seeds, trained together.
    keep : {"all", "first"}, default="all"
        Whether the students are averaged, or only the first is kept.
    memory : str, joblib.Memory or None, default=None
        Where fitted teachers are remembered, so that candidates of a grid search share one
        a fold. A teacher's ``random_state=None`` is then a fixed number.
    augmentation : str, Augmentation, callable, list or None, default=None
        Alter each batch before it is learned: "cutmix", "mixup", "cutout", "autoaugment",
        "randaugment", "crop-flip", an object of `skensemble.augmentation`, a callable such as
        those of ``torchvision.transforms.v2``, or a list of them in turn. Held-out rows
        stay as they are. The teacher is asked about the same altered rows, whose targets are
        what it says of them and are not mixed; whether it was *trained* on altered rows is
        its own parameter.
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
    .. [5] Mariet, Jenatton, Wenzel and Tran, "Distilling ensembles improves uncertainty
       estimates", 2020.
    .. [6] Nam et al., "Improving ensemble distillation with weight averaging and
       diversifying perturbation", 2022.

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

    _recipe_parameter = "student"
    _members_attribute = "estimators_"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "teacher": [HasMethods(["fit", "predict"]), ForgottenRecipe, None],
        "student": "no_validation",
        "objective": [StrOptions(set(TERMS)), Term],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
        "alpha": [Interval(numbers.Real, 0, 1, closed="both")],
        "averaging": [StrOptions({"auto", "proba", "logit", "one-to-one"})],
        "perturbation": [StrOptions(set(KINDS)), Perturbation, None],
        "report_diversity": ["boolean"],
        "n_students": [Interval(numbers.Integral, 1, None, closed="left")],
        "keep": [StrOptions({"all", "first"})],
        "memory": [str, HasMethods(["cache"]), None],
        "augmentation": CONSTRAINTS,
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
        averaging: str = "auto",
        perturbation: Any = None,
        report_diversity: bool = False,
        n_students: int = 1,
        keep: str = "all",
        memory: Any = None,
        augmentation: Any = None,
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
        self.averaging = averaging
        self.perturbation = perturbation
        self.report_diversity = report_diversity
        self.n_students = n_students
        self.keep = keep
        self.memory = memory
        self.augmentation = augmentation
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
        lesson = {"teacher_logits": teacher_logits, "X_unlabelled": X_unlabelled}
        fit_alone(self, Given(X, y, sample_weight, **lesson))
        return self

    def set_params(self, **params: Any) -> DistilledClassifier:
        """Set parameters, those of an objective that is an object as ``objective__weight``.

        Parameters
        ----------
        **params : dict of str to object
            The parameters.

        Returns
        -------
        DistilledClassifier
            The estimator itself.
        """
        refuse_inner(self, params, ("objective", "perturbation"))
        return super().set_params(**params)

    def _recipe_source(self) -> Any:
        return member_recipe(self.teacher) if self.student is None else self.student

    def _steps(self, given: Given) -> Steps:
        read_term(self.objective), read_perturbation(self.perturbation)  # before anything is fitted
        root = root_seed(self.random_state)
        source = self._recipe_source()
        if learns_targets(source):
            yield from self._teach_kernels(source, given, root)
            return
        many = source if isinstance(source, BatchEnsembleClassifier) else None
        recipe, data = self._prepare(source if many is None else many.estimator, given, root)
        recipe = recipe if many is None else self._widen(recipe, many)
        self.teacher_ = yield from self._find_teacher(given, data, root)
        data, objective = self._make_objective(recipe, data, given)
        members = [
            Member(number, seed, recipe, objective, data)
            for number, seed in enumerate(self._seeds(root))
        ]
        training = Training(
            members, self.stack, self.n_jobs, root, self.verbose, type(self).__name__
        )
        yield training
        self._take(recipe, training)

    def _make_objective(
        self, recipe: Recipe, data: FitData, given: Given
    ) -> tuple[FitData, Objective]:
        """Return what students minimise, and their data with what the teacher says."""
        lesson = self._lesson(recipe, given)
        in_shape = tuple(data.X.shape[1:])
        data = add_unlabelled(
            data, given, self.classes_, lambda X: self._check_X(X, reset=False, in_shape=in_shape)
        )
        data, objective = lesson.teach(recipe, data, given, recipe.objective())
        if recipe.shares_layers:
            objective = SharedWeights(objective, recipe.n_members)
        objective = lesson.alter(objective, recipe, data)
        objective = augment(self, objective, recipe, data, given)
        if not self.report_diversity:
            return data, objective
        lesson.check_diversity(recipe, data)
        return data, WithDiversity(objective)

    def _widen(self, recipe: Recipe, many: BatchEnsembleClassifier) -> Recipe:
        """Turn the recipe of one network into that of a student of many members."""
        if many.augmentation is not None:
            raise ValueError(
                "A BatchEnsembleClassifier as the student is trained here, so 'augmentation' must "
                f"be set on the DistilledClassifier. Got {many.augmentation!r} in the student."
            )
        return many._widen(recipe)

    def _lesson(self, recipe: Recipe, given: Given) -> Lesson:
        """Return what the parameters say that students learn of the fitted teacher."""
        term = read_term(self.objective)
        label_share, teacher_share = shares(term, self.alpha)
        averaging = self.averaging
        if averaging == "auto":
            averaging = "one-to-one" if recipe.shares_layers else "proba"
        temperature = float(self.temperature)
        return Lesson(
            term.bind(len(self.classes_), temperature, averaging),
            repr(self.objective),
            self.teacher_,
            self.classes_,
            label_share,
            teacher_share,
            asked=given,
            altered_by=self._altered_by(),
            perturbation=read_perturbation(self.perturbation),
            temperature=temperature,
            reports_diversity=self.report_diversity,
        )

    def _altered_by(self) -> str:
        """Return the parameter that alters rows before the student sees them."""
        names = ("augmentation", "perturbation")
        set_ = [name for name in names if getattr(self, name) is not None]
        return f"{set_[0]}={getattr(self, set_[0])!r}" if set_ else ""

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
            raise MemberDivergedError.of(lost, self.n_students)
        self._recipe = recipe
        self.estimators_ = students if self.keep == "all" else students[:1]

    def _seeds(self, root: int) -> list[int]:
        return [root, *(member_seed(root, number) for number in range(1, self.n_students))]

    def _teach_kernels(self, source: Any, given: Given, root: int) -> Steps:
        """Let kernel machines learn the teacher's probabilities, in closed form."""
        averaging = "proba" if self.averaging == "auto" else self.averaging
        term = read_term(self.objective).bind(2, float(self.temperature), averaging)
        check_kernel_student(self, term, given)
        data = self._check_fit(given)
        self.teacher_ = yield from self._find_teacher(given, data, root)
        ready = given.teacher_logits
        if ready is None:
            logits = teacher_logits(self.teacher_, given.X, self.classes_, torch.float64)
        else:
            logits = check_given_logits(ready, len(data.X), len(self.classes_), torch.float64)
        taught = term.targets(logits)["target"].numpy(), float(self.alpha)
        students = []
        for seed in self._seeds(root):
            student = kernel_student(source, seed, given, taught, self.class_weight)
            students.append((yield from student))
        self._recipe = students[0]._recipe
        self.estimators_ = students if self.keep == "all" else students[:1]

    # -- the teacher ---------------------------------------------------------------------

    def _find_teacher(self, given: Given, data: FitData, root: int) -> Steps:
        """Return the teacher if it is fitted, or have it fitted on the rows of this fit."""
        if given.teacher_logits is not None:
            return None
        weight = given.sample_weight if self.class_weight is None else data.weight
        memory = check_memory(self.memory)
        seed = purpose_seed(root, Purpose.TEACHER)
        if self.random_state is None and memory.location is not None:
            seed = _FIXED_SEED
        given = given.without_lesson(weight)
        return (yield from find_teacher(self.teacher, self._recipe_source(), given, seed, memory))

    def _how_to_read(self, n_classes: int) -> Callable[[Tensor], Tensor] | None:
        term = read_term(self.objective)
        return term.log_proba if term.reads_logits and shares(term, self.alpha)[1] > 0 else None

    def _with_recipe(self, change: Callable[[Recipe], Recipe]) -> Any:
        if self.teacher is not None:
            return super()._with_recipe(change)
        # Whose teacher would be an ensemble of the changed recipe.
        teacher = DeepEnsembleClassifier(self.student, 5)
        return clone(self).set_params(teacher=teacher)._with_recipe(change)

    # -- files ---------------------------------------------------------------------------

    def _plain_params(self) -> dict[str, Any]:
        params = self.get_params(deep=False)
        del params["student"]
        return plain_params(plain_without_teacher(params))

    @classmethod
    def _params_of(cls, about: dict[str, Any]) -> dict[str, Any]:
        return upgrade_params(super()._params_of(params_with_teacher(about)))

    def _take_found(self, found: dict[str, Any], path: Any) -> None:
        super()._take_found(found, path)
        self.teacher_ = None

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are students to predict with."""
        return bool(getattr(self, "estimators_", None))
