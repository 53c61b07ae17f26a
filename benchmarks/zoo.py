"""What torchvision's, timm's and transformers' networks can be used for, as they are.

    python benchmarks/zoo.py                   # 31 networks, about an hour on one core
    python benchmarks/zoo.py --only resnet18   # one of them again

Each network gets weights of its own by a short training on other labels, is read as `Pretrained`,
and is fitted, teaches a small network, learns from a small one, is run as ten heads on one
backbone, pruned, saved and read again, and exported. A cell says that it works, or why not.

What was asked before the run: of every network each cell either works, with the numbers that it
must have, or is refused by a ValueError or TypeError of one line; any other error is a miss.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import provenance, remembered, write_json
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    Pretrained,
    PrunedClassifier,
)
from skensemble.nn import MLP, SimpleCNN

OUT = Path(__file__).resolve().parent / "results" / "zoo.json"
PACKAGES = ("torch", "torchvision", "timm", "transformers", "scikit-learn", "skorch", "numpy")
SETTINGS = {"rows": 12, "classes": 3, "size": 64, "batch": 6, "epochs": 1, "heads": 10}
# The smallest of each family of torchvision's classifiers, but for VGG, of 129 million parameters.
TORCHVISION: dict[str, dict[str, Any]] = {
    "alexnet": {}, "convnext_tiny": {}, "densenet121": {}, "efficientnet_b0": {},
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False}, "maxvit_t": {},
    "mnasnet0_5": {}, "mobilenet_v2": {}, "mobilenet_v3_small": {}, "regnet_y_400mf": {},
    "resnet18": {}, "shufflenet_v2_x0_5": {}, "squeezenet1_1": {}, "swin_t": {},
    "vit_b_16": {"image_size": 64},
}  # fmt: skip
# The ten with fewest parameters, one of a family, without timm's own toys (test_...).
TIMM = (
    "dla46x_c", "mobilevit_xxs", "edgenext_xx_small", "mobilevitv2_050", "mobilenetv3_small_050",
    "lcnet_035", "mobilenetv2_035", "ese_vovnet19b_slim_dw", "mobilenetv4_conv_small_035",
    "mnasnet_small",
)  # fmt: skip
TRANSFORMERS = ("bert", "distilbert", "vit", "resnet", "mobilevit")
SIZES = {"inception_v3": 96, "maxvit_t": 224}  # what takes no 64 pixels


class Logits(nn.Sequential):
    """A network of transformers on images as one of torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits alone."""
        return self[0](x).logits


class TokenLogits(nn.Sequential):
    """A network of transformers on token ids as one of torch."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits alone."""
        return self[0](ids.long()).logits


def of_torchvision(name: str) -> nn.Module:
    """Return a network with a thousand classes, of which nothing is known."""
    import torchvision

    made: nn.Module = getattr(torchvision.models, name)(**TORCHVISION[name])
    return made


def of_timm(name: str) -> nn.Module:
    """Return a network with a thousand classes."""
    import timm

    made: nn.Module = timm.create_model(name)
    return made


def of_transformers(name: str) -> nn.Module:
    """Return a tiny network with seven classes, and three lines around it."""
    import transformers as tr

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "num_labels": 7}  # fmt: skip
    makers: dict[str, Callable[[], nn.Module]] = {
        "bert": lambda: tr.BertForSequenceClassification(tr.BertConfig(vocab_size=50, **tiny)),
        "distilbert": lambda: tr.DistilBertForSequenceClassification(
            tr.DistilBertConfig(
                vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, num_labels=7
            )
        ),
        "vit": lambda: tr.ViTForImageClassification(
            tr.ViTConfig(image_size=64, patch_size=16, **tiny)
        ),
        "resnet": lambda: tr.ResNetForImageClassification(
            tr.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
                num_labels=7,
            )
        ),
        "mobilevit": lambda: tr.MobileViTForImageClassification(
            tr.MobileViTConfig(
                image_size=64, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8] * 6 + [16],
                num_labels=7,
            )
        ),
    }  # fmt: skip
    wrap = TokenLogits if "bert" in name else Logits
    return wrap(makers[name]())


