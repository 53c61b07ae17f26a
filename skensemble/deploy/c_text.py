"""The text of a student's file of C99."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from skensemble._tables.reader import code_of_missing, coded_columns
from skensemble.deploy.c_helpers import HELPERS
from skensemble.deploy.students import (
    Activation,
    Affine,
    Bins,
    Codes,
    Dense,
    Network,
    Norm,
    Residual,
    Student,
    Waves,
)

__all__ = ["quantized", "write_c"]

_FLAGS, _SIGN, _SIGNS, _CODE = range(4)
# C99 promises room for 4,095 bytes in a string.
_LONGEST = 4000
_LEVELS = 127


def write_c(student: Student, name: str, int8: bool) -> str:
    """Return the file's text, in ASCII."""
    return _Writer(student, name, int8).text()


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as integers from -127 to 127, and the scale of each row."""
    scale = np.abs(weight).max(1) / _LEVELS
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


class _Writer:
    """Collects arrays, functions, and the helpers that these call."""

    def __init__(self, student: Student, name: str, int8: bool) -> None:
        self.student, self.name, self.int8 = student, name, int8
        self.used: set[str] = set()
        self.arrays: list[str] = []
        self.lines: list[str] = []
        self.n_locals = 0

    # -- the file --------------------------------------------------------------------------

    def text(self) -> str:
        """Return the whole file."""
        student, name = self.student, self.name
        functions = [self._network(at, one) for at, one in enumerate(student.networks)]
        functions.append(self._predict_proba())
        functions.append(_PREDICT.replace("NAME", name))
        code = self._code()
        helpers = [HELPERS[key].replace("NAME", name) for key in HELPERS if key in self.used]
        parts = [self._header(), _INCLUDES, self._declarations(bool(code)), self._classes()]
        parts += ["\n".join(self.arrays), *helpers, *functions, *code]
        return "\n".join(parts)

    def _header(self) -> str:
        student = self.student
        kind = "int8 weights" if self.int8 else "float32 weights"
        n_networks = len(student.networks)
        lines = [
            f"A classifier of {len(student.classes)} classes, of {n_networks} network"
            f"{'s' * (n_networks > 1)} with {kind}, written by skensemble.",
            "C99; link with -lm, do not compile with -ffast-math, as NaN is a missing value.",
            "A row x holds:",
        ]
        table = student.table
        coded = [False] * len(student.features) if table is None else coded_columns(table)
        for at, (own, is_coded) in enumerate(zip(student.features, coded, strict=True)):
            what = "a category's code, NaN if missing" if is_coded else "a number"
            if table is not None and not is_coded:
                what = "a number, NaN if missing"
            lines.append(f"x[{at}] {_for_comment(own)}: {what}")
        return "/*\n" + "\n".join(f" * {line}" for line in lines) + "\n */\n"

    def _declarations(self, has_code: bool) -> str:
        n_features, n_classes = len(self.student.features), len(self.student.classes)
        lines = [
            f"enum {{ {self.name}_n_features = {n_features},",
            f"       {self.name}_n_classes = {n_classes} }};",
            f"extern const char *const {self.name}_classes[{self.name}_n_classes];",
            "/* Probabilities of one row, in the order of the classes. */",
            f"void {self.name}_predict_proba(const float *x, float *proba);",
            "/* The place of the most likely class. */",
            f"int {self.name}_predict(const float *x);",
        ]
        if has_code:
            lines += [
                "/* What stands in a row for a category, a null pointer being a missing one. */",
                f"float {self.name}_code(int column, const char *category);",
            ]
        return "\n".join([*lines, ""])

    def _classes(self) -> str:
        names = ",\n".join(f"    {_string(one)}" for one in self.student.classes)
        return f"const char *const {self.name}_classes[{self.name}_n_classes] = {{\n{names}\n}};\n"

    # -- arrays and calls --------------------------------------------------------------------

    def _array(self, values: np.ndarray) -> str:
        """Write an array, and return its name."""
        name = f"{self.name}_a{len(self.arrays)}"
        kind = {"i": "int", "f": "float"}[values.dtype.kind]
        kind = "signed char" if values.dtype == np.int8 else kind
        flat = values.ravel()
        words = [_float(one) for one in flat] if kind == "float" else map(str, flat.tolist())
        body = "\n".join(wrap(", ".join(words), 98, initial_indent="    ",
                              subsequent_indent="    ", break_long_words=False,
                              break_on_hyphens=False))  # fmt: skip
        self.arrays.append(f"static const {kind} {name}[{flat.size}] = {{\n{body}\n}};")
        return name

    def _call(self, helper: str, *arguments: Any) -> None:
        """Write a call of a helper; arrays among the arguments become names."""
        self.used.add(helper)
        given = [self._array(one) if isinstance(one, np.ndarray) else str(one) for one in arguments]
        self.lines.append(f"    {self.name}_{helper}({', '.join(given)});")

    def _local(self, size: int) -> str:
        """Declare an array of the function that is being written."""
        name = f"t{self.n_locals}"
        self.n_locals += 1
        self.lines.append(f"    float {name}[{size}];")
        return name

    def _function(self, head: str) -> str:
        """Return what was written since the last function, declarations first."""
        first = list(dict.fromkeys(line for line in self.lines if line.startswith(_TYPES)))
        rest = [line for line in self.lines if not line.startswith(_TYPES)]
        self.lines, self.n_locals = [], 0
        return "\n".join([head, "{", *first, *rest, "}", ""])

    # -- a network ---------------------------------------------------------------------------

    def _network(self, at: int, network: Network) -> str:
        current, width = self._inputs(network)
        current, width = self._steps(network.steps, current, width)
        self.lines += [
            "    int k;",
            f"    for (k = 0; k < {width}; k++)",
            f"        out[k] = {current}[k];",
        ]
        return self._function(f"static void {self.name}_network{at}(const float *z, float *out)")

    def _inputs(self, network: Network) -> tuple[str, int]:
        """Put numbers, their embedding and that of codes side by side."""
        numbers, codes = network.numbers, network.codes
        if numbers is None and codes is None:
            return "z", network.n_inputs
        more = [_width(one) for one in (numbers, codes)]
        whole = self._local(network.n_plain + sum(more))
        self.lines += [
            "    int k;",
            f"    for (k = 0; k < {network.n_plain}; k++)",
            f"        {whole}[k] = z[k];",
        ]
        place = f"{whole} + {network.n_plain}"
        if isinstance(numbers, Bins):
            self._call("bins", _ints(numbers.count), numbers.edges, len(numbers.count), "z", place)
        elif isinstance(numbers, Waves):
            self._waves(numbers, place)
        if codes is not None:
            self._codes(codes, f"z + {network.n_plain}", f"{place} + {more[0]}")
        return whole, network.n_plain + sum(more)

    def _waves(self, waves: Waves, place: str) -> None:
        n_numbers, n_each = waves.frequencies.shape
        size = len(waves.dense.bias)
        angles, frequencies = self._local(2 * n_each), self._array(waves.frequencies)
        self.lines.append(f"    for (k = 0; k < {n_numbers}; k++) {{")
        inside = len(self.lines)
        self._call("angles", f"{frequencies} + k * {n_each}", n_each, "z[k]", angles)
        self._dense(waves.dense, angles, f"{place} + k * {size}")
        self.lines[inside:] = [f"    {line}" for line in self.lines[inside:]]
        self.lines.append("    }")
        self._call("relu", place, n_numbers * size)

    def _codes(self, codes: Codes, given: str, place: str) -> None:
        count, first = codes.count.astype(np.int32), codes.first.astype(np.int32)
        sizes = (len(count), codes.table.shape[1])
        table = quantized(codes.table) if self.int8 else (codes.table,)
        self._call("codes8" if self.int8 else "codes", *table, count, first, *sizes, given, place)

    def _steps(self, steps: Sequence[Any], current: str, width: int) -> tuple[str, int]:
        """Write steps; return which array holds what came out, and its size."""
        for step in steps:
            if isinstance(step, Activation):
                self._call(step.name, current, width)
                continue
            if isinstance(step, Residual):
                branch, _ = self._steps(step.steps, current, width)
                self._call("add", branch, current, width)
                current = branch
                continue
            given, before = current, width
            width = len(step.bias) if isinstance(step, Dense) else width
            current = self._local(width)
            if isinstance(step, Dense):
                self._dense(step, given, current)
            elif isinstance(step, Norm):
                eps = _float(np.float32(step.eps))
                self._call("norm", step.gain, step.bias, eps, before, given, current)
            elif isinstance(step, Affine):
                self._call("affine", step.mean, step.std, before, given, current)
        return current, width

    def _dense(self, step: Dense, given: str, place: str) -> None:
        n_out, n_in = step.weight.shape
        if not self.int8:
            self._call("dense", step.weight.T, step.bias, n_in, n_out, given, place)
            return
        whole, scale = quantized(step.weight)
        self._call("dense8", whole.T, scale, step.bias, n_in, n_out, given, place)

    # -- predictions -------------------------------------------------------------------------

    def _predict_proba(self) -> str:
        student = self.student
        n_classes, n_networks = len(student.classes), len(student.networks)
        self.lines += [f"    float logits[{self.name}_n_classes];"]
        self.lines += [f"    double sum[{self.name}_n_classes] = {{0.0}};"]
        given = self._read()
        for at in range(n_networks):
            self.lines.append(f"    {self.name}_network{at}({given}, logits);")
            self._call(f"add_{student.averaging}", "logits", n_classes, "sum")
        if student.averaging != "logit" and student.temperature == 1.0:
            self._call("mean", "sum", n_classes, f"{n_networks}.0", "proba")
        elif student.averaging == "logit":
            divisor = repr(float(n_networks * student.temperature))
            self._call("softmax", "sum", n_classes, divisor, "proba")
        else:
            self._call("logarithms", "sum", n_classes)
            self._call("softmax", "sum", n_classes, repr(float(student.temperature)), "proba")
        return self._function(f"void {self.name}_predict_proba(const float *x, float *proba)")

    def _read(self) -> str:
        """Write the reading of the table; return the array that networks are given."""
        table = self.student.table
        if table is None:
            return "x"
        self.lines.append(f"    float z[{max(table._n_features_out, 1)}] = {{0.0f}};")
        n_lines = len(self.lines)
        scaled = np.array([one == "scaled" for one in table.encodings_])
        if scaled.any():
            center, scale = (np.float32(one[scaled]) for one in (table.center_, table.scale_))
            columns = _ints(np.flatnonzero(scaled))
            self._call("scaled", columns, center, scale, len(columns), "x", "z")
        flagged = np.flatnonzero(table.indicators_)
        if len(flagged):
            places = _ints(table._places[1, flagged])
            self._call("missing", _ints(flagged), places, len(flagged), "x", "z")
        lines = [_category(table, at) for at, one in enumerate(table.encodings_)
                 if one in ("one-hot", "sign", "code")]  # fmt: skip
        if lines:
            self._call("categories", _ints(lines), len(lines), "x", "z")
        if len(self.lines) == n_lines:
            self.lines.append("    (void)x;")  # of which nothing is read
        return "z"

    # -- names of categories -----------------------------------------------------------------

    def _code(self) -> list[str]:
        """Return the function from a category's name to its code, if there are any."""
        table = self.student.table
        if table is None or not any(coded_columns(table)):
            return []
        cases, arrays = [], []
        for at in np.flatnonzero(coded_columns(table)).tolist():
            names = [one for one in table.categories_[at] if one is not None]
            missing = code_of_missing(table, at)
            if names:
                words = ",\n".join(f"    {_string(one)}" for one in names)
                which = f"{self.name}_names{at}"
                head = f"static const char *const {which}[{len(names)}]"
                arrays.append(f"{head} = {{\n{words}\n}};")
            else:
                which = "NULL"
            cases.append(
                f"    case {at}:\n        names = {which};\n        n = {len(names)};\n"
                f"        missing = {missing};\n        break;"
            )
        return [
            "\n".join(arrays),
            "",
            _CODE_FUNCTION.replace("NAME", self.name).replace("CASES", "\n".join(cases)),
        ]


