"""What another process loads anew: it is pickled as where it came from."""

from __future__ import annotations

from pickle import PicklingError
from typing import Any

from footwork.files.faults import shortened


class Reloaded:
    """A classifier with a `load`; what was changed after it is not pickled."""

    origin: tuple[Any, ...] | None = None
    """Arguments of its `load`; None where it was made otherwise."""

    def __repr__(self) -> str:
        loaded = f" {self.origin[0]}" if self.origin else ""
        labels = shortened(getattr(self, "labels", ())) or "regression"
        return f"<{type(self).__name__}{loaded}: {labels}>"

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self)
        if self.origin is None:
            raise PicklingError(
                f"A {kind.__name__} is pickled as the folder or the model that it was loaded from, "
                f"and this one was made of parts in memory. Take one of {kind.__name__}.load, or "
                "load it in each process."
            )
        load: Any = getattr(kind, "load")  # noqa: B009 - each has one of its own
        return load, self.origin
