"""What in a configuration does not go with a federated GAN, or only with one."""

from collections.abc import Iterator

from fedsec.runs.config import RunConfig
from fedsec.runs.sections import GENERATORS

SIZES = (16, 32, 64, 128, 256)
"""Sides in pixels of the images that the generators make."""

SCORE_PARTS = 10
"""An Inception Score is a mean over so many parts of the images (``fedsec.metrics.generation.SPLITS``)."""


def gan_problems(config: RunConfig) -> Iterator[str]:
    """Yield what makes no sense together, before there are data."""
    name, kind = config.model.name, config.attack.kind
    if not config.generative:
        if kind == "stamp":
            yield (
                f'attack.kind: found "stamp" with model.name = {name!r}; '
                f"expected another attack, or a generator: {' or '.join(map(repr, GENERATORS))}"
            )
        if config.defense.audit != "none":
            yield (
                f"defense.audit: found {config.defense.audit!r} with model.name = {name!r}; "
                f'expected "none", or a generator: {" or ".join(map(repr, GENERATORS))}'
            )
        return
    if config.defense.audit != "none" and config.defense.strategy != "loss-forest":
        yield (
            f"defense.audit: found {config.defense.audit!r} with defense.strategy = {config.defense.strategy!r}; "
            'expected "none", or "loss-forest", which judges by losses'
        )
    if kind not in ("none", "stamp"):
        yield f'attack.kind: found {kind!r} with model.name = {name!r}; expected "none" or "stamp"'
    if config.data.balance != "none":
        yield f'data.balance: found {config.data.balance!r} with model.name = {name!r}; expected "none"'
    if config.federation.momentum:
        yield (
            f"federation.momentum: found {config.federation.momentum} with model.name = {name!r}; "
            "expected 0.0, for a GAN is trained by Adam or RMSprop"
        )
    if config.federation.optimiser != "sgd" or config.federation.draw:
        yield (
            f"federation.optimiser, federation.draw: found {config.federation.optimiser!r} and "
            f'{config.federation.draw} with model.name = {name!r}; expected "sgd" and 0: they are a classifier\'s'
        )
    if config.fedgan.augment != "none" and config.fedgan.loss != "min-max":
        yield (
            f"fedgan.augment: found {config.fedgan.augment!r} with fedgan.loss = {config.fedgan.loss!r}; expected "
            '"none", or "min-max": a critic\'s scores do not tell how far it overfits'
        )
    if config.fedgan.images < SCORE_PARTS:
        yield f"fedgan.images: found {config.fedgan.images}; expected {SCORE_PARTS} or more, the parts of a score"


def gan_problems_with_data(config: RunConfig, shape: tuple[int, int, int]) -> Iterator[str]:
    """Yield what does not fit the images, of a ``shape`` (C, H, W) after scaling."""
    if shape[1] != shape[2] or shape[1] not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        yield (
            f"data.size: {config.model.name} makes square images of {sizes} pixels a side; found {shape[1]} x "
            f"{shape[2]} in {config.data.dataset}; expected one of these sizes"
        )
