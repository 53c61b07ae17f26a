"""Raw tables: against a slow reference, over containers, row by row, and what is refused."""

import datetime as dt
import json
import math
from collections import Counter
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.utils import get_tags

from skensemble._tables.columns import kind_of, read_column
from skensemble.preprocessing import TablePreprocessor

EPOCH = dt.datetime(1970, 1, 1)
# Quarters, so that medians and quartiles are exact in any order of operations.
VALUES = {
    "number": st.integers(-4000, 4000).map(lambda value: value / 4),
    "boolean": st.booleans(),
    "category": st.sampled_from(["a", "b", "c", "d", "", "é", "1", "None", "missing"]),
    "date": st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    "duration": st.integers(-99, 99).map(lambda days: dt.timedelta(days)),
    "empty": st.none(),
}


@st.composite
def tables(draw):
    """Return columns of two tables: one to fit, one to transform with what the first lacks."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    fit, new = [], []
    for kind in kinds:
        few = draw(st.lists(VALUES[kind], min_size=1, max_size=4))
        seen = st.sampled_from([*few, None]) if draw(st.booleans()) else st.sampled_from(few)
        fit.append(draw(st.lists(seen, min_size=n, max_size=n)))
        unseen = st.one_of(VALUES[kind], st.none())
        new.append(draw(st.lists(unseen, min_size=m, max_size=m)))
    embed = draw(st.sampled_from([False, True, "auto", 3]))
    return fit, new, TablePreprocessor(embed=embed, min_count=draw(st.sampled_from(["auto", 1, 3])))


def as_pandas(columns):
    return pd.DataFrame({f"x{at}": column for at, column in enumerate(columns)})


def as_polars(columns):
    return pl.DataFrame({f"x{at}": column for at, column in enumerate(columns)})


def as_objects(columns):
    X = np.empty((len(columns[0]), len(columns)), dtype=object)
    for at, column in enumerate(columns):
        X[:, at] = column
    return X


CONTAINERS = [as_pandas, as_polars, as_objects]


def quantile(values, share):
    at = share * (len(values) - 1)
    low, high = sorted(values)[math.floor(at)], sorted(values)[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))


def number(value):
    if isinstance(value, dt.date):
        return float((dt.datetime(value.year, value.month, value.day) - EPOCH).days)
    return float(value.days if isinstance(value, dt.timedelta) else value)


def slow_numbers(fit, new):
    seen = [number(value) for value in fit if value is not None]
    scale = quantile(seen, 0.75) - quantile(seen, 0.25) or (max(seen) - min(seen)) / 2
    flags = [[float(value is None) for value in new]] if None in fit else []
    if scale == 0:
        return [], flags, []
    clipped = []
    for value in new:
        z = 0.0 if value is None else (number(value) - quantile(seen, 0.5)) / scale
        clipped.append(z / math.sqrt(1 + (z / 3) ** 2))
    return [clipped], flags, []


def slow_categories(fit, new, table):
    least = 2 if table.min_count == "auto" else table.min_count
    counts = Counter(fit)
    kept = sorted((key for key in counts if key is not None and counts[key] >= least), key=str)
    kept += [None] if counts[None] >= least else []
    rare = len(kept) < len(counts)
    if len(kept) + rare < 2:
        return [], [], []
    if len(kept) + rare == 2:
        signs = dict(zip(kept, [-1, 1] if len(kept) == 2 else [1], strict=True))
        return [], [[signs.get(value, -1 if rare else 0) for value in new]], []
    limit = {False: 10**9, True: 2, "auto": 12}.get(table.embed, table.embed)
    if len(kept) + rare > limit:
        codes = [kept.index(value) + 1 if value in kept else 0 for value in new]
        return [], [], [codes]
    return [], [[float(value == key) for value in new] for key in kept], []


def slow(fit, new, table):
    """Return what a table becomes, one column and one value at a time."""
    parts = []
    for before, after in zip(fit, new, strict=True):
        types = {type(value) for value in before} - {type(None)}
        if not types:
            parts.append(([], [], []))
        elif types <= {bool, str}:
            parts.append(slow_categories(before, after, table))
        else:
            parts.append(slow_numbers(before, after))
    columns = [
        column for section in zip(*parts, strict=True) for part in section for column in part
    ]
    return np.array(columns, dtype=float).reshape(len(columns), len(new[0])).T


@settings(max_examples=150, deadline=None)
@given(tables())
def test_any_table_is_what_the_slow_reference_makes_of_it(drawn):
    fit, new, table = drawn
    for container in CONTAINERS:
        found = clone(table).fit(container(fit)).transform(container(new))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, slow(fit, new, table), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(tables())
def test_containers_agree_on_everything_that_is_fitted(drawn):
    fit, new, table = drawn
    states = [clone(table).fit(container(fit)) for container in CONTAINERS]
    first = states[0].transform(as_pandas(new))
    for one in states:
        assert one.kinds_ == states[0].kinds_
        assert one.encodings_ == states[0].encodings_
        assert one.categories_ == states[0].categories_
        assert one.layout_ == states[0].layout_
        container = as_objects if not hasattr(one, "feature_names_in_") else as_polars
        np.testing.assert_array_equal(one.transform(container(new)), first)


@settings(max_examples=100, deadline=None)
@given(tables())
def test_rows_are_transformed_one_by_one_and_always_alike(drawn):
    fit, new, table = drawn
    for container in CONTAINERS:
        X = container(new)
        fitted = clone(table).fit(container(fit))
        found = fitted.transform(X)
        np.testing.assert_array_equal(found, clone(table).fit(container(fit)).transform(X))
        for row in range(len(found)):
            one = X.iloc[row : row + 1] if container is as_pandas else X[row : row + 1]
            np.testing.assert_array_equal(fitted.transform(one)[0], found[row])


@settings(max_examples=100, deadline=None)
@given(tables())
def test_the_layout_names_and_state_describe_the_output(drawn):
    fit, new, table = drawn
    table.fit(as_pandas(fit))
    found = table.transform(as_pandas(new))
    names = table.get_feature_names_out()
    numeric, flags, cardinalities = table.layout_.values()
    assert found.shape[1] == len(names) == numeric + flags + len(cardinalities)
    assert len(set(names)) == len(names)
    assert (abs(found[:, :numeric]) <= 3).all()
    assert np.isin(found[:, numeric : numeric + flags], [-1, 0, 1]).all()
    codes = found[:, numeric + flags :]
    assert ((codes >= 0) & (codes < np.array(cardinalities, int)) & (codes % 1 == 0)).all()
    about, arrays = table._to_state()
    again = TablePreprocessor._from_state(json.loads(json.dumps(about)), arrays)
    np.testing.assert_array_equal(again.transform(as_pandas(new)), found)
    assert again.layout_ == table.layout_
    assert again.get_feature_names_out().tolist() == names.tolist()
    for output in ("pandas", "polars"):
        frame = table.set_output(transform=output).transform(as_pandas(new))
        assert list(frame.columns) == names.tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8), st.data())
def test_no_float_overflows(values, data):
    table = TablePreprocessor().fit(np.array(values)[:, None])
    new = data.draw(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8))
    found = table.transform(np.array(new)[:, None])
    assert np.isfinite(found).all()
    assert (abs(found) <= 3).all()


def test_the_widest_floats_have_a_distance():
    largest = np.finfo(np.float64).max
    X = np.array([[-largest], [-largest], [largest], [largest]])
    found = TablePreprocessor().fit_transform(X)
    assert (found[0] < 0).all()
    np.testing.assert_array_equal(found[:2], -found[2:])


# -- kinds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2.5, Decimal("3")], "number"),
        ([np.int8(1), np.float32(2), True], "number"),
        ([True, None, np.False_], "boolean"),
        ([pd.NA, 1], "number"),
        ([pd.NaT, pd.Timestamp(0)], "date"),
        ([np.datetime64("2020-01-01"), np.datetime64("NaT", "D"), dt.date(2020, 1, 1)], "date"),
        ([np.timedelta64(1, "D"), dt.timedelta(1), np.nan], "duration"),
        (["1.5", None, float("nan")], "category"),
        ([1, "a"], "category"),
        ([{}, [1], b"x", 1j], "category"),
        ([None, np.nan, pd.NA, pd.NaT, Decimal("nan")], "empty"),
    ],
)
def test_objects_are_told_apart_by_what_is_there(values, kind):
    column = np.fromiter(values, dtype=object, count=len(values))
    assert kind_of(column, False) == kind
    assert TablePreprocessor().fit(column[:, None]).kinds_ == [kind]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([1, None], dtype="Int64"), "number"),
        (pd.Series([1.5, None], dtype="Float32"), "number"),
        (pd.Series([True, None], dtype="boolean"), "boolean"),
        (pd.Series(["a", None], dtype="string"), "category"),
        (pd.Series([1, 2, None], dtype="category"), "category"),
        (pd.Series(pd.date_range("2020", periods=2, tz="Asia/Tokyo")), "date"),
        (pd.Series(pd.to_timedelta([1, None], unit="D")), "duration"),
        (pd.Series(pd.period_range("2020", periods=2, freq="M")), "category"),
        (pd.Series(pd.arrays.SparseArray([0.0, 1.0])), "number"),
        (pl.Series([1, None], dtype=pl.Int128), "number"),
        (pl.Series([Decimal("1.5"), None]), "number"),
        (pl.Series(["a", None], dtype=pl.Categorical), "category"),
        (pl.Series(["a", None], dtype=pl.Enum(["a", "b"])), "category"),
        (pl.Series([[1, 2], None]), "category"),
        (pl.Series([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None]), "date"),
        (pl.Series([None, None]), "empty"),
        (np.array(["a", "b"]), "category"),
        (np.array([b"a", b"b"]), "category"),
        (np.array(["2020", "NaT"], "M8[ns]"), "date"),
        (np.array([1, 2], np.uint8), "number"),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_dtypes_are_told_apart(column, kind):
    X = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(type(column).__module__.split(".")[0])
    X = column[:, None] if X is None else X({"a": column})
    assert kind_of(*read_column(X, 0)) == kind
    assert np.isfinite(TablePreprocessor(min_count=1).fit_transform(X)).all()


def test_moments_are_the_same_in_every_container_and_zone():
    moments = [dt.datetime(2020, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3, 4)]
    naive = [moment.replace(tzinfo=None) for moment in moments]
    tokyo = [moment.astimezone(dt.timezone(dt.timedelta(hours=9))) for moment in moments]
    expected = TablePreprocessor().fit_transform(np.array(naive, "M8[ns]")[:, None])
    assert expected.std() > 0.5
    for X in (as_pandas([moments]), as_pandas([tokyo]), as_polars([tokyo]), as_objects([tokyo])):
        np.testing.assert_array_equal(TablePreprocessor().fit_transform(X), expected)
        assert TablePreprocessor().fit(X).center_[0] == 18264.0


def test_durations_of_numpy_are_no_numbers():
    table = TablePreprocessor().fit(as_objects([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="'x0' must hold numbers"):
        table.transform(as_objects([[np.timedelta64(1, "D"), 2.0]]))


def test_bytes_name_the_categories_that_strings_name():
    table = TablePreprocessor().fit(np.array([[b"a"], [b"b"]] * 2))
    assert table.categories_ == [["a", "b"]]


def test_a_list_keeps_its_numbers_beside_strings():
    X = [[1.0, "a"], [2.0, "b"], [3.0, "a"], [None, "b"]]
    table = TablePreprocessor().fit(X)
    assert table.kinds_ == ["number", "category"]
    objects = np.array(X, dtype=object)
    np.testing.assert_array_equal(table.transform(X), table.transform(objects))


def test_integers_and_floats_name_the_same_categories():
    table = TablePreprocessor(min_count=1).fit(pd.DataFrame({"a": pd.Categorical([1, 2, 3])}))
    assert table.categories_ == [["1", "2", "3"]]
    found = table.transform(pd.DataFrame({"a": pd.Categorical([3.0, 1.0, None, 4.0])}))
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]])


# -- numbers -----------------------------------------------------------------------------


def test_numbers_of_a_large_table_are_scaled_by_a_draw():
    X = np.random.default_rng(0).normal(5, 2, size=(250_000, 1))
    table = TablePreprocessor().fit(X)
    low, center, high = np.quantile(X, [0.25, 0.5, 0.75])
    assert table.center_[0] == pytest.approx(center, abs=0.03)
    assert table.scale_[0] == pytest.approx(high - low, rel=0.01)
    assert table.fit(X).center_[0] == clone(table).fit(X).center_[0]


def test_the_range_is_of_all_rows():
    """One value in a quarter of a million is hardly in a draw, wherever it stands."""
    for row in (0, 100_000, 249_999):
        X = np.zeros((250_000, 1))
        X[row] = 8.0
        table = TablePreprocessor().fit(X)
        assert (table.center_[0], table.scale_[0]) == (0.0, 4.0)


def test_integers_of_few_levels_stay_numbers():
    table = TablePreprocessor().fit(np.arange(12).reshape(-1, 1) % 3)
    assert (table.kinds_, table.layout_["numeric"]) == (["number"], 1)


def test_missing_numbers_are_zero_and_flagged_only_where_fit_saw_some():
    X = pd.DataFrame({"a": [1.0, 2, 3, None], "b": [1.0, 2, 3, 4], "c": [7.0, None, 7, 7]})
    table = TablePreprocessor().fit(X)
    assert table.get_feature_names_out().tolist() == ["a", "b", "a_missing", "c_missing"]
    assert table.encodings_ == ["scaled", "scaled", "none"]
    found = table.transform(pd.DataFrame({"a": [None], "b": [None], "c": [7.0]}, dtype=float))
    np.testing.assert_array_equal(found, [[0, 0, 1, 0]])


# -- categories --------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "least"), [(20, 2), (500, 5), (3000, 10)])
def test_rare_categories_are_one(n, least):
    rare, kept = ["r"] * (least - 1), ["k"] * least
    column = [*rare, *kept, *["s"] * (n - len(rare) - len(kept))]
    table = TablePreprocessor().fit(as_objects([column]))
    assert table.categories_ == [["k", "s"]]
    np.testing.assert_array_equal(
        table.transform(as_objects([["r", "k", "s", "new", None]])),
        [[0, 0], [1, 0], [0, 1], [0, 0], [0, 0]],
    )


def test_codes_come_last_and_leave_nothing_unnamed():
    levels = [f"c{at:02}" for at in range(13)]
    X = pd.DataFrame({"many": levels * 2, "few": [*"abc"] * 8 + [None] * 2, "x": range(26)})
    table = TablePreprocessor(embed="auto").fit(X)
    assert table.encodings_ == ["code", "one-hot", "scaled"]
    assert table.layout_ == {"numeric": 1, "flags": 4, "cardinalities": (14,)}
    names = ["x", "few_a", "few_b", "few_c", "few_missing", "many"]
    assert table.get_feature_names_out().tolist() == names
    found = table.transform(X)
    np.testing.assert_array_equal(found[:, -1], [*range(1, 14)] * 2)
    assert table.transform(X[:1].assign(many="new"))[0, -1] == 0


def test_embed_says_which_categories_become_codes():
    X = as_objects([["a", "b"] * 6, ["a", "b", "c"] * 4, [*"abcdef"] * 2])
    for embed, codes in ((False, 0), (True, 2), ("auto", 0), (2, 2), (3, 1), (6, 0)):
        assert len(TablePreprocessor(embed=embed).fit(X).layout_["cardinalities"]) == codes


def test_booleans_that_a_container_made_numbers_are_booleans():
    table = TablePreprocessor().fit(np.array([[True], [False]] * 3))
    found = table.transform(np.array([[1.0], [0.0], [np.nan]]))
    np.testing.assert_array_equal(found, [[1], [-1], [0]])


def test_names_that_collide_are_made_different():
    X = pd.DataFrame({"a": [1, 2, 3, None], "a_missing": [1, 2, 3, 4], "b": [*"xyxy"]})
    table = TablePreprocessor().set_output(transform="polars")
    assert table.fit_transform(X).columns == ["a", "a_missing", "a_missing_", "b_y"]


# -- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "new", "message"),
    [
        ([1.0, 2.0], ["1.0", "2.0"], "'x0' must hold numbers, as in fit. Got '1.0' instead; conv"),
        ([1.0, 2.0], [dt.timedelta(1), None], r"must hold numbers.* Got .*timedelta\(days=1\)"),
        ([dt.date(2020, 1, 1), None], [1.0, 2.0], "'x0' must hold dates, as in fit. Got 1.0 inst"),
        ([dt.timedelta(1), None], ["a", "b"], "'x0' must hold durations, as in fit. Got 'a' inst"),
        ([True, False] * 2, [0, 2], "'x0' must hold booleans, as in fit. Got 2 instead; convert"),
        ([1.0, 2.0], [1.0, np.inf], "'x0' must have finite values.* Got inf instead"),
        ([1.0, 2.0], [1.0, -np.inf], "'x0' must have finite values.* Got -inf instead"),
        ([1.0, -np.inf], None, "'x0' must have finite values, or NaN where one is missing. Got -i"),
        ([10**400, 1], None, "Got inf instead, or a number too large for float64; replace it."),
    ],
)
def test_values_of_another_kind_are_refused(fit, new, message):
    for container in (as_pandas, as_objects):
        if new is None:
            try:
                table = container([fit])
            except OverflowError:  # of a pandas that cannot hold it
                continue
            with pytest.raises(ValueError, match=message):
                TablePreprocessor().fit(table)
        else:
            table = TablePreprocessor().fit(container([fit]))
            with pytest.raises(ValueError, match=message):
                table.transform(container([new]))


def test_a_number_column_of_nothing_but_missing_values_is_taken():
    table = TablePreprocessor().fit(as_polars([[1.0, 2.0, None]]))
    np.testing.assert_array_equal(table.transform(as_polars([[None]])), [[0, 1]])


@pytest.mark.parametrize("container", [as_pandas, as_polars])
def test_other_columns_are_refused_in_scikit_learns_words(container):
    table = TablePreprocessor().fit(container([[1, 2], [3, 4]]))
    other = container([[1, 2], [3, 4]])
    other.columns = ["x0", "y"]
    with pytest.raises(ValueError, match=r"feature names(.|\n)*unseen at fit time:\n- y"):
        table.transform(other)
    with pytest.raises(ValueError, match=r"feature names(.|\n)*yet now missing:\n- x1"):
        table.transform(container([[1, 2]]))
    nameless = TablePreprocessor().fit(as_objects([[1, 2], [3, 4]]))
    with pytest.raises(ValueError, match="X has 1 features, but TablePreprocessor is expecting 2"):
        nameless.transform(as_objects([[1, 2]]))
    with pytest.raises(ValueError, match="Found array with 0 sample"):
        table.transform(container([[1, 2], [3, 4]])[:0])
    with pytest.raises(ValueError, match="Found array with 0 feature"):
        TablePreprocessor().fit(pd.DataFrame(index=[0, 1]))


def test_complex_numbers_are_refused_in_frames_as_well():
    with pytest.raises(ValueError, match="Complex data not supported"):
        TablePreprocessor().fit(pd.DataFrame({"a": [1j, 2j]}))


# -- in its place ------------------------------------------------------------------------


def test_tags_say_what_is_taken():
    tags = get_tags(TablePreprocessor())
    assert tags.input_tags.allow_nan
    assert tags.input_tags.string
    assert tags.input_tags.categorical
    assert tags.transformer_tags.preserves_dtype == []


def test_it_works_inside_of_a_column_transformer():
    X = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [*"xyxy"]})
    inside = make_column_transformer((TablePreprocessor(), ["b", "a"]))
    expected = TablePreprocessor().fit_transform(X[["b", "a"]])
    np.testing.assert_array_equal(inside.fit_transform(X), expected)


def test_the_state_of_searched_parameters_is_json():
    table = TablePreprocessor(embed=np.int64(3), min_count=np.int64(1)).fit(np.eye(3))
    about, arrays = table._to_state()
    again = TablePreprocessor._from_state(json.loads(json.dumps(about)), arrays)
    assert again.get_params() == table.get_params()