def rows_for(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows that classes can be told from, images or token ids."""
    rng = np.random.default_rng(0)
    y = np.arange(SETTINGS["rows"]) % SETTINGS["classes"]
    if "bert" in name:
        ids = rng.integers(5, 50, (len(y), 8))
        ids[:, 0] = y
        return ids.astype(np.float32), y
    size = SIZES.get(name, SETTINGS["size"])
    X = rng.normal(size=(len(y), 3, size, size)).astype(np.float32)
    X[np.arange(len(y)), y] += 1
    return X, y


def trained(module: nn.Module, X: np.ndarray) -> nn.Module:
    """Give a network weights of its own: one pass over rows whose labels are others."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    labels = torch.arange(len(X)) % 2
    for at in torch.arange(len(X)).split(SETTINGS["batch"]):
        loss = nn.functional.cross_entropy(module(torch.from_numpy(X)[at]), labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


class Trial:
    """One network, and what it is tried for."""

    def __init__(self, name: str, make: Callable[[str], nn.Module]) -> None:
        torch.manual_seed(0)
        self.X, self.y = rows_for(name)
        self.module = trained(make(name), self.X)
        self.net = self._net(self.module)
        self.fitted: Any = None

    def _net(self, module: Any) -> NeuralNetClassifier:
        return NeuralNetClassifier(
            module,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            lr=1e-3,
            max_epochs=SETTINGS["epochs"],
            batch_size=SETTINGS["batch"],
        )

    def _small(self) -> NeuralNetClassifier:
        return self._net(SimpleCNN if self.X.ndim == 4 else MLP)

    def fit(self) -> None:
        """Fit from the weights, with a new head."""
        start = {name: one.clone() for name, one in self.module.state_dict().items()}
        model = NetworkClassifier(Pretrained(self.net), random_state=0).fit(self.X, self.y)
        _require(model.predict_proba(self.X).shape == (len(self.y), 3), "a number a class")
        _require(_same(start, self.module.state_dict()), "the given network as it was")
        learned = dict(model.module_.named_parameters())
        near = [_is_near(learned[name], start[name]) for name in learned]
        _require(np.mean(near) > 0.7, "weights near those of the start")
        self.fitted = model

    def heads(self) -> None:
        """Fit ten heads on the frozen backbone, and predict with one pass."""
        recipe = Pretrained(self.net, freeze="backbone")
        model = DeepEnsembleClassifier(recipe, SETTINGS["heads"], random_state=0)
        model.fit(self.X, self.y)
        expected = np.mean([one.predict_proba(self.X) for one in model], 0)
        _require(np.allclose(model.predict_proba(self.X), expected, atol=1e-5), "equal ways")

    def teach(self) -> None:
        """Let a small network learn from it."""
        student = DistilledClassifier(FrozenEstimator(self._done()), self._small(), random_state=0)
        _require(student.fit(self.X, self.y).predict(self.X).shape == self.y.shape, "a student")

    def learn(self) -> None:
        """Let it learn from a small network."""
        teacher = NetworkClassifier(self._small(), random_state=0).fit(self.X, self.y)
        student = DistilledClassifier(FrozenEstimator(teacher), Pretrained(self.net))
        _require(student.fit(self.X, self.y).predict(self.X).shape == self.y.shape, "a student")

    def prune(self, **how: Any) -> None:
        """Take out a quarter of its channels, or weights, and train on."""
        teacher = FrozenEstimator(self._done())
        small = PrunedClassifier(teacher, keep=0.75, finetune=1, random_state=0, **how)
        small.fit(self.X, self.y)
        fewer = small.n_parameters_.after < small.n_parameters_.before
        _require(fewer or small.sparsity_.after > 0.1, "fewer numbers")

    def save(self) -> None:
        """Write and read a file."""
        with tempfile.TemporaryDirectory() as folder:
            self._done().save(f"{folder}/file")
            again = skensemble.load(f"{folder}/file", module=self.module)
        _require(np.array_equal(again.predict(self.X), self.fitted.predict(self.X)), "equal ones")

    def onnx(self) -> None:
        """Write a graph, and run it elsewhere."""
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            self._done().export_onnx(f"{folder}/file.onnx")
            session = onnxruntime.InferenceSession(f"{folder}/file.onnx")
            for n_rows in (len(self.X), 1):
                (found,) = session.run(None, {"X": self.X[:n_rows]})
                wanted = self.fitted.predict_proba(self.X[:n_rows])
                _require(np.allclose(found, wanted, atol=1e-3), "equal probabilities")

    def _done(self) -> Any:
        if self.fitted is None:
            raise ValueError("It was not fitted.")
        return self.fitted


TRIED: dict[str, Callable[[Trial], None]] = {
    "fit": Trial.fit,
    "heads": Trial.heads,
    "teach": Trial.teach,
    "learn": Trial.learn,
    "prune": Trial.prune,
    "mask": partial(Trial.prune, method="magnitude", layers="all"),
    "save": Trial.save,
    "onnx": Trial.onnx,
}


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise AssertionError(f"wanted {what}")


def _is_near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), atol=0.2)


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def tell(run: Callable[[], None]) -> dict[str, Any]:
    """Say whether something works, is refused in a line, or fails in another way."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    except (ValueError, TypeError) as error:
        words = str(error).strip()
        kind = "refused" if "\n" not in words else "failed"
        return {"outcome": kind, "words": words.splitlines()[0][:900], "seconds": None}
    except Exception as error:  # whatever else there is
        words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return {"outcome": "failed", "words": words[:900], "seconds": None}
    return {"outcome": "works", "words": "", "seconds": time.perf_counter() - start}


def run(name: str, make: Callable[[str], nn.Module]) -> dict[str, Any]:
    """Try one network for everything."""
    trial = Trial(name, make)
    size = sum(one.numel() for one in trial.module.parameters())
    cells = {}
    for what, one in TRIED.items():
        cells[what] = tell(partial(one, trial))
        print(f"{name:24} {what:6} {cells[what]['outcome']:8} {cells[what]['words']}", flush=True)
    return {"parameters": size, "cells": cells}


def main() -> None:
    """Try all networks, or some; keep each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=None, help="names of networks")
    parser.add_argument("--work", type=Path, default=Path("zoo"))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    zoos: dict[str, tuple[Any, Callable[[str], nn.Module]]] = {
        "torchvision": (TORCHVISION, of_torchvision),
        "timm": (TIMM, of_timm),
        "transformers": (TRANSFORMERS, of_transformers),
    }
    facts = provenance(__file__, PACKAGES)
    found: dict[str, Any] = {}
    for zoo, (names, make) in zoos.items():
        found[zoo] = {}
        for name in names:
            if args.only is None or name in args.only:
                part = args.work / f"{zoo}-{name}.json"
                found[zoo][name] = remembered(part, partial(run, name, make))
    networks = [one for each in found.values() for one in each.values()]
    outcomes = [cell["outcome"] for one in networks for cell in one["cells"].values()]
    counts = {kind: outcomes.count(kind) for kind in ("works", "refused", "failed")}
    content = {"provenance": facts, "arguments": SETTINGS, "counts": counts, "zoos": found}
    write_json(args.out, content)


if __name__ == "__main__":
    main()
