"""The plan of the house, checked on the source: who may know whom, and what stands where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "footwork": set(),
    "search": {"footwork"},
    "textclf": {"footwork"},
    "zeroshot": {"footwork", "search"},
}
PACKAGES = sorted(name for name in MAY_IMPORT if (ROOT / name / "__init__.py").is_file())
TOP_FOLDERS = [*PACKAGES, "scripts", "tests"]

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
TORCH_SIGNATURES = {"footwork/training/dropout.py"}  # functions that stand in for torch's own


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported_pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Module and name of each `from module import name`, but for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        yield from imported_pairs(node)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def boolean_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [a.arg for a in every if a.annotation and ast.unparse(a.annotation) == "bool"]


def print_calls(tree: ast.AST) -> list[int]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if ast.unparse(call.func) in {"print", "pprint.pprint"}]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    forbidden = {*MAY_IMPORT, "scripts", "tests"} - MAY_IMPORT[package] - {package}
    wrong = [
        f"{named(path)} imports {name}"
        for path in python_files(package)
        for name in imported_names(ast.parse(path.read_bytes()))
        if name.partition(".")[0] in forbidden
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_within_a_package_name_it(package: str) -> None:
    relative = [
        f"{named(path)}:{node.lineno}"
        for path in python_files(package)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_a_name_says_what_a_file_holds() -> None:
    names = [named(path) for path in python_files(*TOP_FOLDERS)]
    assert not [name for name in names if EMPTY_NAMES & set(Path(name).with_suffix("").parts)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    # Imports inside functions count: what needs each other to be understood is one thing.
    modules = {named(path)[:-3].replace("/", "."): path for path in python_files(*PACKAGES)}
    needs = {
        module: {
            name
            for pair in imported_pairs(ast.parse(path.read_bytes()))
            for name in (".".join(pair), pair[0])
            if name in modules and name != module
        }
        for module, path in modules.items()
    }
    free = {name for name, needed in needs.items() if not needed}
    while free:
        needs = {name: needed - free for name, needed in needs.items() if name not in free}
        free = {name for name, needed in needs.items() if not needed}
    assert not needs, "a circle, and what imports it"


def test_no_function_takes_two_booleans() -> None:
    # A command's flags are its signature; everywhere else two booleans are four functions.
    wrong = [
        f"{named(path)}:{function.lineno} {function.name}({', '.join(flags)})"
        for path in python_files(*PACKAGES)
        if path.name != "cli.py" and named(path) not in TORCH_SIGNATURES
        for function in functions(ast.parse(path.read_bytes()))
        if len(flags := boolean_parameters(function)) > 1
    ]
    assert not wrong


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{named(path)}:{line}"
        for path in python_files(*PACKAGES)
        if path.name not in ("cli.py", "console.py")
        for line in print_calls(ast.parse(path.read_bytes()))
    ]
    assert not printing


def test_importing_prints_nothing() -> None:
    printing = [
        f"{named(path)}:{statement.lineno}"
        for path in python_files(*TOP_FOLDERS)
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, ast.Expr) and print_calls(statement)
    ]
    assert not printing
