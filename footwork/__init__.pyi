from collections.abc import Callable
from typing import Any

from search import *
from textclf import *
from zeroshot import *

APPLICATIONS: tuple[str, ...]
__version__: str

def hiding_file(application: str) -> str | None: ...
def hidden_message(application: str, file: str) -> str: ...
def names_of(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]: ...
