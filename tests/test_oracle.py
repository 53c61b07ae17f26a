"""Members against a slow trainer written in plain torch: one module, one batch at a time."""

import numpy as np
import pytest
import torch
from nets import ResidualCNN, ResidualMLP, SmallCNN, make_net
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import DeepEnsembleClassifier
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import Purpose, member_seed, purpose_seed
from skensemble.nn import MLP

ROOT = 7
MEMBERS = 3
N_CLASSES = 3
ATOL = 1e-10
SMOOTHING = 0.1
CRITERION_WEIGHT = (0.5, 1.0, 3.0)
CLASS_WEIGHT = {0: 2.0, 1: 1.0, 2: 0.25}

MODULES = {
    "mlp": (MLP, GraphStack, (6,)),
    "residual-mlp": (ResidualMLP, GraphStack, (6,)),
    "cnn": (SmallCNN, VmapStack, (3, 6, 6)),
    "residual-cnn": (ResidualCNN, VmapStack, (3, 6, 6)),
}
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}
SCHEDULES = {
    "sgd": (torch.optim.lr_scheduler.StepLR, {"step_size": 1, "gamma": 0.3}),
    "adam": (torch.optim.lr_scheduler.CosineAnnealingLR, {"T_max": 3}),
    "adamw": (torch.optim.lr_scheduler.CosineAnnealingLR, {"T_max": 3}),
}


def make_data(in_shape, n_rows=50):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, *in_shape))
    y = np.arange(n_rows) % N_CLASSES
    X[np.arange(n_rows), y] += 1.0
    return X, y, rng.uniform(0.2, 3.0, n_rows)


def make_recipe(name, optimizer="sgd", scheduled=False, **kwargs):
    module, _, _ = MODULES[name]
    cls, args = OPTIMIZERS[optimizer]
    policy, policy_args = SCHEDULES[optimizer]
    settings = {"max_epochs": 3, "batch_size": 16, "optimizer": cls, "lr": args["lr"]}
    settings |= {f"optimizer__{key}": value for key, value in args.items() if key != "lr"}
    if scheduled:
        settings["callbacks"] = [("schedule", LRScheduler(policy, **policy_args))]
    return make_net(module, **{**settings, **kwargs})


def build(recipe, X, member):
    bound = read_recipe(recipe).bind(X, N_CLASSES)
    return bound.build(member_seed(ROOT, member)).train()


def slow_loss(logits, y, w, class_weight=None, smoothing=0.0):
    """Compute the loss from its formula, one sample and one class at a time."""
    c = [1.0] * N_CLASSES if class_weight is None else class_weight
    top, bottom = 0.0, 0.0
    for row, label, weight in zip(logits, y.tolist(), w.tolist(), strict=True):
        log_p = row - torch.log(torch.exp(row).sum())
        for k in range(N_CLASSES):
            target = (1 - smoothing) * (k == label) + smoothing / N_CLASSES
            top = top - weight * c[k] * target * log_p[k]
        bottom = bottom + weight * c[label]
    return top / bottom


def batches_of(n_rows, batch_size, epochs, seed):
    draws = torch.Generator().manual_seed(purpose_seed(seed, Purpose.ORDER))
    for _ in range(epochs):
        order = torch.randperm(n_rows, generator=draws)
        yield [order[at : at + batch_size] for at in range(0, n_rows, batch_size)]


def slow_fit(modules, X, y, w, optimizer, scheduled, order_seed, **settings):
    """Train the mean logits of `modules` (one of them: an ordinary network)."""
    epochs = settings.pop("epochs", 3)
    batch_size = settings.pop("batch_size", 16)
    X, y, w = torch.from_numpy(X), torch.from_numpy(y), torch.from_numpy(w)
    cls, args = OPTIMIZERS[optimizer]
    parameters = [p for module in modules for p in module.parameters()]
    steps = cls(parameters, **args, fused=False, foreach=False)
    policy, policy_args = SCHEDULES[optimizer]
    schedule = policy(steps, **policy_args) if scheduled else None
    for batches in batches_of(len(X), batch_size, epochs, order_seed):
        for at in batches:
            steps.zero_grad()
            logits = sum(module(X[at]) for module in modules) / len(modules)
            slow_loss(logits, y[at], w[at], **settings).backward()
            steps.step()
        if schedule is not None:
            schedule.step()
    return modules


