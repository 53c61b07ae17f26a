"""The floors of the house: who may import whom.

A room is a package or module right below ``skensemble``. It imports rooms of lower floors
alone, so there is no circle; within a room there is none either.
"""

import ast
from pathlib import Path

import skensemble

ROOT = Path(skensemble.__file__).parent
# From the top floor to the ground; rooms of one floor do not know each other.
FLOORS = [
    {"__main__", "deploy"},
    {"pruning"},
    {"distillation", "ntk"},
    {"ensembles", "model_selection", "inspection"},
    {"preprocessing"},
    {"_base"},
    {"_fits", "_files", "_graphs"},
    {"_engine"},
    {"_records"},
    {"_recipes"},
    {"objectives"},
    {"augmentation", "perturbation", "transfer", "conformal"},
    {"losses", "nn", "_data", "datasets", "metrics", "_forgotten", "_parameters"},
    {"_tables"},
    {"_seeding", "_private"},
    {"_turns", "_arguments"},
]
# Arrows that still point up, from room to room.
PENDING: set[tuple[str, str]] = set()


def _arrows():
    files = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(("skensemble", *parts)).removesuffix(".__init__")] = path
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skensemble"):
                for one in node.names:
                    full = f"{node.module}.{one.name}"
                    yield name, full if full in files else node.module
            elif isinstance(node, ast.Import):
                yield from ((name, one.name) for one in node.names if one.name in files)


def _room(module):
    return [*module.split("."), "", ""][1]


def _circle(graph, start):
    """Return whether `start` can be reached from itself."""
    seen, todo = set(), list(graph.get(start, ()))
    while todo:
        at = todo.pop()
        if at == start:
            return True
        if at not in seen:
            seen.add(at)
            todo.extend(graph.get(at, ()))
    return False


def test_every_room_stands_on_one_floor():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__", "__pycache__"}
    assert sorted(room for floor in FLOORS for room in floor) == sorted(rooms)


def test_imports_point_down():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    up = {
        (_room(a), _room(b))
        for a, b in _arrows()
        if _room(a) and _room(b) and _room(a) != _room(b)
        if floor_of[_room(b)] <= floor_of[_room(a)]
    }
    assert up == PENDING


def test_no_file_imports_itself_by_a_detour():
    graph: dict[str, set[str]] = {}
    for a, b in _arrows():
        if b != "skensemble":
            graph.setdefault(a, set()).add(b)
    assert [name for name in graph if _circle(graph, name)] == []


def test_no_file_is_longer_than_500_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in ROOT.rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}
