"""Public tables as a user has them: numbers, categories and gaps in one frame, and splits.

A folder's ``.csv`` files (no header, the label last) and ``.arff`` files (the label is the
attribute ``class``, or the last one) are read alike; `SPECS` says on one line each what a
table wants beyond that. A file that is not named there is read by the plain rules, so that
a folder of other tables needs no code.

What holds for every table:

- ``?``, quoted or not, and an empty cell are missing. Zeros that mean "missing" (pima)
  stay zeros, as whoever opens the file would find them.
- Numbers are float64, whatever is not a number is a pandas category. Nominal attributes
  of ``.arff`` are categories even where their values look like numbers.
- A column without a single value is dropped: it says nothing to anybody.
- At most `max_rows` rows, drawn once for each table, then classes with fewer than
  `LEAST_ROWS` rows are dropped: each side of each split, and each inner split of the
  training side, must see every class.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

LEAST_ROWS = 10
TRAIN_SHARE = 0.6
MISSING = {"?", ""}
NUMERIC = {"real", "numeric", "integer"}
ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|[^\s{]+)\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Spec:
    """What a table wants beyond the plain rules; columns of a csv are ``c0``, ``c1``, ..."""

    label: str | None = None
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    development: bool = True


class Table(NamedTuple):
    """A frame of float and category columns, its labels, and what it may be used for."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    development: bool


PLAIN = [
    "anneal", "autos", "balance.scale", "banknote_authentication", "breast-cancer",
    "breast-cancer-wisconsin", "car", "cmc", "credit.a", "german", "glass", "haberman",
    "heart.c", "heart.h", "hepatitis", "hypothyroid", "kr.vs.kp", "letter", "mammography",
    "mushroom", "new-thyroid", "nursery", "page.blocks", "pima-indians-diabetes", "segment",
    "sick", "soybean", "tic-tac-toe", "vehicle", "vote", "waveform5000", "wine",
    "winequality-white",
]  # fmt: skip

# Abalone: rings of 1-8, 9-10 and 11 or more, the three classes of Waugh (1995) and of UCI.
# Horse-colic: the label is "surgical lesion", as in Weka's and OpenML's version; the last
# column (cp_data) is, in UCI's words, of no significance, and the three lesion codes before
# it spell the label out. Most of its columns are names coded as integers.
# Cylinder.bands: date, cylinder, customer and job are names of rows, not features of them.
SPECS: dict[str, Spec] = dict.fromkeys(PLAIN, Spec()) | {
    "abalone": Spec(edges=(8.5, 10.5)),
    "auto_imports": Spec(label="c0"),
    "cylinder.bands": Spec(drop=("timestamp", "cylinder_number", "customer", "job_number")),
    "horse-colic": Spec(
        label="c23",
        drop=("c2", "c24", "c25", "c26", "c27"),
        categories=tuple(f"c{i}" for i in (0, 1, *range(6, 15), 16, 17, 20, 22)),
    ),
    "oil-spill": Spec(drop=("c0",)),
    "splice": Spec(drop=("Instance_name",)),
}

# Scikit-learn's wine is the folder's; diabetes is a regression.
OWN = {"digits": load_digits, "breast_cancer": load_breast_cancer, "iris": load_iris}


# -- reading -------------------------------------------------------------------------------


def _cells(lines: Iterable[str]) -> list[list[str]]:
    rows = csv.reader(lines, quotechar="'", skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row]


def read_csv(path: Path) -> tuple[pd.DataFrame, set[str]]:
    """Return cells as strings under ``c0``, ``c1``, ..., and which columns are numbers."""
    rows = _cells(path.read_text().splitlines())
    frame = pd.DataFrame(rows, columns=[f"c{i}" for i in range(len(rows[0]))], dtype=object)
    return frame, {name for name in frame if _is_number(frame[name])}


def _is_number(column: pd.Series) -> bool:
    present = column[~column.isin(MISSING)]
    return bool(pd.to_numeric(present, errors="coerce").notna().all())


def read_arff(path: Path) -> tuple[pd.DataFrame, set[str]]:
    """Return cells as strings under the attributes' names, and which ones are numbers."""
    names: list[str] = []
    numbers: set[str] = set()
    lines = (line.strip() for line in path.read_text(encoding="latin-1").splitlines())
    lines = iter([line for line in lines if line and not line.startswith("%")])
    for line in lines:
        if line.lower().startswith("@data"):
            break
        found = ATTRIBUTE.match(line)
        if found is None:
            continue
        names.append(found[1].strip("'\""))
        if found[2].strip().lower() in NUMERIC:
            numbers.add(names[-1])
    return pd.DataFrame(_cells(lines), columns=names, dtype=object), numbers


