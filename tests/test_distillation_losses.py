"""Distillation losses against slow references: values, gradients, members, limits."""

import numpy as np
import pytest
import torch
from loss_cases import (
    CASES,
    FLAT,
    T_LOGITS,
    TEACHERS,
    TEMPERATURES,
    M,
    N,
    P,
    S,
    draw,
    draw_weight,
    qp,
    softmax,
    tensor,
)

from skensemble import losses

# The solver's last digits, or SciPy's, are in these.
TOLERANCE = {"adaptive": 1e-6}


@pytest.mark.parametrize("weighted", [None, "own", "shared"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_loss_is_its_formula(name, shared, weighted):
    loss, reference, student, targets = CASES[name]
    targets = tuple(t[:1] for t in targets) if shared else targets
    weight = {None: None, "own": draw_weight(6), "shared": draw_weight(6)[:1]}[weighted]
    ours = loss(tensor(student), *map(tensor, targets), None if weight is None else tensor(weight))
    assert ours.shape == (M,)
    assert ours.dtype == torch.float64
    tolerance = TOLERANCE.get(name, 1e-10)
    np.testing.assert_allclose(
        ours, reference(student, *targets, weight), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", [name for name in CASES if name != "adaptive"])
def test_gradient_is_that_of_the_value(name):
    loss, _, student, targets = CASES[name]
    targets, weight = [*map(tensor, targets)], tensor(draw_weight(7))
    # Two members and four rows are enough for finite differences.
    short = [t[:, :4] for t in targets]
    assert torch.autograd.gradcheck(
        lambda s: loss(s, *short, weight[:, :4]), tensor(student[:, :4], grad=True), atol=1e-5
    )


def test_adaptive_gradient_holds_the_shares_fixed():
    student, teachers = tensor(S, grad=True), tensor(TEACHERS)
    losses.adaptive_distillation(student, teachers, temperature=3.0, cap=0.5).sum().backward()
    for m in range(M):
        q = softmax(S[m] / 3)
        slopes = 3 * (q[:, None] - softmax(TEACHERS[m] / 3))
        shares = qp(slopes.mean(0), 0.5)
        expected = np.einsum("r,irk->ik", shares, slopes) / N
        np.testing.assert_allclose(student.grad[m], expected, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_members_do_not_see_each_other(name):
    loss, _, student, targets = CASES[name]
    student, weight = tensor(student, grad=True), tensor(draw_weight(8))
    loss(student, *map(tensor, targets), weight)[1].backward()
    assert student.grad[[0, 2]].abs().max() == 0
    assert student.grad[1].abs().max() > 0
    assert student.grad[:, 1].abs().max() == 0  # a row of weight zero


# Of few rows, one without weight still takes a place.
@pytest.mark.parametrize("name", [name for name in CASES if name != "relation of few"])
def test_zero_weight_is_no_row(name):
    loss, _, student, targets = CASES[name]
    weight, rows = draw_weight(9), [0, 2, 3, 4]
    full = loss(tensor(student), *map(tensor, targets), tensor(weight))
    cut = loss(
        tensor(student[:, rows]), *(tensor(t[:, rows]) for t in targets), tensor(weight[:, rows])
    )
    torch.testing.assert_close(full, cut, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in CASES if "relation" not in name])
def test_weight_two_is_a_repeated_row(name):
    loss, _, student, targets = CASES[name]
    times = [2, 1, 3, 0, 1]
    weight = tensor(np.broadcast_to(times, (M, N)))
    full = loss(tensor(student), *map(tensor, targets), weight)
    again = loss(
        tensor(student.repeat(times, 1)), *(tensor(t.repeat(times, 1)) for t in targets), None
    )
    torch.testing.assert_close(full, again, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "targets", "name"),
    [
        (losses.label_distillation, P, "temperature"),
        (losses.truncated_distillation, T_LOGITS, "tau"),
        (losses.adaptive_distillation, TEACHERS, "temperature"),
        (losses.dirichlet_nll, softmax(TEACHERS), "temperature"),
    ],
)
def test_a_number_a_member_equals_separate_calls(loss, targets, name):
    together = loss(tensor(S), tensor(targets), **{name: tensor(TEMPERATURES)})
    for m, value in enumerate(TEMPERATURES):
        alone = loss(tensor(S[[m]]), tensor(targets[[m]]), **{name: value})
        torch.testing.assert_close(together[[m]], alone, rtol=1e-12, atol=1e-12)


def test_per_member_shapes():
    assert losses.per_member(2.0, 3) == 2.0
    assert losses.per_member(torch.tensor(2.0), 3).shape == ()
    assert losses.per_member(torch.ones(5), 3).shape == (5, 1, 1)


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_single_precision_stays_finite(name):
    loss, _, student, targets = CASES[name]
    # A temperature of 0.7 raises the largest logit again.
    signs = np.sign(student) * (TEMPERATURES[0] if name == "dirichlet" else 1)
    for size in [80.0, 1e-3]:
        s = tensor(signs * size).float().requires_grad_()
        result = loss(s, *(tensor(t).float() for t in targets), tensor(draw_weight(0)).float())
        result.sum().backward()
        assert result.dtype == torch.float32 or "per member" in name
        assert result.isfinite().all()
        assert s.grad.isfinite().all()


def test_single_precision_targets_stay_finite():
    sure = tensor(np.sign(TEACHERS) * 80).float()
    mean, precision = losses.proxy_dirichlet_target(sure.softmax(-1))
    assert mean.isfinite().all()
    assert precision.isfinite().all()
    assert (precision > 0).all()
    s = tensor(S).float()
    assert losses.proxy_dirichlet(s, mean, precision).isfinite().all()
    assert losses.dirichlet_nll(s, sure.softmax(-1)).isfinite().all()
    assert losses.adaptive_distillation(s, sure).isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        losses.relation,
        losses.feature_distillation,
        losses.hint,
        lambda s, t: losses.attention_transfer(losses.attention_map(s), losses.attention_map(t)),
    ],
)
def test_equal_and_zero_features_have_finite_gradients(loss):
    teacher = draw(15, M, N, 6)
    teacher[:, 2] = teacher[:, 1]
    for student in [teacher.copy(), teacher * 0, teacher * 0 + 1, draw(16, M, N, 6)]:
        student[:, 3] = student[:, 4]
        student = tensor(student, grad=True)
        result = loss(student, tensor(teacher))
        result.sum().backward()
        assert result.isfinite().all()
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() < 1e3
    assert loss(tensor(teacher[:, :1]), tensor(teacher[:, :1])).isfinite().all()


