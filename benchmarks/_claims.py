"""The messages of four papers as hypotheses: what is measured, and on which side it must lie.

`CLAIMS` was written before the run that is reported. Sources: [views] Allen-Zhu and Li 2023,
[orthogonal] Park, Yoo and Kwak 2020, [latent] Nam et al. 2022. Numbers of messages are those in
which the first source tells them: 1 to 3 of kernels, 4 to 7 of networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from _bench import interval

Row = dict[str, float]
VIEWS = "Allen-Zhu and Li 2023"
ORTHOGONAL = "Park, Yoo and Kwak 2020"
LATENT = "Nam et al. 2022"

# -- how it is judged ------------------------------------------------------------------------

MIN_SEEDS = 5
# Least means over seeds: of the training accuracy of plain networks, in per cent, where a claim is
# about networks that have learned their rows; of the trained sum's too where it is compared.
FITTED = {"fitted": 99.0}
# The premise of the theorems: no member has a training error, in any seed.
EVERY_MEMBER = {"fitted, least": 100.0}


@dataclass(frozen=True)
class Effect:
    """A sum of columns that must be above (or below) a threshold."""

    what: str
    weights: dict[str, float]
    threshold: float = 0.0
    side: str = "above"


@dataclass(frozen=True)
class Claim:
    """A message of a paper, where it is looked for, what must come out, and what it stands on."""

    name: str
    statement: str
    source: str
    workload: str
    effects: tuple[Effect, ...]
    needs: dict[str, float] = field(default_factory=lambda: dict(FITTED))
    theirs: str = ""  # the source's own figures


def judge_effect(effect: Effect, rows: Sequence[Row]) -> dict[str, Any]:
    """Return mean, 95 % interval, and where it lies: "right", "wrong" or "open"."""
    values = [sum(w * row[column] for column, w in effect.weights.items()) for row in rows]
    mean, half = interval(values).values()
    beyond_by = (mean - effect.threshold) * (1 if effect.side == "above" else -1)
    lies = "right" if beyond_by > half else "wrong" if -beyond_by > half else "open"
    return asdict(effect) | {"values": values, "mean": mean, "half_width": half, "lies": lies}


def missing(claim: Claim, rows: Sequence[Row]) -> str:
    """Say what a verdict lacks whatever the effects are, or nothing."""
    if len(rows) < MIN_SEEDS:
        return f"{len(rows)} seeds of at least {MIN_SEEDS}"
    for column, least in claim.needs.items():
        mean = statistics.fmean(row[column] for row in rows)
        if mean < least:
            return f"{column} {mean:.2f} of at least {least:g} %"
    return ""


def judge_claim(claim: Claim, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a claim with its effects, its verdict, and why where that is undecided."""
    effects = [judge_effect(effect, rows) for effect in claim.effects]
    lies = [effect["lies"] for effect in effects]
    why = missing(claim, rows)
    if why:
        said = "undecided"
    elif "wrong" in lies:
        said = "does not"
    elif "open" in lies:
        said, why = "undecided", "an interval has the threshold in it"
    else:
        said = "holds"
    return asdict(claim) | {"effects": effects, "verdict": said, "why": why, "seeds": len(rows)}


# -- effects ---------------------------------------------------------------------------------


def difference(
    one: str, other: str, threshold: float = 0.0, side: str = "above", unit: str = ""
) -> Effect:
    """Return one column minus another."""
    what = f"{one} - {other}" + (f" ({unit})" if unit else "")
    return Effect(what, {one: 1.0, other: -1.0}, threshold, side)


def less_share(column: str, share: float, side: str = "above") -> Effect:
    """Return what a column has beyond a share of the ensemble's gain.

    ``(column - single) - share * (ensemble - single)``: its sign says whether that share is
    reached, and no ratio with a noisy denominator is formed.
    """
    weights = {column: 1.0, "single": share - 1.0, "ensemble": -share}
    return Effect(f"{column} - single, less {share:g} of the ensemble's gain", weights, 0.0, side)


def alone(column: str, threshold: float, side: str) -> Effect:
    """Return a column by itself."""
    return Effect(column, {column: 1.0}, threshold, side)


def excess(what: str, one: tuple[str, str], other: tuple[str, str], unit: str = "") -> Effect:
    """Return ``(one[0] - one[1]) - (other[0] - other[1])``."""
    weights = dict.fromkeys((one[0], other[1]), 1.0) | dict.fromkeys((one[1], other[0]), -1.0)
    return Effect(what + (f" ({unit})" if unit else ""), weights)


# -- messages 4 to 7, networks -----------------------------------------------------------------

