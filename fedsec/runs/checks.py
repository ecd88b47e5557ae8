"""Values that are fine alone and make no sense together, or not with this data set. Checked before anything starts."""

from collections.abc import Iterator

from fedsec.attacks.triggers import MARGIN
from fedsec.defenses.updates import OptionError
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError
from fedsec.strategies.build import build_strategy, rehearse
from fedsec.strategies.robust import RobustStrategy

SMALLEST_IMAGE = {"lenet5": 12, "resnet18": 16}


def check(config: RunConfig, *, source: str = "") -> None:
    """Raise :class:`ConfigError` for values that contradict each other; needs no data."""
    problems = [*_attack_problems(config), *_federation_problems(config), *_defense_problems(config)]
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


def _attack_problems(config: RunConfig) -> Iterator[str]:
    attack, clients, rounds = config.attack, config.federation.clients, config.federation.rounds
    if attack.source == attack.target:
        yield f"attack.target: found {attack.target}, which is the source; expected another class"
    malicious = clients * attack.share
    if attack.kind != "none" and abs(malicious - round(malicious)) > 1e-6:
        yield (
            f"attack.share: found {attack.share}, which is {malicious:g} of {clients} clients; "
            f"expected a whole number of clients, such as {round(malicious) / clients:g}"
        )
    if attack.start_round > rounds:
        yield f"attack.start-round: found {attack.start_round}; expected 1 to federation.rounds = {rounds}"
    if attack.end_round and not attack.start_round <= attack.end_round <= rounds:
        yield (
            f"attack.end-round: found {attack.end_round}; expected 0 (the last round) or "
            f"attack.start-round to federation.rounds, {attack.start_round} to {rounds}"
        )


def _federation_problems(config: RunConfig) -> Iterator[str]:
    federation = config.federation
    if federation.min_replies > config.clients_per_round:
        yield (
            f"federation.min-replies: found {federation.min_replies}; "
            f"expected 1 to {config.clients_per_round}, the clients of a round"
        )


def _defense_problems(config: RunConfig) -> Iterator[str]:
    try:
        rehearse(strategy_of(config), config.clients_per_round)
    except OptionError as error:
        yield f"defense.{error.option.replace('_', '-')}: {error}"


def _data_problems(config: RunConfig, shape: tuple[int, int, int], num_classes: int, examples: int) -> Iterator[str]:
    for key, label in (("source", config.attack.source), ("target", config.attack.target)):
        if label >= num_classes:
            yield f"attack.{key}: found {label}; expected a class of {config.data.dataset}, 0 to {num_classes - 1}"
    groups = min(num_classes, config.federation.clients)
    if config.data.partition == "label-skew" and config.data.q < 1 / groups - 1e-9:
        yield f"data.q: found {config.data.q}; expected {1 / groups:.4g} (evenly mixed) to 1 for {groups} groups"
    if config.federation.clients > examples:
        yield f"federation.clients: found {config.federation.clients}; expected at most {examples}, the examples"
    largest = min(shape[1:]) - 2 * MARGIN
    if config.attack.trigger_size > largest:
        yield (
            f"attack.trigger-size: found {config.attack.trigger_size}; "
            f"expected 1 to {largest} for images of {shape[1]} x {shape[2]} pixels"
        )
    smallest = SMALLEST_IMAGE[config.model.name]
    if shape[1] != shape[2] or shape[1] < smallest:
        yield (
            f"model.name: {config.model.name} takes square images of at least {smallest} x {smallest} pixels; "
            f"found {shape[1]} x {shape[2]} in {config.data.dataset}"
        )
