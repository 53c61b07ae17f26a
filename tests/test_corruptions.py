"""Corrupted images and tables."""

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from skensemble._seeding import numbered
from skensemble.datasets import (
    CORRUPTIONS,
    TABLE_CORRUPTIONS,
    corrupt_images,
    corrupt_table,
    pixels,
)


def photographs(n_rows=32, side=32):
    """Cut pieces out of two photographs, at an eighth of their size."""
    rng = np.random.default_rng(0)
    small = [photo[::4, ::4].transpose(2, 0, 1) for photo in load_sample_images().images]
    pieces = []
    for number in range(n_rows):
        photo = small[number % 2]
        top, left = (int(rng.integers(n - side)) for n in photo.shape[1:])
        pieces.append(photo[:, top : top + side, left : left + side])
    return np.stack(pieces)


PHOTOS = photographs()


def distance(a, b):
    return np.abs(a.astype(float) - b.astype(float)).mean()


# -- images --------------------------------------------------------------------------------


def test_there_are_fifteen():
    assert len(CORRUPTIONS) == len(set(CORRUPTIONS)) == 15


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_severity_is_distance(corruption):
    found = [
        distance(corrupt_images(PHOTOS, corruption, severity=s, random_state=0), PHOTOS)
        for s in range(1, 6)
    ]
    assert found[0] > 0
    assert (np.diff(found) > 0).all()
    assert found[-1] < 80  # of 255: something is left to see


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@given(
    n_rows=st.integers(0, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    severity=st.integers(1, 5),
    dtype=st.sampled_from([np.uint8, np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=8, deadline=None)
def test_shape_dtype_and_range(corruption, n_rows, channels, height, width, severity, dtype, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n_rows, channels, height, width))
    X = (255 * X).round().astype(dtype) if dtype is np.uint8 else X.astype(dtype)
    before = X.copy()
    found = corrupt_images(X, corruption, severity=severity, random_state=seed)
    np.testing.assert_array_equal(X, before)
    assert found.shape == X.shape
    assert found.dtype == dtype
    assert np.isfinite(found).all()
    assert dtype is np.uint8 or n_rows == 0 or (found.min() >= 0 and found.max() <= 1)
    again = corrupt_images(X, corruption, severity=severity, random_state=seed)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_stay_images(corruption, value):
    found = corrupt_images(np.full((2, 3, 9, 12), value, np.uint8), corruption, severity=5)
    assert found.dtype == np.uint8
    as_float = corrupt_images(np.full((2, 1, 9, 12), value / 255), corruption, severity=5)
    assert np.isfinite(as_float).all()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_image_is_altered_by_itself(corruption, monkeypatch):
    X = PHOTOS[:6]
    whole = corrupt_images(X, corruption, random_state=3)
    few = corrupt_images(X[:2], corruption, random_state=3)
    assert abs(whole[:2].astype(int) - few).max() <= 1  # which rounding may be of another sum
    monkeypatch.setattr("skensemble.datasets.corrupted_images._CHUNK_ROWS", 4)
    parts = corrupt_images(X, corruption, random_state=3)
    assert abs(whole.astype(int) - parts).max() <= 1
    drawn = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    other = corrupt_images(X, corruption, random_state=4)
    assert (distance(whole, other) > 0) == (corruption not in drawn)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_bytes_are_floats_rounded(corruption):
    whole = corrupt_images(PHOTOS[:4], corruption, random_state=0)
    floats = corrupt_images((PHOTOS[:4] / 255).astype(np.float32), corruption, random_state=0)
    assert abs(255 * floats.astype(float) - whole).max() <= 0.51


def test_global_generators_are_left_alone():
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for corruption in CORRUPTIONS:
        corrupt_images(PHOTOS[:1], corruption)
    for corruption in TABLE_CORRUPTIONS:
        corrupt_table(np.eye(3), corruption)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


def test_noises_are_as_strong_as_they_say():
    grey = np.full((40, 3, 32, 32), 0.5)
    noisy = corrupt_images(grey, "gaussian_noise", severity=5, random_state=0)
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    counted = corrupt_images(grey, "shot_noise", severity=5, random_state=0)
    assert counted.mean() == pytest.approx(0.5, abs=0.002)
    assert counted.std() == pytest.approx((0.5 / 50) ** 0.5, rel=0.02)
    struck = corrupt_images(grey, "impulse_noise", severity=5, random_state=0)
    assert (struck == 0).mean() == pytest.approx(0.035, rel=0.05)
    assert (struck == 1).mean() == pytest.approx(0.035, rel=0.05)
    assert np.isin(struck, [0.0, 0.5, 1.0]).all()


@pytest.mark.parametrize("level", [0.95, 0.9, 0.85, 0.75, 0.65])
def test_pixelate_is_pillows(level):
    severity = [0.95, 0.9, 0.85, 0.75, 0.65].index(level) + 1
    small = int(32 * level)
    expected = np.stack(
        [
            np.asarray(
                Image.fromarray(image.transpose(1, 2, 0))
                .resize((small, small), Image.Resampling.BOX)
                .resize((32, 32), Image.Resampling.BOX)
            ).transpose(2, 0, 1)
            for image in PHOTOS[:8]
        ]
    )
    found = corrupt_images(PHOTOS[:8], "pixelate", severity=severity)
    assert abs(found.astype(int) - expected).max() <= 1


def test_jpeg_is_pillows():
    file = io.BytesIO()
    Image.fromarray(PHOTOS[0].transpose(1, 2, 0)).save(file, "JPEG", quality=58)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    np.testing.assert_array_equal(corrupt_images(PHOTOS[:1], "jpeg_compression")[0], expected)


def test_contrast_and_brightness_are_their_formulas():
    X = PHOTOS[:4] / 255
    mean = X.mean((2, 3), keepdims=True)
    found = corrupt_images(X, "contrast", severity=1)
    np.testing.assert_allclose(found, 0.75 * X + 0.25 * mean, atol=1e-6)
    bright = corrupt_images(X, "brightness", severity=2)
    np.testing.assert_allclose(bright.max(1), np.minimum(X.max(1) + 0.1, 1), atol=1e-6)
    # Hue and saturation stay: the channels' shares of the largest.
    lit = X.max(1) > 0
    before, after = (one.transpose(0, 2, 3, 1)[lit] for one in (X, bright))
    shares = after / after.max(1, keepdims=True)
    np.testing.assert_allclose(shares, before / before.max(1, keepdims=True), atol=1e-5)


def test_filters_are_scipys():
    x = PHOTOS[:2] / 255
    t = torch.from_numpy(x).float()
    expected = ndimage.gaussian_filter(x, (0, 0, 1.3, 1.3), mode="nearest", radius=6)
    np.testing.assert_allclose(pixels.blurred(t, 1.3), expected, atol=1e-5)
    kernel = torch.rand(5, 3)
    found = pixels.filtered(t, kernel)
    wanted = ndimage.correlate(x, kernel.numpy()[None, None], mode="nearest")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    rng = np.random.default_rng(0)
    down, right = rng.uniform(-3, 35, size=(2, 2, 32, 32)).astype(np.float32)
    found = pixels.sampled(t, torch.from_numpy(down), torch.from_numpy(right))
    for image, channel in np.ndindex(2, 3):
        wanted = ndimage.map_coordinates(
            x[image, channel], [down[image], right[image]], order=1, mode="nearest"
        )
        np.testing.assert_allclose(found[image, channel], wanted, atol=1e-4)


def test_blurs_are_means_of_moved_images():
    x = PHOTOS[:2] / 255
    i, j = np.mgrid[:32, :32].astype(float)

    def look(image, down, right):
        each = [ndimage.map_coordinates(c, [down, right], order=1, mode="nearest") for c in image]
        return np.stack(each)

    factors = [1.0, *(1 + np.arange(6) / 100)]
    zoomed = [
        np.mean([look(one, (i - 15.5) / f + 15.5, (j - 15.5) / f + 15.5) for f in factors], 0)
        for one in x
    ]
    np.testing.assert_allclose(corrupt_images(x, "zoom_blur", severity=1), zoomed, atol=1e-4)
    for number, one in enumerate(x):
        angle = numbered(7, number).uniform(-np.pi / 4, np.pi / 4)
        weights = np.exp(-0.5 * np.arange(13) ** 2 / 1.5**2)
        moved = sum(
            w * look(one, i + k * np.sin(angle), j + k * np.cos(angle))
            for k, w in enumerate(weights / weights.sum())
        )
        found = corrupt_images(x, "motion_blur", severity=2, random_state=7)[number]
        np.testing.assert_allclose(found, moved, atol=1e-4)


def test_defocus_of_a_point_is_a_disc():
    point = np.zeros((1, 1, 15, 15))
    point[..., 7, 7] = 1
    found = corrupt_images(point, "defocus_blur", severity=5)[0, 0]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-7)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-7)
    far = np.hypot(*np.mgrid[-7:8, -7:8]) > 3
    assert (found[far] == 0).all()
    np.testing.assert_allclose(found[6:9, 6:9], 1 / 9, atol=1e-4)  # a radius of 1.5 has nine


