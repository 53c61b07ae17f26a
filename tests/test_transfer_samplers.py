"""Transfer rows against slow references, and what holds for rows of any table."""

import datetime
import math
import pickle
from statistics import NormalDist

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse, stats
from sklearn.base import clone

from skensemble.preprocessing import TablePreprocessor
from skensemble.transfer import Interpolate, Mixup, Munge, Noise, Sampler, partners
from skensemble.transfer.draws import Draws, Use
from skensemble.transfer.names import (
    KINDS,
    describe_transfer,
    read_transfer,
    rebuild_transfer,
)
from skensemble.transfer.tables import read_table

SAMPLERS = [
    Munge(),
    Munge(swap=1.0, spread=0.1, n_neighbours=1),
    Mixup(),
    Mixup(alpha=0.2),
    Interpolate(n_neighbours=2),
    Noise(scale=0.5),
]
CONTAINERS = ["pandas", "extension", "polars", "objects"]
DAY = datetime.datetime(2024, 2, 29)


def raw_columns(n_rows, seed, missing=True):
    """Return columns of every kind as lists, with None where one is missing."""
    rng = np.random.default_rng(seed)
    columns = {
        "real": rng.normal(size=n_rows).round(3).tolist(),
        "whole": rng.integers(-3, 4, n_rows).astype(float).tolist(),
        "integer": rng.integers(0, 5, n_rows).tolist(),
        "boolean": (rng.random(n_rows) < 0.5).tolist(),
        "city": rng.choice(["Rome", "Oslo", "Lima"], n_rows).tolist(),
        "day": [DAY + datetime.timedelta(days=int(d)) for d in rng.integers(0, 9, n_rows)],
        "constant": [2.5] * n_rows,
    }
    holes = [name for name in ("real", "whole", "city", "day") if missing and rng.random() < 0.7]
    for name in holes:
        gone = rng.random(n_rows) < 0.3
        columns[name] = [None if out else v for out, v in zip(gone, columns[name], strict=True)]
    return columns


def contain(columns, container):
    if container == "pandas":
        return pd.DataFrame(columns).astype({"city": "category", "real": "float32"})
    if container == "extension":
        dtypes = {"real": "Float64", "whole": "Int64", "boolean": "boolean", "city": "string"}
        return pd.DataFrame(columns).astype(dtypes)
    if container == "polars":
        cities = pl.Enum(["Rome", "Oslo", "Lima", "Nome"])
        schema = {"whole": pl.Float64, "real": pl.Float32, "city": cities}
        return pl.DataFrame(columns, schema_overrides=schema)
    array = np.empty((len(columns["real"]), len(columns)), dtype=object)
    for at, values in enumerate(columns.values()):
        array[:, at] = values
    return array


def column_lists(X):
    """Return the columns of any container as lists, with None where one is missing."""
    if isinstance(X, np.ndarray):
        columns = [X[:, at].tolist() for at in range(X.shape[1])]
    elif isinstance(X, pd.DataFrame):
        columns = [X.iloc[:, at].astype(object).tolist() for at in range(X.shape[1])]
    else:
        columns = [X[:, at].to_list() for at in range(X.shape[1])]
    return [[None if pd.isna(value) else value for value in values] for values in columns]


def same(a, b):
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, pl.DataFrame):
        assert a.equals(b)
        assert a.schema == b.schema
    else:
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


# -- random numbers ------------------------------------------------------------------------


