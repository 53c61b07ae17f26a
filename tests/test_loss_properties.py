"""What distillation losses are made of, and what must hold for all inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from loss_cases import (
    MAPS,
    PRECISION,
    SEEDS,
    T_LOGITS,
    TEACHERS,
    TEMPERATURES,
    K,
    M,
    N,
    P,
    S,
    dirichlet_kl,
    draw,
    draw_weight,
    kl,
    objective,
    qp,
    softmax,
    tensor,
    truncated,
    unit,
)
from scipy import stats

from skensemble import losses

# -- targets and single functions ------------------------------------------------------------


@pytest.mark.parametrize("averaging", ["proba", "logit"])
def test_soften_is_its_formula(averaging):
    ours = losses.soften(tensor(TEACHERS), 3.0, averaging)
    for m in range(M):
        for i in range(N):
            rows = TEACHERS[m, i]
            if averaging == "proba":
                expected = np.mean([softmax(row / 3) for row in rows], axis=0)
            else:
                expected = softmax(rows.mean(0) / 3)
            np.testing.assert_allclose(ours[m, i], expected, atol=1e-14)


@pytest.mark.parametrize("one_sided", [False, True])
def test_truncated_distillation_has_the_step_of_the_paper(one_sided):
    student, weight = tensor(S, grad=True), draw_weight(10)
    loss = losses.truncated_distillation(
        student, tensor(T_LOGITS), tensor(weight), tau=0.8, one_sided=one_sided
    )
    loss.sum().backward()
    for m in range(M):
        for i in range(N):
            d = truncated(S[m, i], 0.8) - truncated(T_LOGITS[m, i], 0.8)
            d = np.minimum(d, 0) if one_sided else d
            share = weight[m, i] / weight[m].sum()
            np.testing.assert_allclose(student.grad[m, i], share * d, atol=1e-14)


def test_truncated_logit_is_its_formula():
    ours = losses.truncated_logit(tensor(S), tensor(TEMPERATURES))
    for m in range(M):
        for i in range(N):
            np.testing.assert_allclose(ours[m, i], truncated(S[m, i], TEMPERATURES[m]), atol=1e-14)


def test_proxy_target_is_its_formula():
    p = softmax(TEACHERS)
    mean, precision = losses.proxy_dirichlet_target(tensor(p))
    for m in range(M):
        for i in range(N):
            expected = p[m, i].mean(0)
            spread = np.mean([kl(expected, row) for row in p[m, i]])
            np.testing.assert_allclose(mean[m, i], expected, atol=1e-14)
            np.testing.assert_allclose(precision[m, i], (K - 1) / (2 * spread + 1e-8), rtol=1e-10)


def test_proxy_target_recovers_a_dirichlet():
    alpha = np.array([60.0, 30.0, 20.0, 10.0])
    p = np.random.default_rng(0).dirichlet(alpha, 20_000)
    mean, precision = losses.proxy_dirichlet_target(tensor(p))
    np.testing.assert_allclose(mean, alpha / 120, atol=2e-3)
    np.testing.assert_allclose(precision, 120, rtol=0.05)


def test_reverse_proxy_is_a_divergence_up_to_a_constant():
    mean, precision = P[0, 1], 7.0
    beta = precision * mean + 1
    gaps = []
    for s in S.reshape(-1, K):
        ours = losses.proxy_dirichlet(
            tensor(s[None, None]), tensor(mean[None, None]), tensor([[precision]])
        )
        gaps.append(ours.item() - dirichlet_kl(np.exp(s) + 1, beta) / precision)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-10)


@pytest.mark.parametrize("reverse", [False, True])
def test_proxy_is_least_at_its_target(reverse):
    mean, precision = tensor(P[:, 1:]), tensor(PRECISION[:, 1:])
    best = (precision.unsqueeze(-1) * mean).log().requires_grad_()
    loss = losses.proxy_dirichlet(best, mean, precision, reverse=reverse)
    loss.sum().backward()
    assert best.grad.abs().max() < 1e-10
    assert reverse or loss.abs().max() < 1e-10


def test_entropy_is_accurate_for_large_and_small_parameters():
    # At 200 the series takes over; SciPy's own form cancels for much larger numbers.
    for top in [1.0, 150.0, 199.0, 201.0, 1000.0]:
        alpha = np.array([top, 1.5, 3.0, 199.9])
        logits = tensor(np.log(np.maximum(alpha - 1, 1e-300)))[None, None]
        mean, precision = torch.zeros_like(logits), torch.ones(1, 1, dtype=torch.float64)
        ours = -losses.proxy_dirichlet(logits, mean, precision).item()
        np.testing.assert_allclose(ours, stats.dirichlet.entropy(alpha), atol=1e-10)


def test_entropy_of_sure_students_is_its_limit():
    # The entropy tends to (1 - K) / 2 log(a) and a constant: doubling costs (K - 1) / 2 log(2).
    logits = torch.full((2, 1, K), 40.0, dtype=torch.float64)
    logits[1] += np.log(2)
    mean, precision = torch.zeros(1, 1, K), torch.ones(1, 1)
    loss = losses.proxy_dirichlet(logits, mean, precision)
    np.testing.assert_allclose(loss[1] - loss[0], (K - 1) / 2 * np.log(2), atol=1e-9)


def test_dirichlet_proba_is_its_formula():
    expected = (np.exp(S) + 1) / (np.exp(S) + 1).sum(-1, keepdims=True)
    np.testing.assert_allclose(losses.dirichlet_proba(tensor(S)), expected, atol=1e-14)


def test_confidence_weights_are_their_formula():
    ours = losses.confidence_weights(tensor(P))
    for m in range(M):
        expected = P[m].max(-1) / sum(P[m, i].max() for i in range(N))
        np.testing.assert_allclose(ours[m], expected, atol=1e-14)


def test_attention_map_of_vectors_and_maps():
    maps, vectors = losses.attention_map(tensor(MAPS)), losses.attention_map(tensor(S))
    assert maps.shape == (M, N, 4)
    for m in range(M):
        for i in range(N):
            np.testing.assert_allclose(vectors[m, i], unit(S[m, i] ** 2), atol=1e-13)
            expected = unit(np.square(MAPS[m, i]).mean(0).ravel())
            np.testing.assert_allclose(maps[m, i], expected, atol=1e-13)


def test_match_size_pools_the_mean():
    feature = draw(11, 2, 3, 2, 4, 6)
    ours = losses.match_size(tensor(feature), (2, 3))
    expected = feature.reshape(2, 3, 2, 2, 2, 3, 2).mean((4, 6))
    np.testing.assert_allclose(ours, expected, atol=1e-14)
    same = tensor(feature)
    assert losses.match_size(same, (4, 6)) is same


def test_permuting_moves_everything_but_the_top():
    p = softmax(draw(12, 4000, 4))
    ours = losses.permute_dark_knowledge(tensor(p), torch.Generator().manual_seed(0)).numpy()
    rest = np.array([row[np.arange(4) != row.argmax()] for row in p])
    moved = np.array([row[np.arange(4) != row.argmax()] for row in ours])
    # Each of the 6 orders of the others is as likely.
    orders = (moved[:, :, None] == rest[:, None, :]).argmax(-1) @ [9, 3, 1]
    _, counts = np.unique(orders, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-4


def test_permuting_follows_its_generator():
    p = tensor(P)
    first, same, other = (
        losses.permute_dark_knowledge(p, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


# -- the minimum-norm point ------------------------------------------------------------------

PROGRAMS = {
    "n": st.integers(2, 12),
    "n_classes": st.integers(1, 8),
    "tightness": st.floats(0, 1),
    "seed": SEEDS,
}


def program(n, n_classes, tightness, seed):
    """Gradients, at times nearly collinear, and a cap between 1/n and 1."""
    rng = np.random.default_rng(seed)
    g = rng.normal(0, 1, (n, n_classes)) + rng.normal(0, 2, n_classes) * (seed % 2)
    if seed % 3 == 0:
        g[n // 2 :] = g[0] + 1e-7 * g[n // 2 :]
    return g, 1 / n + tightness * (1 - 1 / n)


@given(**PROGRAMS)
@settings(max_examples=60)
def test_min_norm_weights_solve_the_program(n, n_classes, tightness, seed):
    g, cap = program(n, n_classes, tightness, seed)
    ours = losses.min_norm_weights(tensor(g), cap).numpy()
    assert ours.min() >= 0
    assert ours.max() <= cap + 1e-12
    assert ours.sum() == pytest.approx(1, abs=1e-12)
    value, scale = objective(g, ours), np.square(g).sum(-1).max()
    assert value <= objective(g, qp(g, cap)) + 1e-9 * scale
    # The duality gap bounds the distance from the minimum without any solver.
    slope = g @ (ours @ g)
    lowest, left = 0.0, 1.0
    for at in slope.argsort():
        lowest += min(cap, left) * slope[at]
        left -= min(cap, left)
    assert ours @ slope - lowest <= 1e-9 * scale


@given(seed=SEEDS)
@settings(max_examples=30)
def test_min_norm_weights_beat_random_points(seed):
    g, cap = program(6, 4, 0.3, seed)
    value = objective(g, losses.min_norm_weights(tensor(g), cap).numpy())
    points = np.random.default_rng(seed).normal(0, 1, (50, 6))
    for point in losses.project_capped_simplex(tensor(points), cap).numpy():
        assert value <= objective(g, point) + 1e-9


def test_min_norm_weights_of_fifty_teachers_in_a_batch():
    g = draw(13, 2, 3, 50, 100) + 3
    for cap in [0.021, 0.05, 1.0]:
        ours = losses.min_norm_weights(tensor(g), cap).numpy()
        assert ours.shape == (2, 3, 50)
        for index in np.ndindex(2, 3):
            slope = g[index] @ (ours[index] @ g[index])
            at_cap, at_zero = ours[index] > cap - 1e-9, ours[index] < 1e-9
            inside = slope[~at_cap & ~at_zero]
            level = np.median(inside) if len(inside) else slope[at_cap].max()
            np.testing.assert_allclose(inside, level, atol=1e-6)
            assert (slope[at_cap] <= level + 1e-6).all()
            assert (slope[at_zero] >= level - 1e-6).all()


def test_min_norm_weights_have_fast_paths_and_a_degenerate_case():
    g = tensor(draw(14, 2, 4, 3))
    torch.testing.assert_close(losses.min_norm_weights(g, 0.25), torch.full_like(g[..., 0], 0.25))
    near = losses.min_norm_weights(g, 0.25 + 1e-7)
    torch.testing.assert_close(near, torch.full_like(near, 0.25), rtol=0, atol=1e-6)
    assert losses.min_norm_weights(g[:, :1]).tolist() == [[1.0], [1.0]]
    zero = losses.min_norm_weights(torch.zeros(4, 3))
    assert zero.dtype == torch.float32
    torch.testing.assert_close(zero.sum(), torch.tensor(1.0))


@given(n=st.integers(1, 9), tightness=st.floats(0, 1), seed=SEEDS)
@settings(max_examples=60)
def test_projection_is_the_nearest_point(n, tightness, seed):
    cap = 1 / n + tightness * (1 - 1 / n)
    v = np.random.default_rng(seed).normal(0, 1, n)
    x = losses.project_capped_simplex(tensor(v), cap).numpy()
    assert x.min() >= 0
    assert x.max() <= cap + 1e-12
    assert x.sum() == pytest.approx(1, abs=1e-12)
    # (v - x)'(y - x) <= 0 for all feasible y: at the y that maximises it as well.
    best, left = 0.0, 1.0
    for value in sorted(v - x, reverse=True):
        best += min(cap, left) * value
        left -= min(cap, left)
    assert best - (v - x) @ x <= 1e-10


# -- properties ------------------------------------------------------------------------------


@given(seed=SEEDS, temperature=st.floats(0.5, 20), shift=st.floats(-50, 50))
@settings(max_examples=50)
def test_label_distillation_is_a_divergence(seed, temperature, shift):
    s, t = tensor(draw(seed)), tensor(draw(seed + 1, M, N, 1, K))

    def loss(s, t):
        target = losses.soften(t, temperature)
        return losses.label_distillation(s, target, temperature=temperature)

    assert (loss(s, t) > 1e-6).all()
    torch.testing.assert_close(loss(s + shift, t - 2 * shift), loss(s, t), rtol=1e-8, atol=1e-10)
    assert loss(t.squeeze(-2) + shift, t).abs().max() < 1e-9


def centred(seed):
    x = draw(seed)
    return x - x.mean(-1, keepdims=True)


@given(seed=SEEDS)
@settings(max_examples=30)
def test_hot_label_distillation_is_logit_regression(seed):
    s, t, temperature = tensor(centred(seed), grad=True), tensor(centred(seed + 1)), 1e5
    target = losses.soften(t.unsqueeze(-2), temperature)
    losses.label_distillation(s, target, temperature=temperature).sum().backward()
    limit = tensor(centred(seed), grad=True)
    (losses.logit_regression(limit, t) / (2 * K)).sum().backward()
    torch.testing.assert_close(s.grad, limit.grad, rtol=1e-3, atol=1e-5)


@given(seed=SEEDS)
@settings(max_examples=30)
def test_temperature_keeps_the_scale_of_the_gradient(seed):
    sizes = []
    for temperature in [1.0, 4.0, 20.0, 100.0]:
        s, t = tensor(draw(seed, scale=1.0), grad=True), tensor(draw(seed + 1, scale=1.0))
        target = losses.soften(t.unsqueeze(-2), temperature)
        losses.label_distillation(s, target, temperature=temperature).sum().backward()
        sizes.append(s.grad.norm().item())
    assert max(sizes) < 4 * min(sizes)


@given(seed=SEEDS, tau=st.floats(0.05, 3))
@settings(max_examples=50)
def test_truncated_logits_are_bounded_probabilities(seed, tau):
    p = losses.truncated_logit(tensor(np.abs(draw(seed)) * 100), tau).numpy()
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-12)
    assert (p >= np.exp(-1 / tau) / K * (1 - 1e-9)).all()
    assert (p.max(-1) <= p.min(-1) * np.exp(1 / tau) * (1 + 1e-9)).all()


@given(seed=SEEDS, n_classes=st.integers(1, 9))
@settings(max_examples=50)
def test_permuting_keeps_the_top_and_the_numbers(seed, n_classes):
    p = softmax(draw(seed, M, N, n_classes))
    ours = losses.permute_dark_knowledge(tensor(p), torch.Generator().manual_seed(seed)).numpy()
    np.testing.assert_array_equal(np.sort(ours, -1), np.sort(p, -1))
    top = p.argmax(-1)[..., None]
    np.testing.assert_array_equal(np.take_along_axis(ours, top, -1), p.max(-1, keepdims=True))


@given(seed=SEEDS)
@settings(max_examples=30)
def test_dirichlet_proba_is_a_distribution(seed):
    logits = torch.from_numpy(np.random.default_rng(seed).uniform(-500, 500, (M, N, K)))
    for kind in [torch.float32, torch.float64]:
        p = losses.dirichlet_proba(logits.to(kind))
        assert p.dtype == kind
        assert p.isfinite().all()
        torch.testing.assert_close(p.sum(-1), torch.ones(M, N, dtype=kind))


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
@settings(max_examples=30)
def test_attention_maps_have_length_one(seed, scale):
    for feature in [draw(seed, 2, 3, 4, 2, 3), draw(seed, 2, 3, 4)]:
        q = losses.attention_map(tensor(feature * scale))
        torch.testing.assert_close(q.norm(dim=-1), torch.ones(2, 3, dtype=q.dtype))


@given(seed=SEEDS, scale=st.floats(1e-2, 1e2))
@settings(max_examples=30)
def test_relation_is_blind_to_scale_and_rotation(seed, scale):
    teacher = tensor(draw(seed, M, N, 6))
    rotation = tensor(stats.special_ortho_group.rvs(6, random_state=seed))
    assert losses.relation(teacher, teacher).abs().max() == 0
    assert losses.relation(scale * teacher @ rotation + 3, teacher).max() < 1e-12
    assert losses.relation(teacher.abs(), teacher).min() > 1e-3