def test_relation_sends_no_gradient_to_the_teacher():
    student, teacher = tensor(FLAT, grad=True), tensor(S, grad=True)
    losses.relation(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s: losses.soften(s, 0.0),
            "temperature must be greater than 0 and less than 1e150. Got 0.0.",
        ),
        (lambda s: losses.soften(s, 1.0, "vote"), "averaging must be 'proba' or 'logit'. Got 'vo"),
        (
            lambda s: losses.label_distillation(s, s, temperature=-1.0),
            "temperature must be greater than 0 and less than 1e150. Got -1.0.",
        ),
        (
            lambda s: losses.label_distillation(s, s[..., :2]),
            r"target must have the shape \(3 or 1, 5, 4\). Got \(3, 5, 2\).",
        ),
        (
            lambda s: losses.adaptive_distillation(s, s),
            r"target_logits must have the shape \(3 or 1, 5, 5, 4\). Got \(3, 5, 4\).",
        ),
        (
            lambda s: losses.truncated_logit(s, 0.0),
            "tau must be greater than 0 and less than 1e150. Got 0.0.",
        ),
        (lambda s: losses.min_norm_weights(s, 0.1), "cap must be at least 1/5 for 5 weights"),
        (lambda s: losses.project_capped_simplex(s, 0.1), "cap must be at least 1/4 for 4 weights"),
        (
            lambda s: losses.dirichlet_nll(s, s.unsqueeze(2), smoothing=2.0),
            r"smoothing must be in \[0, 1\]. Got 2.0.",
        ),
        (lambda s: losses.hint(s, s[:, :2]), r"teacher must have the shape \(3 or 1, 5, 4\)"),
        (lambda s: losses.relation(s, s[:, :2]), r"teacher must have the shape \(3 or 1, 5\)"),
        (lambda s: losses.match_size(s, (1, 1)), "feature must have the shape"),
        (lambda s: losses.match_size(s[..., None, None], (2, 1)), "at least .2, 1. high and wide"),
    ],
)
def test_errors_say_what_is_required_and_what_arrived(call, message):
    with pytest.raises(ValueError, match=message):
        call(tensor(S))


def test_all_is_complete():
    from skensemble.losses import classification, distillation, distributions, features

    modules = (classification, distillation, distributions, features)
    names = sorted(name for module in modules for name in module.__all__)
    assert names == sorted(losses.__all__)
    assert all(hasattr(losses, name) for name in names)