def assert_close(member, module):
    expected = module.state_dict()
    state = member.module_.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=ATOL, msg=name)


@pytest.fixture
def nets(monkeypatch):
    """Collect the engine's nets, whose stacks hold the last step's gradients."""
    seen = []
    train = StackNet.train

    def spy(self, *args, **kwargs):
        seen.append(self)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(StackNet, "train", spy)
    return seen


def check(nets, name, stack, optimizer="sgd", scheduled=False, recipe=None, **slow):
    weighted = slow.pop("weighted", False)
    class_weight = slow.pop("balance", None)
    X, y, w = make_data(MODULES[name][2])
    recipe = make_recipe(name, optimizer, scheduled) if recipe is None else recipe
    ensemble = DeepEnsembleClassifier(
        recipe, MEMBERS, stack=stack, random_state=ROOT, class_weight=class_weight
    ).fit(X, y, sample_weight=w if weighted else None)
    kind = LoopStack if stack == 1 else MODULES[name][1]
    assert [type(net.stack_) for net in nets] == [kind] * (MEMBERS if stack == 1 else 1)
    w = w if weighted else np.ones(len(y))
    if class_weight:
        w = w * np.array([class_weight[label] for label in y])
    for number, member in enumerate(ensemble):
        module = build(recipe, X, number)
        start = {key: value.clone() for key, value in module.state_dict().items()}
        seed = member_seed(ROOT, number)
        slow_fit([module], X, y, w, optimizer, scheduled, seed, **slow)
        assert all((start[key] != value).any() for key, value in module.state_dict().items())
        assert_close(member, module)


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stack", [1, MEMBERS], ids=["alone", "stacked"])
@pytest.mark.parametrize("name", MODULES)
def test_members_are_the_oracles(nets, name, stack, optimizer, scheduled):
    check(nets, name, stack, optimizer, scheduled, weighted=scheduled)


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("stack", [1, MEMBERS], ids=["alone", "stacked"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_class_weights(nets, name, stack, weighted):
    check(nets, name, stack, weighted=weighted, balance=CLASS_WEIGHT)


@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("stack", [1, MEMBERS], ids=["alone", "stacked"])
def test_weights_of_the_criterion(nets, stack, weighted, smoothing):
    recipe = make_recipe(
        "mlp",
        criterion__weight=torch.tensor(CRITERION_WEIGHT),
        criterion__label_smoothing=smoothing,
    )
    slow = {"class_weight": CRITERION_WEIGHT, "smoothing": smoothing}
    check(nets, "mlp", stack, recipe=recipe, weighted=weighted, **slow)


@pytest.mark.parametrize("name", ["mlp", "residual-cnn"])
def test_label_smoothing_without_weights(nets, name):
    recipe = make_recipe(name, criterion__label_smoothing=SMOOTHING)
    check(nets, name, MEMBERS, recipe=recipe, smoothing=SMOOTHING)


def test_weights_of_criterion_sample_and_class_multiply(nets):
    recipe = make_recipe(
        "mlp",
        criterion=nn.CrossEntropyLoss(torch.tensor(CRITERION_WEIGHT), label_smoothing=SMOOTHING),
    )
    slow = {"class_weight": CRITERION_WEIGHT, "smoothing": SMOOTHING}
    check(nets, "mlp", MEMBERS, recipe=recipe, weighted=True, balance=CLASS_WEIGHT, **slow)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("stack", [1, MEMBERS], ids=["alone", "stacked"])
def test_gradients_of_one_step(nets, name, stack, weighted):
    X, y, w = make_data(MODULES[name][2])
    recipe = make_recipe(name, max_epochs=1, batch_size=-1)
    sample_weight = w if weighted else None
    DeepEnsembleClassifier(recipe, MEMBERS, stack=stack, random_state=ROOT).fit(
        X, y, sample_weight=sample_weight
    )
    w = w if weighted else np.ones(len(y))
    stacks = [net.stack_ for net in nets]
    for number in range(MEMBERS):
        module = build(recipe, X, number)
        loss = slow_loss(module(torch.from_numpy(X)), torch.from_numpy(y), torch.from_numpy(w))
        loss.backward()
        learnt = dict(stacks[number if stack == 1 else 0].learnable())
        for parameter, value in module.named_parameters():
            grad = learnt[parameter].grad
            grad = grad if stack == 1 else grad[number]
            assert value.grad.abs().max() > 1e-6
            torch.testing.assert_close(grad, value.grad, rtol=0, atol=ATOL)


@pytest.mark.parametrize("stack", [2, MEMBERS])
def test_dropout_masks_do_not_depend_on_the_stack(nets, stack):
    X, y, _ = make_data((6,))
    recipe = make_recipe("mlp", module__dropout=0.4)
    alone = DeepEnsembleClassifier(recipe, MEMBERS, stack=1, random_state=ROOT).fit(X, y)
    stacked = DeepEnsembleClassifier(recipe, MEMBERS, stack=stack, random_state=ROOT).fit(X, y)
    assert any(isinstance(net.stack_, GraphStack) for net in nets[MEMBERS:])
    for one, other in zip(alone, stacked, strict=True):
        assert_close(one, other.module_)
    plain = DeepEnsembleClassifier(make_recipe("mlp"), 1, random_state=ROOT).fit(X, y)
    assert not np.allclose(plain.predict_proba(X), alone[0].predict_proba(X))


@pytest.mark.parametrize("name", ["mlp", "residual-mlp", "cnn"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stack", [1, "auto"])
def test_trained_sum(name, optimizer, stack):
    X, y, w = make_data(MODULES[name][2])
    recipe = make_recipe(name, optimizer)
    ensemble = DeepEnsembleClassifier(
        recipe, MEMBERS, joint=True, stack=stack, random_state=ROOT
    ).fit(X, y, sample_weight=w)
    modules = [build(recipe, X, number) for number in range(MEMBERS)]
    slow_fit(modules, X, y, w, optimizer, False, ROOT)
    for member, module in zip(ensemble, modules, strict=True):
        assert_close(member, module)
    logits = sum(module.eval()(torch.from_numpy(X)) for module in modules) / MEMBERS
    expected = logits.softmax(-1).detach().numpy()
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=0, atol=ATOL)


def test_history_has_the_oracles_losses():
    X, y, _ = make_data((6,))
    recipe = make_recipe("mlp", max_epochs=1, batch_size=-1)
    ensemble = DeepEnsembleClassifier(recipe, MEMBERS, random_state=ROOT).fit(X, y)
    for number, member in enumerate(ensemble):
        logits = build(recipe, X, number)(torch.from_numpy(X))
        loss = slow_loss(logits, torch.from_numpy(y), torch.ones(len(y)))
        assert [row["epoch"] for row in member.history_] == [1]
        assert member.history_[0]["train_loss"] == pytest.approx(loss.item(), abs=ATOL)


def test_a_last_batch_of_one_row_joins_the_one_before(nets):
    X, y, _ = make_data((6,), n_rows=33)
    recipe = make_recipe("residual-mlp", max_epochs=2)
    ensemble = DeepEnsembleClassifier(recipe, 2, stack=2, random_state=ROOT).fit(X, y)
    for number, member in enumerate(ensemble):
        module = build(recipe, X, number)
        steps = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        for batches in batches_of(33, 16, 2, member_seed(ROOT, number)):
            for at in (batches[0], torch.cat(batches[1:])):
                steps.zero_grad()
                ones = torch.ones(len(at), dtype=torch.float64)
                slow_loss(module(torch.from_numpy(X)[at]), torch.from_numpy(y)[at], ones).backward()
                steps.step()
        assert_close(member, module)
