"""Claim: taking out half of the inner channels makes networks faster, not only smaller.

    python benchmarks/pruning.py                                # speed, then accuracy on digits
    python benchmarks/pruning.py --data cifar10.npz --epochs 30 # accuracy on images
    python benchmarks/pruning.py --device cuda --cells speed
    python benchmarks/pruning.py --quick                        # does it run at all?

Speed: seconds of one forward pass of a batch of 128 images of 32 x 32, in evaluation mode, of
ResNet-56 (option B), WRN-28-2 and VGG-19-BN, unpruned and pruned to 0.7, 0.5 and 0.3. The time
does not depend on what the weights are, so they are random, with scales drawn so that slimming
keeps layers of different widths. Everyone runs in channels-last memory order, the one that
training uses (``--layout contiguous`` has the other). All take turns in one process; the speed-up
is the median over rounds of the unpruned network's seconds over a contender's in that round.
Wanted: at 0.5 of the inner channels by l1-filter, 1.5 times on ResNet-56 and 1.7 times on WRN-28-2
and VGG-19.

Accuracy: a network is trained once a seed, pruned by every contender from the same weights, and
trained on with the same optimiser, rate and epochs; the test rows are seen by nothing but the last
score. slimming has an unpruned network of its own, trained with the pull on its scales.

Contenders
    l1-filter, slimming, magnitude   PrunedClassifier; rounded is round_to=8
    l1-filter coupled                coupled=True, at as many multiply-adds as l1-filter, or just
                                     below (accuracy only)
    torch-pruning                    its MagnitudePruner(p=1) on all channels, coupled ones
                                     included, at a ratio found by bisection such that its
                                     multiply-adds are those of l1-filter, or just below
    torch.nn.utils.prune             global_unstructured by L1 over convolutions, kept as
                                     masks, as that package does

Torch-Pruning 1.6.1 installs with ``pip install torch-pruning``; where it is missing its rows are
left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Run, print_machine, provenance, quiet, take_turns, write_json
from _images import load_images
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.nn.utils import prune

from skensemble import NetworkClassifier, PrunedClassifier
from skensemble.nn import VGG, CifarResNet, WideResNet
from skensemble.nn._costs import count_macs

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "torch-pruning", "skensemble")
SHARES = (0.7, 0.5, 0.3)
TARGETS = {"ResNet-56": 1.5, "WRN-28-2": 1.7, "VGG-19": 1.7}
LAYOUTS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
BATCH = 128


def recipe(module: type[nn.Module], **kwargs: Any) -> NeuralNetClassifier:
    """Return a net with the benchmark's optimiser."""
    settings = {
        "criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.SGD, "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 1e-4, "lr": 0.05, "batch_size": 64,
    }  # fmt: skip
    return NeuralNetClassifier(module, **{**settings, **kwargs})


def networks(quick: bool) -> dict[str, NeuralNetClassifier]:
    """Return the networks whose speed is measured."""
    if quick:
        return {
            "ResNet-56": recipe(CifarResNet, module__depth=8),
            "WRN-28-2": recipe(WideResNet, module__depth=10, module__widen=1),
            "VGG-19": recipe(VGG, module__depth=8, module__width=16),
        }
    return {
        "ResNet-56": recipe(CifarResNet, module__depth=56),
        "WRN-28-2": recipe(WideResNet, module__depth=28, module__widen=2),
        "VGG-19": recipe(VGG, module__depth=19),
    }


# -- the peers -------------------------------------------------------------------------------


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """Return the layers that masks are for."""
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def masked(module: nn.Module, keep: float) -> nn.Module:
    """Prune a copy as ``torch.nn.utils.prune`` does."""
    twin = copy.deepcopy(module)
    places = [(layer, "weight") for layer in convolutions(twin)]
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=1 - keep)
    return twin


def least_pruned(at: Callable[[float], nn.Module], sample: Tensor, macs: float) -> float:
    """Return the least share to take out that leaves at most as many multiply-adds."""
    low, high = 0.0, 0.95
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if count_macs(at(middle), sample) > macs else (low, middle)
    return high


def torch_pruned(module: nn.Module, sample: Tensor, macs: float) -> nn.Module:
    """Prune a copy as Torch-Pruning does, to at most as many multiply-adds."""
    import torch_pruning as tp

    def at(ratio: float) -> nn.Module:
        twin = copy.deepcopy(module).cpu()
        heads = [part for part in twin.modules() if isinstance(part, nn.Linear)][-1:]
        with quiet():
            tp.pruner.MagnitudePruner(
                twin, sample, importance=tp.importance.MagnitudeImportance(p=1),
                pruning_ratio=ratio, ignored_layers=heads,
            ).step()  # fmt: skip
        return twin

    return at(least_pruned(at, sample, macs))


def has_torch_pruning() -> bool:
    """Whether the peer is there; a line says so where it is not."""
    if importlib.util.find_spec("torch_pruning") is None:
        print("torch-pruning is not installed; its rows are left out")
        return False
    return True


