"""Networks with layers of all kinds, and their Jacobians one number at a time."""

import copy

import torch
from torch import nn

from skensemble.nn import MLP, CifarResNet


class Attention(nn.Module):
    """Tokens that see each other, built of linear layers and a bare parameter."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(5, 4))
        self.q, self.k, self.v = nn.Linear(4, 6), nn.Linear(4, 6, bias=False), nn.Linear(4, 6)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        x = x + self.place
        share = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 6**0.5, -1)
        return self.head(self.norm(share @ self.v(x)).mean(1))


class Repeated(nn.Module):
    """One layer used twice, one weight shared by two layers, one layer that is never used."""

    def __init__(self):
        super().__init__()
        self.twice, self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.idle, self.head = nn.Linear(3, 3), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.head(torch.relu_(self.second(torch.relu_(self.first(x)))))


class BorrowedWeight(nn.Module):
    """A layer whose weight is used behind its back."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) @ self.inner.weight)


class ByClass(nn.Module):
    """A bare parameter and a borrowed layer for each class: each has to do with one output."""

    def __init__(self):
        super().__init__()
        self.shifts = nn.ParameterList([nn.Parameter(torch.randn(6)) for _ in range(4)])
        self.heads = nn.ModuleList([nn.Linear(6, 1) for _ in range(4)])

    def forward(self, x):
        each = [
            torch.tanh(x + shift) @ head.weight.T
            for shift, head in zip(self.shifts, self.heads, strict=True)
        ]
        return torch.cat(each, 1)


class SequenceFirst(nn.Module):
    """Layers whose first axis is not the sample."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x.transpose(0, 1))).mean(0))


class TorchAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """A recurrent layer, which functorch has no rule for, or a slow one."""

    def __init__(self, kind):
        super().__init__()
        self.cells, self.head = kind(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0].mean(1))


def trained_norm(channels):
    norm = nn.BatchNorm2d(channels)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    return norm


def chain(*layers):
    return lambda: nn.Sequential(*layers)


CELLS = {f"cells.{kind}_{side}h_l0" for kind in ("weight", "bias") for side in "ih"}
NETS = {
    "mlp": (lambda: MLP((6,), 3, hidden=(8, 7)), (6,), set()),
    "no bias": (chain(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 2)), (6,), set()),
    "cnn": (
        chain(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, (3, 2), groups=2, dilation=2, padding="same", padding_mode="circular"),
            nn.GroupNorm(2, 6), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 16, 3),
        ), (2, 8, 8), set(),
    ),
    "batch norm": (
        chain(
            nn.Conv2d(2, 4, 3, bias=False), trained_norm(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 3),
        ), (2, 6, 6), set(),
    ),
    "one axis": (
        chain(
            nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2), nn.BatchNorm1d(4), nn.ReLU(),
            nn.Flatten(), nn.Linear(12, 2),
        ), (2, 8), set(),
    ),
    "three axes": (
        chain(
            nn.Conv3d(2, 4, (2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 2), dilation=(2, 1, 1),
                      groups=2),
            nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2),
        ), (2, 5, 6, 3), set(),
    ),
    "residual": (lambda: CifarResNet((2, 8, 8), 3, 8, 4), (2, 8, 8), set()),
    "attention": (Attention, (5, 4), {"place"}),
    "repeated": (Repeated, (6,), {"first.weight", "first.bias", "second.bias"}),
    "borrowed": (BorrowedWeight, (6,), {"inner.weight", "inner.bias"}),
    "by class": (
        ByClass, (6,), {f"{part}.{k}" for k in range(4)
                        for part in ("shifts",)} | {f"heads.{k}.weight" for k in range(4)}
        | {f"heads.{k}.bias" for k in range(4)},
    ),
    "sequence first": (SequenceFirst, (5, 4), {"inner.weight", "inner.bias"}),
    "torch attention": (
        TorchAttention, (5, 4), {f"attention.{k}" for k in (
            "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")},
    ),
    "gru": (lambda: Recurrent(nn.GRU), (5, 4), CELLS),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 4), CELLS),
}  # fmt: skip


def make(name, n=5, seed=0):
    maker, shape, _ = NETS[name]
    torch.manual_seed(seed)
    return maker().double(), torch.randn(n, *shape, dtype=torch.float64)


def jacobian(module, x):
    """Differentiate every output of every row by every parameter, one at a time."""
    module = copy.deepcopy(module).eval()
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for row in x:
        out = module(row.unsqueeze(0))[0]
        for value in out:
            grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g
                    for p, g in zip(parameters, grads, strict=True)]  # fmt: skip
            rows.append(torch.cat([g.flatten() for g in flat]))
    return torch.stack(rows).unflatten(0, (len(x), -1))
