"""Failures told to the user of a command: a message, and the exit code that goes with it."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
from collections.abc import Iterator, Sequence

from footwork import APPLICATIONS, hidden_message, hiding_file
from footwork.errors import FootworkError, Interrupted

FAILED, WRONG_COMMAND = 1, 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as a shell reports them

# torch and safetensors, SQLite, and numpy tell it only in their texts.
_FULL_DISK = re.compile(
    "No space left on device|database or disk is full|problem writing element|"
    "[0-9]+ requested and [0-9]+ written"
)

# gloo, torch's own store and NCCL tell it only in their texts.
_LOST_PEER = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    *("Connection was likely closed", "remote process exited"),
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what was begun is put in order."""


def explain(error: BaseException, words: Sequence[str]) -> tuple[str, int]:
    """What is said of what ended a command of some words, and the exit code."""
    from cyclopts import CycloptsError

    match error:
        case Terminated():
            return f"ended by SIGTERM. {error}".rstrip(), 128 + signal.SIGTERM
        case Interrupted():
            return f"{error}{_resuming(words)}", error.exit_code
        case KeyboardInterrupt():
            return f"interrupted. {error}".rstrip(), INTERRUPTED
        case FootworkError():
            return f"error: {error}", error.exit_code
        case CycloptsError():
            command = " ".join(("footwork", *(error.command_chain or ())))
            return f"error: {error}{_literally(error)} See: {command} --help", WRONG_COMMAND
    fault = _surroundings_fault(error) or _hidden_package(error)
    if fault is None:
        # Cyclopts wraps what an application's import raises; the cause is the news.
        cause = error.__cause__ if isinstance(error, ImportError) and error.__cause__ else error
        told = f"{type(cause).__name__}: {cause}".rstrip(".: ").replace("\n", " ")
        fault = f"This is a fault of Footwork: {told}; run again with --debug for the traceback"
    return f"error: {fault}", FAILED


def _literally(error: BaseException) -> str:
    """How a word that begins with a dash is given to a command that takes words."""
    from cyclopts import UnknownOptionError

    if not isinstance(error, UnknownOptionError) or error.token.source != "cli":
        return ""
    if not any(argument.index is not None for argument in error.argument_collection):
        return ""
    return f" What is no option stands after `--`: -- {error.token.keyword or error.token.value}."


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
    chain = list(_chain(error))
    said = list(map(str, chain))
    codes = {getattr(link, "errno", None) for link in chain}
    if codes & {errno.ENOSPC, errno.EDQUOT} or any(map(_FULL_DISK.search, said)):
        advice = "Free some space or write elsewhere, then run the command again"
        return f"no space left on the disk ({error}). {advice}."
    if "RANK" in os.environ and any(sign in text for text in said for sign in _LOST_PEER):
        return (
            "another process of this run ended first, and this one cannot go on without it. "
            "What that one says is the reason; if it says nothing, it was killed (out of memory?)."
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        return "the standard output is closed. Name a file for it: > FILE."
    return None


def _hidden_package(error: BaseException) -> str | None:
    """What is said where a user's `search.py` is imported in the place of ours."""
    if isinstance(error, ImportError | AttributeError):
        for application in APPLICATIONS:
            if file := hiding_file(application):
                return hidden_message(application, file)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
