"""What a recipe is made of: fields that say what they are, and what is put around a module."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from nets import make_net
from torch import nn

from skensemble._engine.members import recipe_key
from skensemble._files.recipes import describe_recipe, read_recipes
from skensemble._recipes.fields import named
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe, Start
from skensemble._recipes.training import TrainingSettings
from skensemble._recipes.wraps import Channels, Cut, Slimming, describe_wraps, rebuild_wraps
from skensemble._recipes.writing import write_net
from skensemble.ensembles.rank1 import Rank1
from skensemble.nn import MLP, BatchEnsemble
from skensemble.nn._channels import OnPart
from skensemble.ntk.linearised import Linearisation
from skensemble.pruning.finetuning import tuned

RECORDS = (Recipe, TrainingSettings)
FIELDS = [(kind, one.name) for kind in RECORDS for one in fields(kind)]
WRAPS = (
    Rank1(3, "sign", True, 3.0),
    Linearisation("ntk", [[2, 3]], False),
    Channels(1, 2),
    Cut({"hidden.0": {"out": [0, 2]}}),
    Slimming(0.1),
)


class Other:
    """A value like no field's default."""


def changed(kind, name):
    """Return a recipe in which one field is another than in `MLP`'s."""
    recipe = Recipe(MLP)
    if kind is Recipe:
        return replace(recipe, **{name: Other})
    return replace(recipe, training=replace(recipe.training, **{name: Other}))


@pytest.mark.parametrize("kind", RECORDS)
def test_every_field_has_said_what_it_is(kind):
    forms, rules = {"plain", "own", "no"}, {"alike", "free", "own"}
    assert {one.name for one in fields(kind) if one.metadata.get("file") not in forms} == set()
    assert {one.name for one in fields(kind) if one.metadata.get("stack") not in rules} == set()


def test_the_halves_of_a_recipe_share_no_name():
    names = [name for _, name in FIELDS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, name in FIELDS if name not in named(kind, "stack", "own")],
)
def test_a_stack_shares_what_the_fields_say(kind, name):
    is_same = recipe_key(changed(kind, name)) == recipe_key(Recipe(MLP))
    assert is_same == (name in named(kind, "stack", "free"))


def with_training(**settings):
    return replace(Recipe(MLP), training=TrainingSettings(**settings))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (with_training(optimizer_kwargs={"weight_decay": 0.1}), Recipe(MLP), True),
        (with_training(optimizer_kwargs={"eps": 0.1}), Recipe(MLP), False),
        (with_training(net=make_net()), Recipe(MLP), True),
        (with_training(net=make_net(callbacks=[("a", object())])), Recipe(MLP), False),
        (Recipe(MLP).wrapped(Channels(0, 2)), Recipe(MLP).wrapped(Channels(1, 2)), True),
        (Recipe(MLP).wrapped(Channels(0, 2)), Recipe(MLP).wrapped(Channels(0, 3)), False),
        (Recipe(MLP).wrapped(Cut({"a": {"out": [0]}})),
         Recipe(MLP).wrapped(Cut({"a": {"out": [1]}})), True),
        (Recipe(MLP).wrapped(Cut({"a": {"out": [0]}})), Recipe(MLP), False),
        (Recipe(MLP).wrapped(Slimming(0.1)), Recipe(MLP).wrapped(Slimming(0.2)), False),
        (replace(Recipe(MLP), start=Start({})), Recipe(MLP), True),
        (replace(Recipe(MLP), start=Start(None, {"a": torch.ones(1)})), Recipe(MLP), False),
    ],
)  # fmt: skip
def test_a_stack_shares_what_has_a_rule_of_its_own(one, other, alike):
    assert (recipe_key(one) == recipe_key(other)) == alike


@pytest.mark.parametrize("kind", RECORDS)
def test_a_file_holds_what_the_fields_say(kind):
    about = describe_recipe(Recipe(MLP), None)
    held = {*named(kind, "file", "plain"), *named(kind, "file", "own")} - {"training"}
    assert held <= set(about)
    assert not set(named(kind, "file", "no")) - {"train_split", "compile"} & set(about)