def slow_uniform(seed, index, use, column):
    """Return one uniform number in Python's own integers."""
    golden, wrap = 0x9E3779B97F4A7C15, 2**64

    def scramble(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % wrap
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % wrap
        return x ^ (x >> 31)

    key = 0
    for part in (seed, int(use), column):
        key = scramble(((key + golden) % wrap) ^ (part % wrap))
    bits = scramble((index * golden + key) % wrap)
    return ((bits >> 12) + 0.5) / 2**52


@given(seed=st.integers(-(2**70), 2**70), index=st.integers(0, 2**62), column=st.integers(0, 99))
def test_a_uniform_number_is_the_slow_one(seed, index, column):
    for use in Use:
        found = Draws(seed).uniform(np.array([index]), use, column)[0]
        assert found == slow_uniform(seed, index, use, column)
        assert 0 < found < 1


def test_streams_are_uniform_and_know_nothing_of_each_other():
    index = np.arange(20_000)
    streams = np.array(
        [
            Draws(seed).uniform(index, use, column)
            for seed in (0, 1)
            for use in Use
            for column in (0, 1)
        ]
    )
    assert all(stats.kstest(one, "uniform").pvalue > 1e-4 for one in streams)
    lagged = np.vstack([streams[:, 1:], streams[:, :-1]])
    off = np.corrcoef(lagged) - np.eye(len(lagged))
    assert np.abs(off).max() < 5 / math.sqrt(len(index))


# -- slow references -----------------------------------------------------------------------


def slow_near(X, row, k):
    """Return rows by their distance from one, numbers alone, ties by number."""
    encoded = TablePreprocessor().fit_transform(X).astype(float)
    away = [(math.dist(encoded[row], encoded[other]), other) for other in range(len(X))]
    return [other for _, other in sorted(away) if other != row][:k]


def numbers(n_rows=30, seed=0):
    """Return a table of two continuous columns and one of integers."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3))
    X[:, 2] = rng.integers(0, 5, n_rows)
    return X


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("swap", "spread", "k"), [(0.5, 1.0, 3), (0.9, 4.0, 1)])
def test_munge_is_the_slow_one(seed, swap, spread, k):
    X = numbers(seed=seed)
    source = Munge(swap, spread, k).over(X, seed)
    found = source.rows(np.arange(70))
    for j in range(70):
        start = int(source.order[j % len(X)])
        which = int(k * slow_uniform(seed, j, Use.PARTNER, 0))
        partner = slow_near(X, start, k)[which]
        for at in range(3):
            expected = X[start, at]
            if slow_uniform(seed, j, Use.CHOICE, at) < swap:
                expected = X[partner, at]
                if at < 2:
                    sd = abs(X[start, at] - expected) / spread
                    noise = NormalDist().inv_cdf(slow_uniform(seed, j, Use.JITTER, at))
                    expected = min(max(expected + sd * noise, X[:, at].min()), X[:, at].max())
            assert found[j, at] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_mixup_is_the_slow_one(seed, alpha):
    X = numbers(seed=seed)
    source = Mixup(alpha).over(X, seed)
    found = source.rows(np.arange(70))
    for j in range(70):
        start = int(source.order[j % len(X)])
        step = 1 + int((len(X) - 1) * slow_uniform(seed, j, Use.PARTNER, 0))
        partner = int(source.order[(j + step) % len(X)])
        share = stats.beta.ppf(slow_uniform(seed, j, Use.SHARE, 0), alpha, alpha)
        for at in range(3):
            expected = share * X[start, at] + (1 - share) * X[partner, at]
            if at == 2:
                is_own = slow_uniform(seed, j, Use.CHOICE, at) < share
                expected = X[start if is_own else partner, at]
            assert found[j, at] == pytest.approx(expected, abs=1e-9)


def test_interpolated_rows_lie_between_a_row_and_a_near_one():
    X = numbers()
    source = Interpolate(n_neighbours=2).over(X, 4)
    for j, row in enumerate(source.rows(np.arange(60))):
        start = X[source.order[j % len(X)]]
        near = [X[other] for other in slow_near(X, source.order[j % len(X)], 2)]
        share = [(row[:2] - other[:2]) / (start[:2] - other[:2]) for other in near]
        assert any(np.ptp(one) < 1e-6 and 0 <= one[0] <= 1 for one in share)


def test_noise_has_the_scale_of_the_quartiles_and_redraws_the_rest():
    X = numbers(400)
    found = Noise(0.05).sample(X, 40_000, random_state=1)
    start = X[Noise(0.05).over(X, 1).order[np.arange(40_000) % 400]]
    quartiles = np.quantile(X[:, :2], [0.25, 0.75], axis=0)
    inside = np.abs(start[:, :2]) < 1
    for at in range(2):
        noise = (found - start)[inside[:, at], at]
        assert noise.std() == pytest.approx(0.05 * np.diff(quartiles[:, at])[0].item(), rel=0.03)
        assert abs(noise.mean()) < 0.002
    # One in five of those that are drawn anew is what it was.
    assert (found[:, 2] != start[:, 2]).mean() == pytest.approx(0.05 * 0.8, abs=0.005)


def test_jitter_has_the_moments_that_munge_says():
    X = np.linspace(0, 1, 101)[:, None]
    X[0], X[-1] = -10, 10  # far ends, so that no number is cut off
    source = Munge(swap=1.0, spread=2.0, n_neighbours=1).over(X, 3)
    index = np.arange(101 * 200)
    found = source.rows(index)[:, 0].reshape(200, 101)
    middle = (X[source.order, 0] > 0.05) & (X[source.order, 0] < 0.95)
    away = found[:, middle] - X[source.order[middle], 0]
    # The neighbour is 0.01 to one side; the noise has half of that.
    assert np.abs(away.mean(0)) == pytest.approx(np.full(middle.sum(), 0.01), abs=0.002)
    assert away.std(0) == pytest.approx(np.full(middle.sum(), 0.005), rel=0.25)
    assert away.std(0).mean() == pytest.approx(0.005, rel=0.02)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("sampler", [Munge(swap=0.0), Noise(scale=0.0)])
def test_nothing_swapped_is_the_training_rows(sampler, container):
    X = contain(raw_columns(12, 3), container)
    found = column_lists(sampler.sample(X, 24, random_state=0))
    order = sampler.over(X, 0).order
    assert found == [[column[i] for i in order] * 2 for column in column_lists(X)]


@pytest.mark.parametrize("container", CONTAINERS)
def test_everything_swapped_is_the_neighbours(container):
    columns = raw_columns(40, 1, missing=False)
    del columns["real"]
    X = contain({**columns, "real": [0.5] * 40}, container)
    rows = list(zip(*column_lists(X), strict=True))
    source = Munge(swap=1.0, n_neighbours=2).over(X, 0)
    found = list(zip(*column_lists(source.rows(np.arange(40))), strict=True))
    assert set(found) <= set(rows)
    assert any(one != rows[i] for one, i in zip(found, source.order, strict=True))


def test_neighbours_share_their_categories():
    """Categories are 1 apart, so of rows with equal numbers the near ones are the equal ones."""
    X = pd.DataFrame({"a": list("xyzxyz") * 5, "b": [True, False] * 15, "c": 1.5})
    found = Munge(swap=1.0, n_neighbours=4).over(X, 0)
    pd.testing.assert_frame_equal(
        found.rows(np.arange(30))[["a", "b"]],
        X.iloc[found.order][["a", "b"]].reset_index(drop=True),
    )


@pytest.mark.parametrize("column", [list("xyz") * 10, list("xy") * 15, [True, False] * 15])
def test_two_categories_are_one_apart(column):
    """As far as two numbers are that are the quartiles of a column."""
    X = pd.DataFrame({"a": column})
    table = read_table(X, "Munge")
    places = partners.Nearest(table, np.arange(30), 1)._encoded(np.arange(30))
    for at, place in enumerate(places):
        away = 0 if column[at] == column[0] else 1
        assert math.dist(place, places[0]) == pytest.approx(away, abs=1e-6)


def test_neighbours_of_many_rows_are_looked_for_among_some(monkeypatch):
    monkeypatch.setattr(partners, "_MOST_CANDIDATES", 16)
    monkeypatch.setattr(partners, "_BLOCK", 8)
    X = numbers(60)
    source = Munge(swap=1.0, spread=1e12, n_neighbours=1).over(X, 0)
    pool = source.order[:16]
    encoded = TablePreprocessor().fit_transform(X).astype(float)
    for start, row in zip(source.order, source.rows(np.arange(60)), strict=True):
        others = [other for other in pool if other != start]
        nearest = min(others, key=lambda other: math.dist(encoded[start], encoded[other]))
        np.testing.assert_allclose(row, X[nearest], atol=1e-9)


# -- what holds for rows of any table ------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@given(seed=st.integers(0, 10_000), n_rows=st.integers(1, 30), n=st.integers(1, 70))
@settings(max_examples=12, deadline=None)
def test_rows_are_like_the_training_rows(sampler, container, seed, n_rows, n):
    X = contain(raw_columns(n_rows, seed), container)
    if container == "pandas":
        X.index = np.arange(len(X))[::-1] + 7
    found = sampler.sample(X, n, random_state=seed)
    assert type(found) is type(X)
    assert found.shape == (n, 7)
    if container == "objects":
        assert found.dtype == object
    else:
        assert list(found.columns) == list(X.columns)
        assert list(found.dtypes) == list(X.dtypes)
    if isinstance(found, pd.DataFrame):
        assert isinstance(found.index, pd.RangeIndex)
    old, new = column_lists(X), column_lists(found)
    for at, values in enumerate(new):
        assert None in old[at] or None not in values
        if at:
            assert set(values) <= set(old[at])
            assert {type(value) for value in values} <= {type(value) for value in old[at]}
    known = [value for value in old[0] if value is not None]
    assert all(min(known) <= value <= max(known) for value in new[0] if value is not None)
    same(sampler.sample(X, n, random_state=seed), found)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@given(
    seed=st.integers(0, 10_000),
    index=st.lists(st.integers(0, 10**12), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=10, deadline=None)
def test_a_row_is_a_function_of_its_number(sampler, container, seed, index, order):
    X = contain(raw_columns(17, seed), container)

    def asked(source, index):
        rows = zip(*column_lists(source.rows(np.array(index))), strict=True)
        return list(zip(index, rows, strict=True))

    rows = dict(asked(sampler.over(X, seed), index))
    shuffled = [*index, *index[:5]]
    order.shuffle(shuffled)
    source = sampler.over(X, seed)
    for start in range(0, len(shuffled), 3):
        for j, row in asked(source, shuffled[start : start + 3]):
            assert rows[j] == row


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_missing_stays_possible(sampler):
    X = contain(raw_columns(40, 0, missing=False), "pandas")
    X.loc[::3, "real"] = np.nan
    X.loc[::2, "city"] = None
    found = sampler.sample(X, 400, random_state=0).isna().mean()
    assert found["real"] == pytest.approx(1 / 3, abs=0.2)
    assert found["city"] == pytest.approx(1 / 2, abs=0.3)
    assert found[["whole", "integer", "constant"]].sum() == 0


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "u1", "i8", "?", "U3", "M8[D]"])
def test_arrays_keep_their_dtype(sampler, dtype):
    values = np.random.default_rng(0).integers(0, 90, (20, 3)).astype(dtype)
    X = values + np.array(0.25, dtype) if "f" in dtype else values
    found = sampler.sample(X, 50, random_state=0)
    assert found.dtype == X.dtype
    assert found.shape == (50, 3)
    if "f" in dtype:
        assert (found >= X.min(0)).all()
        assert (found <= X.max(0)).all()
        assert len(np.unique(found)) > len(np.unique(X))
    else:
        assert all(np.isin(found[:, at], X[:, at]).all() for at in range(3))


def test_the_range_is_that_of_all_rows():
    X = np.random.default_rng(0).normal(size=(20_000, 2))
    for at in (100, 10_000, 19_000):
        X[at] = 100 * np.sign(X[at])
    table = read_table(X, "Noise")
    np.testing.assert_array_equal(table.low, X.min(0))
    np.testing.assert_array_equal(table.high, X.max(0))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_every_pass_starts_from_every_row_once(sampler):
    X = np.arange(13)[:, None] * np.ones(2)
    order = sampler.over(X, 5).order
    assert sorted(order) == list(range(13))
    assert not np.array_equal(order, sampler.over(X, 6).order)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_one_row_and_constant_columns(sampler):
    X = pd.DataFrame({"a": [1.5], "b": ["x"], "c": [pd.NaT], "d": [np.nan]})
    same(sampler.sample(X, 3, random_state=0), X.iloc[[0, 0, 0]].reset_index(drop=True))
    constant = pd.concat([X] * 4, ignore_index=True)
    same(sampler.sample(constant, 4, random_state=0), constant)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_seeds_and_states(sampler):
    X = numbers()
    assert not np.array_equal(sampler.sample(X, 50, 0), sampler.sample(X, 50, 1))
    state = np.random.RandomState(0)
    first = sampler.sample(X, 50, state)
    assert not np.array_equal(first, sampler.sample(X, 50, state))
    np.testing.assert_array_equal(first, sampler.sample(X, 50, np.random.RandomState(0)))
    assert not np.array_equal(sampler.sample(X, 50), sampler.sample(X, 50))
    assert sampler.sample(X, 50, -3).shape == (50, 3)


def test_extremes_do_not_overflow():
    X = np.array([[1.5e308, 0.5], [-1.7e308, 1.5], [0.5, 2.5]])
    for sampler in SAMPLERS[:-1]:
        assert np.isfinite(sampler.sample(X, 100, random_state=0)).all()
    holed = np.array([[np.inf], [0.5], [1.25], [np.nan]])
    found = Mixup().sample(holed, 200, random_state=0)
    assert np.isinf(found).any()
    assert np.isnan(found).any()
    assert ((found[np.isfinite(found)] >= 0.5) & (found[np.isfinite(found)] <= 1.25)).all()


def test_objects_that_are_numbers_in_part_are_categories():
    X = np.array([[0.5, True, 10**400], [1.25, 0.5, 1], ["x", 1.5, 0.5]], dtype=object)
    found = Mixup().sample(X, 60, random_state=0)
    assert all(set(found[:, at]) <= set(X[:, at]) for at in range(3))


def test_names_of_columns_may_repeat():
    X = pd.DataFrame([[0.5, "x"], [1.25, "y"]], columns=["a", "a"])
    for sampler in (Mixup(), Noise()):
        assert list(sampler.sample(X, 3, random_state=0).columns) == ["a", "a"]


def test_lists_are_read_as_arrays():
    found = Mixup().sample([[0.5, "x"], [1.25, "y"]], 20, random_state=0)
    assert found.dtype == object
    assert set(found[:, 1]) == {"x", "y"}
    assert len(set(found[:, 0])) == 20


# -- images and arrays on disk -------------------------------------------------------------


class Store:
    """Rows on disk that are read by increasing numbers alone, as HDF5 has them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.most = 0

    def __getitem__(self, rows):
        if isinstance(rows, np.ndarray):
            assert (np.diff(rows) > 0).all()
            self.most = max(self.most, len(rows))
        return self.array[rows]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("sampler", [Mixup(), Mixup(0.5), Noise(0.3)])
def test_images_keep_dtype_and_range(sampler, dtype):
    X = np.random.default_rng(0).integers(10, 200, (9, 2, 4, 4)).astype(dtype)
    found = sampler.sample(X, 40, random_state=0)
    assert found.dtype == X.dtype
    assert found.shape == (40, 2, 4, 4)
    assert found.min() >= X.min()
    assert found.max() <= X.max()
    assert not (found[:, None] == X).all((2, 3, 4)).any(1).all()
    source = sampler.over(X, 0)
    for j in (30, 2):
        np.testing.assert_array_equal(source.rows([j])[0], found[j])


def test_mixed_images_are_the_slow_ones():
    X = np.random.default_rng(0).integers(0, 256, (7, 1, 3, 3)).astype(np.uint8)
    source = Mixup().over(X, 2)
    for j, image in enumerate(source.rows(np.arange(30))):
        step = 1 + int(6 * slow_uniform(2, j, Use.PARTNER, 0))
        a, b = X[source.order[j % 7]], X[source.order[(j + step) % 7]]
        share = slow_uniform(2, j, Use.SHARE, 0)
        exact = share * a.astype(float) + (1 - share) * b
        assert np.abs(image - exact).max() <= 0.5 + 1e-3


def test_pixels_have_noise_of_their_own():
    X = np.full((2, 1, 50, 50), 128.0)
    X[:, :, :25, 0], X[:, :, 25:, 0] = 0, 256  # half the range is 128
    noise = Noise(0.1).sample(X, 2, random_state=0)[:, 0, :, 1:] - 128
    assert noise.std() == pytest.approx(12.8, rel=0.05)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.08


@pytest.mark.parametrize("shape", [(300, 3), (300, 1, 2, 2)])
@pytest.mark.parametrize("sampler", [Mixup(), Noise()])
def test_stores_and_memory_maps_are_arrays(sampler, shape, tmp_path):
    X = np.random.default_rng(0).normal(size=shape)
    mapped = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", X.dtype, X.shape)
    mapped[:] = X
    expected = sampler.sample(X, 20, random_state=0)
    store = Store(X)
    for rows in (mapped, store):
        found = sampler.sample(rows, 20, random_state=0)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    if isinstance(sampler, Mixup):
        assert store.most <= 20


def test_a_table_on_disk_has_neighbours(tmp_path):
    X = numbers()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(Munge().sample(mapped, 9, 0), Munge().sample(X, 9, 0))


# -- parameters and errors -----------------------------------------------------------------


def test_samplers_have_scikit_learns_parameters():
    munge = clone(Munge(swap=0.2)).set_params(spread=3.0)
    assert munge == Munge(0.2, 3.0)
    assert munge.get_params() == {"swap": 0.2, "spread": 3.0, "n_neighbours": 5}


@pytest.mark.parametrize("name", KINDS)
def test_names_and_files(name):
    sampler = read_transfer(name)
    assert isinstance(sampler, Sampler)
    about = describe_transfer(sampler)
    assert about["class"] == type(sampler).__name__
    assert rebuild_transfer(about) == sampler
    X = numbers()
    source = sampler.over(X, 0)
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copied.rows(np.arange(5)), source.rows(np.arange(5)))


