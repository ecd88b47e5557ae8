"""Values that are fine alone and make no sense together, or not with this data set. Checked before anything starts."""

import math
from collections.abc import Iterator

from fedsec.attacks.triggers import MARGIN
from fedsec.defenses.updates import OptionError, TooFewClientsError
from fedsec.runs.attack_checks import backdoor_problems
from fedsec.runs.config import RunConfig
from fedsec.runs.gan_checks import gan_problems, gan_problems_with_data
from fedsec.runs.inspection_checks import inspection_problems
from fedsec.runs.loading import ConfigError
from fedsec.runs.reconstruction_checks import reconstruction_problems, reconstruction_problems_with_data
from fedsec.runs.wording import shown
from fedsec.strategies.build import TooManyClientsError, build_strategy, option_errors, rehearse
from fedsec.strategies.robust import RobustStrategy

SMALLEST_IMAGE = {"lenet5": 12, "resnet18": 16, "resnet8": 16, "reconstruction": 8}

ROUNDING = 1e-6
"""How far a share of the clients may be from a whole number: decimals such as 0.3333333 are rounded."""


def check(config: RunConfig, *, source: str = "") -> None:
    """Raise :class:`ConfigError` for values that contradict each other; needs no data."""
    problems = [*_data_key_problems(config), *_attack_problems(config), *_federation_problems(config)]
    problems += [*_defense_problems(config), *gan_problems(config), *reconstruction_problems(config)]
    if problems:
        raise ConfigError(problems, source)


def check_with_data(
    config: RunConfig, shape: tuple[int, int, int], num_classes: int, examples: int, *, source: str = ""
) -> None:
    """Raise :class:`ConfigError` for values that do not fit the data set.

    Args:
        config: the configuration.
        shape: channels, height and width of its images.
        num_classes: number of its classes.
        examples: number of its training examples.
        source: where the configuration comes from, named in the error.
    """
    problems = list(_data_problems(config, shape, num_classes, examples))
    if problems:
        raise ConfigError(problems, source)


def strategy_of(config: RunConfig) -> RobustStrategy:
    """Return the strategy that the configuration describes.

    Raises:
        OptionError: one of its options cannot be used.
    """
    return build_strategy(
        config.defense.strategy,
        config.defense.options(),
        seed=config.run.seed,
        min_replies=config.federation.min_replies,
        batchnorm=config.defense.batchnorm,
        fraction_train=config.federation.fraction,
        min_train_nodes=1,
    )


def shortage(config: RunConfig) -> str | None:
    """Return why the defense would skip a round if a single one of its clients were dropped, or ``None``."""
    try:
        rehearse(strategy_of(config), max(1, config.clients_per_round - 1))
    except TooFewClientsError as error:
        return str(error)
    return None


def _attack_problems(config: RunConfig) -> Iterator[str]:
    attack, clients, rounds = config.attack, config.federation.clients, config.federation.rounds
    yield from backdoor_problems(config)
    if attack.clients:
        yield from _named_attackers(config)
    elif attack.kind != "none" and not _whole(attack.share, clients):
        yield f"attack.share: {_not_whole(attack.share, clients, range(clients // 2 + 1))}"
    if attack.start_round > rounds:
        yield f"attack.start-round: found {attack.start_round}; expected 1 to federation.rounds = {rounds}"
    if attack.end_round and not attack.start_round <= attack.end_round <= rounds:
        yield (
            f"attack.end-round: found {attack.end_round}; expected 0 (the last round) or "
            f"attack.start-round to federation.rounds, {attack.start_round} to {rounds}"
        )


def _named_attackers(config: RunConfig) -> Iterator[str]:
    found, clients = config.attack.clients, config.federation.clients
    named = [int(partition) for partition in found.split()]
    if config.attack.kind == "none":
        yield f'attack.clients: found {found!r} with attack.kind = "none"; expected "", or a kind of attack'
    if max(named) >= clients:
        yield f"attack.clients: found {found!r}; expected partitions from 0 to {clients - 1}"
    elif len(named) > clients // 2:
        yield f"attack.clients: found {len(named)} of {clients} clients; expected at most half of them"


def _federation_problems(config: RunConfig) -> Iterator[str]:
    federation = config.federation
    sgd = federation.optimiser == "sgd"
    if federation.momentum_buffer == "kept" and federation.momentum == 0.0 and sgd:
        yield 'federation.momentum-buffer: found "kept" with federation.momentum = 0.0; expected "reset", or momentum'
    if federation.momentum and not sgd:
        yield (
            f'federation.momentum: found {federation.momentum} with federation.optimiser = "adam"; expected 0.0, for '
            "Adam has its own"
        )
    if federation.min_clients > federation.clients:
        yield (
            f"federation.min-clients: found {federation.min_clients}; "
            f"expected 0 to {federation.clients}, federation.clients"
        )
    if not _whole(federation.fraction, federation.clients):
        allowed = range(1, federation.clients + 1)
        yield f"federation.fraction: {_not_whole(federation.fraction, federation.clients, allowed)}"
    elif federation.min_replies > config.clients_per_round:
        yield (
            f"federation.min-replies: found {federation.min_replies}; "
            f"expected 1 to {config.clients_per_round}, the clients of a round"
        )


