"""Headers of older formats as the newest has them, before they are checked."""

from __future__ import annotations

from typing import Any


def upgrade(about: dict[str, Any]) -> dict[str, Any]:
    """Return a header of any older format as the newest has it."""
    about = dict(about)
    if about.pop("format") == 1:
        about = _of_format_1(about)
    if "pruned" in about:
        about["pruned"] = _filled(about["pruned"])
        if about.get("written") is not None:
            about["written"] = _recipe(about["written"], [])
        return about
    return _filled(about)


def _of_format_1(about: dict[str, Any]) -> dict[str, Any]:
    """Let who prunes stand outside."""
    shared, around = about.pop("shared", None), about.pop("around", None)
    about["source"] = shared and {"class": "BatchEnsembleClassifier", "params": shared}
    about["found"] = dict(about["found"])
    about["cuts"] = about.pop("pruned", None)  # a name that now is for something else
    root, numbers = about.pop("root", None), about.pop("numbers", None)
    if about["class"] == "DeepEnsembleClassifier":
        about["found"] |= {"_root": root, "_numbers": numbers}
    names = [name for name in ("n_features_in", "feature_names", "classes") if name in about]
    about["fitted"] = {name: about.pop(name) for name in names}
    return about if around is None else {"class": "PrunedClassifier", **around, "pruned": about}


def _filled(about: dict[str, Any]) -> dict[str, Any]:
    """Say of each member what was said of all of them, while they had one recipe."""
    about = dict(about)
    n_members = len(about["seeds"])
    cuts = about.pop("cuts", None) or [[]] * n_members
    shared = about["recipe"] = _recipe(about["recipe"], cuts[0])
    if not about.get("members"):
        numbers = about["found"].get("_numbers") or range(n_members)
        wraps = [_wraps_of(shared["wraps"], *one) for one in zip(numbers, cuts, strict=True)]
        about["members"] = [
            {"recipe": {} if own == shared["wraps"] else {"wraps": own}, "params": {}, "module": 0}
            for own in wraps
        ]
    about.setdefault("module", 0)
    about.setdefault("versions", [None] * n_members)
    about.setdefault("extra", [{}] * n_members)
    return about


def _wraps_of(shared: list[Any], number: int, cuts: list[Any]) -> list[Any]:
    """Return what is around one member, which has channels and cuts of its own."""
    found = [
        [name, {**told, "part": number % told["n_splits"]} if name == "channels" else told]
        for name, told in shared
        if name != "cut" or not cuts
    ]
    return found + [["cut", {"cuts": one}] for one in cuts]


def _recipe(about: dict[str, Any], cuts: list[Any]) -> dict[str, Any]:
    """Return the description of a recipe; of the first format what is around it had names."""
    about = {"chosen": False, "table": None, **about}
    if "wraps" in about:
        return about
    part, classes = about.pop("part"), about.pop("n_classes")
    split = None if part is None else dict(zip(("part", "n_splits"), part, strict=True))
    around = [
        ("rank1", about.pop("rank1")), ("linear", about.pop("linear")), ("channels", split),
    ]  # fmt: skip
    wraps = [[name, value] for name, value in around if value is not None]
    wraps += [["cut", {"cuts": one}] for one in cuts]
    return {**about, "wraps": wraps, "n_outputs": classes}