def test_a_users_own_object_stays_what_it_is():
    class Own:
        def sample(self, X, n, random_state=None):
            return X[:n]

    own = Own()
    assert read_transfer(own) is own
    assert describe_transfer(own) is own
    assert rebuild_transfer(own) is own
    assert read_transfer(None) is None


@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        (Munge(swap=1.5), "swap"),
        (Munge(spread=0), "spread"),
        (Munge(n_neighbours=0), "n_neighbours"),
        (Mixup(alpha=0), "alpha"),
        (Interpolate(n_neighbours=1.5), "n_neighbours"),
        (Noise(scale=-0.1), "scale"),
    ],
)
def test_wrong_parameters_are_refused(sampler, name):
    for refuse in (read_transfer, lambda one: one.sample(numbers(), 3)):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of {type(sampler).__name__}"):
            refuse(sampler)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None])
def test_wrong_numbers_of_rows_are_refused(n):
    with pytest.raises(ValueError, match=r"The 'n' must be an int of at least 1. Got .* instead"):
        Mixup().sample(numbers(), n)


@pytest.mark.parametrize("index", [[-1], [0.5], [[1]], 3])
def test_wrong_numbers_are_refused(index):
    with pytest.raises(ValueError, match=r"The 'index' must be .* Got dtype .* instead"):
        Mixup().over(numbers(), 0).rows(index)