# -- speed -----------------------------------------------------------------------------------


def random_network(net: NeuralNetClassifier) -> NetworkClassifier:
    """Return a fitted network with random weights and scales of very different size."""
    rng = np.random.default_rng(0)
    X = rng.random((8, 3, 32, 32), dtype=np.float32)
    settings = {"max_epochs": 1, "lr": 1e-9}
    fitted = NetworkClassifier(net.set_params(**settings), random_state=0).fit(X, np.arange(8) % 4)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in fitted.module_.modules():
            if isinstance(part, nn.BatchNorm2d):
                spread = torch.randn(part.num_features, generator=draw).exp()
                part.weight.copy_(spread * (0.5 + torch.rand((), generator=draw)))
    return fitted


def speed_contenders(net: NeuralNetClassifier, shares: tuple[float, ...]) -> dict[str, nn.Module]:
    """Prune one network in every way."""
    fitted = random_network(net)
    X, y = np.zeros((8, 3, 32, 32), np.float32), np.arange(8) % 4
    sample = torch.zeros(1, 3, 32, 32)
    wide = fitted.module_
    modules: dict[str, nn.Module] = {"unpruned": wide}
    with_peer = has_torch_pruning()
    for keep in shares:
        for method, more in (
            ("l1-filter", {}), ("l1-filter rounded", {"round_to": 8}), ("slimming", {}),
            ("magnitude", {}),
        ):  # fmt: skip
            settings = {"method": method.split()[0], "keep": keep, "finetune": None, **more}
            small = PrunedClassifier(fitted, **settings).fit(X, y)
            modules[f"{method} {keep}"] = small.module_
        macs = count_macs(modules[f"l1-filter {keep}"], sample)
        if with_peer:
            modules[f"torch-pruning {keep}"] = torch_pruned(wide, sample, macs)
        modules[f"nn.utils.prune {keep}"] = masked(wide, keep)
    return modules


def forward(module: nn.Module, x: Tensor, seed: int) -> Run:
    """Time one forward pass."""
    with torch.inference_mode():
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        module(x)
        if x.is_cuda:
            torch.cuda.synchronize()
    return Run(time.perf_counter() - start, 0.0)


def measure_speed(title: str, net: NeuralNetClassifier, args: Any) -> dict[str, Any]:
    """Fill one table of times."""
    modules = speed_contenders(net, (0.5,) if args.quick else args.shares)
    x = torch.rand(8 if args.quick else BATCH, 3, 32, 32, device=args.device)
    turns: dict[str, Callable[[int], Run]] = {}
    x = x.contiguous(memory_format=LAYOUTS[args.layout])
    for name, module in modules.items():
        module.to(args.device, memory_format=LAYOUTS[args.layout]).eval()
        turns[name] = partial(forward, module, x)
    take_turns(turns, 1 if args.quick else 3)  # warm
    runs = take_turns(turns, 2 if args.quick else args.rounds)
    print(f"\n{title}: one forward pass of {len(x)} images on {args.device}, {args.layout}")
    print(f"  {'contender':<24}{'parameters':>12}{'M mult-adds':>13}{'ms':>10}{'speed-up':>10}")
    rows: dict[str, Any] = {}
    for name, module in modules.items():
        pairs = zip(runs["unpruned"], runs[name], strict=True)
        row: dict[str, Any] = {
            "parameters": n_parameters(module),
            "macs": count_macs(module, x[:1]),
            "seconds": [run.seconds for run in runs[name]],
            "speedup": statistics.median(a.seconds / b.seconds for a, b in pairs),
        }
        mark = ""
        if name == "l1-filter 0.5" and not args.quick:
            row.update(target=TARGETS[title], target_met=row["speedup"] >= TARGETS[title])
            mark = f"  >= {TARGETS[title]} {'met' if row['target_met'] else 'MISSED'}"
        rows[name] = row
        print(f"  {name:<24}{row['parameters']:>12,}{row['macs'] / 1e6:>13.1f}"
              f"{1e3 * statistics.median(row['seconds']):>10.2f}{row['speedup']:>10.2f}{mark}",
              flush=True)  # fmt: skip
    return rows


def n_parameters(module: nn.Module) -> int:
    """Count parameters; those of masked layers once."""
    return sum(parameter.numel() for parameter in module.parameters())


# -- accuracy --------------------------------------------------------------------------------


def load_rows(args: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and test rows: the file's images, or digits."""
    if args.data is None:
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.5, stratify=y, random_state=0
        )
        return X_train, y_train, X_test, y_test
    data = load_images(args.data)
    X_train, X_test = (
        (data[name][: args.n_rows] / 255).astype(np.float32) for name in ("X_train", "X_test")
    )
    return X_train, data["y_train"][: args.n_rows], X_test, data["y_test"][: args.n_rows]


