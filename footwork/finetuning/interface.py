"""What an application with a task offers to callers in Python: train, compare, advise, merge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from footwork.accelerator import on_device, undisturbed
from footwork.comparison import compare as comparing
from footwork.comparison.plan import CompareOptions, ComparisonPlan
from footwork.comparison.result import Comparison
from footwork.console import heard
from footwork.errors import ConfigError
from footwork.finetuning import advise as advising
from footwork.finetuning import train as training
from footwork.finetuning.advise import Advice
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.merge import merge_adapter
from footwork.finetuning.task import Notify, TaskOf
from footwork.finetuning.train import TrainedRun
from footwork.tables.splits import with_splits
from footwork.training.run import Existing

Config = TypeVar("Config", bound=FinetuningConfig)
Method = TypeVar("Method", bound=Callable[..., Any])


class Interface(Generic[Config]):
    """Fine-tuning, for callers in Python.

    Args:
        config: The class of the application's settings.
        opened: A context manager that yields the function from a configuration to its task, and
            holds what tasks need meanwhile.
    """

    def __init__(
        self, config: type[Config], opened: Callable[[], AbstractContextManager[TaskOf]]
    ) -> None:
        self.config, self._opened = config, opened

    def train(  # noqa: PLR0913 - the door for callers in Python
        self,
        data: Any,
        out: str | Path,
        config: Config | None = None,
        *,
        validation: Any = None,
        test: Any = None,
        existing: Existing = "refuse",
        callbacks: Sequence[Any] = (),
        notify: Notify | None = None,
        verbose: bool = True,
    ) -> TrainedRun:
        """Fine-tune a model on labelled rows and publish it as a folder.

        Args:
            data: Labelled texts: the file of a table, or a folder of such. Labelled images: a
                folder with one sub-folder a class, or with such folders named `train`, `validation`
                and `test`; or a table of images and labels, several an image maybe. Of both: the
                Hub id of a data set, a folder of `save_to_disk`, a list of rows, a frame of pandas
                or polars, a `Dataset` or `DatasetDict`, with images in memory or as paths; or a
                mapping of splits to any of these.
            out: Folder to publish; it appears when all has succeeded, and `out.training` beside it
                holds the checkpoints meanwhile.
            config: Every setting.
            validation: The rows to choose by, as `data` of one split: in place of those that `data`
                has, or that would be held out of it.
            test: The rows that the model is judged by in the end, likewise.
            existing: Where `out` or an unfinished run of it is there: "refuse", "resume" or
                "overwrite".
            callbacks: Classes or instances of transformers' `TrainerCallback`, called after ours.
            notify: Takes progress and warnings, one text each; if not given, a terminal or
                notebook.
            verbose: Whether progress is shown where `notify` is not given.

        Raises:
            TypeError: `data` is none of these.
            ConfigError: A setting is wrong, or something is in the way.
            DataError: The rows cannot be read or cannot be learned from.
            ModelError: The model cannot be loaded, or the saved folder does not answer as the
                trained model did; then nothing is published. Or the upload failed, and the folder
                stands.
            TrainingError: Training could not go on; its checkpoints stay.
            Interrupted: SIGINT or SIGTERM came; `existing="resume"` goes on.
        """
        config, source = self.config.given("config", config), with_splits(data, validation, test)
        called = _checked_callbacks(callbacks)
        with self._at_work(config, notify, verbose=verbose) as (task_of, told):
            hooks = called, told
            return training.train(task_of(config), source, Path(out), config, existing, hooks)

    def compare(  # noqa: PLR0913 - the door for callers in Python
        self,
        data: Any,
        out: str | Path,
        config: Config | None = None,
        options: CompareOptions | None = None,
        *,
        validation: Any = None,
        test: Any = None,
        existing: Existing = "refuse",
        callbacks: Sequence[Any] = (),
        notify: Notify | None = None,
        verbose: bool = True,
    ) -> Comparison:
        """Compare methods on one split of labelled rows, and publish what came of it as a folder.

        It takes and raises what `train` does. `config` is what the runs share, its seed that of the
        split, and `options` what they differ in; of `callbacks` a class is made anew for each run,
        and an instance sees all. A `ModelError`, too, where a method cannot adapt the model.
        """
        config, source = self.config.given("config", config), with_splits(data, validation, test)
        wanted = ComparisonPlan(config, CompareOptions.given("options", options))
        called = _checked_callbacks(callbacks)
        with self._at_work(config, notify, verbose=verbose) as (task_of, told):
            hooks = called, told
            return comparing.compare(task_of, source, Path(out), wanted, existing, hooks)

    def advise(
        self,
        data: Any,
        config: Config | None = None,
        *,
        validation: Any = None,
        test: Any = None,
        notify: Notify | None = None,
        verbose: bool = True,
    ) -> Advice:
        """Find the method for labelled rows, by measuring on a part of them; nothing is published.

        It takes and raises what `train` does; a method, which is to be found out, or a `target` is
        a `ConfigError`. A `DataError`, too, where the rows are too few, and a `ModelError` where
        the model has no head that can be solved.
        """
        config, source = self.config.given("config", config), with_splits(data, validation, test)
        with self._at_work(config, notify, verbose=verbose) as (task_of, told):
            return advising.advise(task_of(config), source, config, told)

    @contextmanager
    def _at_work(
        self, config: Config, notify: Notify | None, *, verbose: bool
    ) -> Iterator[tuple[TaskOf, Notify]]:
        with (
            self._opened() as task_of,
            on_device(config.device),
            undisturbed(),
            heard(notify, verbose=verbose) as told,
        ):
            yield task_of, told

    def merge(
        self,
        folder: str | Path,
        out: str | Path,
        overwrite: bool = False,
        *,
        revision: str | None = None,
    ) -> float:
        """Add the adapter in a folder into its base, and publish both as a plain folder.

        The temperature goes into the weights of the head: probabilities are then calibrated in
        whatever loads the folder, and not in Footwork alone.

        Args:
            folder: A trained folder that holds an adapter, or its Hub id.
            out: What to publish, complete or not at all.
            overwrite: Replace `out` if it exists.
            revision: Branch, tag or commit of the adapter on the Hub.

        Returns:
            Largest difference of a logit, the temperature apart, once the new folder was loaded
            again.

        Raises:
            ConfigError: The folder is plain already, its method cannot be merged, or `out` exists.
            ModelError: It cannot be loaded, or the merged model answers differently.
        """
        with self._opened() as task_of:
            return merge_adapter(task_of(self.config()), folder, out, overwrite, revision=revision)


def _checked_callbacks(given: Any) -> tuple[Any, ...]:
    """Callbacks of transformers, classes or instances, several or one alone.

    A `ConfigError` where one is nothing of the kind.
    """
    called = tuple(given) if isinstance(given, Iterable) else (given,)
    if called:
        from transformers import TrainerCallback

        for one in called:
            if not issubclass(one if isinstance(one, type) else type(one), TrainerCallback):
                raise ConfigError(
                    "`callbacks` must be classes or instances of transformers' TrainerCallback, "
                    f"got {one!r}."
                )
    return called


def function_of(module: str, name: str, method: Method) -> Method:
    """A method of an `Interface` as a function of a module: so `help()` shows it, and pickle."""
    bound: Any = method

    @wraps(bound)
    def function(*given: Any, **named: Any) -> Any:
        return bound(*given, **named)

    shown, told = signature(bound), cast("Any", function)
    told.__module__, told.__name__, told.__qualname__ = module, name, name
    kind = {"config": f"{bound.__self__.config.__name__} | None"}
    told.__signature__ = shown.replace(
        parameters=[
            each.replace(annotation=kind.get(each.name, each.annotation))
            for each in shown.parameters.values()
        ]
    )
    return cast("Method", function)
