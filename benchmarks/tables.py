"""Claim: defaults that win on tables, with honest probabilities, beside ten peers at theirs.

    python benchmarks/tables.py --data FOLDER                     # everybody, 5 seeds; days
    python benchmarks/tables.py --data FOLDER --peers DeepEnsemble --tag mine --seeds 0 1
    python benchmarks/tables.py --data FOLDER --peers Network --cv 3     # to choose settings
    python benchmarks/tables.py --data FOLDER --report            # run nothing, summarise

One record for each table, seed and contender goes to `--work`, a file of JSON lines, as soon
as it is there; what is there is not run again, so the command may be stopped and repeated.
Ours are kept apart by `--tag`: name another one after a change of the library. `--redo NAME`
runs a contender again under the same tag; the last record counts.

Contenders take turns on each split of a table (60/40, stratified), and the first one
changes from split to split. All have the same threads. Totals are judged by processor seconds
(of fit and predict), which a busy neighbour hardly moves; seconds by the clock stand beside
them and are for the record on an idle machine only. A contender that fails on a table is
recorded with what it said, gets the last rank there, and the table leaves the means.

`--cv N` measures on N inner splits of the training rows (75/25) and never reads the test
rows: choose settings with it. `_tables.py` says what is read how, `_table_peers.py` who gets
what prepared.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import joblib
from _bench import print_machine, provenance, write_json
from _table_peers import OURS, PEERS, not_installed
from _table_runs import Plan, Setup, chosen, read_records, run_split, turns
from _table_summary import as_markdown, summarise
from _tables import table_names

PACKAGES = (
    "torch", "numpy", "pandas", "scikit-learn", "skorch", "lightgbm", "xgboost", "catboost",
    "pytabkit", "skensemble",
)  # fmt: skip
CONTENDERS = PEERS | OURS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parent / "results" / "tables.json"
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of tables")
    parser.add_argument("--tables", nargs="*", help="by name; all, if not given")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--peers", nargs="*", choices=[*CONTENDERS], default=[*CONTENDERS],
                        metavar="NAME", help=", ".join(CONTENDERS))  # fmt: skip
    parser.add_argument("--max-rows", type=int, default=5000, help="of each table, at most")
    parser.add_argument("--threads", type=int, default=1, help="of each contender")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="splits at a time")
    parser.add_argument("--cv", type=int, default=0, help="inner splits instead of test rows")
    parser.add_argument("--prepared", action="store_true", help="prepare the frame for ours")
    parser.add_argument("--tag", default="default", help="which state of the library ours is")
    parser.add_argument("--redo", nargs="*", default=[], choices=[*CONTENDERS], metavar="NAME")
    parser.add_argument("--work", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def main() -> None:
    """Run what is missing, then summarise what is there."""
    parser = _parser()
    args = parser.parse_args()
    # A peer that is not installed is a choice of the user's, not a failure of the peer's.
    if not args.report and (absent := not_installed(args.peers)):
        parser.error(f"{absent} cannot be imported; install them, or leave them out of --peers")
    facts = provenance(__file__, PACKAGES)
    part = f"cv{args.cv}" if args.cv else "test"
    plan = Plan(Setup(part, args.max_rows, args.threads), tuple(args.data), args.work, args.tag,
                args.prepared, facts["commit"], frozenset(args.redo))  # fmt: skip
    tables = args.tables or table_names(args.data)
    if not args.report:
        print_machine(facts)
        args.work.parent.mkdir(parents=True, exist_ok=True)
        todo = turns(tables, args.seeds, args.peers, plan)
        joblib.Parallel(args.jobs)(
            joblib.delayed(run_split)(table, seed, names, plan) for table, seed, names in todo
        )
    records = [
        record
        for (table, seed, name), record in chosen(read_records(args.work), plan).items()
        if table in tables and seed in args.seeds and name in args.peers
    ]
    if not records:
        raise SystemExit(f"{args.work} has no record of this setup, tag and choice.")
    found = summarise(records, tuple(OURS), chief="DeepEnsemble")
    text = as_markdown(found)
    print(text)
    tag = plan.tag_of("DeepEnsemble")
    write_json(args.out, {"provenance": facts, **asdict(plan.setup), "tag": tag, **found})
    args.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
