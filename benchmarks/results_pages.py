"""Write docs/results: one page a benchmark, with every number filled in from its JSON.

    python benchmarks/results_pages.py           # write what is missing or out of date
    python benchmarks/results_pages.py --check   # write nothing, name it, and exit with 1

A page is one template, benchmarks/pages/NAME.md: Markdown with Jinja in it. Its first line is
the title, the paragraph below says in one sentence what was measured, for the list of pages. A
template reads benchmarks/results/NAME.json by ``result("NAME.json")``; hardware, versions,
commit and settings of all that it has read are written below it. A name that the JSON does not
have is an error. Templates that start with an underscore are no pages: what stands in a
document of `DOCUMENTS` between ``<!-- from benchmarks/pages/_NAME.md -->`` and ``<!-- end -->``
is made of them.

Filters: ``x|show(".2f")`` writes a number (``x|show(".1f", 100)`` in per cent, and nothing
where the JSON has null); ``values|pm(".2f")`` their mean ± standard deviation,
``found|interval("+.2f")`` the mean ± half width of an interval, ``values|mean``;
``runs|column("acc")`` is one number of every run.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "benchmarks" / "pages"
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "results"
DOCUMENTS = (ROOT / "docs" / "index.md", ROOT / "docs" / "guide" / "when.md")
COMMAND = "python benchmarks/results_pages.py"
FRAGMENT = re.compile(r"(<!-- from benchmarks/pages/(_\w+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)
# Beside plain numbers and words, these keys at the top of a result say how it was run.
SETTINGS = ("preset", "arguments", "grid")


class Page(NamedTuple):
    """One page as it should be."""

    name: str
    text: str
    results: tuple[str, ...]  # the files it was made of

    @property
    def title(self) -> str:
        """Return the heading."""
        return self.text.split("\n# ", 1)[1].split("\n", 1)[0]

    @property
    def summary(self) -> str:
        """Return the paragraph below the heading, on one line."""
        return " ".join(self.text.split("\n# ", 1)[1].split("\n\n")[1].split())


def show(number: float | None, spec: str, scale: float = 1) -> str:
    """Write a number, with a minus sign and not a hyphen; null is an empty cell."""
    return "" if number is None else format(scale * number, spec).replace("-", "\N{MINUS SIGN}")


def pm(values: Sequence[float], spec: str, scale: float = 1) -> str:
    """Write mean ± standard deviation, or the number where there is one only."""
    mean = show(statistics.fmean(values), spec, scale)
    if len(values) == 1:
        return mean
    return f"{mean} ± {show(statistics.stdev(values), spec.lstrip('+'), scale)}"


def interval(found: Mapping[str, float], spec: str) -> str:
    """Write mean ± half width."""
    return f"{show(found['mean'], spec)} ± {show(found['half_width'], spec.lstrip('+'))}"


def column(runs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """Take one number of every run."""
    return [run[name] for run in runs]


def environment() -> jinja2.Environment:
    """Return what templates are read with."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    found.filters.update(show=show, pm=pm, interval=interval, column=column, mean=statistics.fmean)
    return found


def reader(used: dict[str, Any]) -> Callable[[str], Any]:
    """Return a function that reads results and keeps them in `used` by name."""

    def result(name: str) -> Any:
        used[name] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
        return used[name]

    return result


def find_provenance(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict]]:
    """Yield every provenance in a result with the place that it speaks of."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == "provenance":
            yield ", ".join(path), value
        else:
            yield from find_provenance(value, (*path, key))


def describe(facts: Mapping[str, Any]) -> str:
    """Write one provenance as a sentence."""
    versions = [f"{name} {version}" for name, version in facts["versions"].items() if version]
    return (
        f"{facts['date'][:10]}, {facts['cpu']}, {facts['cores']} cores, "
        f"{facts['torch_threads']} torch threads, {facts['gpu'] or 'no GPU'}, load "
        f"{facts['load_before']:.2f} before the run; {facts['system']}, Python {facts['python']}, "
        f"{', '.join(versions)}; `{facts['script']}` with SHA-256 "
        f"`{facts['script_sha256'][:12]}` at commit `{facts['commit'] or 'unknown'}`"
    )


def describe_settings(content: Mapping[str, Any]) -> str:
    """Write how a result was run, as far as its top level says so."""
    said = {
        key: value
        for key, value in content.items()
        if key in SETTINGS or isinstance(value, str | int | float)
    }
    written = {
        key: f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
        for key, value in said.items()
    }
    return "; ".join(f"{key} `{value}`" for key, value in written.items())


def describe_source(name: str, content: Mapping[str, Any]) -> str:
    """Write the lines of one result: its settings, and each provenance once."""
    places: dict[str, list[str]] = {}
    for place, facts in find_provenance(content):
        places.setdefault(describe(facts), []).append(place)
    if not places:
        raise ValueError(
            f"benchmarks/results/{name} must have a 'provenance'. Got the keys {list(content)} "
            "instead; write the result with `provenance` and `write_json` of _bench.py."
        )
    settings = describe_settings(content)
    lines = [f"- [`{name}`](../../benchmarks/results/{name})" + (f": {settings}" * bool(settings))]
    for text, where in places.items():
        named = "; ".join(filter(None, where))
        lines.append(f"  - {named + ': ' if named else ''}{text}")
    return "\n".join(lines)


def render(template: str, **names: Any) -> tuple[str, dict[str, Any]]:
    """Fill in a template and return it with the results that it has read."""
    used: dict[str, Any] = {}
    text = environment().get_template(template).render(result=reader(used), **names)
    return text, used


def make_page(name: str) -> Page:
    """Return the page of one benchmark."""
    text, used = render(f"{name}.md")
    sources = "\n".join(describe_source(*one) for one in sorted(used.items()))
    head = f"<!-- Written by `{COMMAND}` from benchmarks/pages/{name}.md; edit that. -->\n"
    foot = f"\n## Where the numbers are from\n\n{sources}\n\n[All results](index.md)\n"
    return Page(name, head + text + foot, tuple(sorted(used)))


def make_pages() -> list[Page]:
    """Return the pages of all benchmarks, by name."""
    names = sorted(path.stem for path in TEMPLATES.glob("[!_]*.md"))
    return [make_page(name) for name in names if name != "index"]


def make_index(pages: Sequence[Page]) -> str:
    """Return the list of pages."""
    head = f"<!-- Written by `{COMMAND}` from benchmarks/pages/index.md; edit that. -->\n"
    return head + render("index.md", pages=pages)[0]


def fill_in(text: str) -> str:
    """Return a document with the parts between its markers made anew."""

    def replace(match: re.Match[str]) -> str:
        return match[1] + render(match[2])[0] + match[3]

    return FRAGMENT.sub(replace, text)


def make_all() -> dict[Path, str | None]:
    """Return every file as it should be; None is one that should not be there."""
    pages = make_pages()
    wanted: dict[Path, str | None] = dict.fromkeys(PAGES.glob("*.md"))
    wanted.update({PAGES / f"{page.name}.md": page.text for page in pages})
    wanted[PAGES / "index.md"] = make_index(pages)
    wanted.update({path: fill_in(path.read_text(encoding="utf-8")) for path in DOCUMENTS})
    return wanted


def find_stale(wanted: Mapping[Path, str | None]) -> list[Path]:
    """Return the files that are not as they should be."""
    return [
        path
        for path, text in wanted.items()
        if (path.read_text(encoding="utf-8") if path.exists() else None) != text
    ]


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    wanted = make_all()
    stale = find_stale(wanted)
    for path in stale:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if check:
            continue
        text = wanted[path]
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