_TYPES = ("    float t", "    float z[", "    float logits", "    double sum", "    int k;")

_INCLUDES = "#include <math.h>\n#include <stddef.h>\n#include <string.h>\n"

_PREDICT = """\
int NAME_predict(const float *x)
{
    float proba[NAME_n_classes];
    int k, best = 0;
    NAME_predict_proba(x, proba);
    for (k = 1; k < NAME_n_classes; k++)
        best = proba[k] > proba[best] ? k : best;
    return best;
}
"""

_CODE_FUNCTION = """\
float NAME_code(int column, const char *category)
{
    const char *const *names = NULL;
    int k, n = 0, missing = 0;
    switch (column) {
CASES
    default:
        break;
    }
    if (category == NULL)
        return (float)missing;
    for (k = 0; k < n; k++)
        if (strcmp(names[k], category) == 0)
            return (float)(k + 1);
    return 0.0f;
}
"""


# -- words -----------------------------------------------------------------------------------


def _width(part: Any) -> int:
    if isinstance(part, Bins):
        return int(part.count.sum())
    if isinstance(part, Waves):
        return len(part.frequencies) * len(part.dense.bias)
    return 0 if part is None else len(part.count) * part.table.shape[1]


def _category(table: Any, at: int) -> list[int]:
    """Return a column's line in the table of what is read of categories."""
    n_names, encoding = len(table.categories_[at]), table.encodings_[at]
    kind = {"one-hot": _FLAGS, "code": _CODE}.get(encoding, _SIGN if n_names == 1 else _SIGNS)
    place = table._places[2 if encoding == "code" else 1, at]
    return [at, int(place), n_names, code_of_missing(table, at), kind]


def _ints(values: Iterable[Any]) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)


def _float(value: np.floating) -> str:
    """Return the shortest word that is read as the same float32."""
    return f"{np.float32(value)!s}f"


def _string(text: str) -> str:
    """Return a string of C, in ASCII and without trigraphs."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > _LONGEST or 0 in data:
        raise ValueError(
            f"Names in a file of C must be of at most {_LONGEST} bytes, none of them zero. Got "
            f"{text[:40]!r}, of {len(data)}; rename it before fit."
        )
    plain = (chr(one) if 32 <= one < 127 and chr(one) not in '"\\?' else f"\\{one:03o}"
             for one in data)  # fmt: skip
    return f'"{"".join(plain)}"'


def _for_comment(text: str) -> str:
    """Return a name in which nothing ends a comment or starts a trigraph."""
    plain = (one.isascii() and (one.isalnum() or one in " _.,+-") for one in text[:60])
    return "".join(one if kept else "_" for one, kept in zip(text, plain, strict=False))