def test_glass_moves_pixels_and_makes_none(monkeypatch):
    monkeypatch.setattr("skensemble.datasets.noises.blurred", lambda x, sigma: x.clone())
    found = corrupt_images(PHOTOS[:3], "glass_blur", severity=5, random_state=0)
    assert distance(found, PHOTOS[:3]) > 1
    for before, after in zip(PHOTOS[:3], found, strict=True):
        colours = [
            np.sort(one.reshape(3, -1).T.astype(int) @ [65536, 256, 1]) for one in (before, after)
        ]
        np.testing.assert_array_equal(*colours)


def test_blurs_keep_a_plain_image():
    plain = np.full((2, 3, 16, 16), 0.3)
    for corruption in CORRUPTIONS:
        if "blur" in corruption or corruption in ("elastic_transform", "pixelate", "contrast"):
            found = corrupt_images(plain, corruption, severity=5, random_state=0)
            np.testing.assert_allclose(found, plain, atol=1e-5, err_msg=corruption)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros((2, 2, 9, 9)), r"channels .* Got shape \(2, 2, 9, 9\)"),
        (np.zeros((2, 3, 7, 9)), r"at least 8 pixels a side. Got shape \(2, 3, 7, 9\)"),
        (np.zeros((3, 9, 9)), "Got shape"),
        (np.full((1, 1, 8, 8), 1.5), "floats in .* Got 1.5 to 1.5"),
        (np.full((1, 1, 8, 8), np.nan), "floats in .* Got nan to nan"),
        (np.zeros((1, 1, 8, 8), int), "Got int64"),
    ],
)
def test_what_is_no_image(X, match):
    with pytest.raises(ValueError, match=f"The 'X' must be .*{match}"):
        corrupt_images(X, "fog")