def test_a_recipe_comes_back_from_its_description():
    X = np.zeros((4, 6), np.float64)
    net = make_net(
        MLP, module__hidden=(5,), lr=0.03, optimizer=torch.optim.SGD, optimizer__momentum=0.5,
        criterion__weight=torch.tensor([1.0, 2.0, 3.0]), criterion__label_smoothing=0.1,
        iterator_train__drop_last=True, max_epochs=7,
    )  # fmt: skip
    recipe = read_recipe(net).bind(X, 3).wrapped(Channels(1, 2), Cut({"a": {"out": [0, 2]}}))
    entry = {"recipe": {}, "params": {}, "module": 0}
    about = {"recipe": describe_recipe(recipe, net), "module": 0, "members": [entry]}
    found, (member,), _ = read_recipes(about, None)
    assert describe_recipe(member, net) == describe_recipe(found, net) == about["recipe"]
    assert member.wraps == recipe.wraps
    assert member.in_shape == (6,)


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrap_comes_back_from_its_description(wrap):
    described = describe_wraps([wrap])
    assert rebuild_wraps(described) == (wrap,)


def test_a_file_names_registered_wraps_alone():
    with pytest.raises(ValueError, match="must be changed in ways of .*'cut'.*Got 'os' instead"):
        rebuild_wraps([["os", {}]])


def test_wraps_are_put_around_from_the_inside_out():
    recipe = Recipe(MLP).wrapped(Rank1(3, "sign", True, 3.0), Channels(1, 2))
    bound = recipe.bind(np.zeros((4, 7), np.float32), 2)
    assert bound.module_kwargs["in_shape"] == (3,)  # what is inside of the outer one
    module = bound.build(0)
    assert isinstance(module, OnPart)
    assert isinstance(module.body, BatchEnsemble)
    assert module(torch.zeros(5, 7)).shape == (5, 3, 2)
    assert torch.equal(module.columns.at, torch.tensor([3, 4, 5]))


def test_a_recipe_answers_for_its_wraps():
    plain, shared = Recipe(MLP), Recipe(MLP).wrapped(WRAPS[0])
    assert (plain.n_members, plain.shares_layers, plain.is_network) == (1, False, True)
    assert (shared.n_members, shared.shares_layers, shared.is_network) == (3, True, True)
    assert not plain.wrapped(WRAPS[1]).is_network
    assert plain.wrapped(Channels(0, 2)).of_member(5).find(Channels) == Channels(1, 2)
    assert shared.find(Channels) is None


def test_what_came_with_a_wrap_goes_with_it():
    groups = [("*fast_in", {"lr": 1.0}), ("head*", {"lr": 2.0})]
    recipe = with_training(optimizer_kwargs={"eps": 1e-3, "param_groups": groups})
    shared = recipe.wrapped(Rank1(2, "sign", True, 2.0), Channels(0, 2))
    assert shared.without(Channels).training == recipe.training
    own = shared.without(Rank1)
    assert own.wraps == (Channels(0, 2),)
    assert own.training.optimizer_kwargs == {"eps": 1e-3, "param_groups": groups[1:]}
    assert shared.training_as_given() == own.training


def test_a_net_is_written_as_it_was_read():
    weight = torch.tensor([1.0, 2.0])
    net = make_net(
        MLP, module__hidden=(5,), criterion__weight=weight, criterion__label_smoothing=0.1,
        optimizer__weight_decay=0.1, train_split=None, batch_size=5, iterator_valid__batch_size=7,
    )  # fmt: skip
    recipe = read_recipe(net)
    again = read_recipe(write_net(recipe))
    found, given = again.training, recipe.training
    assert torch.equal(found.class_weight, given.class_weight)
    # Python 3.13 compares dataclasses field by field, and tensors have no one answer.
    found = replace(found, class_weight=None)
    assert found == replace(given, net=found.net, class_weight=None)
    assert replace(again, training=found) == replace(recipe, training=found)


def test_fine_tuning_of_a_recipe_from_a_file_keeps_its_criterion():
    weight = torch.tensor([1.0, 2.0])
    recipe = with_training(class_weight=weight, label_smoothing=0.1)
    told = tuned(recipe, 2, from_scratch=False).training
    assert told.max_epochs == 2
    assert torch.equal(told.class_weight, weight)
    assert told.label_smoothing == 0.1


def test_slimming_starts_scales_at_one_half():
    recipe = Recipe(nn.BatchNorm1d(4)).bind(np.zeros((2, 4), np.float32), 4)
    assert torch.equal(recipe.build(0).weight, torch.ones(4))
    assert torch.equal(recipe.wrapped(Slimming(0.1)).build(0).weight, torch.full((4,), 0.5))
