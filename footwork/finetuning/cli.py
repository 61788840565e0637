"""The commands of an application with a task: to train, compare, advise and merge."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from footwork.cli import tell_found, tell_run
from footwork.comparison.plan import CompareOptions
from footwork.console import DONE, note, note_all, print_text, report_skipped
from footwork.finetuning.config import FinetuningConfig
from footwork.options import ConfigFile, Flat

if TYPE_CHECKING:
    from footwork.finetuning.interface import Interface


def add_commands(
    app: App, config: type[FinetuningConfig], interface: str, name: str, data_help: str
) -> None:
    """Give an application its commands of fine-tuning.

    Args:
        app: Of the application.
        config: The class of its settings.
        interface: Module and name of its `Interface`, imported when a command is called.
        name: Of the command that fine-tunes.
        data_help: What that learns from.
    """

    def offered() -> Interface[Any]:
        module, _, variable = interface.partition(":")
        return getattr(import_module(module), variable)

    def train(
        data: str,
        out: Path,
        /,
        *,
        settings: Any = config(),  # noqa: B008 - frozen
        _config: ConfigFile = None,
        resume: bool = False,
        overwrite: bool = False,
        json: bool = False,
    ) -> int:
        """Fine-tune a pretrained model, and publish it with proof of what it can do.

        Args:
            data: Labelled rows.
            out: Folder to publish; it appears when all has succeeded.
            settings: Every setting of the run.
            resume: Go on with the unfinished run of this folder.
            overwrite: Replace the folder, or an unfinished run of it.
            json: Print one JSON document.
        """
        run = partial(offered().train, data, out, settings)
        return tell_run(run, resume=resume, overwrite=overwrite, json=json)

    def compare(
        data: str,
        out: Path,
        /,
        *,
        what: Annotated[CompareOptions, Flat] = CompareOptions(),  # noqa: B008 - frozen
        settings: Any = config(),  # noqa: B008 - frozen
        _config: ConfigFile = None,
        resume: bool = False,
        overwrite: bool = False,
        json: bool = False,
    ) -> int:
        """Compare methods of fine-tuning on one split: a page that says which one to take, and why.

        Args:
            data: Labelled rows.
            out: Folder to publish: report.html, comparison.json and a record of each run.
            what: Methods, seeds and rates.
            settings: Every setting that the runs share; `seed` is that of the split.
            resume: Go on with the unfinished comparison of this folder: what is done stays.
            overwrite: Replace the folder, or an unfinished comparison of it.
            json: Print one JSON document.
        """
        run = partial(offered().compare, data, out, settings, what)
        return tell_run(run, resume=resume, overwrite=overwrite, json=json)

    def advise(
        data: str,
        /,
        *,
        settings: Any = config(),  # noqa: B008 - frozen
        _config: ConfigFile = None,
        json: bool = False,
    ) -> int:
        """Measure how far the data goes and what the pretraining is worth here; advise a method.

        Args:
            data: Labelled rows.
            settings: Of the run that is planned, its method left open.
            json: Print one JSON document.
        """
        found = offered().advise(data, settings, notify=note)
        note_all(found.notes)
        tell_found(found, json=json)
        return report_skipped(found.skipped)

    def merge(
        model: str, out: Path, /, *, revision: str | None = None, overwrite: bool = False
    ) -> int:
        """Add an adapter into its base: a plain folder that any `from_pretrained` reads.

        The temperature goes into the weights, so that probabilities are calibrated in
        whatever loads the folder.

        Args:
            model: A folder with an adapter that was made here, or the Hub id that it was pushed to.
            out: Folder to publish.
            revision: Branch, tag or commit of the model on the Hub.
            overwrite: Replace the folder.
        """
        difference = offered().merge(model, out, overwrite, revision=revision)
        print_text(f"{out} holds the merged model; its logits differ by {difference:.1e} at most.")
        return DONE

    commands: dict[str, Any] = {name: train, "compare": compare, "advise": advise}
    for called, command in commands.items():
        takes = data_help if command is train else f"What `{name}` takes."
        command.__annotations__ |= {
            "data": Annotated[str, Parameter(help=takes)],
            "settings": Annotated[config, Flat],
        }
        app.command(command, name=called)
    app.command(merge)
