"""Write a fitted estimator as an ONNX graph."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import os
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skensemble._recipes.recipe import run_networks
from skensemble._records.atomic import replacing
from skensemble._tables.reader import TableReader


class _Fused(nn.Module):
    """The networks of an estimator and its fusion as one module, in float32 on the CPU."""

    def __init__(self, estimator: Any, preprocessed: bool) -> None:
        super().__init__()
        table = estimator._recipe.table
        self.read = nn.Identity() if table is None or preprocessed else TableReader(table)
        modules = [copy.deepcopy(module).cpu().float() for module in estimator._networks()]
        self.members = nn.ModuleList(modules).eval()
        # A graph has its own layout and is exact.
        self._recipes = [
            replace(recipe, precision=None, channels_last=False) for recipe in estimator._recipes()
        ]
        self._fuse = (estimator._fuse_proba,)

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities."""
        return self._fuse[0](run_networks(list(self.members), self._recipes, self.read(x)))


def export_onnx(estimator: Any, path: str | os.PathLike[str], preprocessed: bool = False) -> None:
    """Write the graph; see ``BaseNetworks.export_onnx``."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export_onnx needs {' and '.join(missing)}; install them with "
            "pip install 'skensemble[onnx]'."
        )
    if not estimator._recipe.is_network:
        raise ValueError(
            "A linearised network predicts with its gradients, which ONNX has no graph for. Use "
            "save() or pickle; or distil it into a network and export that."
        )
    fused = _Fused(estimator, preprocessed).eval()
    is_raw = isinstance(fused.read, TableReader)
    shape = (estimator.n_features_in_,) if is_raw else estimator._recipe.in_shape
    sample = torch.zeros(2, *shape)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program: Any = torch.onnx.export(
                fused,
                (sample,),
                dynamo=True,
                input_names=["X"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("n_samples", min=1)},),
                verbose=False,
            )
            n_rows = program.model.graph.inputs[0].shape[0]
            if isinstance(n_rows, int):
                raise ValueError(
                    f"The graph would take batches of {n_rows} rows only, since the module's "
                    "forward reads the number of rows as a plain number, as len(x) does. Use "
                    "x.shape[0]."
                )
        with replacing(path) as temporary:
            program.save(str(temporary), external_data=False)
    finally:
        logger.setLevel(level)
