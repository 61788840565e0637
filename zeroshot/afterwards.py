"""What is done with files once they are labelled: sidecars beside them, copies, moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zeroshot.classifier import LabelledImage
from zeroshot.options import SortingOptions


def check_folders(labels: Sequence[str], options: SortingOptions) -> None:
    """Tell before the work what labels could not be sorted by.

    Raises:
        ConfigError: Two would share a folder.
    """
    if options.target is not None:
        from zeroshot.sorting import label_folders

        label_folders(labels)


def use_labels(
    labelled: Sequence[LabelledImage], options: SortingOptions, notify: Callable[[str], None]
) -> bool:
    """Write sidecars, copy or move.

    Args:
        labelled: The files.
        options: What is done with them.
        notify: Is told what was done, and what could not be.

    Returns:
        Whether all of it could be done.
    """
    failed = 0
    if options.xmp:  # first, so that they go along
        from zeroshot.sidecars import write_sidecars

        sidecars = write_sidecars(labelled)
        notify(f"{sidecars.written} sidecars say what their images show.")
        for fault in sidecars.failed:
            notify(fault)
        failed += len(sidecars.failed)
    if options.target is not None:
        from zeroshot.sorting import apply_plan, plan_sorting

        plan = plan_sorting(labelled, options.target, options.how)
        if not options.yes:
            notify(plan.to_text())
        else:
            outcome = apply_plan(plan, notify)
            notify(outcome.to_text())
            failed += len(outcome.failed)
    return not failed
