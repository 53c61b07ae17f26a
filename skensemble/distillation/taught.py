"""How a student's fit runs: its data, its teacher, what it hears, and its training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_memory
from torch import Tensor

from skensemble._base.augmenting import augment
from skensemble._base.errors import MemberDivergedError
from skensemble._base.fitted import is_fitted
from skensemble._data.rows import FitData
from skensemble._engine.bar import tell
from skensemble._engine.members import Member
from skensemble._engine.progress import announce
from skensemble._engine.results import MemberResult
from skensemble._engine.training import Preview, Training
from skensemble._files.checks import Check, mapping
from skensemble._fits.given import Given, Steps
from skensemble._fits.subfit import Subfit, Subfits
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, member_seed, purpose_seed
from skensemble.distillation.committee import as_teacher
from skensemble.distillation.diagram import diagram_of_student
from skensemble.distillation.kernels import check_kernel_student, kernel_student, learns_targets
from skensemble.distillation.left_out import (
    for_teacher,
    require_some_splitter,
    said_by_ensemble,
    said_by_twins,
    twins,
    wanted_folds,
)
from skensemble.distillation.lesson import Lesson, shares
from skensemble.distillation.patience import patient
from skensemble.distillation.plan import Plan
from skensemble.distillation.report import check_report, out_of_fold_report
from skensemble.distillation.students import StudentClassifier
from skensemble.distillation.targets import Heard, logits_of
from skensemble.distillation.teachers import (
    check_known_teacher,
    has_own_folds,
    member_recipe,
    ready_to_fit,
    stops_early,
)
from skensemble.distillation.transferring import (
    TransferRows,
    count_transfer,
    make_transfer,
    training_rows,
)
from skensemble.distillation.unlabelled import add_unlabelled
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.objectives import LabelTerm, Objective
from skensemble.objectives.base import DistributionTerm
from skensemble.objectives.distilled import SharedWeights, WithDiversity
from skensemble.objectives.names import read_term
from skensemble.perturbation import read_perturbation
from skensemble.transfer import Sampler
from skensemble.transfer.names import read_transfer

# The seed of remembered teachers, where nobody has set one.
_FIXED_SEED = 0


def _predicts_dirichlet(student: TaughtClassifier) -> bool:
    """Tell whether students learn a distribution of probabilities, or say why not."""
    if student._concentration is not None:
        return True
    raise AttributeError(
        "predict_concentration needs students that were taught a Dirichlet: "
        f"objective='proxy-dirichlet' or 'dirichlet'. Got {student.objective!r}."
    )


class TaughtClassifier(StudentClassifier):
    """Abstract students of one teacher; the parameters are those of `DistilledClassifier`."""

    _found: ClassVar[dict[str, Check]] = {"report_": mapping()}
    teacher: Any
    student: Any
    objective: Any
    temperature: Any
    alpha: float
    averaging: str
    teacher_cv: Any
    transfer: Any
    transfer_size: Any
    patience: Any
    perturbation: Any
    report_diversity: bool
    report: Any
    n_students: int
    keep: str
    keep_teacher: bool
    memory: Any
    augmentation: Any
    class_weight: Any
    stack: Any
    n_jobs: int | None
    precision: str | None
    random_state: Any
    verbose: int
    report_: dict[str, Any]

    def _recipe_source(self) -> Any:
        return member_recipe(self.teacher) if self.student is None else self.student

    def _sk_visual_block_(self) -> Any:
        return diagram_of_student(self)

    def _steps(self, given: Given) -> Steps:
        read_term(self.objective), read_perturbation(self.perturbation)  # before anything is fitted
        if self.transfer != "auto":
            read_transfer(self.transfer)
        if self.report:
            check_report(self, given)
        root = given.root_of(self)
        source = self._recipe_source()
        if learns_targets(source):
            yield from self._teach_kernels(source, given, root)
        else:
            yield from self._teach_networks(source, given, root)
        if hasattr(self, "report_"):
            del self.report_  # of another fit
        if self.report:
            self.report_ = out_of_fold_report(self, given, source, root)
        if not self.keep_teacher:
            self.teacher_ = None

    def _teach_networks(self, source: Any, given: Given, root: int) -> Steps:
        many = source if isinstance(source, BatchEnsembleClassifier) else None
        own = source if many is None else many.estimator
        plan = self._plan(read_recipe(own).module is None, given)
        recipe, data = self._prepare(own, given, root, hold_out=not plan.holds_transfer)
        n_more = 0
        if plan.transfer is not None:
            n_more = count_transfer(self.transfer_size, len(data.rows))
        recipe = patient(recipe, plan, len(data.rows) + n_more, plan.can_stop(data))
        if plan.by_rules:
            super()._say_choice(recipe)
        recipe = recipe if many is None else self._widen(recipe, many)
        announced = announce(self.n_students * recipe.training.max_epochs)
        self.teacher_, left_out = yield from self._find_teacher(given, data, root, plan.teacher_cv)
        transfer = self._make_transfer(plan, recipe, data, given, root)
        heard = Heard(left_out, transfer)
        if plan.by_rules and self.verbose:
            told = plan.summary(0 if transfer is None else len(transfer), heard.n_twins)
            tell(type(self).__name__, told)
        data, objective = self._make_objective(recipe, data, given, plan, heard)
        members = [
            Member(number, seed, recipe, objective, data)
            for number, seed in enumerate(self._seeds(root))
        ]
        training = Training(
            members, self.stack, self.n_jobs, root, self.verbose, type(self).__name__, announced
        )
        training.preview = Preview(self, lambda results: self._would_be(recipe, training, results))
        yield training
        self._take(recipe, training)

    def _say_choice(self, recipe: Recipe) -> None:
        """Say nothing before it is known how long the student trains."""

    def _plan(self, by_rules: bool, given: Given) -> Plan:
        """Return what the parameters say where rules choose for those left at "auto"."""
        term = read_term(self.objective)
        return Plan.of(
            self,
            by_rules=by_rules,
            X=given.X,
            altered_by=self._altered_by(),
            layers=bool(term.layer_names()),
            teacher_share=shares(term, self.alpha)[1],
            given_logits=given.teacher_logits is not None,
        )

    def _make_transfer(
        self, plan: Plan, recipe: Recipe, data: FitData, given: Given, root: int
    ) -> TransferRows | None:
        if plan.transfer is None:
            return None
        sampler, seed = read_transfer(plan.transfer), purpose_seed(root, Purpose.TRANSFER)
        rows = training_rows(given.X, data, given, recipe.table is not None)

        def make() -> TransferRows:
            return make_transfer(sampler, self.transfer_size, rows, seed, self._reader(data))

        # Samplers of ours are told by their parameters, others by what they are.
        owners, own = (data.X,), joblib.hash((self.transfer_size, data.rows))
        if isinstance(sampler, Sampler):
            return given.recall("transfer", make, owners, (own, joblib.hash(sampler), seed))
        return given.recall("transfer", make, (*owners, sampler), (own, seed))

    def _reader(self, data: FitData) -> Callable[[Any], Any]:
        """Return how students read further rows while a fit is under way."""
        in_shape = tuple(data.X.shape[1:])
        return lambda X: self._check_X(X, reset=False, in_shape=in_shape)

    def _make_objective(
        self, recipe: Recipe, data: FitData, given: Given, plan: Plan, heard: Heard
    ) -> tuple[FitData, Objective]:
        """Return what students minimise, and their data with what the teacher says."""
        lesson = self._lesson(recipe, given, plan, heard)
        data = add_unlabelled(
            data, given, self.classes_, self._reader(data), heard.transfer,
            hold_out=plan.holds_out(data),
        )  # fmt: skip
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

    def _lesson(self, recipe: Recipe, given: Given, plan: Plan, heard: Heard) -> Lesson:
        """Return what the parameters say that students learn of the fitted teacher."""
        term = read_term(self.objective)
        label_share, teacher_share = shares(term, self.alpha)
        averaging = self.averaging
        if averaging == "auto":
            averaging = "one-to-one" if recipe.shares_layers else "proba"
        return Lesson(
            term.bind(len(self.classes_), plan.temperature, averaging),
            repr(self.objective),
            self.teacher_,
            self.classes_,
            label_share,
            teacher_share,
            asked=given,
            altered_by=self._altered_by(),
            perturbation=read_perturbation(self.perturbation),
            temperature=plan.temperature,
            reports_diversity=self.report_diversity,
            heard=heard,
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
        if lost:
            raise MemberDivergedError.of(lost, self.n_students)
        students = [
            self._make_member(recipe, member.seed, training.results[member.number])
            for member in training.members
        ]
        self._recipe = recipe
        self.estimators_ = students if self.keep == "all" else students[:1]

    def _would_be(
        self, recipe: Recipe, training: Training, results: dict[int, MemberResult]
    ) -> dict[str, Any]:
        """Return the attributes of a fit that ended now, for callbacks."""
        twin, ended = copy.copy(self), copy.copy(training)
        ended.results = results
        twin._take(recipe, ended)
        return dict(vars(twin))

    def _seeds(self, root: int) -> list[int]:
        return [root, *(member_seed(root, number) for number in range(1, self.n_students))]

    def _teach_kernels(self, source: Any, given: Given, root: int) -> Steps:
        """Let kernel machines learn the teacher's probabilities, in closed form."""
        plan = self._plan(False, given)
        averaging = "proba" if self.averaging == "auto" else self.averaging
        term = read_term(self.objective).bind(2, plan.temperature, averaging)
        check_kernel_student(self, term, given)
        data = self._check_fit(given)
        self.teacher_, left_out = yield from self._find_teacher(given, data, root, plan.teacher_cv)
        parts = logits_of(
            self.teacher_, self.classes_, torch.float64, data, given, heard=Heard(left_out)
        )
        taught = term.targets(torch.cat(list(parts)))["target"].numpy(), float(self.alpha)
        students = []
        for seed in self._seeds(root):
            student = kernel_student(source, seed, given, taught, self.class_weight)
            students.append((yield from student))
        self._recipe = students[0]._recipe
        self.estimators_ = students if self.keep == "all" else students[:1]

    # -- the teacher ---------------------------------------------------------------------

    def _find_teacher(self, given: Given, data: FitData, root: int, cv: Any) -> Steps:
        """Return the fitted teacher, and what was said of rows by those who had not seen them.

        A teacher that is not fitted is fitted on the rows of this fit.
        """
        if given.teacher_logits is not None:
            require_some_splitter(None, None, given.groups)
            return None, None
        check_known_teacher(self.teacher)
        teacher = as_teacher(self.teacher)
        if teacher is not None and is_fitted(teacher):
            self._check_fits_here()
            require_some_splitter(None, None, given.groups)
            return teacher, None
        weight = given.sample_weight if self.class_weight is None else data.weight
        memory = check_memory(self.memory)
        seed = purpose_seed(root, Purpose.TEACHER)
        if self.random_state is None and memory.location is not None:
            seed = _FIXED_SEED
        unfitted = ready_to_fit(teacher, self._recipe_source(), seed)
        require_some_splitter(self.teacher_cv, unfitted, given.groups)
        folds_by = given.groups
        given = for_teacher(given.without_lesson(weight), unfitted)
        wanted = Subfit(unfitted, given, memory)
        if isinstance(cv, str) and stops_early(wanted.estimator):
            cv = None
        own = isinstance(read_term(self.objective), LabelTerm) and has_own_folds(wanted.estimator)
        if cv is None or own:
            yield wanted
            left_out = None if cv is None else said_by_ensemble(wanted.result, data, given)
            return wanted.result, left_out
        folds = wanted_folds(cv, data, seed, folds_by)
        fits = twins(wanted.estimator, folds, given, memory)
        yield Subfits([wanted, *fits])
        return wanted.result, said_by_twins(fits, folds, self.classes_, data, given)

    def _check_fits_here(self) -> None:
        """Refuse to leave rows out of a fit that was made elsewhere."""
        if self.teacher_cv is None or isinstance(self.teacher_cv, str):
            return
        raise ValueError(
            f"teacher_cv={self.teacher_cv!r} needs a teacher that is fitted here, on folds. Got a "
            "fitted one; pass sklearn.base.clone(teacher), or teacher_cv='auto'."
        )

    def _how_to_read(self, n_classes: int) -> Callable[[Tensor], Tensor] | None:
        term = read_term(self.objective)
        return term.log_proba if term.reads_logits and shares(term, self.alpha)[1] > 0 else None

    @property
    def _concentration(self) -> Callable[[Tensor], Tensor] | None:
        term = read_term(self.objective)
        if isinstance(term, DistributionTerm) and shares(term, self.alpha)[1] > 0:
            return term.concentration
        return None

    @available_if(_predicts_dirichlet)
    def predict_concentration(self, X: Any) -> np.ndarray:
        """Predict Dirichlet distributions, of students that were taught one.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_students, n_samples, n_classes)
            Their parameters: positive, with ``predict_proba`` as their share of the sum, and a
            sum that is the larger the less the teacher's members differ.
        """
        concentration: Any = self._concentration  # which is why there is this method
        return self._collect(X, concentration, axis=1)

    def _with_recipe(self, change: Callable[[Recipe], Recipe]) -> Any:
        if self.teacher is not None:
            return super()._with_recipe(change)
        # Whose teacher would be an ensemble of the changed recipe.
        teacher = DeepEnsembleClassifier(self.student, 5)
        return clone(self).set_params(teacher=teacher)._with_recipe(change)
