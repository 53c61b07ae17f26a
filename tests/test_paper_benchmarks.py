"""The benchmarks with presets of papers: what they would run, and that small ones run once."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.frozen import FrozenEstimator

from skensemble import BatchEnsembleClassifier, DistilledClassifier
from skensemble._engine.training import Training
from skensemble.metrics import surplus
from skensemble.nn import WideResNet

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = ("_bench", "ensemble_distillation", "gaussian_grid", "orthogonality", "wide_resnets")


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(str(BENCHMARKS))


def page(name):
    return (BENCHMARKS / "pages" / f"{name}.md").read_text(encoding="utf-8")


def shown(number, spec):
    return format(number, spec).replace("-", "\N{MINUS SIGN}")


def count(module, arguments, n_classes=100):
    with torch.device("meta"):
        net = module(in_shape=(3, 32, 32), n_classes=n_classes, **arguments)
    return sum(one.numel() for one in net.parameters()), dict(net.named_modules())


# -- parts of a run ------------------------------------------------------------------------


def test_what_was_made_is_read_and_what_was_not_leaves_no_file(scripts, tmp_path):
    bench, made = scripts["_bench"], []

    def make():
        made.append(1)
        return {"x": float("nan"), "y": 2}

    path = tmp_path / "folder" / "part.json"
    assert bench.remembered(path, make) == bench.remembered(path, make) == {"x": None, "y": 2}
    assert made == [1]
    with pytest.raises(ZeroDivisionError):
        bench.remembered(tmp_path / "other.json", lambda: {"x": 1 / 0})
    assert not list(tmp_path.glob("other*"))


def test_a_folder_of_other_settings_is_refused(scripts, tmp_path):
    bench = scripts["_bench"]
    bench.require_folder(tmp_path, {"epochs": 1, "shape": (3, 4), "name": "a"})
    bench.require_folder(tmp_path, {"epochs": 1, "shape": [3, 4], "name": "a"})
    with pytest.raises(SystemExit, match="other settings: epochs, more differ. Name another"):
        bench.require_folder(tmp_path, {"epochs": 2, "shape": (3, 4), "name": "a", "more": 1})


def quick(module, name, folder, monkeypatch, *more):
    out = folder / "out.json"
    told = [name, "--quick", "--work", str(folder / "work"), "--out", str(out), *more]
    monkeypatch.setattr(sys, "argv", told)
    module.main()
    return json.loads(out.read_text())


def refuse_training(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("all parts are there")

    monkeypatch.setattr(Training, "__init__", refuse)


@pytest.mark.parametrize("name", NAMES[1:])
def test_quick_runs_and_a_second_run_trains_nothing(scripts, name, tmp_path, monkeypatch, capsys):
    module = scripts[name]
    found = quick(module, name, tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        refuse_training(patch)
        again = quick(module, name, tmp_path, patch)
    assert {**again, "provenance": None} == {**found, "provenance": None}
    assert found["provenance"]["script"] == f"{name}.py"
    assert "written to" in capsys.readouterr().out


# -- orthogonality -------------------------------------------------------------------------


def test_the_paper_preset_has_the_networks_and_shares_of_the_source(scripts):
    preset = scripts["orthogonality"].PRESETS["paper"]
    found = {
        one.name: (count(one.module, one.arguments)[0], [p.name for p in one.prunings])
        for one in preset.architectures
    }
    assert found == {
        "ResNet-56": (861_620, ["l1-filter 40/70/90", "l1-filter 50/60/70"]),
        "ResNet-110": (
            1_736_564, ["l1-filter 80/80/80", "l1-filter 50/60/70", "magnitude 40"],
        ),
        "VGG-19": (20_081_188, ["slimming 50"]),
        "pre-activation ResNet-56": (613_556, ["slimming 50"]),
        "DenseNet-40-12": (1_100_428, ["slimming 30"]),
        "PyramidNet-110-64": (1_725_300, []),
        "PyramidNet-200-240": (26_844_952, []),
    }  # fmt: skip
    assert [one.name for one in preset.architectures if one.augmented] == [
        "ResNet-56", "PyramidNet-110-64", "PyramidNet-200-240",
    ]  # fmt: skip
    assert preset.augmentation == "crop-flip"
    assert preset.finetune_augmentation is None
    assert (preset.epochs, preset.finetune_epochs, preset.finetune_lr) == (160, 40, 1e-3)


def test_shares_by_stages_name_the_blocks_of_their_networks(scripts):
    for preset in scripts["orthogonality"].PRESETS.values():
        for one in preset.architectures:
            modules = count(one.module, one.arguments)[1]
            for pruning in one.prunings:
                if pruning.method != "l1-filter":
                    assert 0 < pruning.keep < 1
                    assert pruning.name.endswith(f" {100 * pruning.keep:.0f}")
                    continue
                assert set(pruning.keep) <= set(modules)
                n_blocks = sum(re.fullmatch(r"blocks\.\d+", name) is not None for name in modules)
                assert len(pruning.keep) == n_blocks
                told = [float(share) for share in pruning.name.split()[1].split("/")]
                stages = np.array(list(pruning.keep.values())).reshape(3, -1)
                assert (100 * stages == np.array(told)[:, None]).all()


def test_images_are_altered_before_pruning_and_as_they_are_after(scripts, tmp_path, monkeypatch):
    module = scripts["orthogonality"]
    preset = dataclasses.replace(module.PRESETS["quick"], n_train=32, n_test=8)
    architecture = preset.architectures[0]
    data = module.load(None, preset)
    net = module.recipe(architecture, preset, "cpu")
    bench = module.Bench(architecture, preset, data, 0, net, tmp_path)
    assert bench.altered() == "crop-flip"
    assert bench.altered("cutmix") == ["crop-flip", "cutmix"]
    bare = dataclasses.replace(bench, preset=dataclasses.replace(preset, augmentation=None))
    assert bare.altered() is None
    assert bare.altered("cutmix") == "cutmix"
    for pruning in architecture.prunings:
        assert bench.scratch(pruning).augmentation == "crop-flip"
        assert bench.taught("feature", pruning).augmentation == "crop-flip"
        assert bench.taught("feature", pruning).objective.weight == preset.feature_weight
        for distill in (None, "pre", "post", "self"):
            small = bench.pruned(pruning, "feature", distill)
            assert small.estimators_[0].augmentation is None
            assert small.unpruned_.augmentation == "crop-flip"
    assert bench.student("cutmix", "label", False, True).augmentation == ["crop-flip", "cutmix"]


def test_the_weight_is_that_of_least_log_loss_on_spare_training_rows(
    scripts, tmp_path, monkeypatch, capsys
):
    module = scripts["orthogonality"]
    losses, judged = dict(zip(module.WEIGHTS, (3.0, 2.0, 1.0, 4.0, 5.0), strict=True)), []
    data = module.load(None, module.PRESETS["quick"], spare=64)

    def fake(classifier, X, y):
        assert np.array_equal(X, data["X_valid"])
        assert np.array_equal(y, data["y_valid"])
        term = getattr(classifier, "objective", None)
        judged.append(None if term is None else term.weight)
        return {"acc": 10.0, "nll": 9.0 if term is None else losses[term.weight]}

    monkeypatch.setattr(module, "judge", fake)
    found = quick(module, "orthogonality", tmp_path, monkeypatch, "--search-weight")["search"]
    assert judged == [None, *module.WEIGHTS]
    assert found["chosen"] == 1e-2
    assert (found["seed"], found["n_validation"]) == (1000, 64)
    paths = list(tmp_path.rglob("*None__scratch.joblib"))
    assert len(paths) == 1 + len(module.WEIGHTS)
    heads = [joblib.load(path).module_.head.weight.detach().numpy() for path in paths]
    assert all(np.array_equal(head, heads[0]) for head in heads)  # one teacher of all


def test_the_sources_row_has_the_sources_surplus(scripts):
    module = scripts["orthogonality"]
    whole = [row for row in module.SOURCE.values() if len(row) > 1]
    assert len(whole) == 1
    for row in whole:
        cells = {name: {"acc": value} for name, value in row.items() if name != "surplus"}
        assert set(cells) == {*module.UNPRUNED, *module.PRUNED}
        assert module.row_surplus(cells) == pytest.approx(row["surplus"])
        named = ("Self-Distill", "Finetuned", "Unpruned KD", "Unpruned scratch")
        assert surplus(*(row[name] for name in named)) == pytest.approx(0.88)


def test_the_pages_show_the_sources_figures(scripts):
    text = page("orthogonality")
    for name, row in scripts["orthogonality"].SOURCE.items():
        line = next(
            line for line in text.splitlines()
            if line.startswith(f"| {name.removeprefix('pre-activation ')} |")
        )  # fmt: skip
        for column, value in row.items():
            assert f"| {shown(value, '+.2f' if column == 'surplus' else '.2f')} |" in line, name
    text = page("wide_resnets")
    for n_classes, rows in scripts["wide_resnets"].SOURCE.items():
        for name, values in rows.items():
            cells = " | ".join(f"{value:.2f}" for value in values)
            assert f"| CIFAR-{n_classes}, {name} | {cells} |" in text
    text = page("ensemble_distillation").replace("\N{SUPERSCRIPT TWO}", "2")
    text = text.replace("\N{EN DASH}", "-").replace(", the teacher", "")
    source = scripts["ensemble_distillation"].SOURCE
    for name, values in source[100].items():
        cells = [f"{values[0]:.2f}", *("" if v is None else f"{v:.3f}" for v in values[1:])]
        ten = source[10].get(name)
        cells.append("" if ten is None else f"{ten[0]:.2f}")
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        assert [name, *cells] in lines
    assert source[10]["LatentBE + TDiv-SDiv"][1] == 0.205
    assert "NLL is 0.205" in text


# -- ensembles taught to one network -----------------------------------------------------------


def test_the_paper_preset_of_ensembles_has_the_slides_settings(scripts):
    module = scripts["ensemble_distillation"]
    preset = module.PRESETS["paper"]
    for n_classes, widen in ((10, 1), (100, 4)):
        net = module.recipe(preset, n_classes, "cpu")
        assert net.module is WideResNet
        assert (net.module__depth, net.module__widen, net.module__width) == (28, widen, 16)
        assert (net.lr, net.max_epochs, net.batch_size) == (0.1, 200, 128)
        assert (net.optimizer__momentum, net.optimizer__nesterov) == (0.9, True)
        assert net.optimizer__weight_decay == 5e-4
        (schedule,) = net.callbacks
        assert (schedule.policy, schedule.kwargs) == ("CosineAnnealingLR", {"T_max": 200})
    with pytest.raises(SystemExit, match="10 or 100 classes. The data have 7"):
        module.recipe(preset, 7, "cpu")
    assert preset.augmentation == "crop-flip"
    for name, (one, _) in module.trainings(net, preset, 0, FrozenEstimator(None)).items():
        if name == "DE-4":
            continue
        assert one.augmentation == "crop-flip"
        if name.startswith("BE-4"):
            assert (one.alpha, one.temperature) == (1.0, 4.0)
            body = one.student
            assert (body.init, body.decay_to, body.fast_lr_factor) == ("one", 1, 1.0)


def test_rows_of_a_student_with_members_are_its_merges(scripts, tmp_path):
    module = scripts["ensemble_distillation"]
    preset = dataclasses.replace(module.PRESETS["quick"], n_train=64, n_valid=10, n_test=10)
    data = module.image_parts(None, 64, 10, 10)
    net = module.recipe(preset, 10, "cpu").set_params(lr=0.02, max_epochs=2)
    seed = module.Seed(0, net, preset, data, tmp_path)
    ensemble, _ = seed.teacher()
    one, make = module.trainings(net, preset, 0, ensemble)["BE-2"]
    rows = make(one.fit(data["X"], data["y"]))
    assert list(rows) == ["BE-2, one to one", "LatentBE", "LatentBE, factor-mean"]
    proba = {name: row.predict_proba(data["X_test"]) for name, row in rows.items()}
    for name, merge in (("LatentBE", "rank-mean"), ("LatentBE, factor-mean", "factor-mean")):
        body = BatchEnsembleClassifier(
            net, 2, init="one", decay_to=1, fast_lr_factor=1.0, merge=merge
        )
        whole = DistilledClassifier(
            FrozenEstimator(ensemble), body, alpha=1.0, augmentation="crop-flip", random_state=1000
        ).fit(data["X"], data["y"])
        assert np.array_equal(whole.predict_proba(data["X_test"]), proba[name])
    assert not np.array_equal(proba["LatentBE"], proba["LatentBE, factor-mean"])


# -- wide residual networks ----------------------------------------------------------------


def test_the_paper_preset_of_wide_networks(scripts):
    module = scripts["wide_resnets"]
    preset = module.PRESETS["paper"]
    sizes = {f"WRN-{depth}-{widen}": count(WideResNet, {"depth": depth, "widen": widen})[0]
             for depth, widen in preset.networks}  # fmt: skip
    assert sizes == {"WRN-28-2": 1_479_220, "WRN-34-1": 472_564, "WRN-28-10": 36_536_884}
    assert (preset.members, preset.epochs, preset.augmentation) == (10, 200, "crop-flip")
    assert set(sizes) == set(module.SOURCE[100])


def test_a_summed_network_takes_the_steps_of_a_sum_at_equal_outputs(scripts):
    """One step of plain SGD on the mean, by the recipe, against one on the sum."""
    module = scripts["wide_resnets"]
    preset = module.PRESETS["quick"]
    one, many = (module.recipe(preset, 10, 1, "cpu", n) for n in (1, 4))
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(4, 5, 3, generator=draws, dtype=torch.float64)
    x = torch.randn(7, 5, generator=draws, dtype=torch.float64)
    pull = torch.randn(7, 3, generator=draws, dtype=torch.float64)  # the gradient of the output
    ends = []
    for net, share in ((one, 1.0), (many, 0.25)):
        weight = start.clone().requires_grad_()
        decay = net.optimizer__weight_decay
        step = torch.optim.SGD([weight], lr=net.lr, weight_decay=decay)
        (share * (x @ weight).sum(0) * pull).sum().backward()
        step.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)


# -- the Gaussian grid ---------------------------------------------------------------------


def test_the_grid_has_56_cells_and_the_fifth_axis_doubles_them(scripts):
    module = scripts["gaussian_grid"]
    for sampling, n in (("uniform", 56), ("rejection", 56), ("both", 112)):
        cells = module.make_cells(sampling)
        assert len({cell.name for cell in cells}) == len(set(cells)) == n
        assert {cell.rejection for cell in cells} == {
            "uniform": {False}, "rejection": {True}, "both": {False, True},
        }[sampling]  # fmt: skip
        for axis, values in (("mixture", 2), ("margin", 2), ("noise", 2), ("labeller", 7)):
            found = [getattr(cell, axis) for cell in cells]
            assert {found.count(value) for value in set(found)} == {n // values}
    families = {cell.labeller: cell.family for cell in cells}
    assert families == {"linear": "fc", "fc2": "fc", "fc3": "fc", "res3": "res", "conv2": "conv",
                        "conv3": "conv", "resconv3": "resconv"}  # fmt: skip
    assert set(families.values()) == set(module.LEARNERS)


def test_only_training_labels_are_wrong_and_parts_share_a_concept(scripts):
    module = scripts["gaussian_grid"]
    noisy, clean = (module.Cell("conv2", True, True, noise) for noise in (True, False))
    X, y = noisy.rows(2000, 5, 3, clean=False)
    same, truth = clean.rows(2000, 5, 3, clean=False)
    assert np.array_equal(X, same)
    assert 0.07 < (y != truth).mean() < 0.13
    assert np.array_equal(noisy.rows(2000, 5, 3, clean=True)[1], truth)


@pytest.mark.parametrize("family", ["fc", "res", "conv", "resconv"])
def test_learners_are_what_their_family_says(scripts, family):
    torch.manual_seed(0)
    net = scripts["gaussian_grid"].Learner((3, 4, 4), 5, family, 8, 6).double()
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    (a, b), (c, d), (e, f), *rest = zip(*[iter(net.parameters())] * 2, strict=True)
    assert not rest

    def apply(z, weight, bias):
        if weight.dim() == 4:
            return torch.nn.functional.conv2d(z, weight, bias, padding=1)
        return z.flatten(1) @ weight.T + bias

    first = apply(x, a, b)
    second = apply(first.clamp_min(0), c, d) + (first if family.startswith("res") else 0)
    expected = second.clamp_min(0).flatten(1) @ e.T + f
    torch.testing.assert_close(net(x), expected)
    assert (a.dim() == 4) == (c.dim() == 4) == family.endswith("conv")


def test_the_decay_is_that_of_single_networks_on_validation_rows(scripts, monkeypatch):
    module = scripts["gaussian_grid"]
    valid = {0.0: 50.0, 3e-3: 70.0, 1e-2: 60.0}
    monkeypatch.setattr(module, "DECAYS", tuple(valid))
    fitted = []

    def fake(ensemble, train, valid_rows, test):
        decay = ensemble.estimator.optimizer__weight_decay
        fitted.append(decay)
        return {"train": 100.0 - 2 * (decay == 0), "valid": valid[decay], "single": 10 * decay,
                "sd": 0.0, "ensemble": 10 * decay + len(fitted)}  # fmt: skip

    monkeypatch.setattr(module, "accuracies", fake)
    cell = module.Cell("linear", False, False, False)
    row = module.Task(cell, "fc", 0).measure(module.PRESETS["quick"])
    assert fitted == list(valid)
    assert row["chosen"] == "0.003"
    assert (row["gain"], row["gain_without_decay"]) == pytest.approx((2, 1))
    assert row["training_error"] == 2
    assert not row["fits"]


def test_accuracies_are_those_of_members_one_by_one(scripts):
    module = scripts["gaussian_grid"]
    X, y = module.Cell("linear", False, False, False).rows(60, 0, 0, clean=True)
    net = module.recipe("fc", 0.0, 3)
    ensemble = module.DeepEnsembleClassifier(net, 3, random_state=0).fit(X[:40], y[:40])
    found = module.accuracies(ensemble, (X[:40], y[:40]), (X[40:50], y[40:50]), (X[50:], y[50:]))
    singles = [100 * one.score(X[50:], y[50:]) for one in ensemble]
    assert found["train"] == pytest.approx(
        100 * np.mean([one.score(X[:40], y[:40]) for one in ensemble])
    )
    assert found["single"] == pytest.approx(np.mean(singles))
    assert found["sd"] == pytest.approx(stats.tstd(singles))
    assert found["ensemble"] == pytest.approx(100 * ensemble.score(X[50:], y[50:]))


def test_cells_begin_with_the_labellers_family_and_seeds_stay_apart(scripts):
    module = scripts["gaussian_grid"]
    cells = module.make_cells()
    tasks = module.make_tasks(cells, list(module.LEARNERS), 2)
    assert len(tasks) == 56 * 4 * 2
    assert [task.seed for task in tasks] == [0] * 224 + [1] * 224
    own = [task.learner == task.cell.family for task in tasks]
    assert own == [True] * 56 + [False] * 168 + [True] * 56 + [False] * 168
    assert module.make_tasks(cells, ["own"], 1) == tasks[:56]


def test_a_grid_without_time_counts_what_is_there(scripts, tmp_path, monkeypatch, capsys):
    module = scripts["gaussian_grid"]
    found = quick(module, "gaussian_grid", tmp_path, monkeypatch, "--minutes", "-1")
    assert found["cells"] == {}
    assert found["summary"]["own"]["n"] == 0
    rows = [{"gain": 0.2, "gain_without_decay": 1.0, "single": 50.0, "fits": True},
            {"gain": 0.6, "gain_without_decay": 2.0, "single": 60.0, "fits": True}]  # fmt: skip
    tasks = module.make_tasks(module.make_cells()[:1], ["own", "res"], 2)
    told = module.collect(tasks, [rows[0], None, rows[1], rows[1] | {"fits": False}])
    (cell,) = told.values()
    assert cell["learners"]["fc"]["gain"] == pytest.approx(0.4)
    assert cell["learners"]["fc"]["no_gain"]
    assert not cell["learners"]["res"]["fits"]
    summary = module.summarise(told)
    assert summary["own"] == {"n": 1, "n_fitting": 1, "n_no_gain": 1,
                              "gain": pytest.approx(0.4), "gain_without_decay": 1.5}  # fmt: skip
    assert summary["other"] == {"n": 1, "n_fitting": 0, "n_no_gain": 0, "gain": None,
                                "gain_without_decay": None}  # fmt: skip
