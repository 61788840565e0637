"""What is compared: the runs of methods against each other, refused before anything runs."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from footwork.errors import ConfigError
from footwork.finetuning.config import FinetuningConfig
from footwork.help_page import METHOD, RATE
from footwork.methods.table import AUTO, METHODS, OF_FEW, USUAL, method_names, method_of
from footwork.options import SEVERAL
from footwork.settings import Settings

_SOLVED = [name for name, method in METHODS.items() if method.features_once]
_USUAL = tuple(dict.fromkeys((USUAL, OF_FEW, *_SOLVED)))


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Settings):
    """What the runs of a comparison differ in."""

    methods: Annotated[tuple[str, ...] | None, SEVERAL, METHOD] = None
    """With commas between, of those that `train` and `finetune` take, but auto; if not given, lora,
    full, head and prototypes, as far as they can learn these rows and, with `rates`, learn in
    steps."""
    seeds: Annotated[tuple[int, ...], SEVERAL, RATE] = (0, 1, 2)
    """Of the head, the order and the dropout masks, with commas between: every method has a run of
    each. The split is that of `seed`."""
    rates: Annotated[tuple[float, ...], SEVERAL, RATE] = ()
    """Peak rates to try with every method, with commas between, beside that of its recipe."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        super().__post_init__()
        known = [name for name in method_names() if name != AUTO]
        methods = _USUAL if self.methods is None else self.methods
        unknown = [name for name in methods if name not in known]
        if unknown or not methods:
            got = repr(unknown[0]) if unknown else "none"
            raise ConfigError(f"`methods` must be some of {', '.join(known)}, got {got}.")
        if not self.seeds or min(self.seeds) < 0:
            got = ", ".join(map(str, self.seeds)) or "none"
            raise ConfigError(f"`seeds` must be whole numbers, one at least, from 0 on, got {got}.")
        if min(self.rates, default=1.0) <= 0:
            raise ConfigError(f"`rates` must be above 0, got {min(self.rates):g}.")
        solved = [name for name in self.methods or () if not method_of(name).rates]
        if self.rates and solved:
            in_steps = ", ".join(name for name, method in METHODS.items() if method.rates)
            raise ConfigError(
                f"`rates` are for methods that learn in steps ({in_steps}), and {solved[0]} is "
                "solved at once. Leave it out of `methods`, or leave out `rates`."
            )


class RunKey(NamedTuple):
    """What tells a run of a comparison from the others."""

    method: str
    seed: int
    rate: float | None = None
    """None is that of the recipe, or what the settings say."""

    @property
    def name(self) -> str:
        """Of its record."""
        rate = "" if self.rate is None else f"rate{self.rate:g}-"
        return f"{self.method}-{rate}{self.seed}"

    def __str__(self) -> str:
        rate = "" if self.rate is None else f", rate {self.rate:g}"
        return f"{self.method}{rate}, seed {self.seed}"


class ComparisonPlan:
    """The runs of a comparison.

    Args:
        config: What they share; its seed is that of the split.
        options: What they differ in.

    Raises:
        ConfigError: A setting has no place in a comparison.
    """

    def __init__(self, config: FinetuningConfig, options: CompareOptions) -> None:
        self.config, self.options = config, options
        rates = dict.fromkeys(options.rates)
        usual = [name for name in _USUAL if method_of(name).rates or not rates]
        methods = dict.fromkeys(usual if options.methods is None else options.methods)
        owned = {name for each in methods for name in method_of(each).settings}
        reasons = {
            "method": "`methods` names them" if config.method != AUTO else "",
            "learning_rate": "`rates` names them" if config.learning_rate and rates else "",
            "merge": "it publishes no model" if config.merge else "",
            "push_to_hub": "it publishes no model" if config.push_to_hub else "",
            "continue_adapter": "methods begin alike" if config.continue_adapter else "",
            "skip": "it proves nothing, and its baselines are compared" if config.skip else "",
            "target": "`train` and `finetune` compare with and without it" if config.target else "",
        }
        foreign = [name for name in config.stated_settings if name not in owned]
        reasons |= dict.fromkeys(foreign, f"it means nothing to {', '.join(methods)}")
        for name, reason in reasons.items():
            if reason:
                raise ConfigError(
                    f"`{name}` has no place in this comparison: {reason}. Leave it out; got "
                    f"{getattr(config, name)}."
                )
        self.runs: dict[RunKey, FinetuningConfig] = {}
        for seed in dict.fromkeys(options.seeds):
            for method in methods:
                own = replace(config.for_method(method), seed=seed)
                self.runs[RunKey(method, seed)] = own
                for rate in rates:
                    self.runs[RunKey(method, seed, rate)] = replace(own, learning_rate=rate)

    def require_task(self, task: str) -> None:
        """Refuse a method that cannot learn a task; if none was named, leave such out."""
        for key, config in list(self.runs.items()):
            try:
                config.require_task(task)
            except ConfigError:
                if self.options.methods is not None:
                    raise
                del self.runs[key]

    @property
    def methods(self) -> tuple[str, ...]:
        """Of the runs, in their order."""
        return tuple(dict.fromkeys(key.method for key in self.runs))

    @property
    def budget(self) -> str:
        """How long each method trains, a clause."""
        if self.config.max_steps:
            return f"{self.config.max_steps:,} steps each, as --max-steps says"
        if self.config.num_epochs:
            return f"{self.config.num_epochs:g} epochs each, as --num-epochs says"
        return "each as long as its recipe says (--num-epochs or --max-steps gives all the same)"
