"""The reading of a table of numbers as a module, for graphs that are run elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._tables.preprocessor import TablePreprocessor


class TableReader(nn.Module):
    """What a fitted `TablePreprocessor` makes of numbers, NaN where they are missing.

    Parameters
    ----------
    table : TablePreprocessor
        Fitted on columns of numbers alone: a graph is given one array of them.
    """

    numbers: Tensor
    center: Tensor
    scale: Tensor
    flagged: Tensor

    def __init__(self, table: TablePreprocessor) -> None:
        super().__init__()
        others = [kind for kind in table.kinds_ if kind not in ("number", "empty")]
        if others:
            raise ValueError(
                "A graph that reads the raw table takes numbers alone. Got a column of kind "
                f"{others[0]!r}; use export_onnx(path, preprocessed=True), whose input is what "
                "preprocessor_.transform(X) returns."
            )
        scaled = np.array([one == "scaled" for one in table.encodings_])
        self.register_buffer("numbers", torch.from_numpy(np.flatnonzero(scaled)))
        self.register_buffer("center", torch.tensor(table.center_[scaled], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(table.scale_[scaled], dtype=torch.float32))
        self.register_buffer("flagged", torch.from_numpy(np.flatnonzero(table.indicators_)))

    def forward(self, x: Tensor) -> Tensor:
        """Map raw numbers to scaled ones and flags of those that are missing."""
        z = ((x.index_select(1, self.numbers) - self.center) / self.scale).clamp(-1e6, 1e6)
        z = z / torch.sqrt(1 + (z / 3) ** 2)
        z = torch.where(z.isnan(), torch.zeros_like(z), z)
        flags = x.index_select(1, self.flagged).isnan().to(x.dtype)
        read = torch.cat([z, flags], 1)
        return read if read.shape[1] else torch.zeros_like(x[:, :1])
