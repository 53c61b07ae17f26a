"""The pages of results say what the JSON says, all of it, and are reachable."""

import importlib.util
import re
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "results_pages.py"


def load():
    spec = importlib.util.spec_from_file_location("results_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


results_pages = load()
PAGES = results_pages.make_pages()


def test_pages_agree_with_the_results():
    stale = results_pages.find_stale(results_pages.make_all())
    names = [str(path.relative_to(ROOT)) for path in stale]
    assert not names, f"out of date; run `{results_pages.COMMAND}` and read them again"


def test_every_result_has_a_page():
    shown = {name for page in PAGES for name in page.results}
    assert shown == {path.name for path in results_pages.RESULTS.glob("*.json")}


def test_every_page_says_where_its_numbers_are_from():
    for page in PAGES:
        assert page.results, page.name
        for name in page.results:
            assert f"[`{name}`](../../benchmarks/results/{name})" in page.text
        assert page.text.count("SHA-256") >= len(page.results)


def test_every_page_is_linked_from_the_index_and_the_index_from_the_front():
    index = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"[{page.title}]({page.name}.md): {page.summary}" in index
    assert "(results/index.md)" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert "(docs/results/index.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_rows_of_a_table_have_as_many_cells_as_its_head():
    for page in PAGES:
        for table in re.findall(r"(?:^\|.*\n)+", page.text, re.MULTILINE):
            counts = {line.count("|") for line in table.splitlines()}
            assert len(counts) == 1, table


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "document",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


def test_a_changed_number_is_seen(monkeypatch, tmp_path):
    for path in results_pages.RESULTS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if path.name == "grid_search.json":
            assert '"epochs": 20' in text
            text = text.replace('"epochs": 20', '"epochs": 21')
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(results_pages, "RESULTS", tmp_path)
    stale = results_pages.find_stale(results_pages.make_all())
    assert [path.name for path in stale] == ["grid_search.md"]


def test_a_page_without_its_template_is_seen(monkeypatch, tmp_path):
    (tmp_path / "gone.md").write_text("# Gone\n", encoding="utf-8")
    monkeypatch.setattr(results_pages, "PAGES", tmp_path)
    assert results_pages.make_all()[tmp_path / "gone.md"] is None


def test_a_name_that_the_json_does_not_have_is_an_error():
    template = results_pages.environment().from_string("{{ found.nothing }}")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        template.render(found={"something": 1})


def test_a_result_without_provenance_is_refused():
    with pytest.raises(
        ValueError, match=r"x\.json must have a 'provenance'\. Got the keys \['a'\]"
    ):
        results_pages.describe_source("x.json", {"a": 1})


def test_numbers():
    assert results_pages.show(-0.0123, ".1f", 100) == "\N{MINUS SIGN}1.2"
    assert results_pages.show(None, ".1f") == ""
    assert results_pages.pm([1.0, 3.0], "+.1f") == "+2.0 ± 1.4"
    assert results_pages.pm([0.5], ".1f", 100) == "50.0"
    found = {"mean": -1.0, "half_width": 0.25}
    assert results_pages.interval(found, "+.2f") == "\N{MINUS SIGN}1.00 ± 0.25"
    assert results_pages.column([{"a": 1, "b": 2}], "b") == [2]
