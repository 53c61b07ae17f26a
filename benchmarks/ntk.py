"""Claim: tangent kernels many times faster than neural-tangents' and torch.func's tutorial's.

    python benchmarks/ntk.py --jax JAX-ENV/bin/python                # kernels against peers
    python benchmarks/ntk.py --large cifar10.npz                     # 5,000 images, all of it
    python benchmarks/ntk.py --growth                                # how cost grows
    python benchmarks/ntk.py --quick                                 # does it run at all?

Kernels: an MLP 64-256-256-10 on 1,000 rows, and the convolutional network of torch.func's
tutorial (three convolutions and a linear layer, 235,146 parameters) on 32 x 32 images;
the trace over outputs, and, for the MLP, all pairs of outputs. "small" is 100 rows or 10
images, where neural-tangents without `vmap_axes` does not run out of memory. Peers are
neural-tangents 0.6.5 in an environment of its own (`_jax_ntk.py` has the recipe), its
compilation not counted, and the "Jacobian contraction" of torch.func's tutorial, written out
below. All take turns in one run, and agree to rounding. "peak" is what share of the speed of a
large matrix product ours reaches, if only the products of its own algorithm are counted as work.

Wanted on two cores: at least 50 (MLP) and 5 (CNN) times neural-tangents' default, and 20
and 3 times the tutorial.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Run, print_machine, provenance, summarise, take_turns, write_json
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from skensemble import NTKClassifier
from skensemble.nn import MLP
from skensemble.ntk import empirical_ntk

PACKAGES = ("torch", "numpy", "scikit-learn", "skensemble")
WANTED = {
    "mlp": {"neural-tangents": 50.0, "neural-tangents, vmap": 50.0, "torch.func tutorial": 20.0},
    "cnn": {"neural-tangents": 5.0, "neural-tangents, vmap": 5.0, "torch.func tutorial": 3.0},
}


class TutorialCNN(nn.Module):
    """The network of torch.func's tutorial on tangent kernels."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3)
        self.conv3, self.fc = nn.Conv2d(32, 32, 3), nn.Linear(21632, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(self.conv3(x).flatten(1))


def tutorial(module: nn.Module, x: Tensor, outputs: str) -> Tensor:
    """Contract Jacobians as torch.func's tutorial does, of rows with themselves."""
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def f(p: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(module, p, (row.unsqueeze(0),)).squeeze(0)

    left = [j.flatten(2) for j in vmap(jacrev(f), (None, 0))(parameters, x).values()]
    right = [j.flatten(2) for j in vmap(jacrev(f), (None, 0))(parameters, x).values()]
    how = {"full": "Naf,Mbf->NMab", "trace": "Naf,Maf->NM"}[outputs]
    total = sum(torch.einsum(how, a, b) for a, b in zip(left, right, strict=True))
    assert isinstance(total, Tensor)
    return total / (module(x[:1]).shape[1] if outputs == "trace" else 1)


class PeerFailedError(RuntimeError):
    """A peer could not do a task at all."""


class JaxPeer:
    """neural-tangents in its own process, one turn at a time."""

    def __init__(self, python: Path, module: nn.Module, x: Tensor) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "task.npz"
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the peer)
        layers = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        arrays = {f"w{i}": part.weight.detach().numpy() for i, part in enumerate(layers)}
        arrays |= {f"b{i}": part.bias.detach().numpy() for i, part in enumerate(layers)}
        np.savez(self.path, x=x.numpy(), **arrays)
        self.process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("_jax_ntk.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def __call__(self, task: str) -> tuple[float, np.ndarray]:
        """Return the seconds of one turn, and the kernel."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.path} {task}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("SECONDS"):
                return float(line.split()[1]), np.load(f"{self.path}.out.npy")
        status = self.process.wait()
        raise PeerFailedError(f"neural-tangents ended with {status}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line in which the process names an error."""
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if "Error" in line]
        return lines[-1] if lines else "no message"

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.errors.close()
        self.folder.cleanup()


def peak_flops() -> float:
    """Return multiply-adds a second, times two, of a large product of matrices."""
    a = torch.randn(2048, 2048)
    a @ a
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def product_flops(module: nn.Module, x: Tensor, outputs: str) -> float:
    """Count what the layerwise products of one kernel need, half of it where symmetric."""
    from skensemble.ntk.gradients import Gradients
    from skensemble.ntk.layers import Product

    parts = Gradients(module, x[:2], outputs).parts(x[:2])
    rows = (
        len(x) * parts[0].written_out()[parts[0].names[0]].shape[1] if outputs == "full" else len(x)
    )
    total = 0.0
    for part in parts:
        inner = part.g.shape[2] if isinstance(part, Product) else part.j.shape[2]
        total += float(rows) ** 2 * inner
        if isinstance(part, Product):
            total += float(len(x)) ** 2 * part.a.shape[1]
    return total  # times two for multiply and add, halved for symmetry


def compare(
    kind: str, module: nn.Module, x: Tensor, outputs: str, jax: Path | None, rounds: int, peers: set
) -> dict[str, Any]:
    """Let ours and its peers build one kernel in turn."""
    ours = empirical_ntk(module, x, outputs=outputs)
    gaps: dict[str, float] = {}

    def timed(name: str, make: Callable[[], Any]) -> Callable[[int], Run]:
        def run(seed: int) -> Run:
            start = time.perf_counter()
            kernel = make()
            seconds = time.perf_counter() - start
            if isinstance(kernel, tuple):  # the peer's own clock
                seconds, kernel = kernel
            gap = np.abs(np.asarray(kernel) - ours.numpy()).max() / float(ours.abs().max())
            gaps[name] = max(gaps.get(name, 0.0), float(gap))
            return Run(seconds, gaps[name])

        return run

    turns = {"ours": timed("ours", lambda: empirical_ntk(module, x, outputs=outputs))}
    if "torch" in peers:
        turns["torch.func tutorial"] = timed(
            "torch.func tutorial", lambda: tutorial(module, x, outputs)
        )
    failed: dict[str, str] = {}
    running: list[JaxPeer] = []
    for name, task in (("neural-tangents", "default"), ("neural-tangents, vmap", "vmap")):
        if jax is None or task not in peers:
            continue
        peer = JaxPeer(jax, module, x)  # each in a process of its own: one may run out of memory
        running.append(peer)
        try:
            peer(f"{task} {outputs}")  # compiles, and shows whether it can
        except PeerFailedError as error:
            failed[name] = str(error)
        else:
            turns[name] = timed(name, lambda p=peer, t=task: p(f"{t} {outputs}"))
    runs = take_turns(turns, rounds)
    for peer in running:
        peer.close()
    rows = summarise(runs, "ours", WANTED[kind] if outputs == "trace" else {})
    share = product_flops(module, x, outputs) / rows["ours"]["seconds_mean"] / peak_flops()
    print(f"\n{kind}, {len(x):,} rows, outputs={outputs!r}; ours at {100 * share:.0f} % of peak")
    print(f"  {'':<24}{'seconds':>10}{'/ ours':>9}{'lowest':>9}{'highest':>9}{'gap':>10}  wanted")
    for name, row in rows.items():
        line = f"  {name:<24}{row['seconds_mean']:>10.3f}"
        if "ratios" in row:
            low, high = min(row["ratios"]), max(row["ratios"])
            line += f"{row['ratio_median']:>9.1f}{low:>9.1f}{high:>9.1f}{gaps[name]:>10.1e}"
        if "target" in row:
            line += f"  >= {row['target']:.0f} {'met' if row['target_met'] else 'MISSED'}"
        print(line, flush=True)
    for name, why in failed.items():
        print(f"  {name:<24}failed: {why}", flush=True)
    return {"rows": rows, "gaps": gaps, "share_of_peak": share, "failed": failed}


CELLS = ("mlp trace", "cnn trace", "mlp full", "mlp small", "cnn small")


def kernels(
    jax: Path | None, rounds: int, quick: bool, cells: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the comparisons one after the other."""
    torch.manual_seed(0)
    mlp = MLP((64,), 10, hidden=(256, 256))
    x = torch.randn(20 if quick else 1000, 64)
    images = torch.randn(4 if quick else 50, 3, 32, 32)
    everyone = {"torch", "default", "vmap"}
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "mlp trace": lambda: compare("mlp", mlp, x, "trace", jax, rounds, everyone),
        "cnn trace": lambda: compare("cnn", TutorialCNN(), images, "trace", jax, rounds, everyone),
        "mlp full": lambda: compare("mlp", mlp, x, "full", jax, 1, {"torch", "vmap"}),
        "mlp small": lambda: compare("mlp", mlp, x[:100], "trace", jax, rounds, everyone),
        "cnn small": lambda: compare(
            "cnn", TutorialCNN(), images[:10], "trace", jax, rounds, everyone
        ),
    }
    for cell in cells:
        yield cell, run[cell]()


# -- large, and how cost grows -----------------------------------------------------------------


def large(path: Path | None) -> dict[str, Any]:
    """Fit and use a kernel machine on 5,000 images, and say what it took."""
    from _images import load_images

    if path is None:
        rng = np.random.default_rng(0)
        data = {"X_train": rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)}
        data |= {
            "y_train": np.arange(60) % 10,
            "X_test": data["X_train"],
            "y_test": np.arange(60) % 10,
        }
    else:
        data = load_images(path)
    X, y, X_test, y_test = (data[k] for k in ("X_train", "y_train", "X_test", "y_test"))
    X, y = X[:5000], y[:5000]
    model = NTKClassifier(TutorialCNN, reg=1e-2, random_state=0, verbose=1)
    start = time.perf_counter()
    model.fit(X, y)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    score = model.score(X_test, y_test)
    predict = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    n_parameters = sum(p.numel() for p in TutorialCNN().parameters())
    print(f"\n{len(X):,} images, {n_parameters:,} parameters: kernel and solve {fit:.1f} s, "
          f"{len(X_test):,} predictions {predict:.1f} s, accuracy {score:.4f}, "
          f"most memory {memory:.1f} GiB")  # fmt: skip
    return {"rows": len(X), "parameters": n_parameters, "fit_seconds": fit,
            "predict_seconds": predict, "accuracy": score, "peak_gib": memory}  # fmt: skip


def growth(quick: bool) -> dict[str, Any]:
    """Time kernels and fits while one size doubles."""
    unit = 40 if quick else 500
    rng = np.random.default_rng(0)

    def seconds(n: int, k: int, width: int, members: int) -> float:
        X, y = rng.normal(size=(n, 64)).astype(np.float32), np.arange(n) % k
        recipe = MLP((64,), k, hidden=(width, width))
        model = NTKClassifier(
            recipe, features="trace", n_estimators=members, combine="sum", temperature=1.0,
            random_state=0,
        )  # fmt: skip
        start = time.perf_counter()
        model.fit(X, y)
        return time.perf_counter() - start

    base = {"n": 2 * unit, "k": 10, "width": 256, "members": 1}
    seconds(**base)
    print(f"\nseconds to fit features='trace', an MLP of two layers; otherwise {base}")
    found = {}
    for name, values in (
        ("n", [unit, 2 * unit, 4 * unit, 8 * unit]), ("k", [5, 10, 20, 40]),
        ("width", [128, 256, 512, 1024]), ("members", [1, 2, 4, 8]),
    ):  # fmt: skip
        found[name] = {value: seconds(**{**base, name: value}) for value in values}
        print(f"  {name:<8}" + "".join(f"{v:>8}: {s:<7.2f}" for v, s in found[name].items()))
    return found


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--jax", type=Path, help="a Python that has neural-tangents")
    parser.add_argument("--large", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cells", nargs="*", choices=CELLS, default=list(CELLS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=here / "ntk.json")
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    # Parts that were run before, and are not now, stay in the file as they are.
    content: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    if args.large or args.quick:
        content["large"] = {"provenance": facts, **large(args.large)}
    if args.growth or args.quick:
        content["growth"] = {"provenance": facts, **growth(args.quick)}
    rounds = 1 if args.quick else args.rounds
    for cell, found in kernels(args.jax, rounds, args.quick, args.cells):
        content.setdefault("kernels", {})[cell] = {"provenance": facts, **found}
        write_json(args.out, content)
    write_json(args.out, content)


if __name__ == "__main__":
    main()
