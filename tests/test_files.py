"""A file is read as it was written, or refused by an error that names it and the field."""

import importlib.util
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from nets import make_net
from registry import cheap_net
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_iris

import skensemble
from skensemble import FileError, NetworkClassifier
from skensemble._files import digest
from skensemble._files.errors import Misfit
from skensemble._files.registry import _CLASSES
from skensemble._files.weights import Allowance

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
OLD = Path(__file__).parent / "data" / "format2"


def tool(name):
    """Import what the benchmark of files is made of."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kinds, mutants = tool("_file_kinds"), tool("_file_mutants")
# One of each class, and of each thing that files hold beside it.
SOME = ("network", "table", "batch", "distilled", "generations", "kernel", "pruned_images", "grown")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = {name: kinds.make(name) for name in (*SOME, "pretrained")}
    for name, (fitted, _) in made.items():
        fitted.save(folder / name)
    return folder, made


def parts(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["skensemble"]), load_file(path)


def forged(good, path, change):
    """Write a changed file whose digest is right."""
    about, tensors = parts(good)
    change(about, tensors)
    metadata = {"skensemble": json.dumps(about), digest.KEY: digest.EMPTY}
    save_file(tensors, path, metadata=metadata)
    digest.seal(path)
    return path


def assert_refused(path, field, text=None):
    with pytest.raises(FileError, match=text) as caught:
        skensemble.load(path)
    assert caught.value.path == str(path)
    assert caught.value.field == field, str(caught.value)
    assert str(path) in str(caught.value)


# -- the digest --------------------------------------------------------------------------------


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from(SOME))
def test_a_flipped_bit_is_an_error(files, tmp_path, place, bit, name):
    data = bytearray((files[0] / name).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(FileError, match="file cannot be loaded"):
        skensemble.load(path)


@pytest.mark.parametrize("older", [b"2", b"1"])
def test_one_bit_that_says_an_older_format_is_an_error(files, tmp_path, older):
    data = (files[0] / "network").read_bytes()
    said = b'\\"format\\": '
    assert said + b"3" in data
    (tmp_path / "file").write_bytes(data.replace(said + b"3", said + older, 1))
    assert_refused(tmp_path / "file", "sha256", "not those that were written")


def test_a_file_of_today_without_a_digest_is_refused(files, tmp_path):
    about, tensors = parts(files[0] / "network")
    save_file(tensors, tmp_path / "file", metadata={"skensemble": json.dumps(about)})
    assert_refused(tmp_path / "file", "sha256", "There must be the digest")


def test_a_weight_that_is_another_number_is_another_model_in_old_files_alone(files, tmp_path):
    about, tensors = parts(OLD / "network.skensemble")
    tensors["0/layers.1.bias"] += 1
    save_file(tensors, tmp_path / "old", metadata={"skensemble": json.dumps(about)})
    skensemble.load(tmp_path / "old")
    data = bytearray((files[0] / "network").read_bytes())
    data[-2] ^= 1
    (tmp_path / "new").write_bytes(data)
    assert_refused(tmp_path / "new", "sha256")


# -- what a forged file may say ----------------------------------------------------------------


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(SOME))
def test_a_mutant_is_refused_or_predicts_finite_numbers(files, tmp_path, seed, name):
    folder, made = files
    data = (folder / name).read_bytes()
    path = tmp_path / "file"

    def seal(data):
        path.write_bytes(data)
        try:
            digest.seal(path)
        except Misfit:
            return data
        return path.read_bytes()

    mutant = mutants.mutate(data, seal, (seed,))
    path.write_bytes(mutant.data)
    fitted, rows = made[name]
    try:
        again = skensemble.load(path)
    except FileError as error:
        named = str(path) in str(error)
        again = None
    if again is None:
        assert named
        return
    assert mutant.forged or mutant.data == data
    told, known = again._recipe, fitted._recipe
    same = told.in_shape == known.in_shape and (told.table is None) == (known.table is None)
    if same and told.table is None and not hasattr(again, "feature_names_in_"):
        assert np.isfinite(again.predict_proba(np.asarray(rows))).all()


def set_at(*path, to):
    def change(about, tensors):
        at = about
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = to

    return change


FORGED = {
    "params.more": (set_at("params", "more", to=1), "params", "unexpected keyword"),
    "params.value": (set_at("params", "refit", to="no"), "params", "'refit' parameter of Network"),
    "lr": (set_at("recipe", "lr", to="x"), "recipe.lr", "a finite number from 0"),
    "lr nan": (set_at("recipe", "lr", to=float("nan")), "recipe.lr", "Got nan instead"),
    "in_shape": (set_at("recipe", "in_shape", to=[0]), "recipe.in_shape[0]", "an int from 1"),
    "features": (
        set_at("fitted", "n_features_in", to=5), "fitted.feature_names", "the names of 5 features",
    ),
    "classes": (
        set_at("fitted", "classes", "values", to=["a", "a", "b"]), "fitted.classes", "3 different",
    ),
    "no classes": (
        set_at("fitted", to={"n_features_in": 4, "feature_names": []}), "fitted.classes", "there",
    ),
    "dtype": (
        set_at("fitted", "classes", "dtype", to="<U9999999"), "fitted.classes.dtype", "characters",
    ),
    "device": (set_at("recipe", "device", to="meta"), "recipe.device", "that holds numbers"),
    "seeds": (set_at("seeds", to=[1, 2]), "seeds", "of the 1 members"),
    "class": (set_at("class", to="Trap"), "class", "must be one of the classes"),
    "found": (set_at("found", "module_", to=1), "found.module_", "left out"),
    "wraps": (set_at("recipe", "wraps", to=[["x", {}]]), "members", "in ways of"),
    "hidden": (
        set_at("recipe", "module_kwargs", "hidden", to=[10**9]), "members[0].module_kwargs",
        "ints of at most 1048576",
    ),
    "wide": (
        set_at("recipe", "module_kwargs", "hidden", to=[10**6, 10**6]), "members[0].module_kwargs",
        "far larger than the file's weights",
    ),
    "deep": (
        set_at("recipe", "module_kwargs", "hidden", to=[1] * 10**5), "members[0].module_kwargs",
        "far larger than the file's weights",
    ),
    "narrow": (
        set_at("recipe", "module_kwargs", "hidden", to=[4]), "members[0].weights.layers.1.bias",
        r"has torch.float32 of shape \(4,\). Got torch.float32 of shape \(5,\)",
    ),
    "width": (
        set_at("recipe", "module_kwargs", to={"in_shape": [4], "n_classes": 3, "x": 1}),
        "members[0].module_kwargs", "TypeError",
    ),
    "function": (
        set_at("recipe", "module", to="skensemble.nn.multiview.gradient_descent"),
        "recipe.module", "does not import by itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_header_is_refused_by_the_name_of_its_field(files, tmp_path, name):
    change, field, text = FORGED[name]
    assert_refused(forged(files[0] / "network", tmp_path / "file", change), field, text)


def test_an_optimizer_that_torch_refuses(files, tmp_path):
    change = set_at("recipe", "optimizer_kwargs", to={"x": 1})
    path = forged(files[0] / "distilled", tmp_path / "file", change)
    assert_refused(path, "recipe", "'optimizer' must be such that Adam of the net can take")


def poison(value):
    def change(about, tensors):
        tensors["0/layers.1.bias"][0] = value

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_are_no_numbers_to_count_with_are_refused(files, tmp_path, value):
    path = forged(files[0] / "network", tmp_path / "file", poison(value))
    assert_refused(path, "members[0].weights.layers.1.bias", "finite numbers")


def alter(name, how):
    def change(about, tensors):
        tensors[name] = how(tensors[name])

    return change


@pytest.mark.parametrize(
    ("kind", "name", "how", "text"),
    [
        ("network", "0/layers.1.bias", lambda one: one.double(), "Got torch.float64"),
        ("table", "0/categories.first", lambda one: one + 10**6, "the module's arguments make it"),
        ("pruned_images", "0/tail.0.running_var", lambda one: -one, "finite numbers from 0"),
        ("pruned_images", "0/tail.0.index", lambda one: one + 100, "the module's arguments make"),
        ("kernel", "0/temperature", lambda one: one * 0, "finite numbers from 1e-15"),
    ],
)
def test_altered_tensors_are_refused(files, tmp_path, kind, name, how, text):
    path = forged(files[0] / kind, tmp_path / "file", alter(name, how))
    pruned = "pruned." * (kind == "pruned_images")
    assert_refused(path, f"{pruned}members[0].weights.{name.removeprefix('0/')}", text)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda about: about["shared"][1].append("layers.9.weight"), "shared[1]"),
        (lambda about: about["shared"][1].append("layers.3.weight"), "shared[1]"),  # its own head
        (lambda about: about["shared"][1].append(about["shared"][1][0]), "shared[1]"),
        (lambda about: about["shared"][0].append("layers.1.weight"), "shared"),
        (lambda about: about["shared"].append([]), "shared"),
        (lambda about: about["shared"][1].pop(), "members[1].weights"),
    ],
)
def test_what_is_shared_is_there_and_said_once(files, tmp_path, change, field):
    good, bad = files[0] / "pretrained", tmp_path / "file"
    assert parts(good)[0]["shared"][1] == ["layers.1.weight", "layers.1.bias"]
    assert_refused(forged(good, bad, lambda about, tensors: change(about)), field)


def test_tensors_of_no_member_are_refused(files, tmp_path):
    def change(about, tensors):
        tensors["7/layers.1.bias"] = torch.zeros(5)

    assert_refused(forged(files[0] / "network", tmp_path / "file", change), "7/layers.1.bias")


def test_what_could_not_predict_is_refused_at_once(files, tmp_path):
    def change(about, tensors):
        about["recipe"]["wraps"][0][1]["features"] = "trace"

    path = forged(files[0] / "kernel", tmp_path / "file", change)
    assert_refused(path, "networks")


@pytest.mark.parametrize(("column", "field"), [(1, "in_shape"), (4, "module_kwargs.cardinalities")])
def test_a_table_with_a_category_less(files, tmp_path, column, field):
    def change(about, tensors):
        del about["recipe"]["table"]["categories"][column][0]

    path = forged(files[0] / "table", tmp_path / "file", change)
    assert_refused(path, f"members.{field}", "as the table is read")


@pytest.mark.parametrize(
    ("field", "to", "text"),
    [
        ("encodings", ["scaled", "code", "sign", "scaled", "code"], "as the table is read"),
        ("kinds", ["category", "category", "boolean", "number", "category"], "cannot be 'categ"),
        ("categories", [[], ["a", "a"], ["False", "True"], [], ["c"]], "different names"),
    ],
)
def test_a_table_that_its_network_cannot_read(files, tmp_path, field, to, text):
    change = set_at("recipe", "table", field, to=to)
    with pytest.raises(FileError, match=text):
        skensemble.load(forged(files[0] / "table", tmp_path / "file", change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 3, "format": 3}', "format: It is said twice"),
        ('{"format": 3, "a": ' + "[" * 60 + "]" * 60 + "}", "nested at most 40 deep"),
        ("[" * 100_000, "must be a file written by save"),
        ('{"format": 3, "a": ' + "1" * 5000 + "}", "must be a file written by save"),
        ("3", "its header is a int"),
        ('{"format": true}', "must have format 1, 2 or 3. Got True"),
    ],
)
def test_headers_that_are_no_header(tmp_path, text, message):
    path = tmp_path / "file"
    metadata = {"skensemble": text, digest.KEY: digest.EMPTY}
    save_file({"0/a": torch.zeros(1)}, path, metadata=metadata)
    digest.seal(path)
    with pytest.raises(FileError, match=message):
        skensemble.load(path)


def test_an_older_file_is_checked_too(tmp_path):
    about, tensors = parts(OLD / "network.skensemble")
    about["recipe"]["lr"] = None
    save_file(tensors, tmp_path / "file", metadata={"skensemble": json.dumps(about)})
    assert_refused(tmp_path / "file", "recipe.lr")


def test_missing_files_and_folders_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        skensemble.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        skensemble.load(tmp_path)


def test_errors_have_a_cause_that_ends(tmp_path):
    path = tmp_path / "file"
    metadata = {"skensemble": '{"format": 3, "format": 3}', digest.KEY: digest.EMPTY}
    save_file({"0/a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(FileError) as caught:
        skensemble.load(path)
    seen, error = [], caught.value
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__


def test_an_error_is_pickled():
    error = FileError("file", "recipe.lr", "It must be there.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "file cannot be loaded. recipe.lr: It must be there."
    assert again.field == "recipe.lr"


# -- the allowance -----------------------------------------------------------------------------


def test_tensors_are_refused_before_they_are_made():
    with Allowance(1000, 100):
        torch.empty(100)
        with pytest.raises(Misfit, match="far larger"):
            torch.empty(10**12)  # which no machine has
    with Allowance(1000, 100), pytest.raises(Misfit):
        torch.zeros(1).repeat(10**12)
    with Allowance(10**9, 100), pytest.raises(Misfit):
        [torch.empty(1) for _ in range(101)]
    with Allowance(100, 100):
        for _ in range(200):
            torch.zeros(1)[0].add_(1) if _ < 3 else None


# -- what save does ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [np.random.RandomState(0), np.int64(3), None])
def test_seeds_are_written_as_far_as_json_can(tmp_path, seed):
    X, y = load_iris(return_X_y=True)
    fitted = NetworkClassifier(cheap_net(), random_state=seed).fit(X, y)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert again.random_state == (3 if isinstance(seed, np.integer) else None)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_save_refuses_what_load_would(tmp_path):
    X, y = load_iris(return_X_y=True)
    fitted = NetworkClassifier(cheap_net(), random_state=0).fit(X, y)
    with torch.no_grad():
        fitted.module_.layers[1].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"save\(\) cannot write members\[0\].*Got nan instead"):
        fitted.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


# -- skops -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
def test_skops_reads_estimators_by_trusting_our_classes_alone(files, tmp_path, name):
    sio = pytest.importorskip("skops.io")
    fitted, rows = files[1][name]
    sio.dump(fitted, tmp_path / "file")
    asked = sio.get_untrusted_types(file=tmp_path / "file")
    assert [one for one in asked if not one.startswith("skensemble.")] == []
    again = sio.load(tmp_path / "file", trusted=asked)
    np.testing.assert_array_equal(again.predict_proba(rows), fitted.predict_proba(rows))
    assert repr(again._recipe.training.optimizer) == repr(fitted._recipe.training.optimizer)


def test_all_classes_that_files_hold_are_among_them(files):
    ours = {name for name, cls in _CLASSES.items() if cls.__module__.startswith("skensemble.")}
    assert {type(fitted).__name__ for fitted, _ in files[1].values()} == ours


# -- modules of others -------------------------------------------------------------------------


class Strange(torch.nn.Module):
    """Holds what ours may not: an infinite buffer, and a negative temperature."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = torch.nn.Linear(in_shape[0], n_classes)
        self.temperature = torch.nn.Parameter(torch.tensor(-1.0))
        self.register_buffer("mask", torch.tensor(0.0))

    def forward(self, x):
        assert x.shape[0] > 2  # wants rows that mean something
        return self.layer(x) / self.temperature


def test_modules_of_others_keep_their_freedom(tmp_path):
    X, y = load_iris(return_X_y=True)
    fitted = NetworkClassifier(make_net(Strange, batch_size=50), random_state=0).fit(X, y)
    fitted.module_.mask.fill_(-torch.inf)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=Strange)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
