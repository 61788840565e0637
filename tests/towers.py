"""Text halves that are exported once: torch takes four seconds for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder


class Exports:
    """Keeps the first export of each model, and copies it from then on.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within the block a model that was exported before is not exported again."""
        from footwork.encoder.onnx_export import export_text_tower

        def export(encoder: DualEncoder, folder: Path) -> None:
            kept = self._folder / encoder.fingerprint
            if not kept.exists():
                export_text_tower(encoder, folder)
                shutil.copytree(folder, kept)
            shutil.copytree(kept, folder, dirs_exist_ok=True)

        with patch("footwork.encoder.onnx_export.export_text_tower", export):
            yield
