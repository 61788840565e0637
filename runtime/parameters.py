"""Kinds of command-line parameters that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Flat = Parameter(name="*")
"""A dataclass of settings, each of which is an option of the command."""
Flag = Annotated[bool, Parameter(negative="")]
"""An option that is on where it is given."""
