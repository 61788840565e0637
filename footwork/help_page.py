"""How `--help` is laid out: options in groups, lines broken where the terminal ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel, InlineText
    from rich.console import Console, ConsoleOptions

RUN = Group("Output and the run", sort_key=9)
"""Of a help page: what no other group claims."""
OUTPUT = Parameter(group=RUN)
DATA, LABELS, INDEX, IMAGES, MODEL, METHOD, RATE, SPEED = (
    Parameter(group=Group(title, sort_key=place))
    for place, title in enumerate(
        (
            *("How the data is read", "Labels", "Index", "Which images", "Model", "Method"),
            *("Rate and length", "Speed and memory"),
        )
    )
)
"""The groups of a help page, in their order: a setting is put into one by its annotation."""


class HelpPage:
    """A formatter of cyclopts' help; it also leaves out defaults that say nothing."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel: arguments, commands, or a group of options."""
        from cyclopts.help import DefaultFormatter

        entries = [_plain(entry) for entry in panel.entries]
        DefaultFormatter()(console, options, panel.copy(entries=entries))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print how a command is called."""
        from cyclopts.help import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)

    def render_description(
        self, console: Console, _options: ConsoleOptions, description: InlineText | None
    ) -> None:
        """Print what a command does."""
        if description:
            console.print(_joined(description))


def _plain(entry: HelpEntry) -> HelpEntry:
    said = (
        entry if entry.description is None else entry.copy(description=_joined(entry.description))
    )
    if entry.default == "False":  # then --no-… says what is so anyway
        return said.copy(default=None, negative_names=())
    return said.copy(default=None) if entry.default == "()" else said


def _joined(description: InlineText) -> InlineText:
    """A text whose paragraphs are a line each."""
    from cyclopts.help import InlineText
    from rich.text import Text

    paragraphs = re.split(r"\n\s*\n", str(description.primary_renderable).rstrip())
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return InlineText(Text(text), force_empty_end=description.force_empty_end)
