"""What does not go with a defense that looks into models."""

from collections.abc import Iterator

from fedsec.runs.config import RunConfig
from fedsec.strategies import STRATEGIES, InspectingStrategy


def inspection_problems(config: RunConfig) -> Iterator[str]:
    """Yield what makes no sense together, before there are data."""
    name, public = config.defense.strategy, config.data.public
    inspects = issubclass(STRATEGIES[name], InspectingStrategy)
    if inspects and config.generative:
        yield f"defense.strategy: found {name!r} with model.name = {config.model.name!r}; expected a classifier"
    elif inspects and config.attack.kind == "reconstruction":
        yield f'defense.strategy: found {name!r} with attack.kind = "reconstruction"; it looks for backdoors'
    elif inspects and not public:
        yield f"data.public: found 0 with defense.strategy = {name!r}; expected a number of images, such as 1000"
    if public and (config.generative or config.attack.kind == "reconstruction"):
        yield f"data.public: found {public}; expected 0: no classifier is defended with it here"