_GAINS = (
    "CIFAR-100, single / ensemble of 10 / trained sum / distilled / self-distilled: WRN-28-2 76.38 "
    "/ 81.13 / 73.18 / 79.03 / 78.12; WRN-34-1 71.66 / 76.85 / 68.88 / 73.74 / 73.14; WRN-28-10 "
    "81.51 / 84.69 / 81.83 / 83.81 / 83.56"
)
_NETWORKS = (
    ("4, ensemble", "Networks that differ by their seed are better together, and training their "
     "sum as one network does not give as much",
     (difference("ensemble", "single"), difference("ensemble", "sum"))),
    ("5, distillation", "One network taught by the ensemble has a large part of its gain (the "
     "source's own rows 40 to 78 %; 40 % are wanted)",
     (difference("distilled", "single"), less_share("distilled", 0.4))),
    ("6, self-distillation", "A network taught by one of its own kind is better than that one",
     (difference("self-distilled", "single"),)),
    ("7, not variance", "The gain is not from the variance of single networks: the ensemble beats "
     "even the member that happens to be best on the test rows, and networks taught by the "
     "ensemble gain less from each other than plain ones do",
     (difference("ensemble", "luckiest member"),
      excess("gain of members, less that of as many students",
             ("as many members", "single"), ("students together", "distilled")))),
)  # fmt: skip


def _about_networks(workload: str, premise: dict[str, float]) -> tuple[Claim, ...]:
    """Return messages 4 to 7; the sum is compared in the first alone."""
    return tuple(
        Claim(f"{name} ({workload})", says, VIEWS, workload, effects,
              premise | ({"fitted, sum": 99.0} if number == 0 else {}), _GAINS)
        for number, (name, says, effects) in enumerate(_NETWORKS)
    )  # fmt: skip


def _other_sum(workload: str, column: str, premise: dict[str, float]) -> Claim:
    """Return the second half of message 4 for another reading of "the sum"."""
    return Claim(f"4, {column} ({workload})", "Training the sum does not give as much as the "
                 "ensemble, whichever sum: logits added at the rate of one network, or their mean "
                 "at that rate", VIEWS, workload, (difference("ensemble", column),),
                 premise | {f"fitted, {column}": 99.0}, _GAINS)  # fmt: skip


_THEOREMS = tuple(
    Claim(name, says, VIEWS, "views", effects, dict(EVERY_MEMBER), theirs)
    for name, says, effects, theirs in (
        ("theorem 1", "One network errs on half of mu of the new rows",
         (alone("error over mu: single", 0.49, "above"),
          alone("error over mu: single", 0.51, "below")), "[.49, .51] mu"),
        ("theorem 2", "The ensemble errs on at most .01 mu of them, as the introduction has it "
         "(section 4: .001)",
         (alone("error over mu: ensemble", 0.01, "below"),), ".01 mu; .001 mu in section 4"),
        ("theorem 2, section 4", "The ensemble errs on at most .001 mu of them",
         (alone("error over mu: ensemble", 0.001, "below"),), ".001 mu"),
        ("theorem 3", "One network taught by the ensemble errs on at most .01 mu of them, as the "
         "introduction has it (section 4: .001, for 90 % of the iterations; here after the last)",
         (alone("error over mu: distilled", 0.01, "below"),), ".01 mu; .001 mu in section 4"),
        ("theorem 4", "One network taught by another errs on at most .26 mu of them",
         (alone("error over mu: self-distilled", 0.26, "below"),), ".26 mu"),
    )
)  # fmt: skip

# -- messages 1 to 3, kernels ------------------------------------------------------------------

_KERNEL_GAINS = (
    "CIFAR-100, single / ensemble / trained sum / distilled / self-distilled: GP (ResNet10-4) "
    "18.89 / 22.92 / 25.88 / 16.91 / 16.59; NTK' (ResNet10-4) 31.90 / 38.32 / 41.47 / 31.38 / 27.64"
)  # fmt: skip
_KERNELS = (
    ("1, kernel ensemble", "The ensemble beats single kernels and is not better than the trained "
     "sum",
     (difference("ensemble", "single"), difference("sum", "ensemble"))),
    ("2, kernel distillation", "The ensemble of kernels cannot be distilled: a student has less "
     "than a quarter of its gain",
     (less_share("distilled", 0.25, "below"),)),
    ("3, kernel self-distillation", "Self-distillation of kernels is no better than a single one: "
     "it has less than a quarter of that gain",
     (less_share("self-distilled", 0.25, "below"),)),
)  # fmt: skip
KERNELS = ("gp, 64 features", "gp, 128 features", "ntk, 449 features")

# -- pruning and altered images ----------------------------------------------------------------

PRUNINGS = {
    "l1-filter, label": "ResNet-56 40/70/90 label: .71",
    "slimming, label": "ResNet-56 50 % label: .88 (73.07 unpruned, 72.45 finetuned, 74.52 unpruned "
    "and taught, 74.32 pre, 73.25 post, 74.39 pre-post, 74.78 self); VGG-19 label: -.20",
    "magnitude, label": "ResNet-110 40 % label: .64",
    "l1-filter, feature": "ResNet-56 40/70/90 feature: .38",
}


