"""Generated data are what they are said to be."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from torch import nn

from skensemble import NetworkClassifier
from skensemble.datasets import (
    THOUGHT_EXPERIMENT,
    gaussian,
    load_cifar,
    make_labelled_gaussian,
    make_multiview_classification,
)
from skensemble.nn import gradient_descent


def parts(X, features):
    """Return the strength of every feature in every patch, (row, patch, class, view)."""
    return np.einsum("npd,kvd->npkv", X, features)


@settings(max_examples=20, deadline=None)
@given(
    n_classes=st.integers(2, 6), per_feature=st.integers(1, 3), room=st.integers(0, 6),
    extra=st.integers(0, 20), s=st.floats(0, 2), mu=st.floats(0, 1), seed=st.integers(0, 999),
)  # fmt: skip
def test_rows_hold_what_the_views_say(n_classes, per_feature, room, extra, s, mu, seed):
    X, y, views = make_multiview_classification(
        40, n_classes=n_classes, n_patches=2 * per_feature + room, patch_dim=2 * n_classes + extra,
        patches_per_feature=per_feature, n_others=s, single_view=mu, background=0.0,
        return_views=True, random_state=seed,
    )  # fmt: skip
    flat = views.features.reshape(2 * n_classes, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(2 * n_classes), atol=1e-10)
    z = parts(X, views.features)
    np.testing.assert_allclose(z.sum(1), views.strength, atol=1e-10)
    held = np.abs(z) > 1e-9
    assert (held.sum((2, 3)) <= 1).all()  # a patch holds one feature
    assert (held.sum(1) <= per_feature).all()
    np.testing.assert_allclose(z, np.abs(z), atol=1e-10)
    # nothing beside the features
    np.testing.assert_allclose(np.einsum("npkv,kvd->npd", z, views.features), X, atol=1e-10)
    rows = np.arange(len(y))
    own = views.strength[rows, y]
    both = views.view < 0
    assert ((own[both] >= 1) & (own[both] <= 2)).all()
    single, view = rows[~both], views.view[~both]
    kept, lost = (
        views.strength[single, y[single], view],
        views.strength[single, y[single], 1 - view],
    )
    assert ((kept >= 1) & (kept <= 1.2)).all()
    assert ((lost >= 0.02) & (lost <= 0.03)).all()
    others = views.strength.copy()
    others[rows, y] = 0
    for chosen, low, high in ((both, 0.2, 0.4), (~both, 0.15, 0.3)):
        found = others[chosen][others[chosen] > 0]
        assert ((found >= low) & (found <= high)).all()


def test_shares_and_noise_are_as_wanted():
    args = {"n_classes": 10, "n_patches": 60, "patch_dim": 50, "random_state": 0}
    X, y, views = make_multiview_classification(4000, single_view=0.2, return_views=True, **args)
    assert stats.binomtest(int((views.view >= 0).sum()), 4000, 0.2).pvalue > 1e-3
    assert stats.binomtest(int((views.view == 1).sum()), int((views.view >= 0).sum())).pvalue > 1e-3
    assert stats.chisquare(np.bincount(y)).pvalue > 1e-3
    others = views.strength > 0
    others[np.arange(len(y)), y] = False
    n_seen = int(others.sum())
    assert stats.binomtest(n_seen, 4000 * 9 * 2, 0.3).pvalue > 1e-3  # s / k
    lengths = np.linalg.norm(X, axis=-1)
    empty = np.abs(parts(X, views.features)).max((2, 3)) < 0.9
    noise = X[:, :][empty & (lengths > 0.8)]
    assert np.sqrt((noise**2).sum(-1).mean()) == pytest.approx(1.8, rel=0.02)
    assert stats.kstest(noise[:200].ravel() / (1.8 / 50**0.5), "norm").pvalue > 1e-3


def test_noise_in_patches_with_features():
    args = {"background": 0.0, "return_views": True, "random_state": 0, "patch_dim": 100}
    X, _, views = make_multiview_classification(500, **args)
    noisy, _, same = make_multiview_classification(500, patch_noise=0.5, **args)
    np.testing.assert_array_equal(views.strength, same.strength)
    # no background: patches without a feature stay empty
    assert (np.linalg.norm(noisy[np.linalg.norm(X, axis=-1) == 0], axis=-1) == 0).all()
    mixed, _, more = make_multiview_classification(500, feature_noise=0.1, **args)
    extra = parts(mixed, more.features) - parts(X, views.features)
    assert extra.min() >= -1e-9
    assert extra.max() <= 0.1
    assert extra.mean() == pytest.approx(0.05, rel=0.02)


def test_patch_noise_has_its_length():
    args = {"return_views": True, "random_state": 0}
    quiet, _, views = make_multiview_classification(300, **args)
    loud, _, _ = make_multiview_classification(300, patch_noise=0.5, **args)
    changed = np.linalg.norm(loud - quiet, axis=-1)
    held = changed > 0
    assert np.sqrt((changed[held] ** 2).mean()) == pytest.approx(0.5, rel=0.02)
    assert held.sum() == (views.strength > 0).sum()


def test_a_linear_classifier_is_behind_the_strongest_feature():
    args = {"random_state": 0, "return_views": True}
    X, y, views = make_multiview_classification(1000, **args)
    X_test, y_test = make_multiview_classification(2000, features=views.features, random_state=1)
    flat, flat_test = (one.reshape(len(one), -1) for one in (X, X_test))
    for alpha in (1.0, 100.0):
        assert RidgeClassifier(alpha).fit(flat, y).score(flat_test, y_test) < 0.9
    # while the strongest feature gives the class away
    assert (parts(X_test, views.features).max((1, 3)).argmax(1) == y_test).mean() > 0.97
    # and so do sums over the patches, unless the shares are balanced: see below
    assert RidgeClassifier().fit(X.sum(1), y).score(X_test.sum(1), y_test) > 0.95


def test_balanced_shares_hide_the_class_from_linear_classifiers():
    args = {"feature_noise": "balanced", "return_views": True}
    X, y, views = make_multiview_classification(2000, random_state=0, **args)
    sums = np.einsum("npd,kvd->nkv", X, views.features)
    quiet, classes, same = make_multiview_classification(
        2000, background=0.0, feature_noise="balanced", features=views.features,
        return_views=True, random_state=0,
    )  # fmt: skip
    # every feature adds up to the same number in every row, but for the background
    np.testing.assert_allclose(np.einsum("npd,kvd->nkv", quiet, views.features), 2.0, atol=1e-10)
    held = parts(quiet, views.features)
    assert held.min() >= 0
    assert np.median(held) <= 2 / 14
    own = same.strength[np.arange(2000), classes].max(1)
    np.testing.assert_allclose(held.max((1, 2, 3)), own + (2 - own) / 14, atol=1e-9)
    # so that class means do not differ more than chance lets them
    centred = (sums - sums.mean(0)).reshape(2000, -1)
    for column in centred.T:
        assert stats.f_oneway(*(column[y == c] for c in range(10))).pvalue > 1e-5
    X_test, y_test = make_multiview_classification(
        2000, feature_noise="balanced", features=views.features, random_state=1
    )
    flat, flat_test = (one.reshape(len(one), -1) for one in (X, X_test))
    for alpha in (1.0, 100.0):
        assert RidgeClassifier(alpha).fit(flat, y).score(flat_test, y_test) < 0.3
        pooled = RidgeClassifier(alpha).fit(X.sum(1), y)
        assert pooled.score(X_test.sum(1), y_test) < 0.15
    assert (parts(X_test, views.features).max((1, 3)).argmax(1) == y_test).mean() > 0.97


def test_a_network_learns_what_no_linear_classifier_does():
    args = {
        "n_classes": 4, "patch_dim": 40, "n_patches": 8, "n_others": 2, "own": (1.0, 1.5),
        "background": 1.4, "feature_noise": "balanced",
    }  # fmt: skip
    X, y, views = make_multiview_classification(200, return_views=True, random_state=0, **args)
    X_test, y_test = make_multiview_classification(
        1000, features=views.features, random_state=10, **args
    )
    net = gradient_descent(n_steps=150).set_params(module__n_filters=12)
    assert NetworkClassifier(net, random_state=0).fit(X, y).score(X_test, y_test) > 0.95
    flat, flat_test = (one.reshape(len(one), -1) for one in (X, X_test))
    for alpha in (1.0, 100.0):
        assert RidgeClassifier(alpha).fit(flat, y).score(flat_test, y_test) < 0.4
        assert RidgeClassifier(alpha).fit(X.sum(1), y).score(X_test.sum(1), y_test) < 0.35


def test_the_thought_experiment():
    _, y, views = make_multiview_classification(
        5000, **THOUGHT_EXPERIMENT, return_views=True, random_state=0
    )
    shares = [(views.view == v).mean() for v in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    single = np.flatnonzero(views.view >= 0)
    lost = views.strength[single, y[single], 1 - views.view[single]]
    assert (lost == 0).all()
    assert set(y) == {0, 1}
    rows = np.arange(len(y))
    other = views.strength[rows, 1 - y]
    np.testing.assert_allclose(other.max(1), 0.1)  # of exactly one of the other class's features
    np.testing.assert_array_equal((other > 0).sum(1), 1)
    assert 0.45 < (other[:, 0] > 0).mean() < 0.55
    kept = views.strength[rows, y][views.view < 0]
    np.testing.assert_allclose(kept, 1.0)
    X, _ = make_multiview_classification(20, **THOUGHT_EXPERIMENT, random_state=0)
    flat = views.features.reshape(-1, 40)
    inside = np.linalg.norm(X @ flat.T, axis=-1)
    outside = np.linalg.norm(X - X @ flat.T @ flat, axis=-1)
    assert ((outside > 0.3).sum(1) >= 1).all()  # patches of noise alone
    assert (np.sort(inside, 1)[:, -1] > 0.99).all()


def test_noise_on_features_does_not_hang_on_the_background():
    args = {"n_classes": 3, "patch_dim": 100, "own": (1, 1), "return_views": True}
    X, _, views = make_multiview_classification(
        50, **args, background=0.0, patch_noise=0.5, random_state=0
    )
    flat = views.features.reshape(-1, 100)
    left = np.linalg.norm(X - X @ flat.T @ flat, axis=-1)
    with_feature = np.abs(X).sum(-1) > 0
    assert with_feature.sum(1).min() >= 2
    assert with_feature.sum(1).max() < 14
    np.testing.assert_allclose(left[with_feature].mean(), 0.5 * np.sqrt(94 / 100), rtol=0.05)


def test_multiview_seeds_and_dtype():
    X, y = make_multiview_classification(20, random_state=3, dtype=np.float32)
    again, same = make_multiview_classification(20, random_state=3)
    assert X.dtype == np.float32
    np.testing.assert_allclose(X, again, rtol=1e-6)
    np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_classes": 1}, "'n_classes' parameter .* Got 1"),
        ({"patch_dim": 19}, "'patch_dim' must be at least 20. Got 19"),
        ({"n_patches": 3, "patches_per_feature": 2}, "'n_patches' must be at least 4. Got 3"),
        ({"single_view": 1.5}, "'single_view' parameter .* Got 1.5"),
        ({"n_others": 11}, r"'n_others' must be in \[0, n_classes\], or 'one'. Got 11"),
        ({"feature_noise": -0.1}, "'feature_noise' parameter .* Got -0.1"),
        ({"feature_noise": "even"}, "'feature_noise' parameter .* Got 'even'"),
        ({"n_others": "two"}, "'n_others' parameter .* Got 'two'"),
        ({"n_others": "one", "n_patches": 2}, "'n_patches' must be at least 3. Got 2"),
        ({"features": np.zeros((10, 2, 160))}, "must be orthonormal vectors of shape"),
    ],
)
def test_multiview_errors(args, message):
    with pytest.raises(ValueError, match=message):
        make_multiview_classification(5, **args)


# -- Gaussian-like data ----------------------------------------------------------------------


@pytest.mark.parametrize("labeller", gaussian.LABELLERS)
@pytest.mark.parametrize("mixture", [False, True])
def test_labels_are_those_of_one_random_network(labeller, mixture):
    args = {"shape": (3, 4, 4), "n_classes": 4, "labeller": labeller, "mixture": mixture}
    X, y = make_labelled_gaussian(300, random_state=0, **args)
    score = gaussian._labeller(labeller, (3, 4, 4), 4, np.random.RandomState(0))
    np.testing.assert_array_equal(score(X).argmax(1), y)
    other, _ = make_labelled_gaussian(300, random_state=1, **args)
    assert not np.allclose(X, other)
    assert len(set(y)) > 1


def test_gaussian_rows_are_gaussian():
    X, _ = make_labelled_gaussian(2000, shape=20, random_state=0)
    assert X.shape == (2000, 20)
    assert stats.kstest(X.ravel(), "norm").pvalue > 1e-3
    mixed, _ = make_labelled_gaussian(2000, shape=20, mixture=True, random_state=0)
    assert mixed.var() == pytest.approx(0.49 + 1.0, rel=0.2)


def test_a_linear_labeller_is_learned_by_a_linear_model():
    X, y = make_labelled_gaussian(3000, shape=20, n_classes=3, random_state=0)
    X_test, y_test = make_labelled_gaussian(1000, shape=20, n_classes=3, random_state=1)
    assert LogisticRegression().fit(X, y).score(X_test, y_test) > 0.93
    X_other, y_other = make_labelled_gaussian(1000, shape=20, n_classes=3, labeller_state=1)
    assert LogisticRegression().fit(X, y).score(X_other, y_other) < 0.8


def test_rejection_balances_and_margin_keeps_apart():
    args = {"shape": 20, "n_classes": 7, "labeller": "fc2", "random_state": 0}
    _, y = make_labelled_gaussian(150, rejection=True, **args)
    counts = np.bincount(y, minlength=7)
    assert counts.max() - counts.min() <= 1
    score = gaussian._labeller("fc2", (20,), 7, np.random.RandomState(0))

    def gap(X):
        top = np.sort(score(X), 1)
        return top[:, -1] - top[:, -2]

    near, far = (make_labelled_gaussian(500, margin=m, **args)[0] for m in (False, True))
    assert gap(far).min() > np.quantile(gap(near), 0.3)


def test_label_noise_is_a_share_of_other_classes():
    X, y, clean = make_labelled_gaussian(
        4000, shape=10, label_noise=0.1, return_clean=True, random_state=0
    )
    assert stats.binomtest(int((y != clean).sum()), 4000, 0.1).pvalue > 1e-3
    plain, same = make_labelled_gaussian(4000, shape=10, random_state=0)
    np.testing.assert_array_equal(X, plain)
    np.testing.assert_array_equal(clean, same)


def test_gaussian_errors():
    with pytest.raises(ValueError, match="'labeller' parameter .* Got 'fc9'"):
        make_labelled_gaussian(5, labeller="fc9")
    with pytest.raises(ValueError, match=r"rows of shape \(channels, height, width\). Got \(8,\)"):
        make_labelled_gaussian(5, shape=8, labeller="conv2")
    with pytest.raises(ValueError, match="'label_noise' parameter .* Got 2"):
        make_labelled_gaussian(5, label_noise=2)
    with pytest.raises(ValueError, match="hardly ever come up"):
        make_labelled_gaussian(400, shape=1, n_classes=40, rejection=True, random_state=0)


# -- CIFAR -----------------------------------------------------------------------------------


def some_images(n=6):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 10


def test_npz_files_and_memory_maps(tmp_path):
    X, y = some_images()
    path = tmp_path / "cifar.npz"
    np.savez(path, X_train=X, y_train=y, X_test=X.transpose(0, 3, 1, 2), y_test=y)
    found, labels = load_cifar("cifar10", path)
    np.testing.assert_array_equal(found, X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(load_cifar("cifar10", path, split="test")[0], found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar.npz"]
    mapped, labels = load_cifar("cifar10", path, memory_map=tmp_path / "maps")
    assert isinstance(mapped, np.memmap)
    path.unlink()  # the maps are enough
    mapped, labels = load_cifar("cifar10", path, memory_map=tmp_path / "maps")
    np.testing.assert_array_equal(mapped, found)
    np.testing.assert_array_equal(labels, y)


def test_torchvisions_own_files(tmp_path, monkeypatch):
    from torchvision import datasets as theirs

    X, y = some_images(5)
    folder = tmp_path / theirs.CIFAR10.base_folder
    folder.mkdir()
    rows = X.transpose(0, 3, 1, 2).reshape(5, -1)
    for name, _ in theirs.CIFAR10.train_list + theirs.CIFAR10.test_list:
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": y.tolist()}))
    names = [f"class {k}" for k in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr(theirs.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    found, labels = load_cifar("cifar10", tmp_path)
    assert found.shape == (25, 3, 32, 32)
    np.testing.assert_array_equal(found[:5], X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels[:5], y)


def test_cifar_errors(tmp_path):
    with pytest.raises(ValueError, match="'name' parameter .* Got 'mnist'"):
        load_cifar("mnist", tmp_path)
    with pytest.raises(ValueError, match="'split' parameter .* Got 'valid'"):
        load_cifar("cifar10", tmp_path, split="valid")
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        load_cifar("cifar10", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="must hold torchvision's files of cifar10"):
        load_cifar("cifar10", tmp_path)
    np.savez(tmp_path / "wrong.npz", X_train=np.zeros((2, 5)), y_train=np.zeros(2))
    with pytest.raises(ValueError, match="must be bytes of shape"):
        load_cifar("cifar10", tmp_path / "wrong.npz")


def test_labellers_have_he_weights():
    seen = []
    made = nn.Sequential.__init__

    def spy(self, *layers):
        seen.append(layers)
        made(self, *layers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Sequential, "__init__", spy)
        gaussian._labeller("fc3", (50,), 10, np.random.RandomState(0))
    (layers,) = seen
    linears = [one for one in layers if isinstance(one, nn.Linear)]
    assert [one.out_features for one in linears] == [100, 100, 10]
    for one in linears:
        assert float(one.weight.var()) == pytest.approx(2 / one.in_features, rel=0.1)
        assert float(one.bias.abs().max()) == 0
    assert torch.get_default_dtype() == torch.float32
