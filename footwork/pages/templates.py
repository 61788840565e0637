"""Templates of pages and cards: data files that stand in the packages, filled in by Jinja2."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from pkgutil import get_data
from typing import TYPE_CHECKING, Any

from footwork.files.faults import why
from footwork.files.folders import published_file
from footwork.files.outputs import unwritable

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def load_template(name: str) -> Template:
    """Find a template by package and path, such as `search/answers/contact_sheet.html`.

    Others may extend or include it by that name. In one that ends in .html all that is filled in is
    escaped. A name that a template was not given is an error.
    """
    return _environment().get_template(name)


def write_page(path: Path, name: str, **values: Any) -> None:
    """Fill in a template into a file that is complete or absent, part by part: it may be large.

    Iterators among `values` are taken as it comes to them. An `OSError` becomes a `DataError`.
    """
    parts = load_template(name).generate(values)
    try:
        with published_file(path) as sibling, sibling.open("w", encoding="utf-8") as file:
            file.writelines(parts)
    except OSError as error:
        raise unwritable(path, why(error)) from error


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FunctionLoader(_source),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _source(name: str) -> str | None:
    package, _, path = name.partition("/")
    try:
        content = get_data(package, path)
    except (OSError, ImportError):
        return None
    return content.decode("utf-8") if content is not None else None
