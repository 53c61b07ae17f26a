"""A network seen through its gradients: what a fitted kernel machine predicts with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from skensemble._recipes.wraps import Wrap
from skensemble.ntk.gradients import Gradients
from skensemble.ntk.kernels import forward_derivatives, kernel_of, parts_of, tangent, unfold

# What each kind of feature asks of `Gradients`.
OUTPUTS: dict[str, str | int] = {"ntk": 0, "ntk-prime": "full", "trace": "trace", "gp": "last"}


class Linearised(nn.Module):
    """``x ↦ (shift + <Φ(x), W>) / temperature``, `Φ` the gradients of another module.

    Parameters
    ----------
    body : Module
        The network whose gradients are the features.
    features : {"ntk", "ntk-prime", "trace", "gp"}
        Which gradients.
    shapes : list of list of int
        Shapes of the folded weights; of coefficients and training rows where `dual`.
    dual : bool
        Whether predictions go through the kernel with the training rows.

    Notes
    -----
    All numbers are buffers, so that the state dict is the whole machine.
    """

    def __init__(
        self, body: nn.Module, features: str, shapes: list[list[int]], dual: bool = False
    ) -> None:
        super().__init__()
        self.body = body
        self.features = features
        self.dual = dual
        self.n_weights = len(shapes)
        for number, shape in enumerate(shapes):
            self.register_buffer(f"weight_{number}", torch.zeros(shape))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("temperature", torch.ones(()))
        self._gradients: Gradients | None = None

    shift: Tensor
    temperature: Tensor

    def weights(self) -> list[Tensor]:
        """Return the folded weights, or coefficients and rows."""
        return [getattr(self, f"weight_{number}") for number in range(self.n_weights)]

    def _apply(self, fn: Any, recurse: bool = True) -> Linearised:
        self._gradients = None  # they hold the parameters where those were
        return super()._apply(fn, recurse)

    def _forwards(self, gradients: Gradients, x: Tensor) -> Tensor:
        """Return ``J(x) w`` by one forward derivative, instead of a gradient for each output."""
        change = tangent(gradients.parts(x[:1]), self.weights())
        names = list(change)
        at = {name: gradients.parameters[name] for name in names}

        def f(p: dict[str, Tensor]) -> Tensor:
            return functional_call(self.body, p, (x,))

        with forward_derivatives(self.body):
            return jvp(f, (at,), (change,))[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is found again at the first forward pass."""
        return {**self.__dict__, "_gradients": None}

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n_samples, n_classes)``; they cannot be differentiated by `x`."""
        with torch.inference_mode(False):
            x = x.detach().clone()
            gradients = self._gradients
            if gradients is None:
                sample = x[:2] if len(x) > 1 else torch.cat([x, x])
                gradients = Gradients(self.body, sample, OUTPUTS[self.features])
                self._gradients = gradients
            if self.dual:
                coefficients, rows = self.weights()
                kernel = kernel_of(gradients, x, rows)
                scores = kernel.flatten(2) @ coefficients.flatten(0, 1)
            elif self.features == "ntk-prime":
                return (self._forwards(gradients, x) + self.shift) / self.temperature
            else:
                scores = unfold(parts_of(gradients, x), self.weights())
            scores = scores[..., 0] if self.features == "ntk-prime" else scores[:, 0]
            return (scores + self.shift) / self.temperature


@dataclass(frozen=True)
class Linearisation(Wrap, name="linear"):
    """A network that is used through its gradients; the attributes are those of `Linearised`."""

    features: str
    shapes: list[list[int]]
    dual: bool

    is_network = False

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Put the kernel machine around the network."""
        return Linearised(module, self.features, self.shapes, self.dual)