@pytest.mark.parametrize("function", [corrupt_images, corrupt_table])
def test_settings(function):
    name = function.__name__
    for severity in (0, 6, 1.5):
        with pytest.raises(ValueError, match=f"'severity' parameter of {name} must be an int in"):
            function(PHOTOS, "fog" if function is corrupt_images else "noise", severity=severity)
    with pytest.raises(ValueError, match=f"'corruption' parameter of {name} must be a str among"):
        function(PHOTOS, "rain")
    with pytest.raises(ValueError, match=f"'random_state' parameter of {name}"):
        function(PHOTOS, "fog" if function is corrupt_images else "noise", random_state="x")


# -- tables --------------------------------------------------------------------------------

TABLE = np.random.default_rng(0).normal(size=(400, 5)) * [1, 10, 0.1, 3, 0] + [0, 5, 1, -2, 7]


def change(before, after):
    """Mean distance in standard deviations; a missing number counts as one."""
    deviation = np.where(before.std(0) > 0, before.std(0), 1)
    return np.nan_to_num(np.abs(after - before) / deviation, nan=1.0).mean()


@pytest.mark.parametrize("corruption", TABLE_CORRUPTIONS)
def test_severity_of_tables_is_distance(corruption):
    found = [
        change(TABLE, corrupt_table(TABLE, corruption, severity=s, random_state=0))
        for s in range(1, 6)
    ]
    assert found[0] > 0
    assert (np.diff(found) > 0).all()


