"""Distillation losses against slow references written from their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.optimize import minimize

from skensemble import losses

M, N, K, R = 3, 5, 4, 3  # members, samples, classes, teachers
SEEDS = st.integers(0, 10_000)
TEMPERATURES = [0.7, 2.0, 5.0]


def tensor(array, *, grad=False):
    return torch.from_numpy(np.ascontiguousarray(array, dtype=float)).requires_grad_(grad)


def softmax(x):
    return special.softmax(np.asarray(x, dtype=float), axis=-1)


def draw(seed, *shape, scale=2.0):
    return np.random.default_rng(seed).normal(0, scale, shape or (M, N, K))


def draw_weight(seed):
    weight = np.random.default_rng(seed).uniform(0.1, 2, (M, N))
    weight[:, 1] = 0
    return weight


def pick(array, m):
    """Entry of a member, where all may share one."""
    return array[m if len(array) > 1 else 0]


def by_sample(one, student, *targets, weight=None):
    """Weighted mean of ``one(member, student_mi, target_mi, ...)`` with explicit loops."""
    weight = np.ones((1, student.shape[1])) if weight is None else weight
    out = []
    for m in range(len(student)):
        total, count = 0.0, 0.0
        for i in range(student.shape[1]):
            w = pick(weight, m)[i]
            total += w * one(m, student[m, i], *(pick(t, m)[i] for t in targets))
            count += w
        out.append(total / count)
    return np.array(out)


# -- references ------------------------------------------------------------------------------


def kl(p, q):
    return special.rel_entr(p, q).sum()


def label_reference(s, p, weight, temperature):
    def one(m, s, p):
        return temperature[m] ** 2 * kl(p, softmax(s / temperature[m]))

    return by_sample(one, s, p, weight=weight)


def truncated(logits, tau):
    e = np.exp(np.minimum(tau**2 * logits, 1) / tau)
    return e / e.sum()


def qp(gradients, cap):
    """Solve the quadratic program by SciPy, from several starts."""
    gram, n = gradients @ gradients.T, len(gradients)
    best = None
    for start in [np.full(n, 1 / n), *np.random.default_rng(0).dirichlet(np.ones(n), 2)]:
        found = minimize(
            lambda x: 0.5 * x @ gram @ x,
            start,
            jac=lambda x: gram @ x,
            bounds=[(0, cap)] * n,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        x = np.clip(found.x, 0, cap)
        feasible = abs(x.sum() - 1) < 1e-8
        if feasible and (best is None or objective(gradients, x) < objective(gradients, best)):
            best = x
    return best


def objective(gradients, weights):
    return 0.5 * np.square(weights @ gradients).sum()


def adaptive_reference(s, t, weight, temperature, cap):
    weight = np.ones((1, N)) if weight is None else weight
    out = []
    for m in range(len(s)):
        T, w = temperature[m], pick(weight, m)
        each, slopes = np.zeros(t.shape[2]), np.zeros((t.shape[2], s.shape[-1]))
        for r in range(t.shape[2]):
            for i in range(s.shape[1]):
                p, q = softmax(pick(t, m)[i, r] / T), softmax(s[m, i] / T)
                each[r] += w[i] / w.sum() * T**2 * kl(p, q)
                slopes[r] += w[i] / w.sum() * T * (q - p)
        out.append(qp(slopes, cap) @ each)
    return np.array(out)


def nll_reference(s, p, weight, temperature, smoothing):
    def one(m, s, p):
        p = (1 - smoothing) * p + smoothing / len(s)
        return -np.mean([stats.dirichlet.logpdf(row, np.exp(s / temperature[m])) for row in p])

    return by_sample(one, s, p, weight=weight)


def proxy_reference(s, mean, precision, weight, reverse):
    def one(m, s, mean, precision):
        alpha, beta = np.exp(s) + 1, precision * mean + 1
        if reverse:
            gap = special.digamma(alpha) - special.digamma(alpha.sum())
            return -(mean * gap).sum() - stats.dirichlet.entropy(alpha) / precision
        return dirichlet_kl(beta, alpha) / precision

    return by_sample(one, s, mean, precision, weight=weight)


def dirichlet_kl(a, b):
    gap = special.digamma(a) - special.digamma(a.sum())
    norm = special.gammaln(a.sum()) - special.gammaln(a).sum()
    return norm - special.gammaln(b.sum()) + special.gammaln(b).sum() + ((a - b) * gap).sum()


def huber(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def relation_reference(s, t, weight, distance, angle, max_samples):
    weight = np.ones((1, s.shape[1])) if weight is None else weight
    out = []
    for m in range(len(s)):
        w, rows = pick(weight, m), (s[m].reshape(N, -1), pick(t, m).reshape(N, -1))
        scaled = []
        for x in rows:
            d, total, count = np.zeros((N, N)), 0.0, 0.0
            for i in range(N):
                for j in range(N):
                    if i != j:
                        d[i, j] = np.sqrt(max(np.square(x[i] - x[j]).sum(), 1e-12))
                        total, count = total + w[i] * w[j] * d[i, j], count + w[i] * w[j]
            scaled.append(d / (total / count))
        far = sum(
            w[i] * w[j] * huber(scaled[0][i, j] - scaled[1][i, j])
            for i in range(N)
            for j in range(N)
        )
        turn, first = 0.0, range(min(N, max_samples))
        for k in first:
            for i in first:
                for j in first:
                    cos = []
                    for x in rows:
                        a, b = x[i] - x[k], x[j] - x[k]
                        length = np.linalg.norm(a) * np.linalg.norm(b)
                        cos.append(a @ b / length if length else 0.0)
                    turn += w[k] * w[i] * w[j] * huber(cos[0] - cos[1])
        part = w[: len(first)].sum()
        out.append(distance * far / w.sum() ** 2 + angle * turn / part**3)
    return np.array(out)


def unit(x):
    return x / np.linalg.norm(x)


# -- values and gradients of all losses ------------------------------------------------------

S, T_LOGITS = draw(0), draw(1)
TEACHERS = draw(2, M, N, R, K)
P = softmax(T_LOGITS)
P[0, 0] = [0.25, 0, 0.75, 0]
PRECISION = np.random.default_rng(3).uniform(0.5, 50, (M, N))
MAPS, OTHER_MAPS = draw(4, M, N, 3, 2, 2), draw(5, M, N, 3, 2, 2)
FLAT = OTHER_MAPS.reshape(M, N, -1)

# name: (loss, reference, student, targets); both take (student, *targets, weight).
CASES = {
    "label": (
        lambda s, p, w: losses.label_distillation(s, p, w, temperature=3.0),
        lambda s, p, w: label_reference(s, p, w, [3.0] * M),
        S,
        (P,),
    ),
    "label per member": (
        lambda s, p, w: losses.label_distillation(s, p, w, temperature=tensor(TEMPERATURES)),
        lambda s, p, w: label_reference(s, p, w, TEMPERATURES),
        S,
        (P,),
    ),
    "logit": (
        losses.logit_regression,
        lambda s, t, w: by_sample(lambda m, s, t: np.square(s - t).sum(), s, t, weight=w),
        S,
        (T_LOGITS,),
    ),
    "adaptive": (
        lambda s, t, w: losses.adaptive_distillation(s, t, w, temperature=3.0, cap=0.5),
        lambda s, t, w: adaptive_reference(s, t, w, [3.0] * M, 0.5),
        S,
        (TEACHERS,),
    ),
    "adaptive per member": (
        lambda s, t, w: losses.adaptive_distillation(
            s, t, w, temperature=tensor(TEMPERATURES), cap=1 / R
        ),
        lambda s, t, w: adaptive_reference(s, t, w, TEMPERATURES, 1 / R),
        S,
        (TEACHERS,),
    ),
    "dirichlet": (
        lambda s, p, w: losses.dirichlet_nll(s, p, w, temperature=tensor(TEMPERATURES)),
        lambda s, p, w: nll_reference(s, p, w, TEMPERATURES, 1e-3),
        S,
        (softmax(TEACHERS),),
    ),
    "dirichlet smooth": (
        lambda s, p, w: losses.dirichlet_nll(s, p, w, smoothing=0.2),
        lambda s, p, w: nll_reference(s, p, w, [1.0] * M, 0.2),
        S,
        (softmax(TEACHERS),),
    ),
    "proxy reverse": (
        losses.proxy_dirichlet,
        lambda s, mean, b, w: proxy_reference(s, mean, b, w, True),
        2 * S,
        (P, PRECISION),
    ),
    "proxy forward": (
        lambda s, mean, b, w: losses.proxy_dirichlet(s, mean, b, w, reverse=False),
        lambda s, mean, b, w: proxy_reference(s, mean, b, w, False),
        S,
        (P, PRECISION),
    ),
    "feature": (
        losses.feature_distillation,
        lambda s, t, w: by_sample(
            lambda m, s, t: np.abs(unit(s) - unit(t)).sum(), s.reshape(M, N, -1), _flat(t), weight=w
        ),
        MAPS,
        (OTHER_MAPS,),
    ),
    "hint": (
        losses.hint,
        lambda s, t, w: by_sample(lambda m, s, t: np.square(s - t).mean(), s, t, weight=w),
        MAPS,
        (OTHER_MAPS,),
    ),
    "attention": (
        lambda s, t, w: losses.attention_transfer(
            losses.attention_map(s), losses.attention_map(t), w
        ),
        lambda s, t, w: by_sample(
            lambda m, s, t: np.square(
                unit(np.square(s).mean(0).ravel()) - unit(np.square(t).mean(0).ravel())
            ).mean(),
            s,
            t,
            weight=w,
        ),
        MAPS,
        (OTHER_MAPS,),
    ),
    "relation": (
        losses.relation,
        lambda s, t, w: relation_reference(s, t, w, 25, 50, 64),
        MAPS,
        (FLAT[..., :7],),
    ),
    "relation of few": (
        lambda s, t, w: losses.relation(s, t, w, distance=2.0, angle=3.0, max_samples=3),
        lambda s, t, w: relation_reference(s, t, w, 2, 3, 3),
        MAPS,
        (OTHER_MAPS,),
    ),
}


def _flat(t):
    return t.reshape(*t.shape[:2], -1)


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
        (lambda s: losses.soften(s, 0.0), "temperature must be greater than 0. Got 0.0."),
        (lambda s: losses.soften(s, 1.0, "vote"), "averaging must be 'proba' or 'logit'. Got 'vo"),
        (
            lambda s: losses.label_distillation(s, s, temperature=-1.0),
            "temperature must be greater than 0. Got -1.0.",
        ),
        (
            lambda s: losses.label_distillation(s, s[..., :2]),
            r"target must have the shape \(3 or 1, 5, 4\). Got \(3, 5, 2\).",
        ),
        (
            lambda s: losses.adaptive_distillation(s, s),
            r"target_logits must have the shape \(3 or 1, 5, 5, 4\). Got \(3, 5, 4\).",
        ),
        (lambda s: losses.truncated_logit(s, 0.0), "tau must be greater than 0. Got 0.0."),
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
