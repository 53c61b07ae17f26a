"""The experiments of `claims.py` by name, with their sizes; how many seeds each has."""

from __future__ import annotations

from dataclasses import dataclass

from _experiments import Workload
from _multiview import Experiment, Setting, Teaching
from _workloads_images import Channels, CutMixed, Inputs, Latent, PrunedDigits
from _workloads_networks import Digits, Views
from _workloads_rows import Gaussian, Kernels


@dataclass(frozen=True)
class Planned:
    """A workload and its number of seeds."""

    workload: Workload
    seeds: int


Preset = dict[str, Planned]

_SHORT = Teaching(8.0, 100.0, 1.0, 4)
_TINY = {"n_rows": 60, "epochs": 1}
_PRUNED = {**_TINY, "finetune_epochs": 1}
_TINY_IMAGES = {"n_rows": 60, "n_test": 50, "width": 4, "epochs": 1, "batch_size": 30}
_TINY_KERNEL = {"n_rows": 80, "n_test": 60, "draws": 2}

PRESETS: dict[str, Preset] = {
    "cpu": {
        "digits": Planned(Digits(), 20),
        "l1-filter, label": Planned(PrunedDigits("l1-filter", 0.4), 20),
        "slimming, label": Planned(PrunedDigits("slimming", 0.4), 20),
        "magnitude, label": Planned(PrunedDigits("magnitude", 0.4), 20),
        "l1-filter, feature": Planned(PrunedDigits("l1-filter", 0.4, "feature"), 20),
        "linear": Planned(Gaussian("linear"), 6),
        "fc2": Planned(Gaussian("fc2"), 6),
        "gp, 64 features": Planned(Kernels("gp", 16, 64), 6),
        "gp, 128 features": Planned(Kernels("gp", 16, 128), 6),
        "ntk, 449 features": Planned(Kernels("ntk", 6, 5), 6),
        "cutmix": Planned(CutMixed(), 10),
        "naswot": Planned(Inputs(), 5),
        "channels": Planned(Channels(), 5),
        "latent": Planned(Latent(), 10),
        "views": Planned(Views(), 20),
    },
    "quick": {
        "digits": Planned(Digits(**_TINY, members=2, students=2), 2),
        "l1-filter, label": Planned(PrunedDigits("l1-filter", 0.4, **_PRUNED), 2),
        "slimming, label": Planned(PrunedDigits("slimming", 0.4, **_PRUNED), 2),
        "magnitude, label": Planned(PrunedDigits("magnitude", 0.4, **_PRUNED), 2),
        "l1-filter, feature": Planned(PrunedDigits("l1-filter", 0.4, "feature", **_PRUNED), 2),
        "linear": Planned(Gaussian("linear", 60, 2, 1, (0.0, 1e-2)), 2),
        "fc2": Planned(Gaussian("fc2", 60, 2, 1, (0.0, 1e-2)), 2),
        "gp, 64 features": Planned(Kernels("gp", 4, 8, **_TINY_KERNEL), 2),
        "gp, 128 features": Planned(Kernels("gp", 4, 8, **_TINY_KERNEL), 2),
        "ntk, 449 features": Planned(Kernels("ntk", 4, 4, **_TINY_KERNEL), 2),
        "cutmix": Planned(CutMixed(**_TINY_IMAGES), 2),
        "channels": Planned(
            Channels(**{**_TINY_IMAGES, "width": 8}, members=2, member_epochs=1), 2
        ),
        "latent": Planned(Latent(**_TINY_IMAGES, members=2), 2),
        "naswot": Planned(Inputs(**_TINY_IMAGES, side=16, depth=8, n_scored=16), 2),
        "views": Planned(Views(Experiment(Setting(n_steps=4), _SHORT, _SHORT, 2), 2, 100), 2),
    },
}
