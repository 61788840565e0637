"""Whatever fills in a page is but text; a template that lacks something is no page."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from footwork.files.outputs import PAGE_MARK, require_page
from footwork.pages.templates import load_template, write_page

PAGE = "search/duplicates/duplicates.html"


def test_what_is_filled_in_is_escaped_and_the_page_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for _ in range(2):
        require_page(path)
        write_page(path, PAGE, sum="<script>\"'&", groups=0, images=[])
    text = path.read_text("utf-8")
    assert "&lt;script&gt;&#34;&#39;&amp;" in text
    assert "<script" not in text
    assert PAGE_MARK in text


def test_what_is_not_given_leaves_the_page_before_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(UndefinedError, match="'sum' is undefined"):
        write_page(path, PAGE, groups=0, images=[])
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("name", ["search/answers/none.html", "nowhere/page.html", "page.html"])
def test_a_template_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(TemplateNotFound, match=name):
        load_template(name)
