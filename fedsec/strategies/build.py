"""From a strategy's name and options to the strategy. The keywords of its constructor are its options."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedsec.defenses.updates import OptionError, RoundUpdates
from fedsec.strategies import STRATEGIES
from fedsec.strategies.robust import RobustStrategy


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the options of the strategy ``name``: its constructor's own keywords."""
    parameters = inspect.signature(STRATEGIES[name].__init__).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if key != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def build_strategy(name: str, options: Mapping[str, Any], **common: Any) -> RobustStrategy:
    """Return the strategy ``name``.

    Args:
        name: a key of ``STRATEGIES``.
        options: its own options.
        **common: keywords that all strategies take, see :class:`StrategyOptions`.

    Raises:
        OptionError: an option that the strategy does not have, lacks, or refuses.
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            allowed = ", ".join(known) or "none"
            raise OptionError(option, f"{name} has no such option; it has: {allowed.replace('_', '-')}.")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise OptionError(option, f"missing; {name} needs it.")
    return STRATEGIES[name](**options, **common)


def rehearse(strategy: RobustStrategy, clients: int) -> None:
    """Let the strategy judge made-up updates of ``clients`` clients, so that options that cannot work show at once.

    Raises:
        OptionError: the options do not fit this many clients.
    """
    rng = np.random.default_rng(0)
    strategy.remember({"weight": np.ones(8, np.float32)})
    deltas = rng.standard_normal((clients, 8), dtype=np.float32)
    strategy.defend(RoundUpdates(np.arange(clients, dtype=np.uint64), deltas, np.ones(clients, np.int64)), rng)
