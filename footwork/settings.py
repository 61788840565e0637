"""Settings: frozen dataclasses in which every value is what its annotation says."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from inspect import Parameter, Signature, cleandoc, getsource
from itertools import chain, pairwise
from math import inf
from os import PathLike, fspath
from pathlib import Path
from textwrap import dedent, fill
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from footwork.errors import ConfigError

_WORDS = {
    bool: "True or False",
    float: "a finite number",
    int: "a whole number",
    NoneType: "None",
    Path: "a path",
    str: "a text",
}


class _Signature:
    """How settings are made, without what a command line adds to their fields."""

    def __get__(self, _: object, settings: Any) -> Signature:
        parameters: list[Parameter] = []
        for field in fields(settings) if is_dataclass(settings) else ():
            default = field.default if field.default_factory is MISSING else field.default_factory()
            kind = Parameter.KEYWORD_ONLY if field.kw_only else Parameter.POSITIONAL_OR_KEYWORD
            given = Parameter.empty if default is MISSING else default
            hint = kinds_of(settings)[field.name]
            parameters.append(Parameter(field.name, kind, default=given, annotation=hint))
        if "__init__" in vars(settings):  # which `help()` shows, too
            itself = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
            settings.__init__.__signature__ = Signature([itself, *parameters])
        return Signature(parameters)


class _Documentation:
    """The docstring of a dataclass: what is said of the class, and below it of each field.

    It is read from the source when it is asked for, which costs milliseconds.
    """

    def __init__(self, said: str) -> None:
        self.said = said

    def __get__(self, _: object, settings: type[Any]) -> str:
        if "__match_args__" not in vars(settings):  # it is just being made a dataclass
            return self.said
        told: dict[str, str] = {}
        with suppress(OSError, TypeError):  # there is no source, as of what a notebook defines
            for kind in reversed(settings.__mro__):
                if is_dataclass(kind):
                    told |= _field_docstrings(kind)
            told |= _field_helps(settings)
        if not told:
            return self.said
        lines = (
            fill(f"{name}: {text}", 96, initial_indent=" " * 4, subsequent_indent=" " * 8)
            for name, text in told.items()
        )
        return "\n".join([cleandoc(self.said), "", "Args:", *lines])


class Documented:
    """A dataclass whose `help()` tells of every field what stands below it in the source."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        said: Any = vars(cls).get("__doc__") or ""
        documentation: Any = _Documentation(getattr(said, "said", said))
        cls.__doc__ = documentation


def _field_docstrings(settings: type[Any]) -> Iterator[tuple[str, str]]:
    body = ast.parse(dedent(getsource(settings))).body[0].body  # type: ignore[attr-defined]
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            name, text = ast.unparse(field.target), ast.literal_eval(after.value)
            yield name, " ".join(text.split())


def _field_helps(settings: type[Any]) -> Iterator[tuple[str, str]]:
    """What only the annotation of a field tells, as it was put together from a table."""
    for name, hint in get_type_hints(settings, include_extras=True).items():
        for parameter in getattr(hint, "__metadata__", ()):
            if text := getattr(parameter, "help", None):
                yield name, text


class Settings(Documented):
    """What a command or a function can be told; a subclass is a frozen dataclass.

    A value that is not what its field is annotated with is a `ConfigError`, which names the field.
    A number of numpy becomes Python's, a list a tuple, one value alone a tuple of it, a text a
    path, and a path a text where such is wanted. A `__post_init__` that checks more begins with
    that of `super()`.
    """

    __signature__ = _Signature()

    def __post_init__(self) -> None:
        """Look at every value."""
        settings: Any = type(self)  # mypy takes the `__hash__` of values for that of the class
        for name, kind in kinds_of(settings).items():
            value = getattr(self, name)
            require_kind(name, value, kind)
            object.__setattr__(self, name, _fits(value, kind)[0])

    @classmethod
    def given(cls, name: str, settings: Self | None) -> Self:
        """What a function was given as its argument of a name; None are the usual ones.

        A `ConfigError` where it is something else, such as a dict.
        """
        require_kind(name, settings, cls | None)
        return cls() if settings is None else settings


def require_kind(name: str, value: Any, kind: Any) -> None:
    """Refuse what is not of the kind that an annotation states, by a `ConfigError`."""
    if not _fits(value, kind):
        raise ConfigError(f"`{name}` must be {_words(kind)}, got {value!r}.")


@cache
def kinds_of(settings: type[Any]) -> dict[str, Any]:
    """What each field is annotated with, by name."""
    hints = get_type_hints(settings)  # what `Annotated` adds is left out
    return {field.name: hints[field.name] for field in fields(settings)}


def _fits(value: Any, kind: Any) -> list[Any]:
    """The value as of this kind; none where it is nothing of the kind."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        found = [one for arm in inner for one in _fits(value, arm)]
        return sorted(found, key=lambda one: (one is not value, isinstance(one, tuple)))[:1]
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of numpy
    if origin is Literal:
        return [one for one in inner if type(one) is type(value) and one == value]
    if origin is tuple:  # of any length
        several = value if isinstance(value, list | tuple) else [value]
        items = [_fits(one, inner[0]) for one in several]
        return [tuple(chain.from_iterable(items))] if all(items) else []
    if origin is Callable:
        return [value] if callable(value) else []
    if kind in (str, Path) and isinstance(value, str | PathLike):
        return [kind(fspath(value))]
    holds = isinstance(value, (int, float) if kind is float else kind)
    holds &= kind is bool or not isinstance(value, bool)
    return [value] if holds and (kind is not float or -inf < value < inf) else []


def _words(kind: Any) -> str:
    """What is allowed, as a sentence goes on after "must be"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"a list of which each is {_words(inner[0])}"
    if origin is Callable:
        return "a function"
    return _WORDS.get(kind) or f"a {kind.__name__}"