def _defense_problems(config: RunConfig) -> Iterator[str]:
    clients, fraction = config.federation.clients, config.federation.fraction
    yield from inspection_problems(config)
    errors = list(option_errors(config.defense.strategy, config.defense.options()))
    if not errors:
        try:
            strategy = strategy_of(config)
            if _whole(fraction, clients):
                rehearse(strategy, config.clients_per_round)
        except TooManyClientsError as error:
            yield f"federation.clients: found {clients}; {error}"
        except OptionError as error:
            errors.append(error)
    for found in errors:
        yield _option_problem(config, found)


def _option_problem(config: RunConfig, error: OptionError) -> str:
    value = getattr(config.defense, error.option, None)
    found = "" if value is None else f"found {shown(value)}; "
    few = isinstance(error, TooFewClientsError)
    fitting = f" So expected what fits the {config.clients_per_round} clients of a round." if few else ""
    return f"defense.{error.option.replace('_', '-')}: {found}{error}{fitting}"


def _whole(share: float, clients: int) -> bool:
    """Tell whether ``share`` of ``clients`` is a whole number of them; a share above 0 is at least one."""
    number = clients * share
    return abs(number - round(number)) <= ROUNDING and (share == 0.0 or round(number) > 0)


def _not_whole(share: float, clients: int, allowed: range) -> str:
    """Return what is wrong with ``share``, with the nearest ones that are among the ``allowed`` numbers of clients."""
    number = clients * share
    around = sorted({min(max(near, allowed[0]), allowed[-1]) for near in (math.floor(number), math.ceil(number))})
    good = " or ".join(f"{_shortest(near, clients)} ({near} of {clients} clients)" for near in around)
    return f"found {share}, which is {number:.6g} of {clients} clients; expected a whole number of them, such as {good}"


def _shortest(number: int, clients: int) -> str:
    """Return ``number / clients`` with as few digits as still mean that number."""
    texts = (f"{number / clients:.{digits}g}" for digits in range(1, 18))
    return next(text for text in texts if abs(float(text) * clients - number) <= ROUNDING)


def _data_problems(config: RunConfig, shape: tuple[int, int, int], num_classes: int, examples: int) -> Iterator[str]:
    own = config.data.partition == "own"
    for key, label in (("source", config.attack.source), ("target", config.attack.target)):
        if label >= num_classes and not config.generative:
            yield f"attack.{key}: found {label}; expected a class of {config.data.dataset}, 0 to {num_classes - 1}"
    groups = min(num_classes, config.federation.clients)
    if config.data.partition == "label-skew" and config.data.q < 1 / groups - 1e-9:
        yield f"data.q: found {config.data.q}; expected {1 / groups:.4g} (evenly mixed) to 1 for {groups} groups"
    dealt = int(examples * config.data.share)
    if config.federation.clients > dealt and not own:
        yield f"federation.clients: found {config.federation.clients}; expected at most {dealt}, the examples"
    largest = min(shape[1:]) - 2 * MARGIN
    if config.attack.trigger_size > largest:
        yield (
            f"attack.trigger-size: found {config.attack.trigger_size}; "
            f"expected 1 to {largest} for images of {shape[1]} x {shape[2]} pixels"
        )
    if config.generative:
        yield from gan_problems_with_data(config, shape)
        return
    yield from reconstruction_problems_with_data(config, shape, num_classes)
    smallest = SMALLEST_IMAGE[config.model.name]
    if shape[1] != shape[2] or shape[1] < smallest:
        yield (
            f"model.name: {config.model.name} takes square images of at least {smallest} x {smallest} pixels; "
            f"found {shape[1]} x {shape[2]} in {config.data.dataset}"
        )


def _data_key_problems(config: RunConfig) -> Iterator[str]:
    folders = config.data.folders
    if config.data.partition == "own":
        if config.data.share != 1.0:
            found = f'found {config.data.share} with data.partition = "own"'
            yield f"data.share: {found}; expected 1.0, for nothing is dealt out"
        if folders and "{partition}" not in folders:
            yield f'data.folders: found {folders!r}; expected a path with "{{partition}}" in it, or "" in a deployment'
        return
    for key, found in (("folders", folders), ("classes", config.data.classes)):
        if found:
            yield f'data.{key}: found {found!r} with data.partition = "{config.data.partition}"; expected "own", or ""'
