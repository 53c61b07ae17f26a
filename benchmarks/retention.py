"""Claim: one network keeps what its teacher knows, whatever the teacher is.

    python benchmarks/retention.py --data TABLES --cells tables digits latency   # 5 seeds
    python benchmarks/retention.py --data TABLES --cells tables --arms default --seeds 0
    python benchmarks/retention.py --cells images --data-images cifar10.npz --device cuda
    python benchmarks/retention.py --data TABLES --report        # run nothing, summarise

Students at their defaults, ``DistilledClassifier(teacher)``, beside `NetworkClassifier` and
the teacher. Cells:

- ``tables``: those of tables.py, with its splits. Teachers are our ensemble of ten, a forest,
  two kinds of boosting, and ensemble, forest and boosting together; arms take one thing from
  the default: words about rows that the teacher has not seen (``no-folds``), rows made for
  the student (``no-transfer``), epochs beyond a plain network's (``no-patience``).
- ``digits``: few rows of scikit-learn's digits, as rows of a table and as images.
- ``images``: some of CIFAR-10 with a recipe, a small ResNet trained until it fits.
- ``latency``: one row in an exported student.

One record for each student goes to `--work`, a file of JSON lines, as soon as it is there;
what is there is not run again, so the command may be stopped and repeated. Name another
`--tag` after a change of the library or of `--image-sizes`. With `--keep FOLDER` plain
networks and ensembles stay there and are fitted once for all commands. Seeds follow each
other, in each of them the default goes before the other arms. `_retention.py` says what is
fitted and measured, `_retention_summary.py` what is made of it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from _bench import print_machine, provenance, write_json
from _retention import (
    ARMS,
    CELLS,
    DIGITS,
    TEACHERS,
    Case,
    ImageSizes,
    Plan,
    Setup,
    chosen,
    key_of,
    run_turn,
    turns,
    wanted,
)
from _retention_summary import as_text, summarise
from _table_runs import read_records
from _tables import table_names

PACKAGES = (
    "torch", "numpy", "pandas", "scikit-learn", "skorch", "lightgbm", "onnxruntime", "skensemble",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parent / "results" / "retention.json"
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of tables")
    parser.add_argument("--data-images", type=Path, help="CIFAR-10: a file .npz, or a folder")
    parser.add_argument("--cells", nargs="*", choices=CELLS, default=list(CELLS), metavar="CELL",
                        help=", ".join(CELLS))  # fmt: skip
    parser.add_argument("--tables", nargs="*", help="by name; all, if not given")
    parser.add_argument("--digits", nargs="*", choices=DIGITS, default=list(DIGITS),
                        metavar="KIND-ROWS", help=", ".join(DIGITS))  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--teachers", nargs="*", choices=TEACHERS, default=list(TEACHERS),
                        metavar="NAME", help=", ".join(TEACHERS))  # fmt: skip
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS),
                        metavar="ARM", help=", ".join(ARMS))  # fmt: skip
    parser.add_argument("--max-rows", type=int, default=5000, help="of each table, at most")
    parser.add_argument("--image-sizes", nargs="*", default=[], metavar="NAME=NUMBER",
                        help="what the images' cell has else, as epochs=200")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="of the images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tag", default="default", help="which state of the library this is")
    parser.add_argument("--work", type=Path, default=Path("retention.jsonl"))
    parser.add_argument("--keep", type=Path, help="a folder for plain networks and ensembles")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def _check_installed(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    needs = {
        "lightgbm": "tables" in args.cells and "LightGBM" in args.teachers,
        "onnxruntime": "latency" in args.cells,
    }
    absent = [name for name, needed in needs.items() if needed and find_spec(name) is None]
    if absent:
        parser.error(f"{absent} cannot be imported; install them, or choose --teachers and --cells")
    if "images" in args.cells and args.data_images is None:
        parser.error("--data-images is needed for the cell 'images'; or choose --cells")


def cases(args: argparse.Namespace) -> list[Case]:
    """Return what students are compared on."""
    tables = args.tables or table_names(args.data)
    named = {"tables": tables, "digits": args.digits, "images": ("cifar10",), "latency": tables}
    return [
        Case(cell, name, seed)
        for cell in args.cells
        for name in named[cell]
        for seed in (args.seeds[:1] if cell == "latency" else args.seeds)
    ]


def main() -> None:
    """Run what is missing, then summarise what is there."""
    parser = _parser()
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    try:
        sizes = ImageSizes.read(args.image_sizes)
    except ValueError as error:
        parser.error(str(error))
    setup = Setup(args.max_rows, args.threads, args.tag)
    plan = Plan(setup, tuple(args.data), args.data_images, sizes, args.device, args.work, args.keep,
                facts["commit"])  # fmt: skip
    asked = cases(args)
    if not args.report:
        _check_installed(parser, args)
        print_machine(facts)
        args.work.parent.mkdir(parents=True, exist_ok=True)
        for turn in turns(asked, args.teachers, args.arms, plan):
            run_turn(turn, plan)
    teachers, arms = args.teachers, args.arms
    keys = {(*case, *pair) for case in asked for pair in wanted(case.cell, teachers, arms)}
    there = chosen(read_records(args.work), setup).values()
    records = [record for record in there if key_of(record) in keys]
    if not records:
        raise SystemExit(f"{args.work} has no record of this setup and choice.")
    found = summarise(records)
    print(as_text(found))
    write_json(args.out, {"provenance": facts, **asdict(setup), **found})


if __name__ == "__main__":
    main()
