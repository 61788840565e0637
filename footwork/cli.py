"""The `footwork` command: finds the applications, runs one, turns failures into exit codes.

Ctrl-C ends in a traceback until `run` is called, so nothing is imported here that takes time.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from footwork import APPLICATIONS, hidden_message, hiding_file, streams
from footwork.errors import ConfigError, require_one_of

TYPE_CHECKING = False  # `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType
    from typing import Any, NoReturn

    from cyclopts import App, ArgumentCollection

    from footwork.comparison.result import Comparison
    from footwork.finetuning.train import TrainedRun

EPILOGUE = (
    "Exit codes: 0 done, 1 the work failed, 2 the command was wrong, "
    "3 done but for some inputs, runs or files, which are listed, 4 nothing matches (search query "
    "--exit-status), 128 + n ended by signal n. "
    "--debug, anywhere, shows the traceback of a failure."
)


class Literal(str):
    """A word after `--`: no option, whatever it begins with."""

    __slots__ = ()


_BY_SIGNAL = 128
"""Exit codes of a process that a signal has ended, with its number, as a shell reports them."""
_OBJECTS = 10_000
"""New ones that start a search for cycles: modules, as they load, make many and drop none."""
_SHELLS = ("bash", "zsh", "fish", "powershell")
_TOO_LARGE = 2**63  # for SQLite, numpy and torch alike


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of the words after `footwork` or those of the process.

    Gives the exit code, as `EPILOGUE` lists them.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--debug"]
    debug, words, end = len(options) < end, options + words[end:], len(options)
    streams.escape_what_cannot_be_encoded()
    try:
        with _raised_signals():
            result = _app(words[:end])(
                [*words[:end], *map(Literal, words[end:])],
                print_error=False,
                exit_on_error=False,
                verbose=False,
                result_action="return_value",
            )
            sys.stdout.flush()  # here, so that a closed pipe or a full disk is caught below
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the last line of defence
        return _fail(error, words, debug)
    return result if isinstance(result, int) else 0


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """The `footwork` program: `main`, and an end without ceremony where there is none to hold.

    To take the interpreter apart costs a tenth of a query, and frees what the system frees anyway.
    What torch and its kin have registered to be done at the end is done.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    for number, handler in usual.items():  # `nohup` and the like have them ignored
        if signal.getsignal(number) is handler:
            signal.signal(number, _end_at_once)
    gc.set_threshold(_OBJECTS)
    # OpenMP reads it when torch is loaded. Threads that spin while they wait take the core from
    # the very thread that they wait for, if there is another job.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    streams.read_as_utf8()
    streams.open_closed_streams()
    streams.require_width()
    code = main(argv)
    if "torch" not in sys.modules or code >= _BY_SIGNAL:  # which may have left threads at work
        os._exit(code)
    sys.exit(code)


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """While modules are loaded, and after a failure was told, there is nothing to put in order."""
    with suppress(OSError):
        os.write(2, b"footwork: interrupted.\n")
    os._exit(_BY_SIGNAL + number)


