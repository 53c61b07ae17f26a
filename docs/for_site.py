"""From Markdown as GitHub shows it to Markdown as the site reads it."""

import posixpath
import re
from pathlib import Path

DIRECTIVE = re.compile(r"^<!-- (\{\w[\w-]*\}.*?)-->$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"\((?:\.\./)+examples/(plot_\w+)\.py\)")


def for_site(page: str, text: str) -> str:
    """Return what Sphinx reads: comments that are directives, links that stay inside the site.

    Parameters
    ----------
    page : str
        Its place below docs, without the suffix.
    text : str
        What GitHub shows.

    Examples
    --------
    >>> for_site("guide/ntk", "[an example](../../examples/plot_gaussian.py)")
    '[an example](../gallery/plot_gaussian.rst)'
    """
    gallery = posixpath.relpath("gallery", posixpath.dirname(page) or ".")
    text = DIRECTIVE.sub(lambda found: f"```{found[1].rstrip()}\n```", text)
    text = EXAMPLE.sub(rf"({gallery}/\1.rst)", text)
    return text.replace("(../CHANGELOG.md)", "(changelog.md)")


def story_order(name: str) -> int:
    """Return where an example stands on the front page; the gallery has the same order.

    Parameters
    ----------
    name : str
        Its file's name.
    """
    front = (Path(__file__).parent / "index.md").read_text(encoding="utf-8")
    return front.find(f"examples/{name}")
