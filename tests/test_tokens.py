"""Networks of transformers, of token ids, and inputs under several names."""

import copy

import numpy as np
import pytest
import torch
from nets import make_net
from sklearn.frozen import FrozenEstimator
from torch import nn

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    Pretrained,
    PrunedClassifier,
)
from skensemble._engine.graph_stack import GraphStack
from skensemble._recipes.reading import read_recipe

RNG = np.random.default_rng(0)
IDS = RNG.integers(1, 30, size=(40, 8))
Y = np.arange(40) % 3
IDS[:, 0] = 1 + Y  # which a network can find
IDS[::2, 6:] = 0  # padding


class Logits(nn.Sequential):
    """A network of transformers as one of torch."""

    def forward(self, ids):
        return self[0](ids.long(), attention_mask=(ids != 0).long()).logits


class Bag(nn.Module):
    """The mean of embedded ids."""

    def __init__(self, n_classes, as_integers=True):
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.head = nn.Linear(8, n_classes)
        self.as_integers = as_integers

    def forward(self, ids):
        return self.head(self.table(ids.long() if self.as_integers else ids).mean(1))


def net_of(module, **kwargs):
    return make_net(module, **{"max_epochs": 2, "batch_size": 20, "lr": 0.01, **kwargs})


@pytest.fixture(scope="module")
def bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=5, max_position_embeddings=8,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def test_members_are_the_network_with_a_head_of_their_own(bert):
    born = read_recipe(Pretrained(Logits(bert))).bind(IDS.astype(np.float32), 3).build(1).eval()
    own = copy.deepcopy(bert).eval()
    own.classifier = born[0].classifier
    ids = torch.from_numpy(IDS)
    with torch.no_grad():
        expected = own(ids, attention_mask=(ids != 0).long()).logits
        torch.testing.assert_close(born(ids.float()), expected)
    assert expected.shape == (40, 3)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32])
def test_ids_of_any_kind_are_learned(bert, dtype):
    recipe = Pretrained(net_of(Logits(bert), max_epochs=8, lr=0.02), rates={"0.classifier": 2.0})
    fitted = NetworkClassifier(recipe, random_state=0).fit(IDS.astype(dtype), Y)
    assert fitted.score(IDS.astype(dtype), Y) > 0.9


def test_heads_on_one_encoder_and_a_bag_of_words_that_learns_from_them(bert):
    ids = IDS.astype(np.float32)
    recipe = Pretrained(net_of(Logits(bert), max_epochs=20, lr=0.1), freeze="backbone")
    teacher = DeepEnsembleClassifier(recipe, 3, random_state=0).fit(ids, Y)
    encoder = "0.bert.encoder.layer.0.output.dense.weight"
    for member in teacher:
        state = member.module_.state_dict()
        assert torch.equal(state[encoder], Logits(bert).state_dict()[encoder])
    student = DistilledClassifier(FrozenEstimator(teacher), net_of(Bag), random_state=0)
    assert student.fit(ids, Y).predict_proba(ids).shape == (40, 3)
    small = PrunedClassifier(recipe, method="magnitude", keep=0.5, random_state=0).fit(ids, Y)
    assert small.sparsity_.after > 0.4


def test_embeddings_train_together_and_say_what_they_want(monkeypatch):
    model = DeepEnsembleClassifier(net_of(Bag, max_epochs=30), 2, random_state=0).fit(IDS, Y)
    assert model.score(IDS, Y) > 0.5
    GraphStack([member.module_ for member in model])
    with pytest.raises(ValueError, match=r"The module Bag failed.*floats.*begin with x = x\.long"):
        DeepEnsembleClassifier(net_of(Bag, module__as_integers=False)).fit(IDS, Y)


def test_outputs_with_names_are_refused_in_one_line(bert):
    class Whole(Logits):
        def forward(self, ids):
            return self[0](ids.long())

    with pytest.raises(ValueError, match=r"Got SequenceClassifierOutput.*\.logits of transf"):
        NetworkClassifier(Pretrained(net_of(Whole(bert)))).fit(IDS, Y)


def test_inputs_with_names_are_refused_in_one_line(bert):
    inputs = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    model = NetworkClassifier(net_of(Bag), random_state=0)
    message = r"one array.*Got a dict of 'input_ids', 'attention_mask'.*np\.stack"
    with pytest.raises(TypeError, match=message):
        model.fit(inputs, Y)
    with pytest.raises(TypeError, match=message):
        model.fit(IDS, Y).predict_proba(inputs)

    class Both(nn.Sequential):
        def forward(self, x):
            return self[0](x[:, 0].long(), attention_mask=x[:, 1].long()).logits

    fitted = NetworkClassifier(Pretrained(net_of(Both(bert))), random_state=0)
    assert fitted.fit(np.stack([*inputs.values()], 1), Y).score(np.stack([*inputs.values()], 1), Y)
