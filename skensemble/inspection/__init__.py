"""What networks have learned, as numbers and as pictures."""

from skensemble.inspection.calibration import ReliabilityDisplay
from skensemble.inspection.channels import ChannelImagesDisplay, channel_images
from skensemble.inspection.corruptions import CorruptionDisplay
from skensemble.inspection.diversity import diversity_score
from skensemble.inspection.landscape import LossLandscape, LossLandscapeDisplay, loss_landscape
from skensemble.inspection.maps import ViewMapsDisplay, view_maps
from skensemble.inspection.retention import RetentionDisplay
from skensemble.inspection.searches import SearchHeatMapDisplay
from skensemble.inspection.selection import RiskCoverageDisplay
from skensemble.inspection.training import EnsembleSizeDisplay, TrainingCurvesDisplay
from skensemble.inspection.views import LearnedViews, LearnedViewsDisplay, learned_views

__all__ = [
    "ChannelImagesDisplay",
    "CorruptionDisplay",
    "EnsembleSizeDisplay",
    "LearnedViews",
    "LearnedViewsDisplay",
    "LossLandscape",
    "LossLandscapeDisplay",
    "ReliabilityDisplay",
    "RetentionDisplay",
    "RiskCoverageDisplay",
    "SearchHeatMapDisplay",
    "TrainingCurvesDisplay",
    "ViewMapsDisplay",
    "channel_images",
    "diversity_score",
    "learned_views",
    "loss_landscape",
    "view_maps",
]
