"""Students: networks that learn what a teacher, or their earlier self, knows."""

from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.committee import TeacherCommittee
from skensemble.distillation.generations import SelfDistiller

__all__ = ["DistilledClassifier", "SelfDistiller", "TeacherCommittee"]