def _label_of(frame: pd.DataFrame, spec: Spec) -> str:
    if spec.label is not None:
        return spec.label
    called_class = [name for name in frame if name.lower() == "class"]
    return called_class[0] if called_class else frame.columns[-1]


def _labels(column: pd.Series, edges: Sequence[float]) -> np.ndarray:
    if not edges:
        return column.to_numpy(dtype=str)
    return np.digitize(column.to_numpy(dtype=float), edges).astype(str)


def _typed(frame: pd.DataFrame, numbers: set[str]) -> pd.DataFrame:
    known = frame.mask(frame.isin(MISSING)).dropna(axis="columns", how="all")
    return pd.DataFrame({
        name: known[name].astype(float) if name in numbers else known[name].astype("category")
        for name in known
    })  # fmt: skip


def read_table(path: Path) -> Table:
    """Read one file by its spec, or by the plain rules where it has none."""
    spec = SPECS.get(path.stem, Spec(development=False))
    frame, numbers = (read_arff if path.suffix == ".arff" else read_csv)(path)
    label = _label_of(frame, spec)
    frame = frame[~frame[label].isin(MISSING)].reset_index(drop=True)
    X = _typed(frame.drop(columns=[label, *spec.drop]), numbers - set(spec.categories))
    return Table(path.stem, X, _labels(frame[label], spec.edges), spec.development)


def own_table(name: str) -> Table:
    """Return one of scikit-learn's own tables; all of them are kept out of development."""
    X, y = OWN[name](return_X_y=True, as_frame=True)
    return Table(name, X.astype(float), y.to_numpy().astype(str), False)


# -- choosing rows -------------------------------------------------------------------------


def bounded(table: Table, max_rows: int | None) -> Table:
    """Draw at most `max_rows` rows, always the same ones, and drop what is then too rare."""
    rows = np.arange(len(table.y))
    if max_rows is not None and len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(0).choice(rows, max_rows, replace=False))
    classes, counts = np.unique(table.y[rows], return_counts=True)
    rows = rows[np.isin(table.y[rows], classes[counts >= LEAST_ROWS])]
    X = table.X.iloc[rows].reset_index(drop=True)
    for name in X.select_dtypes("category"):
        X[name] = X[name].cat.remove_unused_categories()
    return table._replace(X=X.dropna(axis="columns", how="all"), y=table.y[rows])


def table_names(folders: Sequence[Path]) -> list[str]:
    """Return the tables of some folders and scikit-learn's own, by name."""
    return [*_files(folders), *OWN]


def _files(folders: Sequence[Path]) -> dict[str, Path]:
    found = (path for folder in folders for path in sorted(folder.iterdir()))
    return {path.stem: path for path in found if path.suffix in {".csv", ".arff"}}


def load_table(name: str, folders: Sequence[Path], max_rows: int | None = None) -> Table:
    """Return a table by its name.

    Parameters
    ----------
    name : str
        Name of a file without its ending, or of a table of scikit-learn's.
    folders : sequence of Path
        Where the files are.
    max_rows : int, default=None
        At most this many rows.

    Returns
    -------
    Table
        Its ``X`` has float and category columns, its ``y`` is of strings.
    """
    files = _files(folders)
    if name not in files and name not in OWN:
        raise ValueError(
            f"The name of a table must be one of {[*files, *OWN]}. Got {name!r} instead; pass "
            "the folder that holds it as --data."
        )
    return bounded(read_table(files[name]) if name in files else own_table(name), max_rows)


def outer_split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of training and of test, 60 to 40, stratified."""
    train, test = train_test_split(
        np.arange(len(y)), train_size=TRAIN_SHARE, stratify=y, random_state=seed
    )
    return train, test


def inner_splits(
    y: np.ndarray, train: np.ndarray, n_splits: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to fit and rows to judge settings by, 75 to 25, all of them training rows.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Labels of the whole table.
    train : array of int
        Training rows of the table, as `outer_split` returns them.
    n_splits : int
        How many pairs, each drawn anew.
    seed : int
        Of the draws.

    Yields
    ------
    tuple of array of int
        Rows of the table.
    """
    splitter = StratifiedShuffleSplit(n_splits, test_size=0.25, random_state=seed)
    for fit, valid in splitter.split(train, y[train]):
        yield train[fit], train[valid]
