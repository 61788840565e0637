"""The commands of text classification."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from runtime.errors import ConfigError
from textclf.config import TrainConfig

app = App(name="textclf", help="Fine-tune and use text classifiers.", help_format="plaintext")

Settings = Annotated[TrainConfig, Parameter(name="*")]
DEFAULTS = TrainConfig()


@app.command
def train(
    data: str,
    out: Path,
    /,
    *,
    settings: Settings = DEFAULTS,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    json: bool = False,
) -> int:
    """Fine-tune a classifier on a table and publish it as a folder.

    Args:
        data: CSV, TSV, JSON lines or Parquet, a folder of train/validation/test files, or a Hub id.
        out: The folder to publish; it appears when all is done.
        settings: Every setting.
        config: TOML file of settings; the command line wins.
        resume: Go on with the unfinished run of this folder.
        overwrite: Replace the folder, or an unfinished run of it.
        json: Print one JSON document.
    """
    print(settings)
    return 0
