"""What in the options of an attack does not go together."""

from collections.abc import Iterator

from fedsec.runs.config import RunConfig

BACKDOORS = ("backdoor", "untargeted-backdoor")
SMALLEST_CUT = 2
"""Side in pixels of the smallest trigger that can be cut into quarters."""


def backdoor_problems(config: RunConfig) -> Iterator[str]:
    """Yield what makes no sense of sources, trigger and evasion; needs no data."""
    attack = config.attack
    if attack.sources == "all" and attack.kind not in ("none", "backdoor"):
        yield f'attack.sources: found "all" with attack.kind = "{attack.kind}"; expected "one", or "backdoor"'
    if attack.sources == "one" and attack.source == attack.target:
        yield f"attack.target: found {attack.target}, which is the source; expected another class"
    if attack.trigger == "blend" and attack.trigger_opacity == 1.0:
        yield (
            'attack.trigger-opacity: found 1.0 with attack.trigger = "blend"; expected less, for it covers the whole '
            "image and would leave nothing of it"
        )
    if attack.trigger == "distributed" and attack.trigger_size < SMALLEST_CUT:
        yield (
            f'attack.trigger-size: found {attack.trigger_size} with attack.trigger = "distributed"; expected '
            f"{SMALLEST_CUT} or more, for it is cut into quarters"
        )
    if attack.evasion != "none":
        yield from _evasion_problems(config)


def _evasion_problems(config: RunConfig) -> Iterator[str]:
    attack, federation = config.attack, config.federation
    if attack.kind not in BACKDOORS:
        yield (
            f'attack.evasion: found "{attack.evasion}" with attack.kind = "{attack.kind}"; expected "none", or a '
            f"backdoor: {' or '.join(BACKDOORS)}"
        )
    # A step of SGD leaves 1 - 2 * rate * weight of the distance: below 0 it overshoots, below -1 it grows.
    most = 0.5 / federation.learning_rate
    if federation.optimiser == "sgd" and attack.evasion_weight > most:
        yield (
            f"attack.evasion-weight: found {attack.evasion_weight} with federation.learning-rate = "
            f"{federation.learning_rate}; expected at most {most:.6g}, or a step overshoots the honest model"
        )
