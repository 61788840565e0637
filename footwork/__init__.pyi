from collections.abc import Callable
from typing import Any

from footwork.errors import ConfigError as ConfigError
from footwork.errors import DataError as DataError
from footwork.errors import FootworkError as FootworkError
from footwork.errors import ImageError as ImageError
from footwork.errors import ModelError as ModelError
from footwork.errors import StoreError as StoreError
from search import *
from textclf import *
from zeroshot import *

APPLICATIONS: tuple[str, ...]
ERRORS: tuple[str, ...]
__version__: str

def hiding_file(application: str) -> str | None: ...
def hidden_message(application: str, file: str) -> str: ...
def names_of(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]: ...
