"""How members' logits become one prediction: means of probabilities, of logits, or votes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from skensemble._base.classifier import BaseNetworkClassifier

AVERAGING = ("proba", "logit", "vote")


class FusedMembers(BaseNetworkClassifier):
    """Abstract classifier whose members are fused as `averaging` says.

    `averaging` may be changed after `fit`.
    """

    _averagings: ClassVar[tuple[str, ...]] = AVERAGING

    def _averaging(self) -> str:
        averaging: Any = self.averaging  # type: ignore[attr-defined]
        if averaging not in self._averagings:
            known = ", ".join(repr(name) for name in self._averagings)
            raise ValueError(
                f"The 'averaging' parameter of {type(self).__name__} must be a str among "
                f"{{{known}}}. Got {averaging!r} instead."
            )
        return averaging

    def predict_members(self, X: Any, *, response: str = "proba") -> np.ndarray:
        """Predict with every member by itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.
        response : {"proba", "logit"}, default="proba"
            Probabilities, or the numbers before the softmax.

        Returns
        -------
        ndarray of shape (n_members, n_samples, n_classes)
            One prediction a member and sample.
        """
        if response not in ("proba", "logit"):
            raise ValueError(
                f"The 'response' of predict_members must be 'proba' or 'logit'. "
                f"Got {response!r} instead."
            )
        if response == "logit":
            return self._collect(X, lambda logits: logits, axis=1)
        return self._collect(X, lambda logits: logits.softmax(-1), axis=1)

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        averaging = self._averaging()
        if averaging == "logit":
            return logits.mean(0).softmax(-1)
        if averaging == "proba":
            return logits.softmax(-1).mean(0)
        votes = nn.functional.one_hot(logits.argmax(-1), logits.shape[-1])
        return votes.to(logits.dtype).mean(0)

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        averaging = self._averaging()
        if averaging == "logit":
            return logits.mean(0).log_softmax(-1)
        if averaging == "proba":
            return logits.log_softmax(-1).logsumexp(0) - np.log(len(logits))
        return self._fuse_proba(logits).log()

    def _fuse_score(self, logits: Tensor) -> Tensor:
        averaging = self._averaging()
        if averaging == "logit":
            return logits.mean(0)
        return self._fuse_log_proba(logits) if averaging == "proba" else self._fuse_proba(logits)
