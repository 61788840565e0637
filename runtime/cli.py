"""The `footwork` command: finds the applications, runs one, turns failures into exit codes."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App, CycloptsError

from runtime.errors import ConfigError, FootworkError, Interrupted

if TYPE_CHECKING:
    from cyclopts import ArgumentCollection

    from runtime.training.run import Existing

APPLICATIONS = ("textclf", "zeroshot", "search")

EPILOGUE = (
    "Exit codes: 0 done, 1 the work failed, 2 the command was wrong, "
    "3 done but some inputs were skipped and listed. "
    "--debug, anywhere, shows the traceback of a failure."
)

FAILED, WRONG_COMMAND = 1, 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as a shell reports them

# torch and safetensors, SQLite, and numpy tell it only in their texts.
_FULL_DISK = re.compile(
    "No space left on device|database or disk is full|problem writing element|"
    "[0-9]+ requested and [0-9]+ written"
)

# gloo, torch's own store and NCCL tell it only in their texts.
_LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection was likely closed",
    "remote process exited",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `footwork`; None takes them from the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong command, 3 done with skipped inputs, 128 + n
        ended by signal n.
    """
    words, debug = _without_debug(sys.argv[1:] if argv is None else argv)
    _show_what_cannot_be_encoded()
    try:
        result = _app()(
            words,
            print_error=False,
            exit_on_error=False,
            verbose=False,
            result_action="return_value",
        )
        sys.stdout.flush()  # here, so that a closed pipe or a full disk is caught below
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence
        return _fail(error, words, debug)
    return result if isinstance(result, int) else 0


def run() -> NoReturn:
    """The `footwork` program: `main`, and an end without ceremony where there is none to hold.

    To take the interpreter apart costs a tenth of a query, and frees what the system frees anyway.
    What torch and its kin have registered to be done at the end is done.
    """
    code = main()
    if "torch" not in sys.modules:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def config_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what the command line left open from the TOML file of `--config`.

    It serves every command that has a parameter `config: Path | None = None`. Keys are the names
    of the command's parameters, with `_` or `-`; the command line wins over the file.

    Args:
        app: The application whose command runs.
        commands: The words that led to the command.
        arguments: What the command takes, with what the command line gave; filled in place.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
        cyclopts.UnknownOptionError: A key is no parameter of the command.
    """
    given = [a for a in arguments if "--config" in a.names and a.tokens]
    if not given:
        return
    from cyclopts.config import Dict

    path = Path(given[0].tokens[-1].value)
    values = _read_toml(path)
    if "config" in values:
        raise ConfigError(f"{path} names another file under `config`. Put all values in one file.")
    Dict(values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def what_exists(*, resume: bool, overwrite: bool) -> Existing:
    """What `--resume` and `--overwrite` say is done with what stands at the output folder.

    Raises:
        ConfigError: They say both.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other. Choose one.")
    return "resume" if resume else "overwrite" if overwrite else "refuse"


def _app() -> App:
    app = App(
        name="footwork",
        help="Carry a pretrained model to your own task.",
        help_format="plaintext",  # rich's markdown costs a quarter of `--help`
        help_epilogue=EPILOGUE,
        version=_version,
        config=config_from_file,
        suppress_keyboard_interrupt=False,
    )
    for name in APPLICATIONS:
        folder = _application_folder(name)
        if folder is not None:
            app.command(f"{name}.cli:app", name=name, help=_summary(folder))
    return app


def _show_what_cannot_be_encoded() -> None:
    """A path or a query in other letters than the terminal's is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _application_folder(name: str) -> Path | None:
    # `find_spec("<name>.cli")` would import the package; its folder is enough.
    spec = find_spec(name)
    folders = spec.submodule_search_locations if spec else None
    for folder in map(Path, folders or ()):
        if (folder / "cli.py").is_file():
            return folder
    return None


def _summary(folder: Path) -> str | None:
    # Read, not imported: an application's own imports are no part of `footwork --help`.
    source = folder / "__init__.py"
    docstring = ast.get_docstring(ast.parse(source.read_bytes())) if source.is_file() else None
    return docstring.partition("\n")[0] if docstring else None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("footwork")
    except PackageNotFoundError:
        return "unknown (not installed: bash scripts/setup)"


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--debug"]
    return options + words[end:], len(options) < end


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except ValueError as error:  # wrong TOML and wrong UTF-8 alike
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _fail(error: BaseException, words: Sequence[str], debug: bool) -> int:
    _flush_or_silence_stdout()
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if debug:
        traceback.print_exception(error)
    message, code = _explain(error, words)
    rank = os.environ.get("RANK", "0")
    who = "footwork" if rank == "0" else f"footwork (process {rank})"
    print(f"{who}: {message}", file=sys.stderr)
    return code


def _explain(error: BaseException, words: Sequence[str]) -> tuple[str, int]:
    match error:
        case KeyboardInterrupt():
            return "interrupted.", INTERRUPTED
        case Interrupted():
            return f"{error}{_resuming(words)}", error.exit_code
        case FootworkError():
            return f"error: {error}", error.exit_code
        case CycloptsError():
            words = " ".join(("footwork", *(error.command_chain or ())))
            return f"error: {error} See: {words} --help", WRONG_COMMAND
    return f"error: {_surroundings_fault(error) or _own_fault(error)}", FAILED


def _resuming(words: Sequence[str]) -> str:
    """The command that goes on with an interrupted one, unless a launcher stands before it."""
    if "RANK" in os.environ:
        return ""
    kept = [word for word in words if word not in ("--overwrite", "--resume")]
    end = kept.index("--") if "--" in kept else len(kept)
    return f" That is: {shlex.join(['footwork', *kept[:end], '--resume', *kept[end:]])}"


def _surroundings_fault(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "out of memory. Take a smaller --batch-size or --max-length, or fewer rows."
    if _disk_is_full(error):
        advice = "Free some space or write elsewhere, then run the command again"
        return f"no space left on the disk ({error}). {advice}."
    if _peer_is_lost(error):
        return (
            "another process of this run ended first, and this one cannot go on without it. "
            "What that one says is the reason; if it says nothing, it was killed (out of memory?)."
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return None


def _own_fault(error: BaseException) -> str:
    # Cyclopts wraps what an application's import raises; the cause is the news.
    cause = error.__cause__ if isinstance(error, ImportError) and error.__cause__ else error
    fault = f"{type(cause).__name__}: {cause}".rstrip(".: ").replace("\n", " ")
    return f"This is a fault of Footwork: {fault}; run again with --debug for the traceback"


def _disk_is_full(error: BaseException) -> bool:
    return any(
        getattr(link, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _FULL_DISK.search(str(link))
        for link in _chain(error)
    )


def _peer_is_lost(error: BaseException) -> bool:
    several = "RANK" in os.environ
    return several and any(sign in str(link) for link in _chain(error) for sign in _LOST_PEER)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _flush_or_silence_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # What is still buffered would fail once more when the interpreter flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
