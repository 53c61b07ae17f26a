"""Distillation losses beside slow references written from their formulas."""

import numpy as np
import torch
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
