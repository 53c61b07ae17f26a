"""The site has all public names, all pages and all examples; Sphinx is not needed to see it."""

import ast
import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import skensemble

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
BUILT = {"_build", "gallery", "generated"}
# Names of these are public at the top: they are rooms of the house, not doors.
ROOMS = {"skensemble.distillation", "skensemble.ensembles"}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load(DOCS / "for_site.py")


def public_modules():
    names = [one.name for one in pkgutil.iter_modules(skensemble.__path__)]
    return ["skensemble", *(f"skensemble.{name}" for name in names if not name.startswith("_"))]


def reference(module):
    """Return the names that the page of a module documents, and those it points to at the top."""
    text = (DOCS / "api" / f"{module.rpartition('.')[2]}.rst").read_text(encoding="utf-8")
    assert f".. currentmodule:: {module}\n" in text
    own = re.findall(r"^(?:   |\.\. data:: )(\w+)$", text, re.MULTILINE)
    return set(own), set(re.findall(r"^   ~skensemble\.(\w+)$", text, re.MULTILINE))


@pytest.mark.parametrize("module", [one for one in public_modules() if one not in ROOMS])
def test_every_public_name_is_in_the_reference(module):
    own, pointed = reference(module)
    assert own | pointed == set(importlib.import_module(module).__all__)
    assert pointed <= set(skensemble.__all__)


def test_names_of_rooms_are_public_at_the_top():
    for room in ROOMS:
        assert set(importlib.import_module(room).__all__) <= set(skensemble.__all__)


def test_every_module_has_its_page():
    listed = (DOCS / "api" / "index.rst").read_text(encoding="utf-8").split(".. toctree::")[1]
    pages = re.findall(r"^   (\w+)$", listed, re.MULTILINE)
    wanted = [one.rpartition(".")[2] for one in public_modules() if one not in ROOMS]
    assert sorted(pages) == sorted(wanted)


def pages():
    """Return every page of Markdown below docs, by its place."""
    found = (path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
    return {path.with_suffix("").as_posix() for path in found if not BUILT & set(path.parts)}


def entries(page):
    """Return the places that the tables of contents of a page name."""
    text = site.for_site(page, (DOCS / f"{page}.md").read_text(encoding="utf-8"))
    folder = Path(page).parent
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield (folder / re.sub(r".*<(.*)>$", r"\1", line)).as_posix()


def test_every_page_can_be_reached_from_the_front():
    known, seen, left = pages(), set(), ["index"]
    while left:
        page = left.pop()
        seen.add(page)
        left += [one for one in entries(page) if one in known and one not in seen]
    assert seen == known
    assert {"api/index", "gallery/index"} <= set(entries("index"))


def test_entries_name_pages():
    made = {"api/index", "gallery/index"}
    for page in pages():
        assert set(entries(page)) <= pages() | made, page


def test_comments_become_directives_and_links_stay_inside():
    text = "a\n<!-- {toctree}\n:hidden:\n\nb\n-->\n<!-- a comment -->\n[c](../CHANGELOG.md)\n"
    assert site.for_site("index", text) == (
        "a\n```{toctree}\n:hidden:\n\nb\n```\n<!-- a comment -->\n[c](changelog.md)\n"
    )
    assert site.for_site("index", "(../examples/plot_a.py)") == "(gallery/plot_a.rst)"
    assert doctest.testmod(site).failed == 0


def test_the_front_page_shows_the_code_of_the_readme():
    """Which runs there, once."""
    code = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert f"```py\n{code[1]}```" in (DOCS / "index.md").read_text("utf-8")


def test_the_gallery_has_the_order_of_the_front_page():
    names = sorted((path.name for path in EXAMPLES), key=site.story_order)
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    assert names == re.findall(r"\(\.\./examples/(plot_\w+\.py)\)", front)


def title(path):
    """Return the title of an example and the text below it."""
    head, line, *rest = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()
    assert line == "=" * len(head), f"{path.name}: the line below the title is as long as it"
    return head, "\n".join(rest).strip()


def test_examples_are_stories_on_the_front_page():
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 15
    for path in EXAMPLES:
        head, text = title(path)
        assert len(text) > 100, path.name
        assert f"[{head}](../examples/{path.name})" in front, path.name
