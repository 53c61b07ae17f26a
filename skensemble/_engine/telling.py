"""What a net that trains says of how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skensemble._engine.progress import Channel, News


@dataclass(frozen=True)
class Teller:
    """Says of the members of one net how far they are.

    Attributes
    ----------
    channel : Channel
        The way to who counts.
    members : tuple of int
        Their numbers.
    """

    channel: Channel
    members: tuple[int, ...]

    def epoch_begins(self) -> None:
        """Tell that an epoch begins."""
        self.channel.epoch_begins(self.members)

    def epoch_ends(self, net: Any) -> bool:
        """Tell what came of an epoch of a `StackNet`; return whether it is to be the last."""
        last = net.member_rows[-1]
        loss = float(last.get("valid_loss", last["train_loss"]).mean())
        news = News(self.members, len(net.member_rows), loss, _best_epochs(net))
        return self.channel.epoch_ends(news, net.peek)

    def ends(self) -> None:
        """Tell that all is done."""
        self.channel.stack_ends(self.members)


def _best_epochs(net: Any) -> tuple[int, int] | None:
    """Return the first and the last of the members' best epochs, where they are looked for."""
    rows = net.member_rows
    if net.early_stopping is not None:
        best = net.early_stopping.best_epoch
    elif "valid_loss" in rows[-1]:
        best = np.argmin([row["valid_loss"] for row in rows], axis=0) + 1
    else:
        return None
    return int(best.min()), int(best.max())
