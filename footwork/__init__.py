"""What the three applications share, and their public names, imported when asked for.

`footwork.train`, `footwork.TextClassifier`, `footwork.ZeroShotClassifier`, `footwork.ImageIndex` …
are those of `textclf`, `zeroshot` and `search`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

APPLICATIONS = ("textclf", "zeroshot", "search")
ERRORS = ("ConfigError", "DataError", "FootworkError", "ImageError", "ModelError", "StoreError")


def __getattr__(name: str) -> Any:
    """Import a public name of an application: `import footwork` stays free."""
    from importlib.util import find_spec

    if name == "__all__":  # of `from footwork import *`
        return __dir__()
    if name == "__version__":
        from importlib.metadata import version

        return version("footwork")
    # `from footwork import` asks here for a module of ours, too, before it is imported.
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is None:
        if name in ERRORS:
            from footwork import errors

            return getattr(errors, name)
        for application in APPLICATIONS:
            package = _package(application)
            if name in package.__all__:
                return getattr(package, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def names_of(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package: a name is imported when it is asked for.

    Where it is found is what the imports for type checkers in the package's file say.
    """
    homes: dict[str, str] = {}

    def names() -> list[str]:
        import ast
        from pathlib import Path

        blocks = [] if homes else ast.parse(Path(file).read_bytes()).body
        for line in (line for block in blocks if isinstance(block, ast.If) for line in block.body):
            if isinstance(line, ast.ImportFrom):
                homes.update((alias.name, str(line.module)) for alias in line.names)
        return list(homes)

    def find(name: str) -> Any:
        from importlib import import_module

        if name not in names():
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(import_module(homes[name]), name)

    return find, names


def __dir__() -> list[str]:
    """The errors, and the public names of all applications."""
    names = [name for application in APPLICATIONS for name in _package(application).__all__]
    return [*ERRORS, *names]


def hiding_file(application: str) -> str | None:
    """The file of the user's that Python finds in place of an application of ours."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(application)
    ours = Path(__file__).parents[1] / application
    hidden = spec is not None and spec.origin and Path(spec.origin).parent != ours
    return spec.origin if spec is not None and hidden and ours.is_dir() else None


def _package(application: str) -> ModuleType:
    from importlib import import_module

    package = import_module(application)
    if not hasattr(package, "__all__") and (file := hiding_file(application)):
        message = hidden_message(application, file)
        raise ImportError(message)
    return package


def hidden_message(application: str, file: str) -> str:
    """What is said where a user's file has the name of an application."""
    return (
        f"{file} hides Footwork's own package `{application}`, as Python looks there first. Rename "
        "that file, or run Footwork from another folder."
    )