def _raise(number: int, frame: FrameType | None) -> None:
    """Have the work put down; an import may swallow what is raised in it, or do only half."""
    from footwork.failures import Terminated

    caller = frame
    while caller is not None:
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            _end_at_once(number, frame)
        caller = caller.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def _raised_signals() -> Iterator[None]:
    """Within the block a signal that would end the process raises."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    owned = [number for number in numbers if signal.getsignal(number) is _end_at_once]
    for number in owned:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in owned:
            signal.signal(number, _end_at_once)


def config_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what the command line left open from the TOML file of `--config`.

    It serves every command that has the option, of the type `ConfigFile`. Keys are the names of
    the command's parameters, with `_` or `-`; the command line wins over the file. `arguments` are
    filled in place. What is no TOML is a `ConfigError`, a key of no parameter cyclopts'
    UnknownOptionError.
    """
    given = [a for a in arguments if "--config" in a.names and a.tokens]
    if not given:
        return
    import tomllib

    from cyclopts.config import Dict

    path = Path(given[0].tokens[-1].value)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except ValueError as error:  # wrong TOML and wrong UTF-8 alike
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    if "config" in values:
        raise ConfigError(f"{path} names another file under `config`. Put all values in one file.")
    for name, value in values.items():
        if isinstance(value, dict) or name in (*APPLICATIONS, "completion"):
            raise ConfigError(
                f"{path} has `{name}`, which is no setting. Settings stand at the top level of the "
                "file, one a line: seed = 2."
            )
    Dict(values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _settings_from_environment(
    app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Fill in what the command line left open from FOOTWORK_APPLICATION_COMMAND_SETTING.

    What is about this machine, its index, speed and memory, also from FOOTWORK_SETTING, for every
    command that has it. That one was taken is told, for nobody sees it in the command; as is one
    that is spelt like this command's, and means none of its settings.
    """
    from cyclopts.config import Env

    from footwork.help_page import INDEX, SPEED

    settings, of_machine = arguments.copy(), arguments.copy()
    settings[:] = [each for each in arguments if each.keys]
    of_machine[:] = [e for e in settings if e.parameter.group in (INDEX.group, SPEED.group)]
    Env("FOOTWORK_")(app, commands, settings)
    Env("FOOTWORK_", command=False)(app, commands, of_machine)
    taken = [
        str(token.keyword)
        for each in settings
        for token in each.tokens
        if token.source == "env" and token.keyword not in tuple(each.parameter.env_var or ())
    ]
    if taken:
        streams.tell(f"From the environment: {', '.join(dict.fromkeys(taken))}")
    own = "_".join(("FOOTWORK", *commands, "")).upper().replace("-", "_")
    known = {
        f"{own}{name.lstrip('-').replace('-', '_').upper()}" for a in settings for name in a.names
    }
    for name in sorted({name for name in os.environ if name.startswith(own)} - known):
        if len(commands) > 1:  # else it may be of a command of this application
            streams.tell(f"{name} is no setting of footwork {' '.join(commands)}.")


def tell_found(found: Any, *, json: bool) -> int:
    """Print what a command has found: one JSON document, or a text for people."""
    from footwork.console import DONE, print_document, print_text

    print_document(found.to_dict()) if json else print_text(found.to_text())
    return DONE


def tell_run(
    run: Callable[..., TrainedRun | Comparison], *, resume: bool, overwrite: bool, json: bool
) -> int:
    """Run a fine-tuning, or several, and say what came of it, and what was left out.

    `run` is called with `existing` and `notify`.
    On a process that is not the main one the exit code is that of success, for another one from it
    would end the main one.
    """
    from footwork.accelerator import is_main_process
    from footwork.console import (
        exit_code,
        note,
        note_all,
        print_document,
        print_text,
        report_skipped,
    )

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other. Choose one.")
    existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    said: list[str] = []

    def notify(text: str) -> None:
        said.append(" ".join(text.split()))
        note(text)

    done = run(existing=existing, notify=notify)
    if not is_main_process():
        return 0
    # An audit has told those on the data.
    note_all(new for new in done.notes if not any(" ".join(new.split()) in s for s in said))
    print_document(done.manifest) if json else print_text(done.to_text())
    return report_skipped(done.skipped) or exit_code(all_done=not done.manifest.get("failures"))


def _app(optional: Sequence[str]) -> App:
    """The root command; `optional` are the words that may be options: those before `--`."""
    from functools import partial

    from cyclopts import App

    from footwork.help_page import RUN, HelpPage

    app = App(
        name="footwork",
        help="Carry a pretrained model to your own task.",
        help_format="plaintext",  # rich's markdown costs a quarter of `--help`
        help_formatter=HelpPage(),
        help_epilogue=EPILOGUE,
        group_parameters=RUN,
        version=_version,
        config=(
            partial(_require_known_options, optional),
            _require_folder,
            _settings_from_environment,
            config_from_file,
            _require_positive,
            _require_values,
        ),
        suppress_keyboard_interrupt=False,
    )
    app.command(_completion, name="completion", sort_key=1)
    for name in APPLICATIONS:
        folder = _application_folder(name)
        if folder is None and [name] == optional[:1] and (file := hiding_file(name)):
            raise ConfigError(hidden_message(name, file))
        if folder is not None:
            app.command(f"{name}.cli:app", name=name, help=_summary(folder), sort_key=0)
    return app


def _completion(shell: str, /) -> None:
    """Print what makes a shell complete commands and options: bash, zsh, fish or powershell.

    In ~/.bashrc, or in ~/.zshrc below compinit: eval "$(footwork completion bash)", or zsh.
    In ~/.config/fish/config.fish: footwork completion fish | source.
    In PowerShell's profile: footwork completion powershell | Out-String | Invoke-Expression.

    Args:
        shell: Which.
    """
    require_one_of("shell", shell, _SHELLS)
    app: Any = _app([])
    script = app.generate_completion(prog_name="footwork", shell=shell)
    # That of zsh waits to be found by compinit.
    print(f"{script}\ncompdef _cyclopts_footwork footwork" if shell == "zsh" else script)


def _require_folder(_app: App, _commands: tuple[str, ...], _arguments: ArgumentCollection) -> None:
    """See that a command has a folder to work in: libraries end the process where there is none."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            "The folder in which you are is no longer there. Go into another one with cd, then "
            "run the command again."
        ) from error


def _require_known_options(
    optional: Sequence[str], _app: App, _commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """See that words are no misspelt options, and that short options swallow no words."""
    from inspect import Parameter

    from cyclopts import MissingArgumentError, UnknownOptionError

    takes_many = any(one.field_info.kind is Parameter.VAR_POSITIONAL for one in arguments)
    for argument in arguments:
        for token in argument.tokens:
            option, value = token.keyword, token.value
            if value.startswith("--") and value in optional:
                if option is not None:
                    raise MissingArgumentError(argument=argument, keyword=option)
                raise UnknownOptionError(token=token, argument_collection=arguments)
            word = f"{option}{value}"
            swallowed = takes_many and value and word in optional and not word.startswith("--")
            if swallowed and not value[0].isdigit():
                raise ConfigError(
                    f"{word} may be the option {option}, or a word that begins with a dash. Write "
                    f"{option} {value} for the one, and -- {word} for the other; in a query "
                    f"- {word[1:]} leaves out what shows it."
                )


def _require_positive(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse a flag's negative in a file or the environment: cyclopts takes its value as it is."""
    for argument in arguments:
        negatives = tuple(name[2:] for name in argument.negatives if name.startswith("--no-"))
        for token in argument.tokens if negatives else ():
            keyword = (token.keyword or "").strip("[]").lower().replace("_", "-")
            if token.source != "cli" and keyword.endswith(negatives):
                name = argument.name.lstrip("-").replace("-", "_")
                raise ConfigError(
                    f"{token.keyword} must be stated by what it denies. In a file write "
                    f"{name} = false, in the environment {name.upper()}=false at its end."
                )


def _require_values(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse what cyclopts would round to a whole number or take for a folder, or is not finite."""
    from math import isfinite
    from typing import get_args

    from footwork.files.paths import EMPTY_PATH

    for argument in arguments:
        kinds = get_args(argument.hint) or (argument.hint,)
        if Path in kinds and any(token.value == "" for token in argument.tokens):
            raise ConfigError(f"{argument.name} {EMPTY_PATH}")
        for token in argument.tokens if int in kinds or float in kinds else ():
            said = f"{token.keyword or argument.name} must be a"
            with suppress(ValueError):  # `none`, hexadecimal, and what cyclopts refuses
                value = float(token.value)
                if int in kinds and not ("." not in token.value and abs(value) < _TOO_LARGE):
                    raise ConfigError(f"{said} whole number below 2^63, got {token.value}.")
                if not isfinite(value):
                    raise ConfigError(f"{said} finite number, got {token.value}.")


def _application_folder(name: str) -> Path | None:
    # `find_spec("<name>.cli")` would import the package; its folder is enough.
    from importlib.util import find_spec

    spec = find_spec(name)
    folders = spec.submodule_search_locations if spec else None
    for folder in map(Path, folders or ()):
        if (folder / "cli.py").is_file():
            return folder
    return None


def _summary(folder: Path) -> str | None:
    # Read, not imported: an application's own imports are no part of `footwork --help`.
    import ast

    source = folder / "__init__.py"
    docstring = ast.get_docstring(ast.parse(source.read_bytes())) if source.is_file() else None
    return docstring.partition("\n")[0] if docstring else None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("footwork")
    except PackageNotFoundError:
        return "unknown (not installed: bash scripts/setup)"


def _fail(error: BaseException, words: Sequence[str], debug: bool) -> int:
    from footwork.failures import PIPE_CLOSED, explain

    if "footwork.console" in sys.modules:
        sys.modules["footwork.console"].end_progress()
    try:
        sys.stdout.flush()
    except OSError:
        streams.silence(sys.stdout)
    if isinstance(error, SystemExit):  # rich ends so where the reader of a help page has gone
        error = error.__context__ or error
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if debug:
        from traceback import format_exception

        streams.tell("".join(format_exception(error)), end="")
    message, code = explain(error, words)
    rank = os.environ.get("RANK", "0")
    who = "footwork" if rank == "0" else f"footwork (process {rank})"
    streams.tell(streams.harmless(f"{who}: {message}"))
    return code
