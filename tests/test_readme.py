"""The Python blocks of the README and the documentation run as they stand."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Packages of extras that pages use.
EXTRAS = ("matplotlib", "onnx", "onnxruntime", "onnxscript", "skl2onnx", "torch_pruning",
          "captum", "skops", "dask")  # fmt: skip
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Yield the code of a page, padded so that a traceback names the page's own lines."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, match.start(1)) + match.group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for code in blocks(page):
        try:
            exec(compile(code, str(page), "exec"), namespace)
        except ImportError as error:
            missing = [name for name in EXTRAS if find_spec(name) is None]
            if any(name in str(error) for name in missing):
                pytest.skip(str(error))
            raise


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```python\na = 1\n```\n```bash\nno\n```\n```python\nassert a == 2\n```\n"
    )
    first, second = blocks(page)
    namespace = {}
    exec(first, namespace)
    with pytest.raises(AssertionError):
        exec(second, namespace)


def test_readme_has_blocks():
    assert len(list(blocks(ROOT / "README.md"))) >= 6