def train_on(module: nn.Module, X: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> nn.Module:
    """Fine-tune a peer's module in a bare loop, with the optimiser that ours has."""
    torch.manual_seed(seed)
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)
    module.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(rows[batch]), labels[batch]).backward()
            optimizer.step()
    return module.eval()


def accuracy(module: nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    """Return the share of test rows that a module gets right."""
    with torch.inference_mode():
        said = torch.cat([module(part).argmax(1) for part in torch.from_numpy(X).split(512)])
    return float((said == torch.from_numpy(y)).float().mean())


def coupled_pruned(
    wide: NetworkClassifier, X: np.ndarray, y: np.ndarray, seed: int, share: float,
    finetune: dict[str, Any] | None = None,
) -> nn.Module:  # fmt: skip
    """Take out a share of all channels, coupled ones included."""
    settings = {"coupled": True, "keep": 1 - share, "finetune": finetune}
    return PrunedClassifier(wide, random_state=seed, **settings).fit(X, y).module_


def measure_accuracy(args: Any) -> dict[str, Any]:
    """Train, prune and train on, for every contender and seed."""
    X, y, X_test, y_test = load_rows(args)
    depth = 8 if args.quick else 20
    net = recipe(CifarResNet, module__depth=depth, max_epochs=args.epochs)
    later = {"max_epochs": max(1, args.epochs // 4), "lr": 0.005}
    sample = torch.from_numpy(X[:1])
    with_peer = has_torch_pruning()
    found: dict[str, list[dict[str, float]]] = {}

    def note(name: str, module: nn.Module) -> None:
        found.setdefault(name, []).append(
            {
                "accuracy": accuracy(module, X_test, y_test),
                "parameters": n_parameters(module),
                "macs": count_macs(module, sample),
            }
        )

    for seed in range(1 if args.quick else args.seeds):
        wide = NetworkClassifier(net, random_state=seed).fit(X, y)
        sparse = PrunedClassifier(
            net, method="slimming", keep=1.0, finetune=None, random_state=seed
        ).fit(X, y).unpruned_  # fmt: skip
        note("unpruned", wide.module_)
        for keep in (0.5,) if args.quick else SHARES:
            for method in ("l1-filter", "slimming", "magnitude"):
                source = sparse if method == "slimming" else wide
                settings = {"method": method, "keep": keep, "finetune": later}
                small = PrunedClassifier(source, random_state=seed, **settings).fit(X, y)
                note(f"{method} {keep}", small.module_)
            if with_peer:
                macs = found[f"l1-filter {keep}"][-1]["macs"]
                ours = partial(coupled_pruned, wide, X, y, seed)
                share = least_pruned(ours, sample, macs)
                note(f"l1-filter coupled {keep}", ours(share, later))
                peer = torch_pruned(wide.module_, sample, macs)
                note(f"torch-pruning {keep}", train_on(peer, X, y, later["max_epochs"], seed))
            peer = train_on(masked(wide.module_, keep), X, y, later["max_epochs"], seed)
            note(f"nn.utils.prune {keep}", peer)
    print(f"\nResNet-{depth}, {len(X):,} training rows, {args.epochs} and {later['max_epochs']} "
          f"epochs, mean over {len(found['unpruned'])} seeds")  # fmt: skip
    print(f"  {'contender':<24}{'parameters':>12}{'M mult-adds':>13}{'accuracy':>10}{'sd':>8}")
    for name, runs in found.items():
        scores = [run["accuracy"] for run in runs]
        sd = f"{statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
        print(f"  {name:<24}{runs[0]['parameters']:>12,}{runs[0]['macs'] / 1e6:>13.2f}"
              f"{statistics.fmean(scores):>10.4f}{sd:>8}", flush=True)  # fmt: skip
    return found


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="speed,accuracy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layout", choices=LAYOUTS, default="channels-last")
    parser.add_argument("--networks", nargs="*", help="of the speed tables; all, if not given")
    parser.add_argument("--shares", nargs="*", type=float, default=SHARES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data", type=Path, default=None, help="npz of CIFAR-10 or CIFAR-100")
    parser.add_argument("--n-rows", type=int, default=10_000, help="images of each split, at most")
    parser.add_argument("--quick", action="store_true")
    out = Path(__file__).resolve().parent / "results" / "pruning.json"
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args()
    if args.quick:
        args.epochs = 2
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    result: dict[str, Any] = {
        "provenance": facts,
        "batch": BATCH,
        "rounds": args.rounds,
        "layout": args.layout,
    }
    if "speed" in args.cells:
        result["speed"] = {}
        for title, net in networks(args.quick).items():
            if args.networks is None or title in args.networks:
                result["speed"][title] = measure_speed(title, net, args)
                write_json(args.out, result)
    if "accuracy" in args.cells:
        result["accuracy"] = measure_accuracy(args)
    write_json(args.out, result)


if __name__ == "__main__":
    main()
