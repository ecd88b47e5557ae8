"""From a strategy's name and options to the strategy. The keywords of its constructor are its options."""

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fedsec.defenses.updates import OptionError, RoundUpdates
from fedsec.strategies import STRATEGIES, Flame, InspectingStrategy, Krum, MultiKrum, TrimmedMean
from fedsec.strategies.robust import RobustStrategy

MATRICES: dict[type[RobustStrategy], int] = {Krum: 5, MultiKrum: 5, TrimmedMean: 5, Flame: 8}
"""How many (n, n) float64 matrices a strategy that compares every two clients holds at once, as measured."""


class TooManyClientsError(ValueError):
    """The strategy would need more memory for this many clients than the machine has."""


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the options of the strategy ``name``: its constructor's own keywords."""
    parameters = inspect.signature(STRATEGIES[name].__init__).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if key != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def option_errors(name: str, options: Iterable[str]) -> Iterator[OptionError]:
    """Yield an error for each of the ``options`` that the strategy ``name`` does not have, and each that it lacks."""
    known, given = options_of(name), list(options)
    allowed = ", ".join(known).replace("_", "-") or "none"
    for option in given:
        if option not in known:
            yield OptionError(option, f"{name} has no such option; it has: {allowed}.")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in given:
            yield OptionError(option, f"missing; {name} needs it.")


def build_strategy(name: str, options: Mapping[str, Any], **common: Any) -> RobustStrategy:
    """Return the strategy ``name``.

    Args:
        name: a key of ``STRATEGIES``.
        options: its own options.
        **common: keywords that all strategies take, see :class:`StrategyOptions`.

    Raises:
        OptionError: an option that the strategy does not have, lacks, or refuses.
    """
    for error in option_errors(name, options):
        raise error
    return STRATEGIES[name](**options, **common)


def rehearse(strategy: RobustStrategy, clients: int) -> None:
    """Let the strategy judge made-up updates of ``clients`` clients, so that options that cannot work show at once.

    Raises:
        OptionError: the options do not fit this many clients, or give a model that no number can hold.
        TooManyClientsError: to compare this many clients takes more memory than there is.
    """
    _check_memory(strategy, clients)
    if isinstance(strategy, InspectingStrategy):
        strategy.check_clients(clients)
        return  # it judges by models, and there are none yet
    rng = np.random.default_rng(0)
    strategy.remember({"weight": np.ones(8, np.float32)})
    deltas = rng.standard_normal((clients, 8), dtype=np.float32)
    losses = deltas[:, 0].astype(np.float64)
    updates = RoundUpdates(np.arange(clients, dtype=np.uint64), deltas, np.ones(clients, np.int64), losses)
    try:
        with np.errstate(all="ignore"):  # whatever overflows shows in the verdict
            verdict = strategy.defend(updates, rng)
    except MemoryError as error:
        raise TooManyClientsError(f"there is not enough memory to judge so many ({error}); expected fewer") from None
    moved = float(np.linalg.norm(verdict.delta.astype(np.float64)))
    finite = np.isfinite(verdict.weights).all() and np.isfinite(verdict.scores).all()
    if not (finite and moved <= strategy.limits.update_norm):
        raise OptionError(
            _noisiest(strategy),
            f"one round would move eight weights by an L2 norm of {moved:.3g}, and a client's update beyond "
            f"{strategy.limits.update_norm:g} counts as nonsense; expected less noise on the model.",
        )


def _noisiest(strategy: RobustStrategy) -> str:
    """Return the option that says most about how much noise the strategy adds."""
    noise, clip = getattr(strategy, "noise", 0.0), getattr(strategy, "clip", "median")
    multiple = getattr(strategy, "noise_scale", "absolute") == "clip" and not isinstance(clip, str)
    return "clip" if multiple and float(clip) > noise else "noise" if noise else "strategy"


def _check_memory(strategy: RobustStrategy, clients: int) -> None:
    compares = not isinstance(strategy, TrimmedMean) or strategy.trim == "updates"
    matrices = MATRICES.get(type(strategy), 0) if compares else 0
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if matrices * 8 * clients**2 > there:
        raise TooManyClientsError(
            f"the strategy compares every two clients of a round, which takes {matrices * 8 * clients**2 / 2**30:.0f} "
            f"GiB of memory for {clients} clients, and this machine has {there / 2**30:.0f} GiB; "
            f"expected at most {int((there / (8 * matrices)) ** 0.5)} clients in a round"
        )