def _about_pruning(name: str, theirs: str) -> tuple[Claim, ...]:
    """Return the claims of one way of pruning and of teaching."""
    return (
        Claim(f"surplus of pruning ({name})", "Distillation gives a pruned network more than it "
              "gives the unpruned one", ORTHOGONAL, name,
              (excess("(self - finetuned) - (unpruned taught - unpruned)",
                      ("Self-Distill", "Finetuned"), ("Unpruned KD", "Unpruned scratch")),),
              theirs=theirs),
        Claim(f"protocols of pruning ({name})", "Teaching before pruning, after it, or both, is "
              "better than fine-tuning on labels", ORTHOGONAL, name,
              tuple(difference(one, "Finetuned")
                    for one in ("Pre-Distill", "Post-Distill", "Pre-Post", "Self-Distill"))),
        Claim(f"self-distillation of pruning ({name})", "The unpruned student is the best teacher "
              "of its pruned self", ORTHOGONAL, name,
              tuple(difference("Self-Distill", one)
                    for one in ("Pre-Distill", "Post-Distill", "Pre-Post"))),
    )  # fmt: skip


_CUTMIX = (
    Claim("distillation and CutMix", "Both together are better than either", ORTHOGONAL, "cutmix",
          (difference("Yes/Yes", "augmented alone"), difference("Yes/Yes", "No/No"))),
    Claim("surplus of CutMix", "Together they bring more than the sum of what each brings",
          ORTHOGONAL, "cutmix",
          (excess("(Yes/Yes - augmented alone) - (No/No - alone)",
                  ("Yes/Yes", "augmented alone"), ("No/No", "alone")),)),
    Claim("altered images for both", "It is best if teacher and student both learn from altered "
          "images", ORTHOGONAL, "cutmix",
          (difference("Yes/Yes", "No/Yes"), difference("Yes/Yes", "Yes/No"))),
)  # fmt: skip

_INPUTS = tuple(
    Claim(f"diversity of inputs ({mode})", "Distillation raises the NASWOT score: a network "
          "answers different inputs with more different gradients", ORTHOGONAL, "naswot",
          (difference(f"NASWOT distilled, {mode}", f"NASWOT single, {mode}", unit="score"),))
    for mode in ("eval", "train")
)  # fmt: skip

# -- distillation into one network of shared members -------------------------------------------

_MEASURES = (("accuracy", "above"), ("log loss", "below"), ("calibration error", "below"))
_SLIDE = (
    "CIFAR-100, ACC/NLL/ECE: DE-4 81.37/.706/.031; KD 79.09/1.038/.130; LatentBE 79.46/.993/.124; "
    "+ ConfODS 79.27/.955/.115; + TDiv-SDiv 80.02/.792/.067"
)
_STEPS = (
    ("LatentBE", "KD", "Members with shared weights, folded into one network, learn more of the "
     "ensemble than one network does"),
    ("ConfODS", "LatentBE", "They learn more where rows are moved to where teachers differ"),
    ("TDiv-SDiv", "ConfODS", "They learn most where rows are moved to where teachers differ and "
     "students do not"),
    ("TDiv-SDiv", "KD", "The whole of it is better than plain distillation"),
)  # fmt: skip
_ORDER = tuple(
    Claim(f"{one} over {other} ({measure})", says, LATENT, "latent",
          (difference(f"{measure}: {one}", f"{measure}: {other}", side=side),), theirs=_SLIDE)
    for one, other, says in _STEPS for measure, side in _MEASURES
)  # fmt: skip

# -- splits of channels, Gaussian rows ---------------------------------------------------------


def _about_split(group: int, parts: int) -> Claim:
    """Return what Figure 6 says of one layer and number of parts."""
    single = f"single, group {group}", f"single, group {group}, {parts} parts"
    ensemble = f"ensemble, group {group}", f"ensemble, group {group}, {parts} parts"
    lost = {ensemble[0]: 1.0, ensemble[1]: -1.0, single[0]: -0.5, single[1]: 0.5}
    return Claim(
        f"channel split (group {group}, {parts} parts)", "Given a part of another network's "
        "channels a single network loses; an ensemble over the parts loses less than half as much",
        VIEWS, "channels",
        (difference(*single),
         Effect("what the ensemble loses, less half of what a single network does", lost, 0.0,
                "below")),
        {f"fitted, group {group}{rest}": 99.0 for rest in ("", f", {parts} parts")},
    )  # fmt: skip


_GAUSSIAN = tuple(
    Claim(f"gaussian ({data})", "On Gaussian-like data an ensemble gains less than a point over "
          "single networks whose weight decay was chosen on validation rows", VIEWS, data,
          (difference("ensemble", "single", 1.0, "below"),), {})
    for data in ("linear", "fc2")
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (
    *(Claim(f"{name} ({data})", says, VIEWS, data, effects, {}, _KERNEL_GAINS)
      for data in KERNELS for name, says, effects in _KERNELS),
    *_about_networks("digits", FITTED),
    *_about_networks("views", EVERY_MEMBER),
    _other_sum("digits", "sum, logits added", FITTED),
    _other_sum("digits", "sum, at one network's rate", FITTED),
    _other_sum("views", "sum, logits added", EVERY_MEMBER),
    *_THEOREMS,
    *(_about_split(group, parts) for group in (1, 2) for parts in (2, 4, 8)),
    *_GAUSSIAN,
    *(claim for name, theirs in PRUNINGS.items() for claim in _about_pruning(name, theirs)),
    *_CUTMIX,
    *_INPUTS,
    *_ORDER,
)  # fmt: skip
