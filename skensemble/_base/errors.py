"""Errors that carry what is left."""

from __future__ import annotations


class MemberDivergedError(ArithmeticError):
    """The loss of one or more members stopped being a finite number.

    Attributes
    ----------
    diverged : dict of int to int
        The epoch, counted from 1, in which each lost member diverged.
    """

    def __init__(self, message: str, diverged: dict[int, int]) -> None:
        super().__init__(message, diverged)
        self.diverged = diverged

    @classmethod
    def of(cls, lost: dict[int, int], n_members: int) -> MemberDivergedError:
        """Say which of `n_members` were lost in which epoch, and what to do."""
        names = ", ".join(f"member {number} in epoch {epoch}" for number, epoch in lost.items())
        return cls(
            f"The training loss became NaN or infinite: {names}. {n_members - len(lost)} of "
            f"{n_members} members are kept. Lower the learning rate, scale the features, or clip "
            "gradients; with warm_start=True the next fit trains only the missing members.",
            lost,
        )

    def __str__(self) -> str:
        return str(self.args[0])
