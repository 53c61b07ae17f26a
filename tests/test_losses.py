"""Losses against their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from skensemble import losses

SHAPE = (3, 7, 4)


def draw(seed, shape=SHAPE):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, shape)
    target = rng.integers(0, shape[-1], shape[:2])
    return logits, target, rng.uniform(0.1, 2, shape[:2]), rng.uniform(0.1, 2, shape[-1])


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def by_formula(logits, target, weight, class_weight, smoothing):
    """Sum over classes, weighted mean over samples, written with NumPy."""
    n_classes = logits.shape[-1]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    goal = (1 - smoothing) * np.eye(n_classes)[target] + smoothing / n_classes
    loss = -(class_weight * goal * log_p).sum(-1)
    return (weight * loss).sum(-1) / (weight * class_weight[target]).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_its_formula(weighted, by_class, smoothing):
    logits, target, weight, class_weight = draw(0)
    expected = by_formula(
        logits,
        target,
        weight if weighted else np.ones(SHAPE[:2]),
        class_weight if by_class else np.ones(SHAPE[-1]),
        smoothing,
    )
    logits, target, weight, class_weight = tensors(logits, target, weight, class_weight)
    loss = losses.cross_entropy(
        logits,
        target,
        weight if weighted else None,
        class_weight=class_weight if by_class else None,
        label_smoothing=smoothing,
    )
    assert loss.shape == (3,)
    assert loss.dtype == torch.float64
    np.testing.assert_allclose(loss, expected, rtol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("by_class", [False, True])
def test_cross_entropy_is_torchs_value_and_gradient(by_class, smoothing):
    logits, target, _, class_weight = tensors(*draw(1))
    class_weight = class_weight if by_class else None
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = losses.cross_entropy(ours, target, class_weight=class_weight, label_smoothing=smoothing)
    expected = torch.stack(
        [
            torch.nn.functional.cross_entropy(
                member, labels, weight=class_weight, label_smoothing=smoothing
            )
            for member, labels in zip(theirs, target, strict=True)
        ]
    )
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-13)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-14)


def test_members_do_not_see_each_other():
    logits, target, weight, _ = tensors(*draw(2))
    logits.requires_grad_()
    losses.cross_entropy(logits, target, weight)[1].backward()
    assert logits.grad[[0, 2]].abs().max() == 0
    alone = logits[1:2].detach().clone().requires_grad_()
    losses.cross_entropy(alone, target[1:2], weight[1:2]).sum().backward()
    torch.testing.assert_close(logits.grad[1], alone.grad[0], rtol=0, atol=0)


@pytest.mark.parametrize("by_class", [False, True])
def test_shared_batches_have_a_member_axis_of_one(by_class):
    logits, target, weight, class_weight = tensors(*draw(3))
    class_weight = class_weight if by_class else None
    shared = losses.cross_entropy(logits, target[:1], weight[:1], class_weight=class_weight)
    repeated = losses.cross_entropy(
        logits, target[:1].repeat(3, 1), weight[:1].repeat(3, 1), class_weight=class_weight
    )
    torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-14)


def test_certain_networks_have_finite_losses():
    logits = torch.tensor([[[1e4, 0.0], [0.0, 1e4]]])
    right, wrong = torch.tensor([[0, 1]]), torch.tensor([[1, 0]])
    assert losses.cross_entropy(logits, right).item() == 0
    assert losses.cross_entropy(logits, wrong).item() == pytest.approx(1e4)


EVERYTHING = {
    "seed": st.integers(0, 10_000),
    "smoothing": st.sampled_from([0.0, 0.1]),
    "by_class": st.booleans(),
}


def loss_of(logits, target, weight, class_weight, smoothing, by_class):
    logits, target, weight, class_weight = tensors(logits, target, weight, class_weight)
    class_weight = class_weight if by_class else None
    return losses.cross_entropy(
        logits, target, weight, class_weight=class_weight, label_smoothing=smoothing
    ).numpy()


@given(order=st.permutations(range(7)), **EVERYTHING)
@settings(max_examples=50, deadline=None)
def test_order_of_samples_is_of_no_matter(order, seed, smoothing, by_class):
    logits, target, weight, c = draw(seed)
    loss = loss_of(logits, target, weight, c, smoothing, by_class)
    other = loss_of(logits[:, order], target[:, order], weight[:, order], c, smoothing, by_class)
    np.testing.assert_allclose(other, loss, rtol=1e-12)


@given(scale=st.floats(1e-3, 1e3), **EVERYTHING)
@settings(max_examples=50, deadline=None)
def test_scale_of_weights_is_of_no_matter(scale, seed, smoothing, by_class):
    logits, target, weight, c = draw(seed)
    loss = loss_of(logits, target, weight, c, smoothing, by_class)
    other = loss_of(logits, target, weight * scale, c * scale, smoothing, by_class)
    np.testing.assert_allclose(other, loss, rtol=1e-12)


@given(times=st.lists(st.integers(0, 3), min_size=7, max_size=7).filter(any), **EVERYTHING)
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_number_of_repeats(times, seed, smoothing, by_class):
    logits, target, _, c = draw(seed)
    weight = np.broadcast_to(np.array(times, dtype=float), SHAPE[:2])
    loss = loss_of(logits, target, weight, c, smoothing, by_class)
    logits, target = logits.repeat(times, 1), target.repeat(times, 1)
    other = loss_of(logits, target, np.ones(target.shape), c, smoothing, by_class)
    np.testing.assert_allclose(other, loss, rtol=1e-12)


@given(shift=st.floats(-100, 100), **EVERYTHING)
@settings(max_examples=50, deadline=None)
def test_shifted_logits_have_the_same_loss(shift, seed, smoothing, by_class):
    logits, target, weight, c = draw(seed)
    loss = loss_of(logits, target, weight, c, smoothing, by_class)
    other = loss_of(logits + shift, target, weight, c, smoothing, by_class)
    np.testing.assert_allclose(other, loss, rtol=1e-9, atol=1e-11)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_weighted_mean_is_numpys_average(seed):
    values, _, weight, _ = draw(seed)
    values = values[..., 0]
    ours = losses.weighted_mean(*tensors(values, weight))
    np.testing.assert_allclose(ours, np.average(values, axis=-1, weights=weight), atol=1e-12)
    np.testing.assert_allclose(
        losses.weighted_mean(torch.from_numpy(values)), values.mean(-1), atol=1e-14
    )


def test_mean_logits_keeps_the_member_axis():
    logits, *_ = draw(4)
    mean = losses.mean_logits(torch.from_numpy(logits))
    assert mean.shape == (1, *SHAPE[1:])
    np.testing.assert_allclose(mean[0], logits.mean(0), atol=1e-14)