def test_no_number_is_no_row():
    assert Mixup().over(numbers(), 0).rows([]).shape == (0, 3)
    assert Munge().over(contain(raw_columns(9, 0), "polars"), 0).rows([]).shape == (0, 7)


@pytest.mark.parametrize("X", [np.ones(3), np.ones((0, 2)), np.ones((2, 0)), pd.Series([1, 2])])
@pytest.mark.parametrize("sampler", SAMPLERS[1:], ids=repr)
def test_what_is_no_table_is_refused(sampler, X):
    with pytest.raises(ValueError, match=r"The 'X' must be a data frame or an array .* instead"):
        sampler.sample(X, 3)


def test_images_are_refused_by_those_who_look_for_neighbours():
    X = np.ones((3, 1, 2, 2))
    for sampler in (Munge(), Interpolate()):
        name = type(sampler).__name__
        with pytest.raises(ValueError, match=rf"The 'X' of {name} must be a table .* instead"):
            sampler.sample(X, 3)
    with pytest.raises(ValueError, match="An 'X' with more than two axes must hold integers or f"):
        Mixup().sample(X.astype(bool), 3)
    with pytest.raises(ValueError, match="The 'X' must be dense. Got a sparse array instead"):
        Mixup().sample(sparse.eye_array(3), 3)
