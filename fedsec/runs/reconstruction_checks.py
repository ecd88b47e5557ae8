"""What in a configuration does not go with the attack that rebuilds a class, or only with it."""

from collections.abc import Iterator

from fedsec.runs.config import RunConfig

MULTIPLE = 4
"""The generator doubles the side of its images twice."""


def reconstruction_problems(config: RunConfig) -> Iterator[str]:
    """Yield what makes no sense together, before there are data."""
    attack, model, data = config.attack, config.model.name, config.data
    if data.held:
        if data.partition != "one-class":
            found = f"found {data.held!r} with data.partition = {data.partition!r}"
            yield f'data.held: {found}; expected "one-class", or ""'
        if len(data.held.split()) > config.federation.clients:
            yield (
                f"data.held: found {len(data.held.split())} classes; expected at most {config.federation.clients}, "
                "federation.clients"
            )
    if attack.kind != "reconstruction":
        return
    if model != "reconstruction":
        yield (
            f'attack.kind: found "reconstruction" with model.name = {model!r}; expected model.name = "reconstruction", '
            "which has an output for what is generated"
        )
    if config.federation.fraction != 1.0:
        yield (
            f'federation.fraction: found {config.federation.fraction:g} with attack.kind = "reconstruction"; expected '
            "1: the adversary attacks in every round from its first one on"
        )
    if len(attack.clients.split()) != 1:
        yield (
            f'attack.clients: found {attack.clients!r} with attack.kind = "reconstruction"; expected one partition, '
            "the adversary's"
        )


def reconstruction_problems_with_data(
    config: RunConfig, shape: tuple[int, int, int], num_classes: int
) -> Iterator[str]:
    """Yield what does not fit the images, of a ``shape`` (C, H, W) after scaling, or their classes."""
    held = [int(label) for label in config.data.held.split()]
    if unknown := [label for label in held if label >= num_classes]:
        yield f"data.held: found {unknown[0]}; expected classes of {config.data.dataset}, 0 to {num_classes - 1}"
    if config.attack.kind != "reconstruction":
        return
    if config.attack.victim >= num_classes:
        yield (
            f"attack.victim: found {config.attack.victim}; expected a class of {config.data.dataset}, "
            f"0 to {num_classes - 1}"
        )
    if shape[1] % MULTIPLE:
        yield (
            f"data.size: the attack generates images whose side is a multiple of {MULTIPLE}; found {shape[1]} x "
            f"{shape[2]} in {config.data.dataset}; expected such a size"
        )
    if config.attack.jitter >= shape[1]:
        yield f"attack.jitter: found {config.attack.jitter}; expected less than {shape[1]}, the side of an image"