def test_tables_are_altered_as_they_say():
    noisy = corrupt_table(TABLE, "noise", severity=3, random_state=0) - TABLE
    np.testing.assert_allclose(noisy.std(0), 0.5 * TABLE.std(0), rtol=0.1, atol=1e-12)
    gone = np.isnan(corrupt_table(TABLE, "missing", severity=5, random_state=0))
    np.testing.assert_allclose(gone.mean(0), 0.5, atol=0.1)
    shifted = corrupt_table(TABLE, "shift", severity=4, random_state=0) - TABLE
    np.testing.assert_allclose(shifted.std(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.abs(shifted[0]), 0.75 * TABLE.std(0), atol=1e-9)
    permuted = corrupt_table(TABLE, "permute", severity=4, random_state=0)
    np.testing.assert_array_equal(np.sort(permuted, 0), np.sort(TABLE, 0))
    np.testing.assert_array_equal((permuted != TABLE).mean(0), [0.3] * 4 + [0])


def test_noise_is_not_that_of_data_drawn_with_the_same_seed():
    X = np.random.default_rng(0).normal(size=(1000, 1))
    noise = corrupt_table(X, "noise", random_state=0) - X
    assert abs(np.corrcoef(noise[:, 0], X[:, 0])[0, 1]) < 0.1
    image = np.random.default_rng(0).normal(0.5, 0.05, size=(1, 1, 32, 32)).clip(0, 1)
    noise = corrupt_images(image, "gaussian_noise", random_state=0) - image
    assert abs(np.corrcoef(noise.ravel(), image.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("corruption", TABLE_CORRUPTIONS)
@given(
    n_rows=st.integers(0, 12),
    n_columns=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    holes=st.booleans(),
    severity=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_tables_of_any_size(corruption, n_rows, n_columns, dtype, holes, severity, seed):
    X = (9 * np.random.default_rng(seed).normal(size=(n_rows, n_columns))).astype(dtype)
    if holes and dtype is not np.int64:
        X[::2] = np.nan
    before = X.copy()
    found = corrupt_table(X, corruption, severity=severity, random_state=seed)
    np.testing.assert_array_equal(X, before)
    assert found.shape == X.shape
    assert found.dtype == (np.float32 if dtype is np.float32 else np.float64)
    again = corrupt_table(X, corruption, severity=severity, random_state=seed)
    np.testing.assert_array_equal(found, again)
    if corruption != "missing":
        assert np.isnan(found).sum() == np.isnan(X.astype(float)).sum()
    first = corrupt_table(X[:, :1], corruption, severity=severity, random_state=seed)
    np.testing.assert_array_equal(first, found[:, :1])


def frame():
    return pd.DataFrame(
        {
            "size": TABLE[:, 1],
            "count": np.arange(400) % 7,
            "small": TABLE[:, 0].astype(np.float32),
            "maybe": pd.array([*[1, None] * 200], dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "c", "d"] * 100),
            "word": ["x", "y"] * 200,
            "flag": [True, False] * 200,
            "day": pd.date_range("2020-01-01", periods=400),
        },
        index=np.arange(400)[::-1],
    )


@pytest.mark.parametrize("corruption", TABLE_CORRUPTIONS)
def test_frames(corruption):
    X = frame()
    found = corrupt_table(X, corruption, severity=5, random_state=0)
    pd.testing.assert_frame_equal(X, frame())
    assert list(found.columns) == list(X.columns)
    pd.testing.assert_index_equal(found.index, X.index)
    others = ["kind", "word", "flag", "day"]
    if corruption == "missing":
        shares = found.isna().mean()
        assert shares.drop("maybe").between(0.4, 0.6).all()
        assert shares["maybe"] > 0.6
        assert found["kind"].dtype == X["kind"].dtype
        kept = ~found["word"].isna()
        pd.testing.assert_series_equal(found["word"][kept], X["word"][kept])
    else:
        pd.testing.assert_frame_equal(found[others], X[others])
    plain = corrupt_table(X[["size"]].to_numpy(), corruption, severity=5, random_state=0)
    np.testing.assert_array_equal(found["size"].to_numpy(), plain[:, 0])
    assert found["small"].dtype == np.float32


def test_columns_of_one_name():
    X = pd.DataFrame(np.eye(4), columns=["a", "a", "b", "a"])
    found = corrupt_table(X, "noise", random_state=0)
    plain = corrupt_table(np.eye(4), "noise", random_state=0)
    np.testing.assert_array_equal(found.to_numpy(), plain)


def test_what_is_no_table():
    with pytest.raises(ValueError, match=r"The 'X' must be a table .* Got shape \(3,\)"):
        corrupt_table(np.zeros(3), "noise")
    with pytest.raises(ValueError, match="The 'X' must have finite numbers"):
        corrupt_table(np.array([[np.inf]]), "noise")
    with pytest.raises(ValueError, match="The 'X' must be a table of numbers. Got: could not"):
        corrupt_table(np.array([["a"]]), "noise")
    with pytest.raises(ValueError, match="The 'X' must have finite numbers"):
        corrupt_table(pd.DataFrame({"a": [1.0, np.inf]}), "noise")
    with pytest.raises(
        TypeError, match="'X' must be an array or a DataFrame of pandas. Got polars"
    ):
        corrupt_table(pl.DataFrame({"a": [1.0], "b": ["x"]}), "noise")
