"""Claim: an ensemble tells rows from elsewhere better than one network, and a student can learn it.

    python benchmarks/ood.py                                        # digits, ten draws
    python benchmarks/ood.py --cifar10 cifar10.npz --cifar100 cifar100.npz
    python benchmarks/ood.py --quick                                # does it run at all?

*digits*: eight of the ten classes are learned (500 rows, `DeepEnsembleClassifier` of ten at its
defaults), the two others are from elsewhere; every seed draws other two. *cifar*: 2,000 images of
CIFAR-10 are learned, pooled to 16 x 16, by five ResNet-8 of width 8 (60 epochs of SGD, cosine);
test images of CIFAR-100 are from elsewhere. Contenders are the first member, the ensemble, a
student of its labels ("label") and one that was taught a Dirichlet ("proxy-dirichlet"), each with
the scores it has: the largest probability, the negative entropy, and the negative epistemic
uncertainty. Measured are AUROC and FPR95.

Wanted, before it was run: the ensemble's entropy above one network's (paired over seeds, 95 %
interval of the difference of AUROC above zero) in each pair; the Dirichlet student's
entropy above one network's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import interval, print_machine, provenance, write_json
from _images import ImageNetwork, load_images
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import DeepEnsembleClassifier, DistilledClassifier
from skensemble.metrics import fpr_at_tpr, ood_auroc

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
Row = dict[str, dict[str, float]]


def digits(seed: int) -> tuple[Any, ...]:
    """Return rows of eight classes to learn and to test, and rows of two others."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    strange = np.isin(y, rng.choice(10, 2, replace=False))
    known = rng.permutation(np.flatnonzero(~strange))
    train, test = known[:500], known[500:]
    return X[train], y[train], X[test], y[test], X[strange], None


def cifar(seed: int, ten: Path, hundred: Path) -> tuple[Any, ...]:
    """Return images of CIFAR-10 to learn and to test, and others of CIFAR-100, and a recipe."""
    near, far = load_images(ten), load_images(hundred)
    rng = np.random.default_rng(seed)
    train = rng.permutation(len(near["X_train"]))[:2000]
    test, other = (rng.permutation(len(one["X_test"]))[:2000] for one in (near, far))
    net = NeuralNetClassifier(
        ImageNetwork, module__depth=8, module__width=8, module__pool=2,
        criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, optimizer__momentum=0.9,
        optimizer__nesterov=True, optimizer__weight_decay=5e-4, lr=0.1, max_epochs=60,
        batch_size=64, callbacks=[LRScheduler("CosineAnnealingLR", T_max=60)],
    )  # fmt: skip
    return (near["X_train"][train], near["y_train"][train], near["X_test"][test],
            near["y_test"][test], far["X_test"][other], net)  # fmt: skip


def scores_of(model: Any, X: Any, epistemic: bool) -> dict[str, np.ndarray]:
    """Return how familiar each row seems, by each score."""
    proba = model.predict_proba(X).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(proba > 0, proba * np.log(proba), 0.0)
    found = {"confidence": proba.max(1), "entropy": logs.sum(1)}
    if epistemic:
        found["epistemic"] = -model.uncertainty(X).epistemic
    return found


def run(pair: tuple[Any, ...], seed: int, quick: bool) -> Row:
    """Fit all contenders, and ask them about both kinds of rows."""
    X, y, X_test, y_test, X_far, net = pair
    members = 2 if quick else 10 if net is None else 5
    ensemble = DeepEnsembleClassifier(net, members, random_state=seed).fit(X, y)
    contenders = {"one network": (ensemble[0], False), "ensemble": (ensemble, True)}
    for objective in ("label", "proxy-dirichlet"):
        own = {} if objective == "label" else {"alpha": 1.0}
        student = DistilledClassifier(
            FrozenEstimator(ensemble), net, objective=objective, random_state=1000 + seed, **own
        )
        is_dirichlet = objective != "label"
        contenders[f"student, {objective}"] = (student.fit(X, y), is_dirichlet)
    row: Row = {}
    for name, (model, epistemic) in contenders.items():
        near, far = (scores_of(model, rows, epistemic) for rows in (X_test, X_far))
        row[name] = {
            "accuracy": float(model.score(X_test, y_test)),
            "training accuracy": float(model.score(X, y)),
        }
        for score in near:
            row[name][f"AUROC {score}"] = ood_auroc(near[score], far[score])
            row[name][f"FPR95 {score}"] = fpr_at_tpr(near[score], far[score])
    return row


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Return means over seeds, and the differences that were wanted."""
    table = {
        name: {measure: interval([row[name][measure] for row in rows]) for measure in rows[0][name]}
        for name in rows[0]
    }
    one = [row["one network"]["AUROC entropy"] for row in rows]
    both = [row["ensemble"]["AUROC entropy"] for row in rows]
    taught = [row["student, proxy-dirichlet"]["AUROC entropy"] for row in rows]
    differences = {
        "ensemble - one network": interval([a - b for a, b in zip(both, one, strict=True)]),
        "Dirichlet student - one network": interval(
            [a - b for a, b in zip(taught, one, strict=True)]
        ),
    }
    return {"seeds": len(rows), "table": table, "differences": differences}


def main() -> None:
    """Run the pairs that there are data for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--cifar100", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=("digits", "cifar"), help="and keep what there is")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if (args.cifar10 is None) != (args.cifar100 is None):
        parser.error("the pair needs both --cifar10 and --cifar100")
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    pairs: dict[str, Any] = {"digits": digits}
    if args.cifar10 is not None:
        pairs["cifar"] = lambda seed: cifar(seed, args.cifar10, args.cifar100)
    out = args.out or Path(__file__).resolve().parent / "results" / "ood.json"
    old = json.loads(out.read_text())["pairs"] if args.only and out.exists() else {}
    found: dict[str, Any] = {"pairs": old}
    for name, make in pairs.items():
        if args.only not in (None, name):
            continue
        rows = []
        for seed in range(1 if args.quick else args.seeds):
            rows.append(run(make(seed), seed, args.quick))
            said = {k: round(v.get("AUROC entropy", 0), 3) for k, v in rows[-1].items()}
            print(name, seed, said, flush=True)
        found["pairs"][name] = {"provenance": facts, **summarise(rows)}
        print(found["pairs"][name])
    if not args.quick or args.out:
        write_json(out, found)


if __name__ == "__main__":
    main()
